package daemon_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

// wrong are clocks of a host that are not like the server's.
var wrong = map[string]struct {
	ahead time.Duration // from the start
	step  time.Duration // while a job runs
	drift float64
}{
	"ten minutes ahead":     {ahead: 10 * time.Minute},
	"ten minutes behind":    {ahead: -10 * time.Minute},
	"put ten minutes ahead": {step: 10 * time.Minute},
	"put an hour back":      {step: -time.Hour},
	"5 % too fast":          {drift: 0.05},
	"5 % too slow":          {drift: -0.05},
}

// withClock tests with each of them. shift makes the step.
func withClock(t *testing.T, test func(t *testing.T, w *world, shift func())) {
	t.Helper()
	for name, c := range wrong {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.clock.drift = c.drift
				w.clock.step(c.ahead)
				test(t, w, func() { w.clock.step(c.step) })
			})
		})
	}
}

func TestAHostWithAWrongClockStopsItsJobsInTimeAndNotBefore(t *testing.T) {
	t.Parallel()
	withClock(t, func(t *testing.T, w *world, shift func()) {
		jobs := &slowToStop{Runtime: w.runtime, t: t}
		w.runtime = jobs
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "ignore-term", "hang"))
		running(p)
		pass(time.Hour / 2) // a drift adds up
		shift()
		pass(time.Minute)
		assert.EqualValues(t, 1, jobs.running.Load(), "the server is there")
		w.server.mu.Lock()
		w.server.refuse = &daemon.Refusal{Status: 503}
		w.server.mu.Unlock()
		p.set(func(p *peer) { p.acksBeats = false })
		pass(200 * time.Second)
		assert.EqualValues(t, 1, jobs.running.Load(), "an outage of three minutes costs nobody a job")
		// The last acked heartbeat is at most a heartbeat older than the outage, so the
		// server does not give the job away before this moment.
		pass(88 * time.Second)
		assert.Zero(t, jobs.running.Load(), "two attempts would run at once")
	})
}

func TestAHostWithAWrongClockTrustsByTheServersTime(t *testing.T) {
	t.Parallel()
	withClock(t, func(t *testing.T, w *world, shift func()) {
		stop := w.start()
		p := w.connect()
		first := w.claims(jobA, 1, "exit 0")
		w.offer(p, first)
		running(p)
		expect[wire.Exited](p)
		_, f := expect[wire.Finished](p)
		p.ack(f)
		shift()
		pass(time.Second)
		expired := w.claims(jobB, 1, "exit 0")
		expired.Iat, expired.Nbf, expired.Exp = expired.Iat-600, expired.Nbf-600, expired.Exp-700
		w.offer(p, expired)
		rejected, _ := expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonExpired, rejected.Reason)
		early := w.claims(jobB, 1, "exit 0")
		early.Nbf += 500
		w.offer(p, early)
		rejected, _ = expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonNotYetValid, rejected.Reason)
		// What is forgotten at a start is what cannot be replayed any more.
		stop()
		defer w.start()()
		p = w.connect()
		w.offer(p, first)
		rejected, _ = expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonReplayed, rejected.Reason)
		again := w.claims(jobB, 1, "exit 0")
		again.JTI = first.JTI
		w.offer(p, again)
		rejected, _ = expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonReplayed, rejected.Reason)
	})
}

func TestALongSessionFollowsTheServersClock(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]float64{"5 % too fast": 0.05, "5 % too slow": -0.05} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(_ *testing.T, w *world) {
				w.clock.drift = drift
				defer w.start()()
				p := w.connect()
				pass(24 * time.Hour)
				w.offer(p, w.claims(jobA, 1, "hang"))
				running(p)
			})
		})
	}
}
