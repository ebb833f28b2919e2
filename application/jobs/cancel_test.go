package jobs_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestAJobCanBeCancelledWhereverItStands(t *testing.T) {
	for name, c := range map[string]struct {
		bring  func(t *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt)
		cancel domainjobs.State // after the cancel
		cost   domain.Micros
	}{
		"pending": {func(t *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt) {
			got, err := m.Jobs.Submit(t.Context(), who, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
			require.NoError(t, err)
			return got.Job.ID, nil
		}, domainjobs.Cancelled, 0},
		"queued": {func(_ *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt) {
			return m.Submit(who, patient()).ID, nil
		}, domainjobs.Cancelled, 0},
		"assigned": {func(_ *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt) {
			h := m.Host(who, market.Machine{})
			j := m.Submit(who, patient())
			return j.ID, &market.Attempt{Ref: jobs.Ref{Job: j.ID, Attempt: 1}, Host: h}
		}, domainjobs.Cancelling, 0},
		"accepted": {func(_ *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt) {
			h := m.Host(who, market.Machine{})
			j := m.Submit(who, patient())
			return j.ID, h.Take()
		}, domainjobs.Cancelling, 0},
		"running": {func(_ *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt) {
			h := m.Host(who, market.Machine{})
			j := m.Submit(who, patient())
			a := h.Take()
			a.Start()
			pass(10 * time.Second)
			return j.ID, a
		}, domainjobs.Cancelling, 1000},
		"uploading": {func(_ *testing.T, m *market.Market, who domain.Actor) (domain.ID, *market.Attempt) {
			h := m.Host(who, market.Machine{})
			j := m.Submit(who, patient())
			a := h.Take()
			a.Start()
			pass(10 * time.Second)
			a.Exit(0)
			pass(time.Minute)
			return j.ID, a
		}, domainjobs.Cancelling, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := market.Open(t, market.Options{})
				ada := m.Person("ada", 100*market.Dollar)
				id, a := c.bring(t, m, ada)
				got, err := m.Jobs.Cancel(t.Context(), ada, id)
				require.NoError(t, err)
				assert.Equal(t, c.cancel, got.State)
				_, err = m.Jobs.Cancel(t.Context(), ada, id)
				require.NoError(t, err, "cancelling twice changes nothing")
				if a != nil {
					orders := a.Host.Orders()
					require.Len(t, orders, 1)
					assert.True(t, orders[0].Cancel)
					assert.Positive(t, m.Channels.Woken(a.Host.ID))
					ran := m.Clock.Now().Sub(m.Job(id).CreatedAt)
					require.NoError(t, m.Jobs.Finished(t.Context(), a.Host.Actor, a.Ref, domainjobs.Result{
						Exit: domainjobs.Exit{Reason: domainjobs.ReasonCancelledByRenter, Ran: ran},
					}))
				}
				synctest.Wait()
				j := m.Job(id)
				assert.Equal(t, domainjobs.Cancelled, j.State)
				assert.Equal(t, domainjobs.ReasonCancelledByRenter, j.Reason)
				assert.Equal(t, c.cost, j.Cost())
				assert.Zero(t, m.Balance(ada).Held)
				assert.Equal(t, 100*market.Dollar-c.cost, m.Balance(ada).Credit)
				m.Audit()
				_, err = m.Jobs.Cancel(t.Context(), ada, id)
				require.NoError(t, err)
			})
		})
	}
}

func TestAFinishedJobCannotBeCancelled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(ada, market.Machine{})
		j := m.Submit(ada, patient())
		h.Take().Run(0, time.Second)
		_, err := m.Jobs.Cancel(t.Context(), ada, j.ID)
		assert.Equal(t, "already_finished", domain.CodeOf(err))
	})
}

func TestAnAdminsCancelCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob, root := m.Person("ada", 100*market.Dollar), m.Person("bob", 0), m.Admin("root")
		h := m.Host(bob, market.Machine{})
		j := m.Submit(ada, patient())
		a := h.Take()
		a.Start()
		pass(time.Minute)
		_, err := m.Jobs.Cancel(t.Context(), root, j.ID)
		require.NoError(t, err)
		a.Exit(0)
		a.Finish()
		synctest.Wait()
		got := m.Job(j.ID)
		assert.Equal(t, domainjobs.ReasonCancelledByAdmin, got.Reason)
		assert.Equal(t, 100*market.Dollar, m.Balance(ada).Credit)
		assert.Zero(t, m.Balance(bob).Pending)
	})
}

func TestACancelOfALostHostIsCancelledWithIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		j := m.Submit(ada, patient())
		a := h.Take()
		a.Start()
		a.Print("half\n")
		pass(time.Second)
		h.Silence()
		_, err := m.Jobs.Cancel(t.Context(), ada, j.ID)
		require.NoError(t, err)
		pass(6 * time.Minute)
		got := m.Job(j.ID)
		assert.Equal(t, domainjobs.Cancelled, got.State)
		assert.EqualValues(t, 5, got.Current().LogBytes, "what had come of its log is kept, and known")
		assert.Equal(t, a.Result().LogSHA256, got.Current().LogSHA256)
		assert.Equal(t, 100*market.Dollar, m.Balance(ada).Credit)
	})
}

func TestCancelAndFinishMayRace(t *testing.T) {
	t.Parallel()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			m := market.Open(t, market.Options{})
			ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
			h := m.Host(bob, market.Machine{})
			j := m.Submit(ada, patient())
			a := h.Take()
			a.Start()
			pass(10 * time.Second)
			a.Exit(0)
			errs := race(2, func(i int) error {
				if i == 0 {
					return m.Jobs.Finished(t.Context(), h.Actor, a.Ref, a.Result())
				}
				_, err := m.Jobs.Cancel(t.Context(), ada, j.ID)
				return err
			})
			synctest.Wait()
			require.NoError(t, errs[0], "the agent's result is taken in any case")
			got := m.Job(j.ID)
			require.True(t, got.State.Terminal())
			if errs[1] == nil {
				assert.Equal(t, domainjobs.Cancelled, got.State)
			} else {
				assert.Equal(t, "already_finished", domain.CodeOf(errs[1]))
				assert.Equal(t, domainjobs.Succeeded, got.State)
			}
			assert.Equal(t, domain.Micros(1000), got.Cost())
			assert.Equal(t, domain.Micros(900), m.Balance(bob).Pending)
			assert.Zero(t, m.Balance(ada).Held)
			m.Audit()
		})
	}
}
