package billing_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
)

// transaction moves amounts on an account for each letter.
func transaction(entries ...billing.Entry) billing.Transaction {
	return billing.Transaction{Kind: billing.KindTopUp, Key: "key", Currency: "EUR", Entries: entries}
}

func TestATransactionThatSumsToZeroIsAccepted(t *testing.T) {
	t.Parallel()
	for _, tx := range []billing.Transaction{
		transaction(),
		transaction(billing.Entry{Account: "a", Amount: 0}),
		transaction(billing.Entry{Account: "a", Amount: -5}, billing.Entry{Account: "b", Amount: 3}, billing.Entry{Account: "b", Amount: 2}),
		transaction(billing.Entry{Account: "a", Amount: math.MaxInt64}, billing.Entry{Account: "b", Amount: -math.MaxInt64}),
		transaction(billing.Entry{Account: "a", Amount: math.MinInt64}, billing.Entry{Account: "b", Amount: math.MaxInt64}, billing.Entry{Account: "c", Amount: 1}),
		// What passes through an account may be more than what stays there.
		transaction(billing.Entry{Account: "a", Amount: math.MaxInt64}, billing.Entry{Account: "a", Amount: math.MaxInt64},
			billing.Entry{Account: "a", Amount: -math.MaxInt64}, billing.Entry{Account: "b", Amount: -math.MaxInt64}),
	} {
		assert.NoError(t, tx.Check(), "%v", tx.Entries)
	}
}

func TestATransactionThatSumsToZeroOnlyInSixtyFourBitsIsRefused(t *testing.T) {
	t.Parallel()
	for _, tx := range []billing.Transaction{
		transaction(billing.Entry{Account: "a", Amount: 1}),
		transaction(billing.Entry{Account: "a", Amount: math.MaxInt64}, billing.Entry{Account: "b", Amount: math.MaxInt64}, billing.Entry{Account: "c", Amount: 2}),
		transaction(billing.Entry{Account: "a", Amount: math.MinInt64}, billing.Entry{Account: "b", Amount: math.MinInt64}),
		// Its negative is itself.
		billing.HoldFor(domain.ID{1}, domain.ID{2}, math.MinInt64),
	} {
		assert.ErrorIs(t, tx.Check(), domain.Invalid("unbalanced", ""), "%v", tx.Entries)
	}
}

func TestALegThatDoesNotFitIntoItsAccountIsRefused(t *testing.T) {
	t.Parallel()
	tx := transaction(
		billing.Entry{Account: "a", Amount: math.MaxInt64}, billing.Entry{Account: "a", Amount: math.MaxInt64},
		billing.Entry{Account: "b", Amount: -math.MaxInt64}, billing.Entry{Account: "b", Amount: -math.MaxInt64},
	)
	assert.ErrorIs(t, tx.Check(), domain.Invalid("amount_too_large", ""))
}

func TestATransactionHasAKeyAndACurrency(t *testing.T) {
	t.Parallel()
	for _, tx := range []billing.Transaction{{Key: "key"}, {Currency: "EUR"}} {
		assert.ErrorIs(t, tx.Check(), domain.Invalid("incomplete", ""))
	}
}

func TestATransactionIsCheckedAsWithNumbersOfAnySize(t *testing.T) {
	t.Parallel()
	least, most := big.NewInt(math.MinInt64), big.NewInt(math.MaxInt64)
	amounts := rapid.OneOf(rapid.Int64Range(-2, 2), rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
	rapid.Check(t, func(r *rapid.T) {
		tx, sum, legs := transaction(), new(big.Int), map[billing.Account]*big.Int{}
		add := func(amount *big.Int) {
			a := billing.Account(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "account"))
			tx.Entries = append(tx.Entries, billing.Entry{Account: a, Amount: domain.Micros(amount.Int64())})
			if legs[a] == nil {
				legs[a] = new(big.Int)
			}
			sum.Add(sum, amount)
			legs[a].Add(legs[a], amount)
		}
		for range rapid.IntRange(0, 6).Draw(r, "entries") {
			add(big.NewInt(amounts.Draw(r, "amount")))
		}
		balance := rapid.Bool().Draw(r, "balance")
		for balance && sum.Sign() != 0 {
			rest := new(big.Int).Neg(sum)
			if rest.Cmp(least) < 0 {
				rest = least
			} else if rest.Cmp(most) > 0 {
				rest = most
			}
			add(rest)
		}
		var want error
		for _, leg := range legs {
			if !leg.IsInt64() {
				want = domain.Invalid("amount_too_large", "")
			}
		}
		if sum.Sign() != 0 {
			want = domain.Invalid("unbalanced", "")
		}
		require.ErrorIs(r, tx.Check(), want, "%v", tx.Entries)
	})
}
