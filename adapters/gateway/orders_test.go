package gateway_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestAnOrderIsSentOnceInEachSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host := h.machine()
		l := h.connect(host)
		job := h.Submit(h.renter, market.Spec())
		heard[*wire.Manifest](l)
		for range 5 {
			h.reach.Wake(host.ID)
			pass(3 * time.Second)
		}
		l.quiet()
		again := h.connect(host)
		assert.Equal(t, job.ID, jobOf(t, heard[*wire.Manifest](again).JWS))
		_, err := h.Jobs.Cancel(t.Context(), h.renter, job.ID)
		require.NoError(t, err)
		assert.Equal(t, job.ID, jobOf(t, heard[*wire.Cancel](again).JWS))
		pass(10 * time.Second)
		again.quiet()
		held := wire.HeldAttempt{JobID: job.ID.Prefixed("job"), Attempt: 1, State: wire.HeldAttemptStateAccepted}
		heard[*wire.Cancel](h.connect(host, held))
	})
}

func TestNothingComesBeforeTheWelcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var h *house
		var greeting atomic.Bool
		store := &jobsSeen{asked: func(host domain.ID) {
			if greeting.CompareAndSwap(true, false) {
				h.reach.Wake(host)
				pass(time.Second)
			}
		}}
		h = open(t, market.Options{JobDeps: store.behind})
		host := h.machine()
		at := h.connect(host)
		h.Submit(h.renter, market.Spec())
		heard[*wire.Manifest](at)
		l := h.dial(host)
		greeting.Store(true)
		l.greet()
		heard[*wire.Welcome](l)
		heard[*wire.Manifest](l)
	})
}

func TestALostWakeDelaysAnOrderByATickAtMost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		l := h.connect(h.machine())
		h.reach.lost.Store(true)
		job := h.Submit(h.renter, market.Spec())
		began := h.Clock.Now()
		assert.Equal(t, job.ID, jobOf(t, heard[*wire.Manifest](l).JWS))
		assert.LessOrEqual(t, h.Clock.Now().Sub(began), 2*time.Second)
		_, err := h.Jobs.Cancel(t.Context(), h.renter, job.ID)
		require.NoError(t, err)
		began = h.Clock.Now()
		heard[*wire.Cancel](l)
		assert.LessOrEqual(t, h.Clock.Now().Sub(began), 2*time.Second)
	})
}

func TestHostsWithoutAnOrderAreNotAskedAbout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked atomic.Int64
		store := &jobsSeen{asked: func(domain.ID) { asked.Add(1) }}
		h := open(t, market.Options{JobDeps: store.behind})
		for range 10 {
			h.connect(h.machine())
		}
		asked.Store(0)
		pass(30 * time.Second)
		assert.Zero(t, asked.Load())
	})
}

func TestOfAnAttemptThatTheHostDoesNotHoldAnyMoreItIsAskedWhetherItWasTakenAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &jobsSeen{asked: func(domain.ID) {}}
		h := open(t, market.Options{JobDeps: store.behind})
		l := h.connect(h.machine())
		take := func() jobs.Ref {
			t.Helper()
			ref := jobs.Ref{Job: h.Submit(h.renter, market.Spec()).ID, Attempt: 1}
			heard[*wire.Manifest](l)
			return ref
		}
		finished := take()
		name, code := finished.Job.Prefixed("job"), 0
		for _, body := range []any{
			&wire.Accept{JobID: name, Attempt: 1}, &wire.Phase{JobID: name, Attempt: 1, Name: wire.PhaseNameRunning},
			&wire.Exited{JobID: name, Attempt: 1, ExitCode: &code},
			&wire.Finished{JobID: name, Attempt: 1, ExitCode: &code, Log: wire.LogSummary{SHA256: strings.Repeat("0", 64)}},
		} {
			l.send(body, "1")
			require.True(t, heard[*wire.Ack](l).Ok, wire.TypeOf(body))
		}
		store.gets.Store(0)
		h.reach.Wake(l.host.ID)
		pass(time.Second)
		assert.Zero(t, store.gets.Load(), "its result was taken from this session")

		lost := take()
		require.NoError(t, h.Jobs.Lost(t.Context(), domain.AgentOf(l.host.ID), lost, domainjobs.ReasonHostLost, ""))
		h.reach.Wake(l.host.ID)
		var stale *wire.LogAck
		for f := range l.frames { // the host may get the job again before
			if ack, ok := f.Body.(*wire.LogAck); ok {
				stale = ack
				break
			}
		}
		require.NotNil(t, stale)
		assert.Equal(t, lost.Job.Prefixed("job"), stale.JobID)
		assert.True(t, stale.Stale)
	})
}

// jobsSeen is Jobs that tells when somebody asks what a host holds, and counts what is
// asked about single jobs.
type jobsSeen struct {
	ports.Jobs
	asked func(host domain.ID)
	gets  atomic.Int64
}

// Get implements ports.Jobs.
func (s *jobsSeen) Get(ctx context.Context, id, renter domain.ID) (domainjobs.Snapshot, error) {
	s.gets.Add(1)
	return s.Jobs.Get(ctx, id, renter)
}

func (s *jobsSeen) behind(d *jobs.Deps) {
	s.Jobs = d.Jobs
	d.Jobs = s
}

// List implements ports.Jobs.
func (s *jobsSeen) List(ctx context.Context, f ports.JobFilter, p ports.Page) ([]domainjobs.Snapshot, error) {
	if !f.Holder.IsZero() {
		s.asked(f.Holder)
	}
	return s.Jobs.List(ctx, f, p)
}
