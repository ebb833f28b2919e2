package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

func runtimeSurroundings(t *testing.T, c RuntimeCase) {
	t.Run("the environment is the job's own and nothing of the agent's", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "environ")
		task.Env = []string{"GREETING=hello world", "EMPTY=", "QUOTES='\"$HOME\"", "LANG=xx", "CUDA_VISIBLE_DEVICES=0"}
		_, out := c.run(t, task)
		got := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			k, v, _ := strings.Cut(line, "=")
			got[k] = v
		}
		for _, k := range []string{"PATH", "HOME", "TMPDIR"} {
			assert.NotEmpty(t, got[k], k)
			delete(got, k)
		}
		delete(got, "PWD")
		assert.Equal(t, map[string]string{
			"GREETING": "hello world", "EMPTY": "", "QUOTES": "'\"$HOME\"", "LANG": "xx",
			"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void",
		}, got)
	})
	t.Run("the command starts in its working folder", func(t *testing.T) {
		t.Parallel()
		for _, workdir := range []string{"", "a/b"} {
			task := c.task(t, "cwd", "write here 1")
			require.NoError(t, os.MkdirAll(filepath.Join(task.Dir, workdir), 0o755))
			task.Workdir = workdir
			_, out := c.run(t, task)
			assert.Equal(t, workdir, strings.Trim(strings.TrimPrefix(strings.TrimPrefix(
				strings.TrimSpace(string(out)), task.Dir), daemon.WorkDir), "/"))
			assert.FileExists(t, filepath.Join(task.Dir, workdir, "here"))
		}
	})
	t.Run("it reads the bundle and leaves results, which stay after Cleanup", func(t *testing.T) {
		t.Parallel()
		task := c.task(t, "cat data/in.txt", "write out/result 12345")
		require.NoError(t, os.MkdirAll(filepath.Join(task.Dir, "data"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(task.Dir, "data/in.txt"), []byte("from the bundle"), 0o600))
		run := c.begin(t, task)
		e, out := c.follow(t, run)
		assert.Equal(t, "from the bundle", string(out))
		assert.Zero(t, e.Code)
		require.NoError(t, run.Cleanup())
		i, err := os.Stat(filepath.Join(task.Dir, "out/result"))
		require.NoError(t, err)
		assert.EqualValues(t, 12345, i.Size())
	})
	t.Run("inputs can be read, and the originals not changed", func(t *testing.T) {
		t.Parallel()
		source := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(source, "weights"), []byte("original"), 0o600))
		task := c.task(t, "cat inputs/model/weights", "cat one.bin", "write inputs/model/weights 3", "write one.bin 3")
		task.Inputs = []daemon.Input{
			{Source: source, Target: "inputs/model"},
			{Source: filepath.Join(source, "weights"), Target: "one.bin"},
		}
		_, out := c.run(t, task)
		assert.Equal(t, "originaloriginal", string(out[:min(16, len(out))]))
		b, err := os.ReadFile(filepath.Join(source, "weights"))
		require.NoError(t, err)
		assert.Equal(t, "original", string(b))
	})
	t.Run("runs do not get in each other's way", func(t *testing.T) {
		t.Parallel()
		r := c.Open(t)
		var runs []daemon.Run
		for i := range 8 {
			task := c.task(t, fmt.Sprintf("log job %d", i), "wait 30ms", fmt.Sprintf("exit %d", i))
			require.NoError(t, r.Prepare(t.Context(), task, nil))
			runs = append(runs, c.start(t, r, task))
		}
		for i, run := range runs {
			e, out := c.follow(t, run)
			assert.Equal(t, i, e.Code)
			assert.Equal(t, fmt.Sprintf("job %d\n", i), string(out))
		}
	})
}

func runtimeLifeCycle(t *testing.T, c RuntimeCase) {
	t.Run("Probe finds what Info promises", func(t *testing.T) {
		t.Parallel()
		r := c.Open(t)
		report, err := r.Probe(t.Context())
		require.NoError(t, err)
		assert.NotEmpty(t, report.Commands)
		assert.Contains(t, []string{daemon.EnforcedCgroup, daemon.EnforcedWatched}, report.Memory)
		assert.NotEmpty(t, r.Info().Name)
		assert.NotEmpty(t, r.Info().Isolation)
	})
	t.Run("preparing twice is harmless, and its progress grows", func(t *testing.T) {
		t.Parallel()
		r := c.Open(t)
		source := filepath.Join(t.TempDir(), "in")
		require.NoError(t, os.WriteFile(source, make([]byte, 4096), 0o644))
		task := c.task(t, "exit 0")
		task.Inputs = []daemon.Input{{Source: source, Target: "in"}}
		for range 2 {
			last := int64(-1)
			require.NoError(t, r.Prepare(t.Context(), task, func(p daemon.Progress) {
				assert.GreaterOrEqual(t, p.Done, last)
				assert.LessOrEqual(t, p.Done, p.Total)
				last = p.Done
			}))
		}
		e, _ := c.follow(t, c.start(t, r, task))
		assert.Zero(t, e.Code)
	})
	t.Run("a cancelled Prepare stops", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.Open(t).Prepare(ctx, c.task(t, "exit 0"), nil), context.Canceled)
	})
	t.Run("an attempt that runs already is refused, until Cleanup", func(t *testing.T) {
		t.Parallel()
		r, task := c.Open(t), c.task(t, "hang")
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		run := c.start(t, r, task)
		_, err := r.Start(t.Context(), task)
		require.ErrorContains(t, err, "runs already")
		require.NoError(t, run.Cleanup())
		c.start(t, r, task)
	})
	t.Run("Cleanup ends what runs, and may be called again", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "ignore-term", "log ready", "hang"))
		c.line(t, run)
		require.NoError(t, run.Cleanup())
		require.NoError(t, run.Cleanup())
		e, err := run.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, daemon.ReasonStopped, e.Reason)
		n, err := run.Output().Read(make([]byte, 10))
		assert.Zero(t, n)
		assert.ErrorIs(t, err, io.EOF)
	})
	t.Run("Usage counts, during the run and after it", func(t *testing.T) {
		t.Parallel()
		run := c.begin(t, c.task(t, "memory 20000000", "log ready", "hang"))
		c.line(t, run)
		assert.GreaterOrEqual(t, run.Usage().PeakMemoryBytes, int64(0))
		require.NoError(t, run.Stop(t.Context(), 0))
		assert.GreaterOrEqual(t, run.Usage().CPUTime, time.Duration(0))
	})
	t.Run("Sweep leaves the runs of this process alone", func(t *testing.T) {
		t.Parallel()
		r, task := c.Open(t), c.task(t, "log ready", "wait 50ms", "exit 9")
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		run := c.start(t, r, task)
		c.line(t, run)
		require.NoError(t, r.Sweep(t.Context()))
		e, _ := c.follow(t, run)
		assert.Equal(t, 9, e.Code)
		assert.Empty(t, e.Reason)
	})
	t.Run("a command whose guard refuses does not run", func(t *testing.T) {
		t.Parallel()
		r, task := c.Open(t), c.task(t, "write ran 1", "hang")
		told := 0
		task.Guard = func(daemon.Processes) error {
			told++
			assert.NoFileExists(t, filepath.Join(task.Dir, "ran"))
			return errors.New("nobody is on guard")
		}
		require.NoError(t, r.Prepare(t.Context(), task, nil))
		run, err := r.Start(t.Context(), task)
		if r.Info().Name == "simulated" {
			require.NoError(t, err)
			require.NoError(t, run.Cleanup())
			assert.Zero(t, told, "it has no processes")
			return
		}
		require.ErrorContains(t, err, "nobody is on guard")
		assert.Equal(t, 1, told)
		assert.NoFileExists(t, filepath.Join(task.Dir, "ran"))
	})
	t.Run("an attempt that never ran cannot be attached", func(t *testing.T) {
		t.Parallel()
		_, err := c.Open(t).Attach(t.Context(), c.task(t, "exit 0"), 0)
		require.ErrorIs(t, err, daemon.ErrGone)
	})
	for name, spoil := range map[string]func(*daemon.Task){
		"no command":                  func(t *daemon.Task) { t.Argv = nil },
		"an empty command":            func(t *daemon.Task) { t.Argv = []string{""} },
		"a NUL in the command":        func(t *daemon.Task) { t.Argv = append(t.Argv, "a\x00b") },
		"a NUL in the environment":    func(t *daemon.Task) { t.Env = []string{"A=\x00"} },
		"a variable without a name":   func(t *daemon.Task) { t.Env = []string{"=x"} },
		"a job id that is a path":     func(t *daemon.Task) { t.JobID = "../x" },
		"a folder that is not there":  func(t *daemon.Task) { t.Dir += "/nothing" },
		"a relative folder":           func(t *daemon.Task) { t.Dir = "x" },
		"a working folder outside":    func(t *daemon.Task) { t.Workdir = "../.." },
		"an input that leaves":        func(t *daemon.Task) { t.Inputs = []daemon.Input{{Source: "/etc/hosts", Target: "../x"}} },
		"an input in place of it all": func(t *daemon.Task) { t.Inputs = []daemon.Input{{Source: "/etc", Target: "."}} },
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			t.Parallel()
			r, task := c.Open(t), c.task(t, "exit 0")
			spoil(&task)
			require.Error(t, r.Prepare(t.Context(), task, nil))
			_, err := r.Start(t.Context(), task)
			require.Error(t, err)
		})
	}
}
