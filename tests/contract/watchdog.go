package contract

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

// WatchdogCase is an adapter of daemon.Watchdog under test.
type WatchdogCase struct {
	// Open starts one, and says how the agent's end looks to it.
	Open func(t *testing.T) (w daemon.Watchdog, end func())
	// Jobs runs what is watched. Where it outlives the agent, so does the watch.
	Jobs RuntimeCase
}

// Watchdog is the contract of daemon.Watchdog.
func Watchdog(t *testing.T, c WatchdogCase) {
	boot := daemon.SystemClock{}.Boot
	t.Run("a run without a sign of life is killed, and not before its time", func(t *testing.T) {
		t.Parallel()
		w, _ := c.Open(t)
		const within = 300 * time.Millisecond
		at := boot()
		require.NoError(t, w.Pet(at, time.Hour))
		run := c.watched(t, w, "a/1", within)
		killed(t, run)
		assert.GreaterOrEqual(t, boot()-at, within)
	})
	t.Run("the shorter time counts", func(t *testing.T) {
		t.Parallel()
		w, _ := c.Open(t)
		require.NoError(t, w.Pet(boot(), 300*time.Millisecond))
		killed(t, c.watched(t, w, "a/1", time.Hour))
	})
	t.Run("a pet puts it off, and one older than the last does not bring it nearer", func(t *testing.T) {
		t.Parallel()
		w, _ := c.Open(t)
		at := boot()
		require.NoError(t, w.Pet(at+time.Hour, time.Hour))
		require.NoError(t, w.Pet(at-2*time.Hour, time.Hour))
		kept, other := c.watched(t, w, "a/1", time.Hour), c.watched(t, w, "b/1", -2*time.Hour)
		killed(t, other) // by then the first was looked at as well
		lives(t, kept)
	})
	t.Run("a run that is forgotten is left alone", func(t *testing.T) {
		t.Parallel()
		w, end := c.Open(t)
		require.NoError(t, w.Pet(boot(), time.Hour))
		run := c.watched(t, w, "a/1", time.Hour)
		require.NoError(t, w.Forget("a/1"))
		require.NoError(t, w.Forget("never watched"))
		end()
		lives(t, run)
	})
	t.Run("watching a name again replaces what was known of it", func(t *testing.T) {
		t.Parallel()
		w, _ := c.Open(t)
		require.NoError(t, w.Pet(boot(), time.Hour))
		first, second := c.watched(t, w, "a/1", time.Hour), c.watched(t, w, "a/1", 300*time.Millisecond)
		killed(t, second)
		lives(t, first)
	})
	t.Run("what outlives the agent is killed when its time has come, and not before", func(t *testing.T) {
		t.Parallel()
		if c.Jobs.Again == nil {
			return
		}
		w, end := c.Open(t)
		const within = 2 * time.Second
		at := boot()
		require.NoError(t, w.Pet(at, time.Hour))
		run := c.watched(t, w, "a/1", within)
		end()
		killed(t, run)
		assert.GreaterOrEqual(t, boot()-at, within)
	})
	t.Run("what outlives the agent is left to the watchdog that took charge", func(t *testing.T) {
		t.Parallel()
		if c.Jobs.Again == nil {
			return
		}
		old, end := c.Open(t)
		next, _ := c.Open(t)
		require.NoError(t, errors.Join(old.Pet(boot(), time.Hour), next.Pet(boot(), time.Hour)))
		var known daemon.Processes
		task := c.Jobs.task(t, "hang")
		task.Guard = func(p daemon.Processes) error {
			known = p
			return old.Watch("a/1", time.Hour, p)
		}
		kept, err := start(t, c.Jobs.Open(t), task)
		require.NoError(t, err)
		other := c.watched(t, old, "b/1", time.Hour)
		said, err := os.ReadFile(known.Charge)
		require.NoError(t, err)
		before, _, _ := strings.Cut(string(said), " ")
		require.NoError(t, next.Watch("a/1", time.Hour, known))
		require.Eventually(t, func() bool {
			said, err := os.ReadFile(known.Charge)
			return err == nil && len(said) > 0 && !strings.HasPrefix(string(said), before)
		}, patience, time.Millisecond)
		require.NoError(t, old.Pet(boot(), 100*time.Millisecond)) // their time, for both
		end()
		killed(t, other) // at the same time the first would have been
		lives(t, kept)
	})
	t.Run("what is left when the agent ends is killed", func(t *testing.T) {
		t.Parallel()
		if c.Jobs.Again != nil {
			return
		}
		w, end := c.Open(t)
		require.NoError(t, w.Pet(boot(), time.Hour))
		one, two := c.watched(t, w, "a/1", time.Hour), c.watched(t, w, "b/1", time.Hour)
		end()
		killed(t, one)
		killed(t, two)
	})
	t.Run("nobody watches after the end", func(t *testing.T) {
		t.Parallel()
		w, end := c.Open(t)
		end()
		assert.Error(t, w.Watch("a/1", time.Hour, daemon.Processes{}))
	})
	t.Run("a run that starts after its time is killed as well", func(t *testing.T) {
		t.Parallel()
		w, _ := c.Open(t)
		require.NoError(t, w.Pet(boot()-time.Hour, time.Minute))
		task := c.Jobs.task(t, "hang")
		task.Guard = func(p daemon.Processes) error {
			if p.First != 0 && !p.Sandbox {
				return nil // what was said before it started has to be enough
			}
			return w.Watch("a/1", time.Minute, p)
		}
		run, err := start(t, c.Jobs.Open(t), task)
		if err == nil { // a sandbox was killed before its command began
			killed(t, run)
		}
	})
}

// start prepares and starts a task.
func start(t *testing.T, r daemon.Runtime, task daemon.Task) (daemon.Run, error) {
	require.NoError(t, r.Prepare(t.Context(), task, nil))
	run, err := r.Start(t.Context(), task)
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, run.Cleanup()) })
	}
	return run, err
}

// watched starts a run that does not end by itself and watches it.
func (c WatchdogCase) watched(t *testing.T, w daemon.Watchdog, name string, within time.Duration) daemon.Run {
	task := c.Jobs.task(t, "ignore-term", "log ready", "hang")
	task.Guard = func(p daemon.Processes) error { return w.Watch(name, within, p) }
	run, err := start(t, c.Jobs.Open(t), task)
	require.NoError(t, err)
	return run
}

// killed waits for a run's end, which nobody asked for.
func killed(t *testing.T, run daemon.Run) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := run.Wait(ctx)
	require.NoError(t, ctx.Err(), "it still runs")
	if err == nil { // a sandbox that was killed from outside is the runtime's error
		assert.Equal(t, 137, e.Code)
		assert.Empty(t, e.Reason)
	}
}

// lives checks that a run goes on.
func lives(t *testing.T, run daemon.Run) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := run.Wait(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}
