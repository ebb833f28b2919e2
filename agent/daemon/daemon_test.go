package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/openapi/wire"
)

// inBubble runs a test on a fake clock.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

// upload answers the frames of an upload.
func upload(p *peer) {
	p.t.Helper()
	request, f := expect[wire.UploadRequest](p)
	answer := &wire.Upload{JobID: request.JobID, Attempt: request.Attempt}
	for _, file := range request.Files {
		answer.Files = append(answer.Files, wire.UploadTarget{Path: file.Path, Method: wire.UploadTargetMethodPUT, URL: "put:" + file.SHA256})
	}
	p.send(answer, f.ID)
	_, f = expect[wire.Uploaded](p)
	p.ack(f)
}

func TestAJobRunsFromItsManifestToItsResult(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		bundle := zipOf(t, map[string]string{"data.txt": "from the bundle\n"})
		w.store.blobs["/blobs/b"], w.store.slow = bundle, 1500*time.Millisecond
		c := w.claims(jobA, 1, "log hello", "cat data.txt", "env SECRET", "wait 3s", "write outputs/model.bin 1000", "write notes.txt 5")
		c.Kind = wire.ManifestClaimsKindBundle
		c.Bundle = &wire.ManifestBundle{URL: "/blobs/b", Size: int64(len(bundle)), SHA256: sumOf(bundle)}
		c.Env = map[string]string{"SECRET": "swordfish"}
		w.offer(p, c)
		running(p)
		exited, _ := expect[wire.Exited](p)
		assert.Equal(t, 0, *exited.ExitCode)
		assert.Empty(t, exited.Reason)
		assert.EqualValues(t, 3000, exited.DurationMs)
		upload(p)
		finished, f := expect[wire.Finished](p)
		want := "hello\nfrom the bundle\nswordfish\n"
		assert.Equal(t, want, p.received())
		assert.Equal(t, wire.LogSummary{Bytes: int64(len(want)), Lines: 3, SHA256: sumOf([]byte(want))}, finished.Log)
		assert.Equal(t, int64(len(bundle)), finished.Usage.FetchedBytes)
		assert.EqualValues(t, 1500, finished.Usage.FetchMs)
		require.Len(t, finished.Artifacts, 1)
		assert.Equal(t, "outputs/model.bin", finished.Artifacts[0].Path)
		assert.Equal(t, runtime.Numbered(1000), w.store.blobs["put:"+finished.Artifacts[0].SHA256])
		journal, err := os.ReadFile(filepath.Join(w.dir, "journal"))
		require.NoError(t, err)
		assert.NotContains(t, string(journal), "swordfish")

		p.ack(f)
		quiet(p, time.Minute)
		left, err := os.ReadDir(filepath.Join(w.dir, "attempts"))
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}

func TestEndingsAreToldApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script []string
		change func(*wire.ManifestClaims)
		reason wire.Reason
		code   int
		detail string
	}{
		"an exit code":    {script: []string{"exit 3"}, reason: wire.ReasonExitCode, code: 3},
		"a signal":        {script: []string{"signal 11"}, reason: wire.ReasonExitCode, code: 139},
		"out of memory":   {script: []string{"oom"}, reason: wire.ReasonOutOfMemory, code: 137},
		"too long":        {script: []string{"hang"}, change: func(c *wire.ManifestClaims) { c.Limits.MaxRuntimeMs = 5000 }, reason: wire.ReasonTimeout, code: 143},
		"no such command": {change: func(c *wire.ManifestClaims) { c.Argv = []string{"pyhton3"} }, reason: wire.ReasonCommandNotFound, code: 127},
		"too large a result": {
			script: []string{"write outputs/x 2000000"}, reason: wire.ReasonArtifactLimit,
			detail: `the outputs are larger than 1.0 MiB together, the most that is kept of a job here: leave less; the first too much is "outputs/x" of 1.9 MiB`,
		},
		"too many results": {
			script: []string{"write outputs/x 1", "write outputs/y 1"}, reason: wire.ReasonArtifactLimit,
			change: func(c *wire.ManifestClaims) { c.Limits.ArtifactFiles = 1 }, detail: "more than 1 files, the most that is kept of a job here: pack them into fewer",
		},
		"a failed exit is worse than a large result": {script: []string{"write outputs/x 2000000", "exit 4"}, reason: wire.ReasonExitCode, code: 4, detail: "larger than"},
		"two sentences are told as one": {
			script: []string{"write outputs/x 2000000", "oom"}, reason: wire.ReasonOutOfMemory, code: 137, detail: "needs.memory_mb; the outputs are larger than",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				defer w.start()()
				p := w.connect()
				claims := w.claims(jobA, 1, c.script...)
				if c.change != nil {
					c.change(claims)
				}
				w.offer(p, claims)
				running(p)
				exited, _ := expect[wire.Exited](p)
				require.NotNil(t, exited.ExitCode)
				assert.Equal(t, c.code, *exited.ExitCode)
				finished, f := expect[wire.Finished](p)
				assert.Equal(t, c.reason, finished.Reason)
				assert.Contains(t, finished.Detail, c.detail)
				assert.Empty(t, finished.Artifacts)
				p.ack(f)
			})
		})
	}
}

func TestJobsThatCannotStartSayWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *world, c *wire.ManifestClaims)
		reason wire.Reason
	}{
		"the bundle is not there": {func(_ *world, c *wire.ManifestClaims) {
			c.Bundle = &wire.ManifestBundle{URL: "/blobs/none", Size: 1, SHA256: sumOf(nil)}
		}, wire.ReasonFetchFailed},
		"the bundle is another": {func(w *world, c *wire.ManifestClaims) {
			w.store.blobs["/b"] = []byte("x")
			c.Bundle = &wire.ManifestBundle{URL: "/b", Size: 1, SHA256: sumOf([]byte("y"))}
		}, wire.ReasonFetchFailed},
		"the bundle is no ZIP": {func(w *world, c *wire.ManifestClaims) {
			w.store.blobs["/b"] = []byte("x")
			c.Bundle = &wire.ManifestBundle{URL: "/b", Size: 1, SHA256: sumOf([]byte("x"))}
		}, wire.ReasonBadBundle},
		"the host refuses": {func(_ *world, c *wire.ManifestClaims) {
			c.Kind, c.Argv = wire.ManifestClaimsKindCommand, []string{"simulate", "refuse disk on fire"}
		}, wire.ReasonHostError},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				defer w.start()()
				p := w.connect()
				claims := w.claims(jobA, 1)
				claims.Kind = wire.ManifestClaimsKindBundle
				c.change(w, claims)
				w.offer(p, claims)
				expect[wire.Accept](p)
				finished, f := expect[wire.Finished](p)
				assert.Equal(t, c.reason, finished.Reason)
				assert.NotEmpty(t, finished.Detail)
				assert.NotContains(t, finished.Detail, "disk on fire", "a host's own words may tell too much")
				assert.Nil(t, finished.ExitCode)
				p.ack(f)
			})
		})
	}
}

func TestLogBytesArriveOnceAndInOrderAcrossReconnects(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "bytes 300000", "wait 1m", "bytes 300000", "wait 1m", "log end"))
		running(p)
		pass(30 * time.Second)

		// Of what the server had acknowledged it lost all but 100,000 bytes.
		durable := p.received()[:100_000]
		p.hangUp(0)
		w.durable = durable
		p, hello := w.greet(wire.Resume{JobID: jobA, Attempt: 1, Action: wire.ResumeActionContinue, LogOffset: 100_000})
		require.Len(t, hello.Attempts, 1)
		assert.Equal(t, wire.HeldAttemptStateRunning, hello.Attempts[0].State)
		expect[wire.Exited](p)
		_, f := expect[wire.Finished](p)
		want := string(runtime.Numbered(300_000)) + string(runtime.Numbered(300_000)) + "end\n"
		assert.Equal(t, want, p.received())
		assert.Zero(t, p.dups)
		p.ack(f)
	})
}

func TestAServerThatMissesBytesGetsThemAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "bytes 200000"))
		running(p)
		expect[wire.Exited](p)
		_, f := expect[wire.Finished](p)
		whole := p.received()
		p.set(func(p *peer) { p.log = p.log[:70_000] })
		p.send(&wire.Ack{Error: &wire.AckError{Code: wire.CodeLogMismatch, Detail: "a block differs", Offset: 70_000}}, f.ID)
		_, f = expect[wire.Finished](p)
		assert.Equal(t, whole, p.received())
		p.ack(f)
		quiet(p, time.Minute)
	})
}

func TestTheResultComesAfterTheLastByteOfTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		p.set(func(p *peer) { p.acksLogs = false })
		w.offer(p, w.claims(jobA, 1, "bytes 3000000"))
		running(p)
		expect[wire.Exited](p)
		quiet(p, 10*time.Minute)
		assert.Len(t, p.received(), 1<<20, "the window of welcome")
		p.set(func(p *peer) {
			p.acksLogs = true
			p.send(&wire.LogAck{JobID: jobA, Attempt: 1, Offset: int64(len(p.log))}, "")
		})
		_, f := expect[wire.Finished](p)
		assert.Len(t, p.received(), 3_000_000)
		p.ack(f)
	})
}

func TestAFastJobIsHeldBackWhileTheServerDoesNotTakeItsLog(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.config.SpoolBytes = 100_000
		defer w.start()()
		p := w.connect()
		p.set(func(p *peer) { p.acksLogs = false })
		w.offer(p, w.claims(jobA, 1, "burst 100000", "log end"))
		running(p)
		quiet(p, 10*time.Minute) // it does not end: its writes block
		assert.Less(t, len(p.received()), 300_000)
		p.set(func(p *peer) {
			p.acksLogs = true
			p.send(&wire.LogAck{JobID: jobA, Attempt: 1, Offset: int64(len(p.log))}, "")
		})
		expect[wire.Exited](p)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, sumOf([]byte(p.received())), finished.Log.SHA256)
		assert.EqualValues(t, 100_001, finished.Log.Lines)
		assert.True(t, strings.HasSuffix(p.received(), "line 100000\nend\n"))
		p.ack(f)
	})
}

func TestALogOverItsLimitSaysHowMuchIsMissing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		c := w.claims(jobA, 1, "bytes 5000")
		c.Limits.LogBytes = 1002
		w.offer(p, c)
		running(p)
		expect[wire.Exited](p)
		finished, f := expect[wire.Finished](p)
		want := string(runtime.Numbered(1002)) + "\n[truncated 3998 bytes]\n"
		assert.Equal(t, want, p.received())
		assert.Equal(t, sumOf([]byte(want)), finished.Log.SHA256)
		assert.EqualValues(t, 3998, finished.Log.TruncatedBytes)
		p.ack(f)
	})
}

func TestCancellingEndsTheJobWithinItsGrace(t *testing.T) {
	t.Parallel()
	for name, script := range map[string][]string{
		"a job that listens":      {"hang"},
		"a job that does not":     {"ignore-term", "hang"},
		"a job that writes a lot": {"ignore-term", "burst 100000", "hang"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.config.SpoolBytes = 100_000
				defer w.start()()
				p := w.connect()
				p.set(func(p *peer) { p.acksLogs = false })
				w.offer(p, w.claims(jobA, 1, script...))
				running(p)
				pass(5 * time.Second)
				began := time.Now()
				w.cancel(p, jobA, 1)
				w.cancel(p, jobA, 1)
				exited, _ := expect[wire.Exited](p)
				assert.LessOrEqual(t, time.Since(began), 12*time.Second)
				assert.Equal(t, wire.ReasonCancelledByRenter, exited.Reason)
				p.set(func(p *peer) {
					p.acksLogs = true
					p.send(&wire.LogAck{JobID: jobA, Attempt: 1, Offset: int64(len(p.log))}, "")
				})
				finished, f := expect[wire.Finished](p)
				assert.Equal(t, wire.ReasonCancelledByRenter, finished.Reason)
				p.ack(f)
			})
		})
	}
}

func TestACancelThatOvertakesItsManifestWins(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.cancel(p, jobA, 2)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonCancelledByRenter, finished.Reason)
		assert.Equal(t, sumOf(nil), finished.Log.SHA256)
		p.ack(f)
		w.offer(p, w.claims(jobA, 2, "log no"))
		rejected, _ := expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonReplayed, rejected.Reason)
	})
}

func TestStoppingTheAgentGivesItsJobsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := w.start()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		running(p)
		go stop()
		reclaim, _ := expect[wire.Reclaim](p)
		assert.Equal(t, &wire.Reclaim{Stopping: true, Attempts: []wire.Attempt{{JobID: jobA, Attempt: 1}}}, reclaim)
		expect[wire.Exited](p)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonHostReclaimed, finished.Reason)
		w.offer(p, w.claims(jobB, 1, "exit 0"))
		rejected, _ := expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonAgentStopping, rejected.Reason)
		p.ack(f)
		<-p.gone
	})
}

func TestDrainingLetsJobsFinish(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.config.DrainFor = time.Hour
		stop := w.start()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "wait 10m"))
		running(p)
		go stop()
		reclaim, _ := expect[wire.Reclaim](p)
		assert.Empty(t, reclaim.Attempts)
		expect[wire.Exited](p)
		finished, f := expect[wire.Finished](p)
		assert.Empty(t, finished.Reason)
		p.ack(f)
		expect[wire.Reclaim](p)
		<-p.gone
	})
}
