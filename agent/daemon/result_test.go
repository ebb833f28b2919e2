package daemon_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/wire"
)

func TestAResultIsSentUntilItIsAccepted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := w.start()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "log x"))
		running(p)
		expect[wire.Exited](p)
		first, _ := expect[wire.Finished](p)
		for range 5 { // the ack is lost
			p.hangUp(0)
			var hello *wire.Hello
			p, hello = w.greet()
			require.Equal(t, wire.HeldAttemptStateFinished, hello.Attempts[0].State)
			again, _ := expect[wire.Finished](p)
			assert.Equal(t, first, again)
		}
		// The agent is killed; the next one has the same result.
		w.crash()
		p.hangUp(0)
		stop()
		drain(w)
		defer w.start()()
		p, hello := w.greet()
		require.Equal(t, wire.HeldAttemptStateFinished, hello.Attempts[0].State)
		again, f := expect[wire.Finished](p)
		assert.Equal(t, first, again)
		assert.Equal(t, "x\n", p.received())
		p.send(&wire.Ack{Error: &wire.AckError{Code: wire.CodeUnavailable, Detail: "busy", RetryAfterS: 90}}, f.ID)
		quiet(p, 89*time.Second)
		_, f = expect[wire.Finished](p)
		p.ack(f)
		quiet(p, time.Hour)
		p.hangUp(0)
		_, hello = w.greet()
		assert.Empty(t, hello.Attempts)
	})
}

// drain forgets connections that a stopped daemon made.
func drain(w *world) {
	for {
		select {
		case <-w.server.peers:
		default:
			return
		}
	}
}

func TestAnAgentThatWasKilledReportsItsJobsAsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := w.start()
		p := w.connect()
		w.offer(p, w.claims(jobA, 3, "log before", "hang"))
		running(p)
		synctest.Wait()
		w.crash()
		p.hangUp(0)
		stop()
		drain(w)

		defer w.start()()
		p, hello := w.greet(wire.Resume{JobID: jobA, Attempt: 3, Action: wire.ResumeActionKill})
		require.Len(t, hello.Attempts, 1)
		assert.Equal(t, wire.HeldAttempt{JobID: jobA, Attempt: 3, State: wire.HeldAttemptStateLost, LogBytes: 7}, hello.Attempts[0])
		quiet(p, time.Minute)
		p.hangUp(0)
		p, hello = w.greet()
		assert.Empty(t, hello.Attempts)
		// What it has seen, it has seen: also before it was killed.
		w.offer(p, w.claims(jobA, 3, "log again"))
		rejected, _ := expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonReplayed, rejected.Reason)
	})
}

func TestAServerThatDoesNotSettleALostJobIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := w.start()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		running(p)
		w.crash()
		p.hangUp(0)
		stop()
		drain(w)
		defer w.start()()
		p = w.connect() // "continue"
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonAgentRestarted, finished.Reason)
		p.ack(f)
	})
}

func TestAStaleAttemptIsStoppedAndForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		p.set(func(p *peer) { p.acksReports = false })
		w.offer(p, w.claims(jobA, 1, "ignore-term", "hang"))
		_, f := expect[wire.Accept](p)
		p.send(&wire.Ack{Error: &wire.AckError{Code: wire.CodeStale, Detail: "over", Stale: true}}, f.ID)
		pass(3 * time.Second)
		p.hangUp(0)
		p, hello := w.greet()
		assert.Empty(t, hello.Attempts)
		// The GPU is free again.
		w.offer(p, w.claims(jobB, 1, "exit 0"))
		running(p)
	})
}

func TestFailedUploadsAreTriedWithNewURLs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.store.fail = 2
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "write outputs/x 10"))
		running(p)
		expect[wire.Exited](p)
		for range 2 {
			request, f := expect[wire.UploadRequest](p)
			p.send(&wire.Upload{JobID: jobA, Attempt: 1, Files: []wire.UploadTarget{{Path: request.Files[0].Path, Method: "PUT", URL: "put:broken"}}}, f.ID)
		}
		upload(p)
		finished, f := expect[wire.Finished](p)
		assert.Len(t, finished.Artifacts, 1)
		assert.Empty(t, finished.Reason)
		p.ack(f)
	})
}

func TestResultsThatTheServerHasAlreadyAreNotSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "write outputs/x 10"))
		running(p)
		expect[wire.Exited](p)
		_, f := expect[wire.UploadRequest](p)
		p.send(&wire.Upload{JobID: jobA, Attempt: 1, Files: []wire.UploadTarget{{Path: "outputs/x", Method: "PUT"}}}, f.ID)
		_, f = expect[wire.Uploaded](p)
		assert.Zero(t, w.store.puts)
		p.ack(f)
		_, f = expect[wire.Finished](p)
		p.ack(f)
	})
}
