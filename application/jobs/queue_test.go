package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// patient is a job that may wait: it says what it pays at most.
func patient() domainjobs.Spec {
	s := market.Spec()
	s.Needs.MaxPrice = 2 * market.DefaultPrice
	return s
}

func TestAJobThatNoHostFitsWaitsSaysWhyAndExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
		m.Host(bob, market.Machine{Name: "dear", Price: 3 * market.DefaultPrice})
		m.Host(bob, market.Machine{Name: "small", Model: "NVIDIA GeForce RTX 3090"})
		m.Host(bob, market.Machine{Name: "away", Away: true})
		spec := patient()
		model, known := hosts.Lookup("NVIDIA GeForce RTX 4090")
		require.True(t, known)
		spec.Needs.GPUModel = model.Name
		spec.Limits.MaxWait = time.Hour
		j := m.Submit(ada, spec)
		require.Equal(t, domainjobs.Queued, j.State)
		assert.Equal(t, 2*market.DefaultPrice, j.Hold)
		view, err := m.Jobs.Get(t.Context(), ada, j.ID)
		require.NoError(t, err)
		require.NotNil(t, view.Waiting)
		assert.Equal(t, 3, view.Waiting.Hosts)
		assert.Zero(t, view.Waiting.Fits)
		assert.Equal(t, 1, view.Waiting.By[domainjobs.ConstraintPrice], "%v", view.Waiting.By)
		assert.Equal(t, 1, view.Waiting.By[domainjobs.ConstraintGPUModel])
		assert.Equal(t, 1, view.Waiting.By[domainjobs.ConstraintOffline])

		pass(59 * time.Minute)
		assert.Equal(t, domainjobs.Queued, m.Job(j.ID).State)
		assert.Equal(t, j.Hold, m.Balance(ada).Held)
		pass(time.Minute + 2*time.Second)
		got := m.Job(j.ID)
		assert.Equal(t, domainjobs.Failed, got.State)
		assert.Equal(t, domainjobs.ReasonExpired, got.Reason)
		assert.Contains(t, got.Detail, "; of 3 hosts, gpu_model excludes 1, price excludes 1, offline excludes 1")
		assert.Equal(t, 10*market.Dollar, m.Balance(ada).Credit)
		assert.Zero(t, m.Balance(ada).Held)
		m.Audit()
		h := m.Host(bob, market.Machine{})
		assert.Empty(t, h.Orders(), "it does not wait any more")
	})
}

func TestWithoutAnyPriceAJobCannotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 10*market.Dollar)
		_, err := m.Jobs.Submit(t.Context(), ada, submission(market.Spec()))
		assert.ErrorContains(t, err, "no_price: no host fits now, so there is no price to hold the money by: no host is known")
		e, err := m.Jobs.Estimate(t.Context(), ada, market.Spec())
		require.NoError(t, err)
		assert.True(t, e.NoPrice)
		assert.Nil(t, e.Choice)

		m.Host(ada, market.Machine{})
		e, err = m.Jobs.Estimate(t.Context(), domain.Actor{}, market.Spec())
		require.NoError(t, err, "a visitor may ask")
		require.NotNil(t, e.Choice)
		assert.Equal(t, market.DefaultPrice, e.Hold)
		assert.Equal(t, market.DefaultPrice, e.Expected)
		assert.Equal(t, 10*market.Dollar, m.Balance(ada).Credit, "an estimate holds nothing")
	})
}

func TestTooLittleCreditLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{Price: 2 * market.Dollar})
		_, err := m.Jobs.Submit(t.Context(), ada, submission(market.Spec()))
		assert.Equal(t, domain.KindPaymentRequired, domain.KindOf(err))
		assert.Empty(t, h.Orders())
		list, err := m.Jobs.List(t.Context(), ada, ports.JobFilter{}, pageOf(10))
		require.NoError(t, err)
		assert.Empty(t, list)
		spec := market.Spec()
		spec.Limits.MaxCost = market.Dollar
		j := m.Submit(ada, spec)
		assert.Equal(t, 30*time.Minute, j.Attempts[0].MaxRuntime, "it runs as long as the hold pays for")
	})
}

func TestAHostThatFitsNowTakesTheWaitingJobAtOnce(t *testing.T) {
	for name, change := range map[string]struct {
		machine market.Machine
		make    func(h *market.Host)
	}{
		"it connects":     {market.Machine{Away: true}, (*market.Host).Connect},
		"it is listed":    {market.Machine{Unlisted: true}, func(h *market.Host) { h.Offer(2 * market.DefaultPrice) }},
		"it gets cheaper": {market.Machine{Price: 9 * market.DefaultPrice}, func(h *market.Host) { h.Offer(2 * market.DefaultPrice) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := market.Open(t, market.Options{})
				ada := m.Person("ada", 100*market.Dollar)
				h := m.Host(m.Person("bob", 0), change.machine)
				var waiting []domainjobs.Snapshot
				for range 5 {
					waiting = append(waiting, m.Submit(ada, patient()))
					pass(100 * time.Millisecond)
				}
				before := m.Clock.Now()
				change.make(h)
				synctest.Wait()
				assert.Equal(t, before, m.Clock.Now(), "no tick passed")
				for i, j := range waiting {
					want := domainjobs.Queued
					if i == 0 {
						want = domainjobs.Assigned
					}
					assert.Equal(t, want, m.Job(j.ID).State, "the oldest first: %d", i)
				}
				assert.Positive(t, m.Channels.Woken(h.ID))
			})
		})
	}
}

func TestSixteenSubmitsForOneDeviceRunOneAfterAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		ids := make([]domain.ID, 16)
		errs := race(len(ids), func(i int) error {
			got, err := m.Jobs.Submit(t.Context(), ada, submission(patient()))
			ids[i] = got.Job.ID
			return err
		})
		synctest.Wait()
		states := map[domainjobs.State]int{}
		for i, id := range ids {
			require.NoError(t, errs[i])
			states[m.Job(id).State]++
		}
		assert.Equal(t, map[domainjobs.State]int{domainjobs.Assigned: 1, domainjobs.Queued: 15}, states)
		for range ids {
			h.Take().Run(0, time.Second)
			synctest.Wait() // the next one has it, without a tick
		}
		for _, id := range ids {
			assert.Equal(t, domainjobs.Succeeded, m.Job(id).State)
		}
		assert.Equal(t, domain.Micros(16*90), m.Balance(bob).Pending)
		assert.Zero(t, m.Balance(ada).Held)
		m.Audit()
	})
}

func TestManyWaitingJobsFillALargeHostAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 1000*market.Dollar), m.Person("bob", 0)
		var ids []domain.ID
		for range 250 {
			ids = append(ids, m.Submit(ada, patient()).ID)
		}
		h := m.Host(bob, market.Machine{GPUs: 200})
		assert.Len(t, h.Orders(), 200)
		for i, id := range ids {
			assert.Equal(t, i < 200, m.Job(id).State == domainjobs.Assigned, "the oldest first: %d", i)
		}
	})
}

func TestAJobOnSeveralGPUsGetsAllOrNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{GPUs: 2})
		m.Host(bob, market.Machine{GPUs: 1, Price: 2 * market.DefaultPrice})
		one := m.Submit(ada, patient())
		require.Equal(t, h.ID, one.Attempts[0].Host)
		both := patient()
		both.Needs.GPUs = 2
		j := m.Submit(ada, both)
		require.Equal(t, domainjobs.Queued, j.State, "one there and one elsewhere are no two")
		h.Take().Run(0, time.Second)
		synctest.Wait()
		assert.Equal(t, domainjobs.Assigned, m.Job(j.ID).State)
		assert.Len(t, m.Job(j.ID).Attempts[0].Devices, 2)
	})
}

func TestADeviceThatStorageRefusesIsPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		cheap := m.Host(bob, market.Machine{})
		dear := m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		// Another replica has the cheap one, and we have not heard.
		onCheap := func(j *domainjobs.Job) bool {
			s := j.Snapshot()
			return s.State == domainjobs.Assigned && s.Current().Host == cheap.ID && s.Current().AcceptedAt.IsZero()
		}
		taken := failing(domain.Conflict("device_taken", ""), 1)
		taken.when = onCheap
		f.add.Store(taken)
		j := m.Submit(ada, patient())
		require.Equal(t, domainjobs.Assigned, j.State)
		assert.Equal(t, dear.ID, j.Attempts[0].Host)
		assert.Len(t, m.Timeline(j.ID), 3, "the try that failed left no events")
		again := m.Submit(ada, patient())
		assert.Equal(t, domainjobs.Queued, again.State, "the refused device counts as taken")
		pass(3 * time.Second)
		assert.Equal(t, domainjobs.Assigned, m.Job(again.ID).State, "until occupancy was read again")
		dear.Disconnect()
		synctest.Wait()

		// The same for a job that waits.
		waits := m.Submit(ada, patient())
		taken = failing(domain.Conflict("device_taken", ""), 1)
		taken.when = onCheap
		f.update.Store(taken)
		cheap.Take().Run(0, time.Second)
		synctest.Wait()
		assert.Equal(t, domainjobs.Queued, m.Job(waits.ID).State)
		pass(3 * time.Second)
		assert.Equal(t, domainjobs.Assigned, m.Job(waits.ID).State)

		// And while another host is free, that one has it at once.
		cheap.Take().Run(0, time.Second)
		cheap.Disconnect()
		synctest.Wait()
		waits = m.Submit(ada, patient())
		require.Equal(t, domainjobs.Queued, waits.State)
		first := failing(domain.Conflict("device_taken", ""), 1)
		f.update.Store(first)
		other := m.Host(bob, market.Machine{GPUs: 2})
		synctest.Wait()
		assert.Equal(t, domainjobs.Assigned, m.Job(waits.ID).State)
		assert.Equal(t, other.ID, m.Job(waits.ID).Attempts[0].Host)
		assert.Negative(t, first.times.Load(), "the fault happened")
	})
}

func TestAWaitingJobSurvivesAnOutageOfTheDatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		var ids []domain.ID
		for range 3 {
			ids = append(ids, m.Submit(ada, patient()).ID)
		}
		f.update.Store(failing(down, 1000)) // however often the host's arrival lets it be tried
		h := m.Host(bob, market.Machine{})
		require.Empty(t, h.Orders())
		f.update.Store(nil)
		pass(10 * time.Second)
		require.Len(t, h.Orders(), 1)
		assert.Equal(t, domainjobs.Assigned, m.Job(ids[0]).State)
		for range ids {
			h.Take().Run(0, time.Second)
			synctest.Wait()
		}
	})
}

func TestAJobThatIsCancelledInAnOutageKeepsNoOtherWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		first, second := m.Submit(ada, patient()), m.Submit(ada, patient())
		f.update.Store(failing(down, 1000)) // however often the host's arrival lets it be tried
		h := m.Host(bob, market.Machine{})
		require.Empty(t, h.Orders())
		f.update.Store(nil)
		_, err := m.Jobs.Cancel(t.Context(), ada, first.ID)
		require.NoError(t, err)
		pass(3 * time.Second)
		assert.Equal(t, domainjobs.Assigned, m.Job(second.ID).State)
	})
}

func TestWhatChangesWhileOccupancyIsReadIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		o := f.options()
		o.Manual = true
		m := market.Open(t, o)
		go m.Jobs.Schedule(t.Context())
		synctest.Wait()
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{GPUs: 4})
		m.Submit(ada, patient())
		ends := h.Take()
		ends.Start()
		ends.Exit(0)

		// One device is given back and another taken after the rows were read. A third
		// was refused, which is why they are read at all.
		f.add.Store(failing(domain.Conflict("device_taken", ""), 1))
		third := m.Submit(ada, patient())
		require.Equal(t, domainjobs.Assigned, third.State)
		var meanwhile domainjobs.Snapshot
		var change func(ports.JobFilter)
		change = func(filter ports.JobFilter) {
			if !slices.Contains(filter.States, domainjobs.Assigned) {
				f.listed.Store(&change)
				return
			}
			meanwhile = m.Submit(ada, patient())
			ends.Finish()
		}
		f.listed.Store(&change)
		pass(3 * time.Second)
		require.Equal(t, domainjobs.Assigned, meanwhile.State)
		busy := m.Jobs.Busy(devicesOf(t, m, h)...)
		assert.Len(t, busy, 2)
		for _, j := range []domainjobs.Snapshot{third, meanwhile} {
			assert.Equal(t, j.ID, busy[j.Attempts[0].Devices[0].ID])
		}
	})
}

func TestAQueueIsReadFromTheDatabaseAfterARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		running := m.Submit(ada, patient())
		a := h.Take()
		a.Start()
		var ids []domain.ID
		for range 2 {
			ids = append(ids, m.Submit(ada, patient()).ID)
		}
		m.Restart()
		h.Connect()
		synctest.Wait()
		assert.Equal(t, domainjobs.Running, m.Job(running.ID).State)
		assert.Equal(t, domainjobs.Queued, m.Submit(ada, patient()).State, "the device is known to be taken")
		a.Exit(0)
		a.Finish()
		synctest.Wait()
		assert.Equal(t, domainjobs.Assigned, m.Job(ids[0]).State)
		assert.Equal(t, domainjobs.Queued, m.Job(ids[1]).State)
	})
}

// gate holds up whoever reads the market, while it is shut, or fails.
type gate struct {
	ports.Offers
	mu   sync.Mutex
	fail atomic.Bool // nothing can be read
}

// shut closes the gate until open is called.
func (g *gate) shut() (open func()) {
	g.mu.Lock()
	return g.mu.Unlock
}

func (g *gate) Of(ctx context.Context, hosts ...domain.ID) ([]ports.Offer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail.Load() {
		return nil, domain.NewError(domain.KindUnavailable, "away", "not now")
	}
	return g.Offers.Of(ctx, hosts...)
}

func (g *gate) All(ctx context.Context) ([]ports.Offer, error) {
	if g.fail.Load() {
		return nil, domain.NewError(domain.KindUnavailable, "away", "not now")
	}
	return g.Offers.All(ctx)
}

func TestAHostThatWasRemovedGetsNoWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := &gate{}
		m := market.Open(t, market.Options{JobDeps: func(d *jobs.Deps) { slow.Offers, d.Offers = d.Offers, slow }})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		gone, stays := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		// So much happens at once that the news are lost.
		open := slow.shut()
		for i := range 300 {
			stays.Rename(fmt.Sprintf("box-%d", i))
		}
		require.NoError(t, m.Hosts.Retire(t.Context(), bob, gone.ID))
		assert.Equal(t, 1, m.Channels.Closed(gone.ID))
		open()
		synctest.Wait()
		assert.Equal(t, stays.ID, m.Submit(ada, patient()).Attempts[0].Host)
		e, err := m.Jobs.Estimate(t.Context(), ada, patient())
		require.NoError(t, err)
		assert.Equal(t, 1, e.Hosts)
	})
}

func TestAMarketThatCouldNotBeReadIsReadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		broken := &gate{}
		m := market.Open(t, market.Options{JobDeps: func(d *jobs.Deps) { broken.Offers, d.Offers = d.Offers, broken }})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		gone, stays := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		broken.fail.Store(true)
		require.NoError(t, m.Hosts.Retire(t.Context(), bob, gone.ID))
		pass(10 * time.Second)
		broken.fail.Store(false)
		pass(10 * time.Second)
		assert.Equal(t, stays.ID, m.Submit(ada, patient()).Attempts[0].Host, "and not the one that was removed")
	})
}
