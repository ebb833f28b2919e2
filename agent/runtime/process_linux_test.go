package runtime

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestAForkBombIsStopped(t *testing.T) {
	t.Parallel()
	for name, p := range both(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := task(t, "sh", "-c", `i=0; while [ $i -lt 200 ]; do sleep 100 & i=$((i+1)); done; wait`) // a watched job that ends at once is not seen
			task.Limits = daemon.Limits{PIDs: 20, MaxRuntime: time.Minute}
			e, out := run(t, p, task)
			if e.Reason == "" {
				assert.NotZero(t, e.Code, "the shell could not fork: %s", out)
				assert.Contains(t, strings.ToLower(out), "fork")
			} else {
				assert.Equal(t, daemon.ReasonTooManyPIDs, e.Reason)
			}
		})
	}
}

func TestAChildThatRunsOutOfMemoryIsJudgedByTheExit(t *testing.T) {
	t.Parallel()
	for name, p := range both(t) {
		if !p.cgroups.has("memory") {
			continue // watched, the whole job is killed
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := task(t, "sh", "-c", "head -c 200000000 /dev/zero | tail >/dev/null; echo survived; exit 0")
			task.Limits.MemoryBytes = 48 << 20
			e, out := run(t, p, task)
			assert.Zero(t, e.Code)
			assert.Empty(t, e.Reason)
			assert.Contains(t, out, "survived")
			assert.Greater(t, e.PeakMemoryBytes, int64(10<<20))
		})
	}
}

func TestLimitsAreWatchedWhereThereIsNoCgroup(t *testing.T) {
	t.Parallel()
	for name, p := range both(t) {
		// As on a machine that delegates none.
		require.NoError(t, p.spawner.close())
		p.cgroups = nil
		p.spawner = newSpawner(nil)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := p.Probe(t.Context())
			require.NoError(t, err)
			assert.Equal(t, daemon.EnforcedWatched, r.Memory)
			assert.NotEmpty(t, r.Warnings)

			hog := task(t, "sh", "-c", "head -c 200000000 /dev/zero | (tail; sleep 1000)")
			hog.Limits.MemoryBytes = 48 << 20
			e, _ := run(t, p, hog)
			assert.Equal(t, daemon.ReasonOutOfMemory, e.Reason)

			bomb := task(t, "sh", "-c", `i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; sleep 100`)
			bomb.Limits = daemon.Limits{PIDs: 20, MaxRuntime: time.Minute}
			e, _ = run(t, p, bomb)
			assert.Contains(t, []string{daemon.ReasonTooManyPIDs, ""}, e.Reason)
			assert.NotZero(t, e.Code)

			daemonized := task(t, "sh", "-c", "setsid sleep 1000 & exit 3")
			e, _ = run(t, p, daemonized)
			assert.Equal(t, 3, e.Code)
			assert.Empty(t, testkit.Processes(daemonized.Dir))
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	for name, p := range both(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := task(t, "sh", "-c", `for i in $(seq 40); do sleep 1000 & done; setsid sleep 1000 & (sleep 1000 &) ; echo started; exit 0`)
			testkit.NoProcesses(t, task.Dir)
			r := start(t, p, task)
			e, err := r.Wait(t.Context())
			require.NoError(t, err)
			assert.Zero(t, e.Code)
			out, err := io.ReadAll(r.Output())
			require.NoError(t, err)
			assert.Equal(t, "started\n", string(out))
			assert.Empty(t, testkit.Processes(task.Dir), "Wait answers when no process is left")

			require.NoError(t, r.Cleanup())
			group := r.(*processRun).group
			require.NoError(t, p.Close())
			if group != nil {
				for _, dir := range group.dirs {
					assert.NoDirExists(t, dir)
					assert.NoDirExists(t, filepath.Dir(dir))
				}
			}
			left, err := filepath.Glob(filepath.Join(p.o.Dir, "runs", "*"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

func TestStandardErrorIsPartOfTheOneStream(t *testing.T) {
	t.Parallel()
	for name, p := range both(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, "one\ntwo\nthree\n", shellJob(t, p, "echo one; echo two >&2; echo three"))
		})
	}
}

func TestInputsAreMountedReadOnly(t *testing.T) {
	t.Parallel()
	p := sandboxed(t)
	in := filepath.Join(t.TempDir(), "weights")
	require.NoError(t, os.WriteFile(in, []byte("w"), 0o600))
	task := task(t, "sh", "-c", "(echo x > in/weights) 2>/dev/null || echo refused; rm -f in/weights 2>/dev/null || echo refused")
	task.Inputs = []daemon.Input{{Source: in, Target: "in/weights"}}
	_, out := run(t, p, task)
	assert.Equal(t, "refused\nrefused\n", out)
}

func TestWhatTheRuntimeMustNotRun(t *testing.T) {
	t.Parallel()
	boxed, bare := sandboxed(t), open(t, Options{Unsandboxed: true})
	refused := func(p *Process, words string, change func(*daemon.Task)) {
		task := task(t, "true")
		task.Trusted = false
		change(&task)
		_, err := p.Start(t.Context(), task)
		require.ErrorContains(t, err, words)
	}
	refused(boxed, "GPUs need a container", func(t *daemon.Task) { t.GPUs = []string{"GPU-1"} })
	refused(bare, "only the owner's own jobs", func(*daemon.Task) {})
	refused(boxed, "needs a container", func(t *daemon.Task) { t.Network.Mode = "full" })
}

func TestATrustedJobSeesItsGPUsAlone(t *testing.T) {
	t.Parallel()
	task := task(t, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES")
	task.GPUs = []string{"GPU-a", "GPU-b"}
	task.Env = []string{"CUDA_VISIBLE_DEVICES=0,1,2,3"}
	_, out := run(t, sandboxed(t), task)
	assert.Equal(t, "GPU-a,GPU-b GPU-a,GPU-b\n", out)
}

func TestWithoutBubblewrapThereIsNoProcessRuntime(t *testing.T) {
	t.Parallel()
	_, err := NewProcess(t.Context(), Options{Dir: t.TempDir(), Bubblewrap: "no-such-bwrap"})
	require.ErrorContains(t, err, "apt install bubblewrap")

	broken := filepath.Join(testkit.Dir(t), "bwrap")
	require.NoError(t, os.WriteFile(broken, []byte(
		"#!/bin/sh\n[ $1 = --version ] && exec echo bubblewrap 0.0\necho bwrap: No permissions to create new namespace >&2; exit 1\n"), 0o755))
	_, err = NewProcess(t.Context(), Options{Dir: t.TempDir(), Bubblewrap: broken})
	require.ErrorContains(t, err, "No permissions to create new namespace")
	require.ErrorContains(t, err, "the sandbox does not work here")
}

func TestTheReportIsWhatTheRuntimeDoes(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Unsandboxed: true})
	r, err := p.Probe(t.Context())
	require.NoError(t, err)
	b, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Contains(t, string(b), "only the owner's own may run")
	assert.Equal(t, daemon.RuntimeInfo{Name: "process", Isolation: daemon.IsolationNone}, p.Info())
	assert.Equal(t, daemon.IsolationProcess, sandboxed(t).Info().Isolation)
}

func open(t testing.TB, o Options) *Process {
	t.Helper()
	o.Dir = t.TempDir()
	p, err := NewProcess(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

func sandboxed(t testing.TB) *Process {
	t.Helper()
	testkit.Need(t, servers.Bubblewrap)
	return open(t, Options{})
}

func both(t testing.TB) map[string]*Process {
	t.Helper()
	return map[string]*Process{"sandboxed": sandboxed(t), "unsandboxed": open(t, Options{Unsandboxed: true})}
}

var tasks atomic.Int64

func task(t testing.TB, argv ...string) daemon.Task {
	t.Helper()
	return daemon.Task{
		JobID: fmt.Sprintf("job-%d", tasks.Add(1)), Attempt: 1,
		Argv: argv, Dir: testkit.Dir(t), Trusted: true,
	}
}

func start(t testing.TB, p *Process, task daemon.Task) daemon.Run {
	t.Helper()
	require.NoError(t, p.Prepare(t.Context(), task, nil))
	r, err := p.Start(t.Context(), task)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Cleanup()) })
	return r
}

func run(t testing.TB, p *Process, task daemon.Task) (daemon.Exit, string) {
	t.Helper()
	r := start(t, p, task)
	out, err := io.ReadAll(r.Output())
	require.NoError(t, err)
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Cleanup())
	return e, string(out)
}

func job(t testing.TB, p *Process, argv ...string) string {
	t.Helper()
	_, out := run(t, p, task(t, argv...))
	return out
}

func shellJob(t testing.TB, p *Process, script string) string {
	t.Helper()
	return job(t, p, "sh", "-c", script)
}
