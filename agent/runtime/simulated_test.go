package runtime

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

func script(t *testing.T, lines ...string) daemon.Task {
	t.Helper()
	return daemon.Task{JobID: "job-1", Attempt: 1, Argv: append([]string{"simulate"}, lines...), Dir: t.TempDir()}
}

func simulate(t *testing.T, task daemon.Task) (daemon.Exit, string) {
	t.Helper()
	r, err := NewSimulated(time.Now).Start(t.Context(), task)
	require.NoError(t, err)
	out, err := io.ReadAll(r.Output())
	require.NoError(t, err)
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Cleanup())
	return e, string(out)
}

func TestSimulatedHoursPassAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, out := simulate(t, script(t, "log start", "wait 3h", "log end", "exit 3"))
		assert.Equal(t, daemon.Exit{Code: 3, Duration: 3 * time.Hour}, e)
		assert.Equal(t, "start\nend\n", out)
	})
}

func TestASimulatedTimeoutComesOnTheMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		task := script(t, "ignore-term", "hang")
		task.Limits = daemon.Limits{MaxRuntime: time.Hour, Grace: 10 * time.Second}
		e, _ := simulate(t, task)
		assert.Equal(t, daemon.ReasonTimeout, e.Reason)
		assert.Equal(t, time.Hour+10*time.Second, e.Duration)
	})
}

func TestASimulatedJobRepeatsItselfUntilItsTimeIsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		task := script(t, "log once", "log again", "wait 10s", "repeat 2")
		task.Limits = daemon.Limits{MaxRuntime: 25 * time.Second, Grace: time.Second}
		e, out := simulate(t, task)
		assert.Equal(t, daemon.ReasonTimeout, e.Reason)
		assert.Equal(t, 25*time.Second, e.Duration)
		assert.Equal(t, "once\nagain\nagain\nagain\n", out)
	})
}

func TestASimulatedJobWaitsForItsReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := NewSimulated(time.Now).Start(t.Context(), script(t, "bytes 65536", "write full 1", "log more", "write after 1"))
		require.NoError(t, err)
		dir := r.(*simulatedRun).task.Dir
		synctest.Wait()
		assert.FileExists(t, filepath.Join(dir, "full"))
		assert.NoFileExists(t, filepath.Join(dir, "after"))
		require.NoError(t, r.Stop(t.Context(), 0))
		require.NoError(t, r.Cleanup())
	})
}

func TestEverySimulatedVerbDoesWhatItSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		exit  daemon.Exit
		out   string
	}{
		"burst":            {[]string{"burst 3"}, daemon.Exit{}, "line 1\nline 2\nline 3\n"},
		"bytes":            {[]string{"bytes 5"}, daemon.Exit{}, "1\n2\n3"},
		"signal":           {[]string{"signal 11", "log never"}, daemon.Exit{Code: 139}, ""},
		"repeat nothing":   {[]string{"log x", "repeat 2"}, daemon.Exit{Code: 2}, "x\nsimulate: repeat 2: there are not so many steps before it\n"},
		"an unknown verb":  {[]string{"dance"}, daemon.Exit{Code: 2}, "simulate: dance: no such verb\n"},
		"a bad number":     {[]string{"burst -1"}, daemon.Exit{Code: 2}, "simulate: burst -1: a negative number\n"},
		"an absent file":   {[]string{"cat none"}, daemon.Exit{Code: 2}, "simulate: cat none: openat none: no such file or directory\n"},
		"a path outside":   {[]string{"write ../x 1"}, daemon.Exit{Code: 2}, "simulate: write ../x 1: mkdirat ..: path escapes from parent\n"},
		"phase is no step": {[]string{"phase pulling 10", "log x"}, daemon.Exit{}, "x\n"},
		"env":              {[]string{"env NAME", "env NONE"}, daemon.Exit{}, "value\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				task := script(t, c.lines...)
				task.Env = []string{"NAME=value"}
				e, out := simulate(t, task)
				assert.Equal(t, c.exit, e)
				assert.Equal(t, c.out, out)
			})
		})
	}
	t.Run("oom", func(t *testing.T) {
		t.Parallel()
		e, _ := simulate(t, script(t, "oom"))
		assert.Equal(t, daemon.ReasonOutOfMemory, e.Reason)
	})
	t.Run("write", func(t *testing.T) {
		t.Parallel()
		task := script(t, "write a/b 12")
		simulate(t, task)
		b, err := os.ReadFile(filepath.Join(task.Dir, "a/b"))
		require.NoError(t, err)
		assert.Equal(t, "1\n2\n3\n4\n5\n6\n", string(b))
	})
	t.Run("refuse", func(t *testing.T) {
		t.Parallel()
		_, err := NewSimulated(time.Now).Start(t.Context(), script(t, "refuse the host is on fire"))
		require.EqualError(t, err, "the host is on fire")
	})
	t.Run("phase", func(t *testing.T) {
		t.Parallel()
		var seen []daemon.Progress
		require.NoError(t, NewSimulated(time.Now).Prepare(t.Context(), script(t, "phase pulling 10"),
			func(p daemon.Progress) { seen = append(seen, p) }))
		assert.Equal(t, []daemon.Progress{{Phase: "pulling", Total: 10}, {Phase: "pulling", Done: 5, Total: 10}, {Phase: "pulling", Done: 10, Total: 10}}, seen)
	})
}

func TestASimulatedJobThatIsStoppedInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := NewSimulated(time.Now).Start(t.Context(), script(t, "ignore-term", "hang"))
		require.NoError(t, err)
		synctest.Wait()
		began := time.Now()
		require.NoError(t, r.Stop(context.Background(), 10*time.Second))
		assert.Equal(t, 10*time.Second, time.Since(began))
		require.NoError(t, r.Cleanup())
	})
}
