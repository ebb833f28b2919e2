package contract

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// The cases of ports.Ledger that look at many postings.

func (c ledgerCases) pages(t *testing.T) {
	t.Parallel()
	user := ids.New()
	var want, got []domain.ID
	for range 7 {
		tx := topUp(user, 1)
		c.post(t, tx)
		want = append(want, tx.ID)
	}
	slices.Reverse(want)
	for page := (ports.Page{Limit: 3}); ; page.After = got[len(got)-1] {
		list, err := c.List(t.Context(), ports.LedgerFilter{Account: billing.Wallet(user)}, page)
		require.NoError(t, err)
		require.LessOrEqual(t, len(list), page.Limit)
		require.LessOrEqual(t, len(got), len(want))
		if len(list) == 0 {
			break
		}
		for _, tx := range list {
			got = append(got, tx.ID)
			require.Len(t, tx.Entries, 2, "a page counts transactions, not entries")
		}
		c.post(t, topUp(user, 1))
	}
	assert.Equal(t, want, got)
}

func (c ledgerCases) unsettled(t *testing.T) {
	t.Parallel()
	user := ids.New()
	// Long before the holds of the other cases.
	at := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	var holds []billing.Transaction
	c.post(t, topUp(user, 10*unit))
	for i := range 5 {
		hold := entered(billing.HoldFor(ids.New(), user, unit))
		hold.At = at.Add(time.Duration(i) * time.Microsecond)
		c.post(t, hold)
		holds = append(holds, hold)
	}
	open := func(before time.Time, limit int) (jobs []domain.ID) {
		t.Helper()
		list, err := c.Unsettled(t.Context(), before, limit)
		require.NoError(t, err)
		for _, tx := range list {
			jobs = append(jobs, tx.Job)
			assert.Equal(t, c.find(t, tx.Key), tx)
		}
		return jobs
	}
	jobs := make([]domain.ID, len(holds))
	for i, h := range holds {
		jobs[i] = h.Job
	}
	later := at.Add(time.Second)
	assert.Equal(t, jobs, open(later, 10), "oldest first")
	assert.Equal(t, jobs[:2], open(later, 2))
	assert.Equal(t, jobs[:2], open(holds[2].At, 10), "before, not at")
	assert.Empty(t, open(at, 10))
	c.post(t, entered(billing.Release(jobs[1], user, unit)))
	c.post(t, entered(billing.Settle(billing.Settlement{Job: jobs[3], Renter: user, HostOwner: ids.New(), Held: unit, Amount: 5, Fee: 1000})))
	assert.Equal(t, []domain.ID{jobs[0], jobs[2], jobs[4]}, open(later, 10))
}

func (c ledgerCases) copies(t *testing.T) {
	t.Parallel()
	user := ids.New()
	given := topUp(user, unit)
	c.post(t, given)
	given.Entries[1] = billing.Entry{Account: billing.Rounding, Amount: 5}
	found := c.find(t, given.Key)
	was := frozen(found)
	list, err := c.List(t.Context(), ports.LedgerFilter{Account: billing.Wallet(user)}, ports.Page{Limit: 1})
	require.NoError(t, err)
	scribble(&found.Entries)
	scribble(&list[0].Entries)
	assert.Equal(t, was, frozen(c.find(t, given.Key)))
}

func (c ledgerCases) overflow(t *testing.T) {
	t.Parallel()
	user := ids.New()
	a, b := billing.Wallet(user), billing.Account("tests:"+user.String())
	for _, entries := range [][]billing.Entry{
		{{Account: a, Amount: math.MaxInt64}, {Account: b, Amount: math.MaxInt64}, {Account: billing.Clearing, Amount: 2}},
		{{Account: a, Amount: math.MinInt64}, {Account: b, Amount: math.MinInt64}},
		{{Account: a, Amount: math.MaxInt64}, {Account: a, Amount: math.MaxInt64}, {Account: b, Amount: -math.MaxInt64}, {Account: b, Amount: -math.MaxInt64}},
	} {
		tx := topUp(user, 0)
		tx.Entries = entries
		err := c.Post(t.Context(), tx)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%v", err)
		c.missing(t, tx.Key)
	}
	assert.Zero(t, c.balance(t, a))
	// A balance has the same bounds as an amount.
	most := topUp(user, math.MaxInt64)
	c.post(t, most)
	more := topUp(user, 0)
	more.Entries = []billing.Entry{{Account: a, Amount: 1}, {Account: b, Amount: -1}}
	assert.Equal(t, domain.KindInvalid, domain.KindOf(c.Post(t.Context(), more)))
	c.missing(t, more.Key)
	assert.Equal(t, domain.Micros(math.MaxInt64), c.balance(t, a))
}

// book is what the model knows: balances, and which keys are posted.
type book struct {
	balances map[billing.Account]domain.Micros
	posted   map[string]billing.Transaction
}

// post answers what storage has to answer.
func (b *book) post(txs []billing.Transaction) error {
	balances, fresh := map[billing.Account]domain.Micros{}, map[string]billing.Transaction{}
	for _, tx := range txs {
		if tx.Check() != nil {
			return domain.Invalid("unbalanced", "")
		}
	}
	for _, tx := range txs {
		known, again := b.posted[tx.Key]
		if !again {
			known, again = fresh[tx.Key]
		}
		if again && !known.SameEntries(tx) {
			return errKeyReused
		}
		if again {
			continue
		}
		fresh[tx.Key] = tx
		for _, e := range tx.Normalized().Entries {
			if _, moved := balances[e.Account]; !moved {
				balances[e.Account] = b.balances[e.Account]
			}
			if balances[e.Account] += e.Amount; e.Account.Guarded() && balances[e.Account] < 0 {
				return errInsufficient
			}
		}
	}
	for a, balance := range balances {
		b.balances[a] = balance
	}
	for key, tx := range fresh {
		b.posted[key] = tx
	}
	return nil
}

func (c ledgerCases) model(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(r *rapid.T) {
		b := book{balances: map[billing.Account]domain.Micros{}, posted: map[string]billing.Transaction{}}
		users, jobs, run := []domain.ID{ids.New(), ids.New()}, []domain.ID{ids.New(), ids.New(), ids.New()}, ids.New().String()
		user := func() domain.ID { return rapid.SampledFrom(users).Draw(r, "user") }
		job := func() domain.ID { return rapid.SampledFrom(jobs).Draw(r, "job") }
		amount := func(name string) domain.Micros { return domain.Micros(rapid.IntRange(0, 5).Draw(r, name)) }
		draw := func() (tx billing.Transaction) {
			switch rapid.IntRange(0, 4).Draw(r, "kind") {
			case 0:
				tx = billing.TopUp(fmt.Sprintf("topup:%s:%d", run, rapid.IntRange(0, 5).Draw(r, "key")), user(), amount("amount"))
			case 1:
				tx = billing.HoldFor(job(), user(), amount("hold"))
			case 2:
				tx = billing.Release(job(), user(), amount("held"))
			case 3:
				tx = billing.Settle(billing.Settlement{Job: job(), Renter: user(), HostOwner: user(), Held: amount("held"), Amount: amount("billed"), Fee: 1000})
			default:
				tx = billing.TopUp("unbalanced:"+run, user(), amount("amount"))
				tx.Entries[0].Amount++
			}
			// No account is shared with other cases, so that the model knows all of it.
			for i, e := range tx.Entries {
				if !e.Account.Guarded() {
					tx.Entries[i].Account = e.Account + billing.Account(":"+run)
				}
			}
			return entered(tx)
		}
		for range rapid.IntRange(1, 10).Draw(r, "posts") {
			var txs []billing.Transaction
			for range rapid.IntRange(1, 3).Draw(r, "transactions") {
				txs = append(txs, draw())
			}
			want, got := b.post(txs), c.Post(ctx, txs...)
			require.Equal(r, domain.KindOf(want), domain.KindOf(got), "%v instead of %v", got, want)
			require.Equal(r, want == nil, got == nil, "%v instead of %v", got, want)
		}
		b.check(ctx, r, c)
	})
}

func (b *book) check(ctx context.Context, r *rapid.T, c ledgerCases) {
	var accounts []billing.Account
	for a := range b.balances {
		accounts = append(accounts, a)
	}
	got, err := c.Balances(ctx, accounts...)
	require.NoError(r, err)
	require.Equal(r, b.balances, got)
	for key, want := range b.posted {
		tx, err := c.Find(ctx, key)
		require.NoError(r, err)
		require.True(r, want.SameEntries(tx))
	}
}

func (c ledgerCases) total(t *testing.T) {
	t.Parallel()
	user := ids.New()
	dollars := topUp(user, 5)
	dollars.Currency = "USD"
	c.post(t, dollars, topUp(user, 7))
	total, err := c.Total(t.Context())
	require.NoError(t, err)
	for _, currency := range []string{"EUR", "USD"} {
		require.Contains(t, total, currency)
	}
	for currency, sum := range total {
		assert.Zero(t, sum, currency)
	}
}

func (c ledgerCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	user := ids.New()
	tx := topUp(user, unit)
	require.ErrorIs(t, c.Post(ctx, tx), context.Canceled)
	c.missing(t, tx.Key)
	assert.Zero(t, c.balance(t, billing.Wallet(user)))
}
