package jobs_test

import (
	"strings"
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

func TestALostHostsJobRunsElsewhereAndTheThirdLossFailsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		first, second := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		j := m.Submit(ada, patient())
		a := first.Take()
		a.Start()
		a.Print("half a ")
		pass(time.Second)
		first.Silence()
		pass(time.Minute + 15*time.Second)
		e, err := m.Jobs.Estimate(t.Context(), ada, patient())
		require.NoError(t, err)
		assert.Equal(t, 1, e.By[domainjobs.ConstraintOffline], "it gets no new work")
		assert.Equal(t, domainjobs.Running, m.Job(j.ID).State, "but keeps what it has for a while")
		pass(3*time.Minute + 30*time.Second)
		assert.Equal(t, domainjobs.Running, m.Job(j.ID).State)
		pass(30 * time.Second)
		got := m.Job(j.ID)
		require.Equal(t, domainjobs.Assigned, got.State)
		assert.Equal(t, second.ID, got.Attempts[1].Host)
		assert.Equal(t, domainjobs.ReasonHostLost, got.Attempts[0].Reason)
		assert.Equal(t, []domain.ID{first.ID}, got.Avoid)
		assert.Equal(t, j.Hold, m.Balance(ada).Held, "a requeue keeps the hold")

		// The zombie comes back and reports: nothing changes.
		first.Connect()
		before := m.Job(j.ID)
		staleReports(t, m, a)
		assert.Equal(t, before, m.Job(j.ID))

		b := second.Take()
		b.Start()
		second.Silence()
		pass(6 * time.Minute)
		got = m.Job(j.ID)
		require.Equal(t, domainjobs.Assigned, got.State, "nobody else fits: the avoided host is taken again")
		assert.Equal(t, first.ID, got.Attempts[2].Host)
		first.Take().Start()
		first.Silence()
		pass(6 * time.Minute)
		got = m.Job(j.ID)
		assert.Equal(t, domainjobs.Failed, got.State)
		assert.Equal(t, domainjobs.ReasonHostLost, got.Reason)
		assert.Zero(t, got.Cost())
		assert.Equal(t, 100*market.Dollar, m.Balance(ada).Credit)
		assert.Zero(t, m.Balance(bob).Pending)
		m.Audit()
		h, err := m.Store.Hosts().Get(t.Context(), first.ID, domain.ID{})
		require.NoError(t, err)
		assert.Equal(t, int64(2), h.Runs)
		assert.Zero(t, h.Succeeded)
	})
}

// staleReports reports everything about an attempt that its host does not hold.
func staleReports(t *testing.T, m *market.Market, a *market.Attempt) {
	t.Helper()
	ctx, who := t.Context(), a.Host.Actor
	code := 0
	for name, err := range map[string]error{
		"accept":  m.Jobs.Accept(ctx, who, a.Ref),
		"decline": m.Jobs.Decline(ctx, who, a.Ref, "no"),
		"running": m.Jobs.Advance(ctx, who, a.Ref, domainjobs.Progress{Name: domainjobs.PhaseRunning}),
		"phase":   m.Jobs.Advance(ctx, who, a.Ref, domainjobs.Progress{Name: domainjobs.PhaseFetching}),
		"exited":  m.Jobs.Exited(ctx, who, a.Ref, domainjobs.Exit{Code: &code}),
		"confirm": m.Jobs.ConfirmUploads(ctx, who, a.Ref, []domainjobs.File{market.FileOf("outputs/x", "")}),
		"finished": m.Jobs.Finished(ctx, who, a.Ref, domainjobs.Result{
			Exit: domainjobs.Exit{Code: &code, Ran: time.Hour},
		}),
		"lost": m.Jobs.Lost(ctx, who, a.Ref, domainjobs.ReasonHostReclaimed, ""),
	} {
		assert.ErrorIs(t, err, domainjobs.ErrStale, name)
	}
	_, err := m.Jobs.AuthorizeUploads(ctx, who, a.Ref, []domainjobs.File{market.FileOf("outputs/x", "x")})
	assert.ErrorIs(t, err, domainjobs.ErrStale)
	var answer jobs.Position
	require.NoError(t, a.Send(0, []byte("forged"), func(p jobs.Position) { answer = p }))
	assert.True(t, answer.Stale)
}

func TestReportsOfOthersChangeNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h, other := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		j := m.Submit(ada, patient())
		mine := h.Take()
		mine.Start()
		mine.Print("mine")
		pass(time.Second)
		before := m.Job(j.ID)
		for name, ref := range map[string]jobs.Ref{
			"another host":       mine.Ref,
			"a future attempt":   {Job: j.ID, Attempt: 2},
			"no attempt":         {Job: j.ID},
			"a job that is none": {Job: domain.ID{1}, Attempt: 1},
		} {
			staleReports(t, m, &market.Attempt{Ref: ref, Host: other})
			if ref != mine.Ref {
				staleReports(t, m, &market.Attempt{Ref: ref, Host: h})
			}
			assert.Equal(t, before, m.Job(j.ID), name)
		}
		assert.Equal(t, "mine", readLog(t, m, ada, j.ID))

		// People do not report at all.
		nobody := &market.Host{Actor: ada}
		require.Equal(t, domain.KindUnauthenticated, domain.KindOf(m.Jobs.Accept(t.Context(), nobody.Actor, mine.Ref)))
		_, _, err := m.Jobs.Orders(t.Context(), ada)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
		_, err = m.Jobs.Taken(t.Context(), ada, mine.Ref)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
		_, err = m.Jobs.Reconcile(t.Context(), ada, nil)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
	})
}

func TestAfterARestartEverybodyGetsALeasesTimeToComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		back, gone := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{})
		for range 2 {
			m.Submit(ada, patient())
		}
		a, b := back.Take(), gone.Take()
		a.Start()
		b.Start()
		back.Silence()
		gone.Silence()
		m.Down(time.Hour)
		pass(50 * time.Second)
		assert.Equal(t, domainjobs.Running, m.Job(a.Job).State)
		back.Connect()
		resumes, err := m.Jobs.Reconcile(t.Context(), back.Actor, []jobs.Held{{Ref: a.Ref}})
		require.NoError(t, err)
		assert.Equal(t, jobs.ActionContinue, resumes[0].Action)
		pass(15 * time.Second)
		assert.Equal(t, domainjobs.Running, m.Job(a.Job).State)
		assert.Equal(t, domainjobs.ReasonHostLost, m.Job(b.Job).Attempts[0].Reason)
	})
}

func TestWhenManyHostsAreSilentAtOnceNothingIsTakenAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		var hosts []*market.Host
		for range 20 {
			hosts = append(hosts, m.Host(bob, market.Machine{}))
			m.Submit(ada, patient())
		}
		for _, h := range hosts {
			h.Take().Start()
		}
		running := func() (n int) {
			for _, h := range hosts {
				list, err := m.Jobs.OnHost(t.Context(), h.ID, pageOf(10))
				require.NoError(t, err)
				if len(list) > 0 && list[0].State == domainjobs.Running {
					n++
				}
			}
			return n
		}
		for _, h := range hosts[:5] {
			h.Silence()
		}
		pass(10 * time.Minute)
		assert.Equal(t, 20, running(), "five of twenty: the fault is rather ours")
		hosts[0].Connect()
		pass(10 * time.Second)
		assert.Equal(t, 16, running(), "four are no more than hosts may fail")
	})
}

func TestADecliningHostIsAvoidedAndNotBlamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		picky, other := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		j := m.Submit(ada, patient())
		for i, h := range []*market.Host{picky, other} {
			require.NoError(t, m.Jobs.Decline(t.Context(), h.Actor, jobs.Ref{Job: j.ID, Attempt: i + 1}, "not today"))
			synctest.Wait()
		}
		got := m.Job(j.ID)
		assert.Zero(t, got.Losses)
		assert.Equal(t, other.ID, got.Attempts[1].Host)
		assert.Equal(t, domainjobs.Queued, got.State, "nobody is asked again so soon")
		view, err := m.Jobs.Get(t.Context(), ada, j.ID)
		require.NoError(t, err)
		assert.Equal(t, 2, view.Waiting.By[domainjobs.ConstraintDeclined])
		third := m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		third.Take().Run(0, time.Second)
		h, err := m.Store.Hosts().Get(t.Context(), picky.ID, domain.ID{})
		require.NoError(t, err)
		assert.Zero(t, h.Runs)
	})
}

func TestAnOrderThatIsNeverAcceptedGoesToAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		m.Host(bob, market.Machine{})
		other := m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
		j := m.Submit(ada, patient())
		pass(jobs.StartBy - time.Second)
		require.Len(t, m.Job(j.ID).Attempts, 1)
		pass(5 * time.Second)
		require.Len(t, m.Job(j.ID).Attempts, 2)
		assert.Equal(t, other.ID, m.Job(j.ID).Attempts[1].Host)
	})
}

func TestReconcileComparesWhatAHostHasWithWhatItShould(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{GPUs: 7})
		take := func() *market.Attempt {
			m.Submit(ada, patient())
			a := h.Take()
			a.Start()
			return a
		}
		goesOn, died, forgotten, finished, cancelled := take(), take(), take(), take(), take()
		goesOn.Print("twelve bytes")
		pass(time.Second)
		finished.Exit(0)
		finished.Finish()
		unheard := m.Submit(ada, patient()) // and not accepted
		_, err := m.Jobs.Cancel(t.Context(), ada, cancelled.Job)
		require.NoError(t, err)
		tooLate := m.Submit(ada, patient()) // cancelled before it was accepted
		_, err = m.Jobs.Cancel(t.Context(), ada, tooLate.ID)
		require.NoError(t, err)
		h.Disconnect() // so that requeued jobs stay where they are
		synctest.Wait()
		resumes, err := m.Jobs.Reconcile(t.Context(), h.Actor, []jobs.Held{
			{Ref: goesOn.Ref}, {Ref: died.Ref, Lost: true}, {Ref: finished.Ref}, {Ref: jobs.Ref{Job: goesOn.Job, Attempt: 7}}, {Ref: jobs.Ref{Job: domain.ID{9}, Attempt: 1}},
		})
		require.NoError(t, err)
		assert.Equal(t, []jobs.Resume{
			{Ref: goesOn.Ref, Action: jobs.ActionContinue, LogOffset: 12},
			{Ref: died.Ref, Action: jobs.ActionKill},
			{Ref: finished.Ref, Action: jobs.ActionFinished},
			{Ref: jobs.Ref{Job: goesOn.Job, Attempt: 7}, Action: jobs.ActionKill},
			{Ref: jobs.Ref{Job: domain.ID{9}, Attempt: 1}, Action: jobs.ActionKill},
		}, resumes)
		assert.Equal(t, domainjobs.Running, m.Job(goesOn.Job).State)
		assert.Equal(t, domainjobs.Queued, m.Job(died.Job).State)
		assert.Equal(t, domainjobs.ReasonAgentRestarted, m.Job(died.Job).Reason)
		assert.Equal(t, domainjobs.Queued, m.Job(forgotten.Job).State)
		assert.Equal(t, domainjobs.Succeeded, m.Job(finished.Job).State)
		assert.Equal(t, domainjobs.Cancelled, m.Job(cancelled.Job).State, "the agent does not have it")
		assert.Equal(t, domainjobs.Cancelled, m.Job(tooLate.ID).State)
		assert.Equal(t, domainjobs.Assigned, m.Job(unheard.ID).State)
		assert.Equal(t, unheard.ID, h.Orders()[0].Job.ID, "it is told again")
	})
}

func TestReconcileMayMeetTheEndOfAnAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		m.Submit(ada, patient())
		a := h.Take()
		// Between the reading and the change, the attempt ends.
		f.update.Store(failing(domainjobs.ErrStale, 1))
		resumes, err := m.Jobs.Reconcile(t.Context(), h.Actor, []jobs.Held{{Ref: a.Ref, Lost: true}})
		require.NoError(t, err)
		assert.Equal(t, jobs.ActionKill, resumes[0].Action)
	})
}

// A host that is heard of, and never tells what has to come next.
func TestAHostThatDoesNotGoOnLosesTheJobInTime(t *testing.T) {
	const silence = 5 * time.Minute // in which a silent host would have lost it, too
	for name, c := range map[string]struct {
		until  func(*market.Market, domain.Actor, *market.Attempt)
		within time.Duration
		detail string
		state  domainjobs.State
	}{
		"it does not start": {
			func(*market.Market, domain.Actor, *market.Attempt) {}, jobs.PrepareBy, "did not start", domainjobs.Assigned,
		},
		"it does not end": {
			func(_ *market.Market, _ domain.Actor, a *market.Attempt) { a.Start() }, time.Hour + jobs.StopBy, "did not report the end", domainjobs.Assigned,
		},
		"it does not stop": {
			func(m *market.Market, ada domain.Actor, a *market.Attempt) {
				a.Start()
				pass(10 * time.Minute)
				_, err := m.Jobs.Cancel(t.Context(), ada, a.Job)
				require.NoError(t, err)
			}, jobs.StopBy, "", domainjobs.Cancelled,
		},
		"it does not deliver": {
			func(_ *market.Market, _ domain.Actor, a *market.Attempt) {
				a.Start()
				a.Exit(0)
			}, 30*time.Minute + 4*time.Second, "did not deliver", domainjobs.Assigned, // 4 MiB of log at most
		},
		"it announces results and does not deliver": {
			func(m *market.Market, _ domain.Actor, a *market.Attempt) {
				a.Start()
				a.Exit(0)
				_, err := authorize(t, m, a, market.FileOf("outputs/x", strings.Repeat("x", 1<<20)))
				require.NoError(t, err)
			}, 30*time.Minute + 5*time.Second, "did not deliver", domainjobs.Assigned,
		},
		"it delivers what was cancelled": {
			func(m *market.Market, ada domain.Actor, a *market.Attempt) {
				a.Start()
				a.Exit(0)
				_, err := m.Jobs.Cancel(t.Context(), ada, a.Job)
				require.NoError(t, err)
			}, jobs.StopBy, "did not stop", domainjobs.Cancelled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := market.Open(t, market.Options{})
				ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
				h, other := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
				j := m.Submit(ada, patient())
				c.until(m, ada, h.Take())
				before := m.Job(j.ID).State
				pass(c.within + silence - time.Second)
				require.Equal(t, before, m.Job(j.ID).State)
				woken := m.Channels.Woken(h.ID)
				pass(5 * time.Second)
				got := m.Job(j.ID)
				assert.Equal(t, c.state, got.State)
				assert.Contains(t, got.Attempts[0].Detail, c.detail)
				assert.Zero(t, got.Attempts[0].Amount)
				assert.Greater(t, m.Channels.Woken(h.ID), woken, "it is told")
				if c.state == domainjobs.Cancelled {
					return
				}
				assert.Equal(t, domainjobs.ReasonHostError, got.Attempts[0].Reason)
				assert.Equal(t, []domain.ID{h.ID}, got.Avoid)
				assert.Equal(t, other.ID, got.Attempts[1].Host)
				taken, err := m.Jobs.Taken(t.Context(), h.Actor, jobs.Ref{Job: j.ID, Attempt: 1})
				require.NoError(t, err)
				assert.True(t, taken)
			})
		})
	}
}

func TestWhatAHostCouldNotTellWhileWeWereAwayIsNotHeldAgainstIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		j := m.Submit(ada, patient())
		a := h.Take()
		a.Start()
		h.Silence()
		m.Down(3 * time.Hour)
		h.Connect()
		pass(10 * time.Minute)
		require.Equal(t, domainjobs.Running, m.Job(j.ID).State, "we were stopped")

		f.lists.Store(failing(down, 1<<20))
		pass(time.Hour)
		f.lists.Store(nil)
		pass(10 * time.Minute)
		require.Equal(t, domainjobs.Running, m.Job(j.ID).State, "our storage did not answer")
		pass(6 * time.Minute)
		assert.Equal(t, domainjobs.ReasonHostError, m.Job(j.ID).Attempts[0].Reason)
	})
}

func TestASetClockLosesNoHostThatBeatsAndKeepsNoneThatIsSilent(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := market.Open(t, market.Options{})
				ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
				beating, silent := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{Price: 2 * market.DefaultPrice})
				kept, lost := m.Submit(ada, patient()), m.Submit(ada, patient())
				beating.Take().Start()
				silent.Take().Start()
				pass(20 * time.Second)
				m.Clock.Set(by)
				silent.Silence()
				pass(4 * time.Minute)
				assert.Equal(t, domainjobs.Running, m.Job(lost.ID).State, "it is heard of too long ago only when that much time has passed")
				pass(3 * time.Minute)
				assert.Equal(t, domainjobs.ReasonHostLost, m.Job(lost.ID).Attempts[0].Reason)
				pass(10 * time.Minute)
				assert.Equal(t, domainjobs.Running, m.Job(kept.ID).State)
				assert.Equal(t, 1, m.Job(kept.ID).Attempt())
			})
		})
	}
}
