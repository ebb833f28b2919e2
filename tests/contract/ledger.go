package contract

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Ledger is the contract of ports.Ledger.
func Ledger(t *testing.T, open func(*testing.T) Storage) {
	c := ledgerCases{open(t).Ledger()}
	t.Run("what is not there is not found", c.notFound)
	t.Run("every field comes back as it was posted", c.posted)
	t.Run("what was left open is filled in", c.completed)
	t.Run("the same key with the same entries changes nothing", c.again)
	t.Run("the same key with other entries is a conflict", c.keyReused)
	t.Run("of those who post one key with other entries, one does", c.keyRace)
	t.Run("what does not sum to zero is refused", c.unbalanced)
	t.Run("amounts too large to be added are refused, not wrapped around", func(t *testing.T) { ledgerCases{open(t).Ledger()}.overflow(t) })
	t.Run("legs of zero are dropped", c.zeroLegs)
	t.Run("a guarded account never goes below zero, others may", c.guarded)
	t.Run("of fifty holds of 1 on a wallet of 10, ten succeed", c.overdraw)
	t.Run("money that moves both ways at once neither blocks nor vanishes", c.bothWays)
	t.Run("transactions are posted all or none", c.allOrNone)
	t.Run("a later transaction of a post may spend what an earlier one brought", c.inOrder)
	t.Run("an account that was never used has zero", c.unused)
	t.Run("lists are by account and job, newest first, with all entries", c.lists)
	t.Run("pages go on where they ended, whatever was posted", c.pages)
	t.Run("a hold is unsettled until its job is settled or released", c.unsettled)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("any postings do what a model of them does", c.model)
	t.Run("the sum of everything is zero in each currency", c.total)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

var (
	errInsufficient = domain.NewError(domain.KindPaymentRequired, "insufficient_funds", "")
	errKeyReused    = domain.Conflict("key_reused", "")
)

const unit domain.Micros = 1_000_000

type ledgerCases struct{ ports.Ledger }

// entered gives a transaction what storage needs of it.
func entered(tx billing.Transaction) billing.Transaction {
	tx.ID, tx.Currency, tx.At = ids.New(), "EUR", now()
	return tx
}

func topUp(user domain.ID, amount domain.Micros) billing.Transaction {
	return entered(billing.TopUp("topup:"+ids.New().String(), user, amount))
}

func (c ledgerCases) post(t *testing.T, txs ...billing.Transaction) {
	t.Helper()
	require.NoError(t, c.Post(t.Context(), txs...))
}

func (c ledgerCases) balance(t *testing.T, a billing.Account) domain.Micros {
	t.Helper()
	balances, err := c.Balances(t.Context(), a)
	require.NoError(t, err)
	require.Contains(t, balances, a)
	return balances[a]
}

func (c ledgerCases) find(t *testing.T, key string) billing.Transaction {
	t.Helper()
	tx, err := c.Find(t.Context(), key)
	require.NoError(t, err)
	return tx
}

func (c ledgerCases) missing(t *testing.T, key string) {
	t.Helper()
	_, err := c.Find(t.Context(), key)
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c ledgerCases) notFound(t *testing.T) {
	t.Parallel()
	c.missing(t, "unknown")
	list, err := c.List(t.Context(), ports.LedgerFilter{Job: ids.New()}, ports.Page{Limit: 10})
	require.NoError(t, err)
	assert.Empty(t, list)
	require.NoError(t, c.Post(t.Context()))
}

func (c ledgerCases) posted(t *testing.T) {
	t.Parallel()
	want := filled[billing.Transaction]()
	want.Entries = []billing.Entry{{Account: billing.Account("a:" + want.Key), Amount: 7}, {Account: billing.Account("b:" + want.Key), Amount: -7}}
	c.post(t, want)
	same(t, want, c.find(t, want.Key))
	list, err := c.List(t.Context(), ports.LedgerFilter{Job: want.Job}, ports.Page{Limit: 10})
	require.NoError(t, err)
	same(t, []billing.Transaction{want}, list)
}

func (c ledgerCases) completed(t *testing.T) {
	t.Parallel()
	tx := topUp(ids.New(), unit)
	tx.ID, tx.At = domain.ID{}, time.Time{}
	c.post(t, tx)
	got := c.find(t, tx.Key)
	assert.False(t, got.ID.IsZero())
	assert.WithinDuration(t, now(), got.At, time.Minute)
}

func (c ledgerCases) again(t *testing.T) {
	t.Parallel()
	user, job := ids.New(), ids.New()
	hold := entered(billing.HoldFor(job, user, unit))
	c.post(t, topUp(user, unit))
	for _, err := range race(racers, func(int) error {
		tx := hold
		tx.ID = ids.New()
		return c.Post(t.Context(), tx)
	}) {
		require.NoError(t, err, "even though there is money for one alone")
	}
	assert.Equal(t, unit, c.balance(t, billing.Hold(user)))
	first := c.find(t, hold.Key)
	slices.Reverse(hold.Entries)
	hold.Memo, hold.At = "other words", hold.At.Add(time.Hour)
	c.post(t, hold, hold)
	assert.Equal(t, first, c.find(t, hold.Key))
	assert.Zero(t, c.balance(t, billing.Wallet(user)))
}

func (c ledgerCases) keyReused(t *testing.T) {
	t.Parallel()
	user := ids.New()
	tx := topUp(user, unit)
	c.post(t, tx)
	other := topUp(user, 2*unit)
	other.Key = tx.Key
	assert.ErrorIs(t, c.Post(t.Context(), other), errKeyReused)
	elsewhere := topUp(ids.New(), unit)
	elsewhere.Key = tx.Key
	assert.ErrorIs(t, c.Post(t.Context(), elsewhere), errKeyReused)
	fresh := topUp(user, unit)
	assert.ErrorIs(t, c.Post(t.Context(), fresh, other), errKeyReused, "within one post with others")
	c.missing(t, fresh.Key)
	assert.Equal(t, unit, c.balance(t, billing.Wallet(user)))
}

func (c ledgerCases) keyRace(t *testing.T) {
	t.Parallel()
	user, key := ids.New(), ids.New().String()
	errs := race(racers, func(i int) error {
		tx := topUp(user, domain.Micros(i+1))
		tx.Key = key
		return c.Post(t.Context(), tx)
	})
	assert.Equal(t, 1, winners(t, errs, errKeyReused))
	for i, err := range errs {
		if err == nil {
			assert.EqualValues(t, i+1, c.balance(t, billing.Wallet(user)))
		}
	}
}

func (c ledgerCases) unbalanced(t *testing.T) {
	t.Parallel()
	user := ids.New()
	for _, entries := range [][]billing.Entry{
		{{Account: billing.Wallet(user), Amount: 1}},
		{{Account: billing.Wallet(user), Amount: 2}, {Account: billing.Clearing, Amount: -1}},
	} {
		tx, fine := topUp(user, 1), topUp(user, 1)
		tx.Entries = entries
		err := c.Post(t.Context(), fine, tx)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%v", err)
		c.missing(t, tx.Key)
		c.missing(t, fine.Key)
	}
	assert.Zero(t, c.balance(t, billing.Wallet(user)))
}

func (c ledgerCases) zeroLegs(t *testing.T) {
	t.Parallel()
	user, host, job := ids.New(), ids.New(), ids.New()
	c.post(t, topUp(user, unit), entered(billing.HoldFor(job, user, unit)))
	nothing := entered(billing.Settle(billing.Settlement{Job: job, Renter: user, HostOwner: host, Held: unit, Fee: 1000}))
	c.post(t, nothing)
	release := []billing.Entry{{Account: billing.Hold(user), Amount: -unit}, {Account: billing.Wallet(user), Amount: unit}}
	assert.Equal(t, release, c.find(t, nothing.Key).Entries)
	c.post(t, nothing)
	empty := topUp(user, 0)
	c.post(t, empty)
	assert.Empty(t, c.find(t, empty.Key).Entries)
	double := topUp(user, 0)
	double.Entries = []billing.Entry{{Account: billing.Clearing, Amount: -5}, {Account: billing.Wallet(user), Amount: 3}, {Account: billing.Wallet(user), Amount: 2}}
	c.post(t, double)
	assert.Equal(t, double.Normalized().Entries, c.find(t, double.Key).Entries, "an account has one leg")
	assert.Equal(t, unit+5, c.balance(t, billing.Wallet(user)))
}

func (c ledgerCases) guarded(t *testing.T) {
	t.Parallel()
	user := ids.New()
	c.post(t, topUp(user, unit))
	hold := entered(billing.HoldFor(ids.New(), user, unit+1))
	assert.ErrorIs(t, c.Post(t.Context(), hold), errInsufficient)
	c.missing(t, hold.Key)
	assert.Equal(t, unit, c.balance(t, billing.Wallet(user)))
	c.post(t, entered(billing.HoldFor(ids.New(), user, unit)))
	for _, a := range []billing.Account{billing.Wallet(user), billing.HostPending(user), billing.HostAvailable(user)} {
		tx := topUp(user, 0)
		tx.Entries = []billing.Entry{{Account: a, Amount: -1}, {Account: billing.Clearing, Amount: 1}}
		assert.ErrorIs(t, c.Post(t.Context(), tx), errInsufficient, a)
	}
	loss := topUp(user, 0)
	below := billing.Account("tests:" + user.String())
	loss.Entries = []billing.Entry{{Account: below, Amount: -unit}, {Account: billing.Wallet(user), Amount: unit}}
	c.post(t, loss)
	assert.Equal(t, -unit, c.balance(t, below))
}

func (c ledgerCases) overdraw(t *testing.T) {
	t.Parallel()
	user := ids.New()
	c.post(t, topUp(user, 10*unit))
	errs := race(50, func(int) error {
		return c.Post(t.Context(), entered(billing.HoldFor(ids.New(), user, unit)))
	})
	assert.Equal(t, 10, winners(t, errs, errInsufficient))
	assert.Zero(t, c.balance(t, billing.Wallet(user)))
	assert.Equal(t, 10*unit, c.balance(t, billing.Hold(user)))
}

func (c ledgerCases) bothWays(t *testing.T) {
	t.Parallel()
	a, b := billing.Wallet(ids.New()), billing.Wallet(ids.New())
	for _, account := range []billing.Account{a, b} {
		tx := topUp(ids.New(), 0)
		tx.Entries = []billing.Entry{{Account: billing.Clearing, Amount: -3}, {Account: account, Amount: 3}}
		c.post(t, tx)
	}
	errs := race(2*racers, func(i int) error {
		from, to := a, b
		if i%2 == 0 {
			from, to = b, a
		}
		for range 3 {
			tx := topUp(ids.New(), 0)
			tx.Entries = []billing.Entry{{Account: from, Amount: -1}, {Account: to, Amount: 1}}
			if err := c.Post(t.Context(), tx); err != nil {
				return err
			}
		}
		return nil
	})
	winners(t, errs, errInsufficient)
	balances, err := c.Balances(t.Context(), a, b)
	require.NoError(t, err)
	assert.EqualValues(t, 6, balances[a]+balances[b])
	assert.False(t, balances[a] < 0 || balances[b] < 0, "%v", balances)
}

func (c ledgerCases) allOrNone(t *testing.T) {
	t.Parallel()
	user := ids.New()
	fine, tooMuch := topUp(user, unit), entered(billing.HoldFor(ids.New(), user, 2*unit))
	assert.ErrorIs(t, c.Post(t.Context(), fine, tooMuch), errInsufficient)
	c.missing(t, fine.Key)
	c.missing(t, tooMuch.Key)
	balances, err := c.Balances(t.Context(), billing.Wallet(user), billing.Hold(user))
	require.NoError(t, err)
	assert.Equal(t, map[billing.Account]domain.Micros{billing.Wallet(user): 0, billing.Hold(user): 0}, balances)
	c.post(t, fine)
	assert.Equal(t, unit, c.balance(t, billing.Wallet(user)), "its key is not used up")
}

func (c ledgerCases) inOrder(t *testing.T) {
	t.Parallel()
	user := ids.New()
	c.post(t, topUp(user, unit), entered(billing.HoldFor(ids.New(), user, unit)))
	assert.Equal(t, unit, c.balance(t, billing.Hold(user)))
}

func (c ledgerCases) unused(t *testing.T) {
	t.Parallel()
	a, b := billing.Wallet(ids.New()), billing.Account("tests:"+ids.New().String())
	balances, err := c.Balances(t.Context(), a, b, a)
	require.NoError(t, err)
	assert.Equal(t, map[billing.Account]domain.Micros{a: 0, b: 0}, balances)
	none, err := c.Balances(t.Context())
	require.NoError(t, err)
	assert.Empty(t, none)
}

func (c ledgerCases) lists(t *testing.T) {
	t.Parallel()
	user, other, job := ids.New(), ids.New(), ids.New()
	first, second := topUp(user, 3*unit), entered(billing.HoldFor(job, user, unit))
	c.post(t, first, second, topUp(other, unit))
	third := entered(billing.Settle(billing.Settlement{Job: job, Renter: user, HostOwner: other, Held: unit, Amount: 10, Fee: 1000}))
	c.post(t, third)
	list := func(f ports.LedgerFilter) (found []domain.ID) {
		txs, err := c.List(t.Context(), f, ports.Page{Limit: 100})
		require.NoError(t, err)
		for _, tx := range txs {
			found = append(found, tx.ID)
			assert.Equal(t, c.find(t, tx.Key), tx, "with all its entries")
		}
		return found
	}
	assert.Equal(t, []domain.ID{third.ID, second.ID, first.ID}, list(ports.LedgerFilter{Account: billing.Wallet(user)}))
	assert.Equal(t, []domain.ID{third.ID, second.ID}, list(ports.LedgerFilter{Account: billing.Hold(user)}))
	assert.Equal(t, []domain.ID{third.ID, second.ID}, list(ports.LedgerFilter{Job: job}))
	assert.Equal(t, []domain.ID{third.ID}, list(ports.LedgerFilter{Job: job, Account: billing.HostPending(other)}))
	all, err := c.List(t.Context(), ports.LedgerFilter{}, ports.Page{Limit: 50})
	require.NoError(t, err)
	assert.NotEmpty(t, all)
	assert.True(t, slices.IsSortedFunc(all, func(a, b billing.Transaction) int { return bytes.Compare(b.ID[:], a.ID[:]) }))
}

func (c ledgerCases) calls() calls {
	return calls{
		"Post":     func(ctx context.Context) error { return c.Post(ctx, topUp(ids.New(), unit)) },
		"Balances": func(ctx context.Context) error { _, err := c.Balances(ctx, billing.Clearing); return err },
		"List": func(ctx context.Context) error {
			_, err := c.List(ctx, ports.LedgerFilter{}, ports.Page{Limit: 1})
			return err
		},
		"Find":      func(ctx context.Context) error { _, err := c.Find(ctx, "unknown"); return err },
		"Unsettled": func(ctx context.Context) error { _, err := c.Unsettled(ctx, now(), 1); return err },
		"Total":     func(ctx context.Context) error { _, err := c.Total(ctx); return err },
	}
}
