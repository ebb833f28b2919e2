package billing_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/domain"
	domainbilling "github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// pass lets time go by, and everything happen that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// race makes n calls at the same time.
func race(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

func TestATopUpIsChargedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, eve := m.Person("ada", 0), m.Person("eve", 0)
		first, err := m.Billing.TopUp(t.Context(), ada, "k", 20*market.Dollar)
		require.NoError(t, err)
		assert.NotEmpty(t, first.Memo, "the provider's reference")
		for _, err := range race(8, func(int) error {
			again, err := m.Billing.TopUp(t.Context(), ada, "k", 20*market.Dollar)
			assert.Equal(t, first, again)
			return err
		}) {
			require.NoError(t, err)
		}
		assert.Equal(t, 20*market.Dollar, m.Balance(ada).Credit)
		_, err = m.Billing.TopUp(t.Context(), ada, "k", 21*market.Dollar)
		assert.Equal(t, "key_reused", domain.CodeOf(err))
		_, err = m.Billing.TopUp(t.Context(), eve, "k", 5*market.Dollar)
		require.NoError(t, err, "keys belong to their account")
		assert.Equal(t, 5*market.Dollar, m.Balance(eve).Credit)
		m.Audit()
		m.Restart()
		_, err = m.Billing.TopUp(t.Context(), ada, "k", 20*market.Dollar)
		require.NoError(t, err)
		assert.Equal(t, 20*market.Dollar, m.Balance(ada).Credit)
	})
}

func TestATopUpHasAnAmountThatCanBeCharged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 0)
		for _, amount := range []domain.Micros{0, -market.Dollar, market.Dollar - 10_000, 10_001 * market.Dollar, 2*market.Dollar + 1} {
			_, err := m.Billing.TopUp(t.Context(), ada, "k", amount)
			assert.Equal(t, "invalid_amount", domain.CodeOf(err), amount)
		}
		_, err := m.Billing.TopUp(t.Context(), ada, "", 2*market.Dollar)
		assert.Equal(t, "key_required", domain.CodeOf(err))
		_, err = m.Billing.TopUp(t.Context(), ada, "k", 2*market.Dollar+20_000)
		assert.Equal(t, "declined", domain.CodeOf(err))
		_, err = m.Billing.TopUp(t.Context(), domain.Actor{User: ada.User, Roles: ada.Roles, Scopes: []domain.Scope{domain.ScopeBillingRead}}, "k", 2*market.Dollar)
		assert.Equal(t, domain.KindForbidden, domain.KindOf(err))
		assert.Zero(t, m.Balance(ada).Credit)
	})
}

func TestOfManyHoldsAsManySucceedAsThereIsCreditFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{Manual: true})
		ada := m.Person("ada", 10*market.Dollar)
		held := 0
		for _, err := range race(50, func(i int) error {
			_, err := m.Billing.Hold(t.Context(), domain.ID{byte(i + 1)}, ada.User, market.Dollar)
			return err
		}) {
			if err == nil {
				held++
			} else {
				assert.Equal(t, "insufficient_funds", domain.CodeOf(err))
			}
		}
		assert.Equal(t, 10, held)
		assert.Zero(t, m.Balance(ada).Credit)
		m.Audit()
	})
}

func TestAHoldStaysAsItWasMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{Manual: true})
		ada, job := m.Person("ada", 10*market.Dollar), domain.ID{1}
		for _, amount := range []domain.Micros{3 * market.Dollar, 3 * market.Dollar, 4 * market.Dollar} {
			held, err := m.Billing.Hold(t.Context(), job, ada.User, amount)
			require.NoError(t, err)
			assert.Equal(t, 3*market.Dollar, held)
		}
		credit, err := m.Billing.Credit(t.Context(), ada.User)
		require.NoError(t, err)
		assert.Equal(t, 7*market.Dollar, credit)
		for range 2 {
			require.NoError(t, m.Billing.Release(t.Context(), job, ada.User))
			assert.Equal(t, 10*market.Dollar, m.Balance(ada).Credit)
		}
		require.NoError(t, m.Billing.Release(t.Context(), domain.ID{2}, ada.User), "what was never held")
		m.Audit()
	})
}

// ending is the event that ends a job.
func ending(job domain.ID, typ string, h jobs.Happening) domain.Event {
	data, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	return domain.Event{ID: domain.ID{7}, Type: typ, V: 1, Key: job, Data: data}
}

func TestWhateverComesInWhateverOrderAJobIsSettledOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			m := market.Open(rt, market.Options{Manual: true})
			ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
			job := domain.ID{1}
			held := domain.Micros(rapid.Int64Range(1, int64(10*market.Dollar)).Draw(rt, "held"))
			amount := domain.Micros(rapid.Int64Range(0, int64(held)).Draw(rt, "amount"))
			_, err := m.Billing.Hold(rt.Context(), job, ada.User, held)
			require.NoError(rt, err)
			e := ending(job, jobs.EventSucceeded, jobs.Happening{Renter: ada.User, HostOwner: bob.User, Amount: amount, Terminal: true})
			settled := false
			for range rapid.IntRange(1, 6).Draw(rt, "deliveries") {
				if rapid.Bool().Draw(rt, "release") && settled {
					require.NoError(rt, m.Billing.Release(rt.Context(), job, ada.User))
				} else {
					require.NoError(rt, m.Bus.Publish(rt.Context(), e))
					settled = true
				}
			}
			fee := amount / 10
			require.Equal(rt, fee, m.Earned())
			require.Equal(rt, amount-fee, m.Balance(bob).Pending)
			require.Equal(rt, 10*market.Dollar-amount, m.Balance(ada).Credit)
			require.Zero(rt, m.Balance(ada).Held)
			m.Audit()
		})
	})
}

func TestWhatWasReleasedIsNotPaidAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{Manual: true})
		ada, bob, job := m.Person("ada", 10*market.Dollar), m.Person("bob", 0), domain.ID{1}
		_, err := m.Billing.Hold(t.Context(), job, ada.User, market.Dollar)
		require.NoError(t, err)
		require.NoError(t, m.Billing.Release(t.Context(), job, ada.User))
		e := ending(job, jobs.EventFailed, jobs.Happening{Renter: ada.User, HostOwner: bob.User, Amount: 1000})
		require.NoError(t, m.Bus.Publish(t.Context(), e), "it would be tried for ever otherwise")
		assert.Equal(t, 10*market.Dollar, m.Balance(ada).Credit)
		assert.Zero(t, m.Balance(bob).Pending)
		m.Audit()
	})
}

func TestTheSweepSettlesWhatAnEventWasLostFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{GPUs: 3})
		m.Bus.Lose(func(domain.Event) bool { return true })
		m.Submit(ada, market.Spec())
		h.Take().Run(0, 10*time.Second)
		cancelled := m.Submit(ada, market.Spec())
		a := h.Take()
		_, err := m.Jobs.Cancel(t.Context(), ada, cancelled.ID)
		require.NoError(t, err)
		a.Start()
		a.Exit(0)
		a.Finish()
		running := m.Submit(ada, market.Spec())
		h.Take().Start()
		// And a hold whose job was never stored.
		_, err = m.Billing.Hold(t.Context(), domain.ID{1}, ada.User, market.Dollar)
		require.NoError(t, err)
		pass(4 * time.Minute)
		assert.Zero(t, m.Balance(bob).Pending)
		pass(3 * time.Minute)
		assert.Equal(t, domain.Micros(900), m.Balance(bob).Pending)
		assert.Equal(t, running.Hold, m.Balance(ada).Held, "what runs keeps its hold")
		assert.Equal(t, 10*market.Dollar-1000-running.Hold, m.Balance(ada).Credit)
		m.Audit()
	})
}

func TestAJobThatCannotBeSettledKeepsNoOtherWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{BillingDeps: func(d *billing.Deps) { d.Endings = deaf{d.Endings} }})
		ada := m.Person("ada", 10*market.Dollar)
		for i := range 3 {
			_, err := m.Billing.Hold(t.Context(), domain.ID{byte(i + 1)}, ada.User, market.Dollar)
			require.NoError(t, err)
		}
		pass(10 * time.Minute)
		assert.Equal(t, market.Dollar, m.Balance(ada).Held)
	})
}

// deaf never tells of one job.
type deaf struct{ ports.Endings }

func (d deaf) Of(ctx context.Context, job domain.ID) (ports.Ending, error) {
	if job == (domain.ID{1}) {
		return ports.Ending{}, domain.Unavailable("database", "the database does not answer")
	}
	return d.Endings.Of(ctx, job)
}

func TestEverybodySeesTheirOwnMoney(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob, eve := m.Person("ada", 10*market.Dollar), m.Person("bob", 0), m.Person("eve", 0)
		h := m.Host(bob, market.Machine{})
		j := m.Submit(ada, market.Spec())
		h.Take().Run(0, 10*time.Second)
		synctest.Wait()
		kinds := func(who domain.Actor, asHost bool) (kinds []domainbilling.Kind) {
			list, err := m.Billing.History(t.Context(), who, asHost, ports.Page{Limit: 10})
			require.NoError(t, err)
			for _, tx := range list {
				kinds = append(kinds, tx.Kind)
			}
			return kinds
		}
		assert.Equal(t, []domainbilling.Kind{domainbilling.KindSettle, domainbilling.KindHold, domainbilling.KindTopUp}, kinds(ada, false))
		assert.Equal(t, []domainbilling.Kind{domainbilling.KindSettle}, kinds(bob, true))
		assert.Empty(t, kinds(eve, false))
		assert.Empty(t, kinds(ada, true))
		s, err := m.Billing.JobStatement(t.Context(), j.ID)
		require.NoError(t, err)
		assert.Len(t, s.Lines, 2)
		assert.Equal(t, "USD", s.Currency)
		_, err = m.Billing.Account(t.Context(), domain.Actor{})
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
	})
}
