package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/tests/testkit"
)

// RuntimeCase is an adapter of daemon.Runtime under test.
type RuntimeCase struct {
	Open func(t *testing.T) runtime.Machine
	// Command makes a command of a script in the simulated runtime's language.
	Command func(script ...string) []string
	// Again opens the folder of a runtime anew, as the next process of an agent that was
	// killed does. Nil where runs die with the agent.
	Again func(t *testing.T, dead runtime.Machine) runtime.Machine
	// Trusted runs the suite's jobs as the owner's own.
	Trusted bool
}

// Runtime is the contract of daemon.Runtime and daemon.Run.
func Runtime(t *testing.T, c RuntimeCase) {
	t.Run("ends", func(t *testing.T) { runtimeEnds(t, c) })
	t.Run("output", func(t *testing.T) { runtimeOutput(t, c) })
	t.Run("stop", func(t *testing.T) { runtimeStop(t, c) })
	t.Run("limits", func(t *testing.T) { runtimeLimits(t, c) })
	t.Run("surroundings", func(t *testing.T) { runtimeSurroundings(t, c) })
	t.Run("life cycle", func(t *testing.T) { runtimeLifeCycle(t, c) })
	t.Run("attach", func(t *testing.T) { runtimeAttach(t, c) })
}

// patience bounds what should take milliseconds on a busy machine.
const patience = 30 * time.Second

func runtimeEnds(t *testing.T, c RuntimeCase) {
	for name, want := range map[string]struct {
		script string
		code   int
	}{
		"a command that succeeds ends with 0":          {"exit 0", 0},
		"an exit code is passed on":                    {"exit 3", 3},
		"a script without exit ends with 0":            {"log done", 0},
		"a command that kills itself counts from 128":  {"signal 9", 137},
		"a command that terminates itself is no Stop":  {"signal 15", 143},
		"an exit code of 137 alone is not a limit hit": {"exit 137", 137},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := c.run(t, c.task(t, want.script))
			assert.Equal(t, want.code, e.Code)
			assert.Empty(t, e.Reason)
			assert.Empty(t, e.Detail)
		})
	}
	t.Run("a command that does not exist is the job's fault, not an error", func(t *testing.T) {
		t.Parallel()
		for _, argv := range [][]string{{"no-such-command"}, {"./no-such-file", "x"}} {
			task := c.task(t)
			task.Argv = argv
			e, said := c.run(t, task)
			assert.Empty(t, said, "the log is what the command prints")
			assert.Equal(t, daemon.ReasonCommandNotFound, e.Reason)
			assert.Equal(t, 127, e.Code)
			assert.Contains(t, e.Detail, argv[0])
			assert.Contains(t, e.Detail, "no such file")
		}
	})
	t.Run("a working folder that is not in the bundle is the job's fault", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "exit 0")
		task.Workdir = "not/there"
		e, _ := c.run(t, task)
		assert.Equal(t, daemon.ReasonCommandNotFound, e.Reason)
		assert.Contains(t, e.Detail, "not/there")
	})
	t.Run("the duration is that of the command", func(t *testing.T) {
		t.Parallel()
		r := c.Open(t)
		task := c.task(t, "wait 50ms")
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		began := time.Now()
		e, _ := c.follow(t, c.start(t, r, task))
		assert.GreaterOrEqual(t, e.Duration, 50*time.Millisecond)
		assert.LessOrEqual(t, e.Duration, time.Since(began))
	})
	t.Run("every Wait answers the same", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "wait 20ms", "exit 4"))
		answers := make(chan daemon.Exit)
		for range 4 {
			go func() {
				e, _ := run.Wait(context.Background())
				answers <- e
			}()
		}
		first := <-answers
		assert.Equal(t, 4, first.Code)
		for range 3 {
			assert.Equal(t, first, <-answers)
		}
		again, err := run.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, first, again)
	})
}

func runtimeOutput(t *testing.T, c RuntimeCase) {
	t.Run("it is whole and in order", func(t *testing.T) {
		t.Parallel()
		const size = 3 << 20
		e, out := c.run(t, c.task(t, fmt.Sprintf("bytes %d", size), "exit 3"))
		assert.Equal(t, 3, e.Code)
		assert.True(t, bytes.Equal(runtime.Numbered(size), out), "%d of %d bytes, or not the same", len(out), size)
	})
	t.Run("Wait does not need it to be read, and it can be read afterwards", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "log hello"))
		_, err := run.Wait(t.Context())
		require.NoError(t, err)
		out, err := io.ReadAll(run.Output())
		require.NoError(t, err)
		assert.Equal(t, "hello\n", string(out))
	})
	t.Run("it arrives while the job runs", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "log hello", "hang"))
		assert.Equal(t, "hello\n", c.line(t, run))
	})
	t.Run("a job that writes faster than it is read waits", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "bytes 300000", "write after 1")
		run := c.begin(t, task)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := run.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NoFileExists(t, filepath.Join(task.Dir, "after"))
		_, out := c.follow(t, run)
		assert.Len(t, out, 300000)
		assert.FileExists(t, filepath.Join(task.Dir, "after"))
	})
	t.Run("a job that nobody reads from can be stopped", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "bytes 10000000"))
		require.NoError(t, run.Stop(t.Context(), 50*time.Millisecond))
	})
}

func runtimeStop(t *testing.T, c RuntimeCase) {
	t.Run("a job may end by itself within grace", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "log ready", "hang"))
		c.line(t, run)
		began := time.Now()
		require.NoError(t, run.Stop(t.Context(), time.Minute))
		assert.Less(t, time.Since(began), patience)
		e, err := run.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, daemon.ReasonStopped, e.Reason)
		assert.Equal(t, 143, e.Code)
	})
	t.Run("a job that ignores SIGTERM is killed after grace", func(t *testing.T) {
		t.Parallel()
		const grace = 300 * time.Millisecond
		run := c.begin(t, c.task(t, "ignore-term", "log ready", "hang"))
		c.line(t, run)
		began := time.Now()
		require.NoError(t, run.Stop(t.Context(), grace))
		assert.GreaterOrEqual(t, time.Since(began), grace)
		assert.Less(t, time.Since(began), grace+2*time.Second)
		e, err := run.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, daemon.ReasonStopped, e.Reason)
		assert.Equal(t, 137, e.Code)
	})
	t.Run("cancelling its context kills at once", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "ignore-term", "log ready", "hang"))
		c.line(t, run)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		require.NoError(t, run.Stop(ctx, time.Hour))
		assert.Less(t, time.Since(began), patience)
	})
	t.Run("stopping a run that has ended changes nothing", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "exit 5"))
		e, _ := c.follow(t, run)
		require.NoError(t, run.Stop(t.Context(), time.Second))
		again, err := run.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, e, again)
		assert.Empty(t, again.Reason)
	})
	t.Run("cancelling the context of Start or Wait does not touch the run", func(t *testing.T) {
		t.Parallel()
		r, task := c.Open(t), c.task(t, "wait 100ms", "exit 6")
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		ctx, cancel := context.WithCancel(t.Context())
		run, err := r.Start(ctx, task)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, run.Cleanup()) })
		cancel()
		_, err = run.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		e, _ := c.follow(t, run)
		assert.Equal(t, 6, e.Code)
	})
}

func runtimeLimits(t *testing.T, c RuntimeCase) {
	t.Run("a job that runs too long is a timeout", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "hang")
		task.Limits.MaxRuntime = 200 * time.Millisecond
		task.Limits.Grace = 20 * time.Second
		e, _ := c.run(t, task)
		assert.Equal(t, daemon.ReasonTimeout, e.Reason)
		assert.Contains(t, e.Detail, "200ms")
		assert.Equal(t, 143, e.Code)
		assert.GreaterOrEqual(t, e.Duration, 200*time.Millisecond)
	})
	t.Run("a job that ignores its timeout is killed after grace", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "ignore-term", "hang")
		task.Limits.MaxRuntime = 300 * time.Millisecond
		task.Limits.Grace = 100 * time.Millisecond
		e, _ := c.run(t, task)
		assert.Equal(t, daemon.ReasonTimeout, e.Reason)
		assert.Equal(t, 137, e.Code)
	})
	t.Run("too much memory is not an exit code", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "memory 200000000", "exit 0")
		task.Limits.MemoryBytes = 64 << 20
		e, _ := c.run(t, task)
		assert.Equal(t, daemon.ReasonOutOfMemory, e.Reason)
		assert.Contains(t, e.Detail, "64 MiB")
		assert.NotZero(t, e.Code)
	})
	t.Run("a full disk is not an exit code", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "write a 700000", "write b 700000", "write c 700000", "hang")
		task.Limits.DiskBytes = 1 << 20
		e, _ := c.run(t, task)
		assert.Equal(t, daemon.ReasonDiskFull, e.Reason)
		assert.Contains(t, e.Detail, "1 MiB")
	})
	t.Run("a full disk of the runtime's own making is none either", func(t *testing.T) {
		t.Parallel()
		_, e := c.within(t, 1<<20, c.Command("write a 700000", "write b 700000", "write c 700000", "hang")...)
		assert.Equal(t, daemon.ReasonDiskFull, e.Reason)
		assert.Contains(t, e.Detail, "1 MiB")
		task, e := c.within(t, 1<<20, c.Command("write a 700000", "write b 200000", "exit 3")...)
		assert.Equal(t, 3, e.Code, e.Detail)
		assert.Empty(t, e.Reason)
		i, err := os.Stat(filepath.Join(task.Dir, "a"))
		require.NoError(t, err)
		assert.EqualValues(t, 700_000, i.Size())
	})
	t.Run("one file beyond the disk limit is a full disk too", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "write a 3000000", "hang")
		task.Limits.DiskBytes = 1 << 20
		e, _ := c.run(t, task)
		assert.Equal(t, daemon.ReasonDiskFull, e.Reason)
	})
	t.Run("a job within its limits meets none", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "write a 500000", "memory 10000000", "exit 7")
		task.Limits = daemon.Limits{
			CPUMilli: 1000, MemoryBytes: 256 << 20, PIDs: 64, ShmBytes: 16 << 20, DiskBytes: 8 << 20,
			MaxRuntime: time.Minute, Grace: time.Second,
		}
		e, _ := c.run(t, task)
		assert.Equal(t, 7, e.Code, e.Detail)
		assert.Empty(t, e.Reason)
	})
}

var jobs atomic.Int64

// task is a task of its own with a script. No process of it may be left when
// its test ends.
func (c RuntimeCase) task(t *testing.T, script ...string) daemon.Task {
	dir := testkit.Dir(t)
	testkit.NoProcesses(t, dir)
	return daemon.Task{
		JobID: fmt.Sprintf("job-%d-%d", os.Getpid(), jobs.Add(1)), Attempt: 1,
		Argv: c.Command(script...), Dir: dir, Trusted: c.Trusted,
	}
}

// begin prepares and starts a task in a runtime of its own.
func (c RuntimeCase) begin(t *testing.T, task daemon.Task) daemon.Run {
	r := c.Open(t)
	require.NoError(t, r.Prepare(t.Context(), task, nil))
	return c.start(t, r, task)
}

// within runs a script in a folder of the runtime's own making.
func (c RuntimeCase) within(t *testing.T, disk int64, argv ...string) (daemon.Task, daemon.Exit) {
	r, task := c.Open(t), c.task(t, "exit 0")
	task.Argv, task.Limits.DiskBytes = argv, disk
	task.Dir = filepath.Join(task.Dir, "work")
	require.NoError(t, r.MakeDir(t.Context(), task.Dir, disk))
	require.NoError(t, r.Prepare(t.Context(), task, nil))
	e, _ := c.follow(t, c.start(t, r, task))
	t.Cleanup(func() { assert.NoError(t, r.RemoveDir(task.Dir)) })
	return task, e
}

func (c RuntimeCase) start(t *testing.T, r daemon.Runtime, task daemon.Task) daemon.Run {
	run, err := r.Start(t.Context(), task)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, run.Cleanup()) })
	return run
}

// follow reads a run to its end.
func (c RuntimeCase) follow(t *testing.T, run daemon.Run) (daemon.Exit, []byte) {
	out, err := io.ReadAll(run.Output())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := run.Wait(ctx)
	require.NoError(t, err)
	return e, out
}

func (c RuntimeCase) run(t *testing.T, task daemon.Task) (daemon.Exit, []byte) {
	return c.follow(t, c.begin(t, task))
}

// line reads the first line, byte by byte, so that nothing of the next is lost.
func (c RuntimeCase) line(t *testing.T, run daemon.Run) string {
	var line []byte
	for b := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; {
		n, err := run.Output().Read(b)
		require.NoError(t, err)
		line = append(line, b[:n]...)
	}
	return string(line)
}
