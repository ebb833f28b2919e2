package contract

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime"
)

// runtimeAttach is for runtimes whose runs outlive the agent.
func runtimeAttach(t *testing.T, c RuntimeCase) {
	if c.Again == nil {
		r := c.Open(t)
		assert.False(t, r.Info().Survives)
		return
	}
	begin := func(t *testing.T, script ...string) (runtime.Machine, daemon.Task, daemon.Run) {
		r, task := c.Open(t), c.task(t, script...)
		require.True(t, r.Info().Survives)
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		run, err := r.Start(t.Context(), task)
		require.NoError(t, err)
		return r, task, run
	}
	attach := func(t *testing.T, r daemon.Runtime, task daemon.Task, from int64) daemon.Run {
		run, err := r.Attach(t.Context(), task, from)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, run.Cleanup()) })
		return run
	}
	t.Run("another process of the agent goes on with it, at the byte that it says", func(t *testing.T) {
		t.Parallel()
		const size, kept = 700_000, 300_000
		r, task, run := begin(t, "bytes 700000", "exit 4")
		head := make([]byte, kept)
		_, err := io.ReadFull(run.Output(), head)
		require.NoError(t, err)
		e, rest := c.follow(t, attach(t, c.Again(t, r), task, kept))
		assert.Equal(t, 4, e.Code)
		assert.Empty(t, e.Reason)
		assert.True(t, bytes.Equal(runtime.Numbered(size), slices.Concat(head, rest)), "%d and %d of %d bytes, or not the same", len(head), len(rest), size)
	})
	t.Run("one that ended meanwhile has its end and its output still", func(t *testing.T) {
		t.Parallel()
		r, task, run := begin(t, "wait 50ms", "log done", "exit 5")
		first, err := run.Wait(t.Context())
		require.NoError(t, err)
		e, out := c.follow(t, attach(t, c.Again(t, r), task, 0))
		assert.Equal(t, "done\n", string(out))
		assert.Equal(t, first, e)
	})
	t.Run("its time goes on, whoever looks", func(t *testing.T) {
		t.Parallel()
		r, task := c.Open(t), c.task(t, "log ready", "hang")
		task.Limits.MaxRuntime = time.Second
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		run, err := r.Start(t.Context(), task)
		require.NoError(t, err)
		c.line(t, run)
		e, _ := c.follow(t, attach(t, c.Again(t, r), task, int64(len("ready\n"))))
		assert.Equal(t, daemon.ReasonTimeout, e.Reason)
		assert.GreaterOrEqual(t, e.Duration, time.Second)
		assert.Less(t, e.Duration, patience)
	})
	t.Run("it can be stopped by who attached", func(t *testing.T) {
		t.Parallel()
		r, task, _ := begin(t, "hang")
		run := attach(t, c.Again(t, r), task, 0)
		require.NoError(t, run.Stop(t.Context(), time.Second))
		e, err := run.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, daemon.ReasonStopped, e.Reason)
	})
	t.Run("what nobody attached is swept", func(t *testing.T) {
		t.Parallel()
		r, task, _ := begin(t, "hang")
		again := c.Again(t, r)
		require.NoError(t, again.Sweep(t.Context()))
		_, err := again.Attach(t.Context(), task, 0)
		require.ErrorIs(t, err, daemon.ErrGone)
	})
	t.Run("output that is gone is not made up", func(t *testing.T) {
		t.Parallel()
		r, task, run := begin(t, "bytes 300000", "hang")
		_, err := io.ReadFull(run.Output(), make([]byte, 200_000))
		require.NoError(t, err)
		lost := attach(t, c.Again(t, r), task, 0)
		_, err = lost.Wait(t.Context())
		require.ErrorContains(t, err, "output")
	})
	t.Run("who does not know where it stands gets what is left", func(t *testing.T) {
		t.Parallel()
		r, task, run := begin(t, "bytes 300000", "exit 6")
		_, err := io.ReadFull(run.Output(), make([]byte, 200_000))
		require.NoError(t, err)
		e, rest := c.follow(t, attach(t, c.Again(t, r), task, -1))
		assert.Equal(t, 6, e.Code)
		assert.True(t, bytes.HasSuffix(runtime.Numbered(300_000), rest), "%d bytes", len(rest))
		assert.GreaterOrEqual(t, len(rest), 100_000)
	})
	t.Run("a guard that refuses ends it", func(t *testing.T) {
		t.Parallel()
		r, task, _ := begin(t, "hang")
		task.Guard = func(daemon.Processes) error { return io.ErrNoProgress }
		_, err := c.Again(t, r).Attach(t.Context(), task, 0)
		require.ErrorIs(t, err, io.ErrNoProgress)
	})
}
