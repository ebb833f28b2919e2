package daemon_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

func TestAHostThatIsCutOffStopsItsJobsBeforeTheyRunElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		jobs := &slowToStop{Runtime: w.runtime, t: t}
		w.runtime = jobs
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "ignore-term", "hang"))
		running(p)
		w.server.mu.Lock()
		w.server.refuse = &daemon.Refusal{Status: 503}
		w.server.mu.Unlock()
		// Heartbeats still go out; nobody answers them.
		p.set(func(p *peer) { p.acksBeats = false })
		pass(200 * time.Second)
		assert.EqualValues(t, 1, jobs.running.Load(), "an outage of three minutes costs nobody a job")
		// A margin of 60 s before the server may think it gone, and the time to kill.
		pass(50 * time.Second)
		assert.Zero(t, jobs.running.Load())
		pass(50 * time.Second)
		w.server.mu.Lock()
		w.server.refuse = nil
		w.server.mu.Unlock()
		p, hello := w.greet(wire.Resume{JobID: jobA, Attempt: 1, Action: wire.ResumeActionKill})
		require.Len(t, hello.Attempts, 1)
		assert.Equal(t, wire.HeldAttemptStateLost, hello.Attempts[0].State)
		quiet(p, time.Minute)
	})
}

func TestALeaseCountsFromTheHeartbeatAndNotFromItsAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		jobs := &slowToStop{Runtime: w.runtime, t: t}
		w.runtime = jobs
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "ignore-term", "hang"))
		running(p)
		p.set(func(p *peer) { p.lag = 25 * time.Second })
		pass(5 * time.Minute)
		require.EqualValues(t, 1, jobs.running.Load())
		p.set(func(p *peer) { p.acksBeats = false }) // what was answered before is still on its way
		w.server.mu.Lock()
		w.server.refuse = &daemon.Refusal{Status: 503}
		w.server.mu.Unlock()
		pass(250 * time.Second)
		assert.Zero(t, jobs.running.Load())
	})
}

func TestAShortOutageStopsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "wait 10m", "log done"))
		running(p)
		w.server.mu.Lock()
		w.server.refuse = &daemon.Refusal{Status: 503}
		w.server.mu.Unlock()
		p.hangUp(0)
		pass(150 * time.Second)
		w.server.mu.Lock()
		w.server.refuse = nil
		w.server.mu.Unlock()
		p, hello := w.greet()
		assert.Equal(t, wire.HeldAttemptStateRunning, hello.Attempts[0].State)
		expect[wire.Exited](p)
		finished, f := expect[wire.Finished](p)
		assert.Empty(t, finished.Reason)
		assert.Equal(t, "done\n", p.received())
		p.ack(f)
	})
}

func TestAMachineThatWakesUpStopsItsJobsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		running(p)
		w.clock.suspend(10 * time.Minute)
		expect[wire.Exited](p)
		finished, _ := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonHostError, finished.Reason)
	})
}

func TestHeartbeatsKeepComing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		pass(time.Hour)
		p.mu.Lock()
		defer p.mu.Unlock()
		assert.InDelta(t, 360, p.beats, 20)
	})
}

func TestASilentServerIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		p.set(func(p *peer) { p.acksBeats = false })
		<-p.gone
		began := time.Now()
		w.connect()
		assert.LessOrEqual(t, time.Since(began), 5*time.Second)
	})
}

func TestReconnectingIsSpreadOut(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.server.mu.Lock()
		w.server.refuse = &daemon.Refusal{Status: 502}
		w.server.dials = nil
		w.server.mu.Unlock()
		began := time.Now()
		p.hangUp(1012)
		pass(time.Hour)
		w.server.mu.Lock()
		dials := w.server.dials
		w.server.mu.Unlock()
		require.NotEmpty(t, dials)
		assert.LessOrEqual(t, dials[0].Sub(began), 5*time.Second)
		// Full jitter with a cap of a minute: one in half a minute on average, and before
		// that one in 2.5 s for as long as a restart may take.
		assert.InDelta(t, 140, len(dials), 45)
		longest := time.Duration(0)
		for i := 1; i < len(dials); i++ {
			longest = max(longest, dials[i].Sub(dials[i-1]))
			if dials[i-1].Sub(began) < time.Minute {
				assert.LessOrEqual(t, longest, 5*time.Second, "a restart is over soon")
			}
		}
		assert.LessOrEqual(t, longest, time.Minute)
		assert.Greater(t, longest, 30*time.Second)
	})
}

func TestAServerThatAsksForPatienceGetsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.server.refuse = &daemon.Refusal{Status: 503, RetryAfter: 5 * time.Minute}
		defer w.start()()
		pass(time.Hour)
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		require.NotEmpty(t, w.server.dials)
		assert.LessOrEqual(t, len(w.server.dials), 13)
		for i := 1; i < len(w.server.dials); i++ {
			assert.GreaterOrEqual(t, w.server.dials[i].Sub(w.server.dials[i-1]), 5*time.Minute)
		}
	})
}

func TestAServerThatSpeaksOutOfTurnIsLeft(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string]func(*peer){
		"nothing at all":        func(*peer) {},
		"welcome without hello": func(p *peer) { p.send(&wire.Welcome{HeartbeatS: 10, ReassignAfterS: 300}, "hello") },
		"nonsense":              func(p *peer) { p.down <- message{data: []byte("{")} },
		"a binary frame":        func(p *peer) { p.down <- message{binary: true, data: []byte{1}} },
		"an impossible lease": func(p *peer) {
			p.send(&wire.Challenge{Nonce: "n"}, "")
			p.send(&wire.Welcome{HeartbeatS: 10, ReassignAfterS: 5}, "hello")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(_ *testing.T, w *world) {
				defer w.start()()
				p := w.dialled()
				talk(p)
				<-p.gone
				w.connect()
			})
		})
	}
}

func TestAHostThatWasRemovedStopsItsJobsAndEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		d, err := daemon.New(w.config, w.ports())
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- d.Run(t.Context()) }()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "wait 1h"))
		running(p)
		w.server.ban(&daemon.Refusal{Status: 403, Code: "host_removed"})
		p.hangUp(wire.CloseForbidden)
		began := time.Now()
		require.ErrorIs(t, <-ended, daemon.ErrRemoved)
		assert.Less(t, time.Since(began), time.Minute)
	})
}

func TestASuspendedHostAsksNowAndThenAndComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var log bytes.Buffer
		w.config.Log = slog.New(slog.NewTextHandler(&log, nil))
		w.server.ban(&daemon.Refusal{Status: 403, Code: "host_suspended", Detail: "the host is suspended"})
		stop := w.start()
		pass(time.Hour)
		asked := w.server.ban(nil)
		assert.LessOrEqual(t, asked, 13)
		assert.GreaterOrEqual(t, asked, 9)
		w.connect()
		stop()
		assert.Contains(t, log.String(), "the host is suspended")
		assert.Contains(t, log.String(), "comes back by itself")
	})
}
