package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestSimulatedRuntime(t *testing.T) {
	t.Parallel()
	Runtime(t, RuntimeCase{
		Open:    func(*testing.T) runtime.Machine { return runtime.NewSimulated(time.Now) },
		Command: func(script ...string) []string { return append([]string{"simulate"}, script...) },
	})
}

func TestProcessRuntimeInTheSandbox(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Bubblewrap)
	Runtime(t, RuntimeCase{Open: process(runtime.Options{}), Command: shell})
}

func TestProcessRuntimeWithoutSandbox(t *testing.T) {
	t.Parallel()
	Runtime(t, RuntimeCase{Open: process(runtime.Options{Unsandboxed: true}), Command: shell, Trusted: true})
}

func TestDockerRuntime(t *testing.T) {
	t.Parallel()
	Runtime(t, docker(dockerOptions(t)))
}

func TestFolders(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) runtime.Machine{
		"of the simulated runtime": func(*testing.T) runtime.Machine { return runtime.NewSimulated(time.Now) },
		"of the process runtime":   process(runtime.Options{Unsandboxed: true}),
		"of the docker runtime":    docker(dockerOptions(t)).Open,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Folders(t, open(t))
		})
	}
}

func dockerOptions(t *testing.T) runtime.DockerOptions {
	t.Helper()
	host, image := testkit.Docker(t)
	return runtime.DockerOptions{Host: host, Image: image, Entry: testkit.Entry(t)}
}

func TestAnImageThatCannotBeFetchedIsNotTheHostsDoing(t *testing.T) {
	t.Parallel()
	c := docker(dockerOptions(t))
	for what, image := range map[string]string{
		"a registry that is down":    "127.0.0.1:9/a/b@sha256:" + strings.Repeat("0", 64),
		"an image of no registry":    "sha256:" + strings.Repeat("0", 64),
		"a registry that has it not": testkit.Registry(t, dockerOptions(t).Host).Host + "/a/b@sha256:" + strings.Repeat("0", 64),
	} {
		task := c.task(t, "exit 0")
		task.Image = image
		assert.ErrorIs(t, c.Open(t).Prepare(t.Context(), task, nil), daemon.ErrFetch, what)
	}
}

func TestAPullThatGoesWrongIsGivenUp(t *testing.T) {
	t.Parallel()
	o := dockerOptions(t)
	o.PullIdle = time.Second
	c := docker(o)
	pull := func(t *testing.T, what func(*servers.Registry)) error {
		t.Helper()
		registry := testkit.Registry(t, o.Host)
		ref := registry.Host + "/a/b"
		task := c.task(t, "exit 0")
		task.Image = ref + "@" + testkit.Push(t, o.Host, o.Image, ref)
		what(registry)
		return c.Open(t).Prepare(t.Context(), task, nil)
	}
	t.Run("one that is not what its digest says", func(t *testing.T) {
		t.Parallel()
		err := pull(t, func(r *servers.Registry) {
			n, err := r.Tamper(1 << 20)
			require.NoError(t, err)
			require.NotZero(t, n)
		})
		require.ErrorIs(t, err, daemon.ErrFetch)
	})
	t.Run("one that brings nothing", func(t *testing.T) {
		t.Parallel()
		err := pull(t, func(r *servers.Registry) {
			require.NoError(t, r.Freeze())
			t.Cleanup(func() { require.NoError(t, r.Thaw()) })
		})
		require.ErrorIs(t, err, daemon.ErrFetch)
		require.ErrorContains(t, err, "nothing came for 1s")
	})
}

// volumes says whether jobs have file systems of their own here, which takes root and
// loop devices.
func volumes(t *testing.T, r daemon.Runtime) bool {
	t.Helper()
	report, err := r.Probe(t.Context())
	require.NoError(t, err)
	return report.Disk == daemon.EnforcedVolume
}

func TestAJobThatIsQuickerThanTheWatchMeetsAWall(t *testing.T) {
	t.Parallel()
	c := docker(dockerOptions(t))
	limited := volumes(t, c.Open(t))
	assert.Equal(t, testkit.Volumes(), limited)
	const disk = 4 << 20
	task, e := c.within(t, disk, "sh", "-c", "i=0; while [ $i -lt 40 ]; do head -c 4000000 /dev/zero > f$i; i=$((i+1)); done; exit 0")
	assert.Equal(t, daemon.ReasonDiskFull, e.Reason)
	if limited {
		var fs unix.Statfs_t
		require.NoError(t, unix.Statfs(task.Dir, &fs))
		assert.Less(t, int64(fs.Blocks)*fs.Bsize, int64(3*disk), "it takes no more than that from the machine")
	}
	_, e = c.within(t, disk, "sh", "-c", "i=0; while [ $i -lt 20000 ] && : > f$i; do i=$((i+1)); done 2>/dev/null; [ $i = 20000 ]")
	if limited {
		assert.Equal(t, daemon.ReasonDiskFull, e.Reason)
		assert.Contains(t, e.Detail, "files")
	} else {
		assert.Empty(t, e.Reason)
	}
}

// What is left of somebody and cannot be removed keeps nobody from starting.
func TestAContainerThatCannotBeRemovedIsTriedAgainLater(t *testing.T) {
	t.Parallel()
	o := dockerOptions(t)
	o.Dir = testkit.Dir(t)
	r, err := runtime.NewDocker(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	docker := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "docker", append([]string{"--host", o.Host}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	sum := sha256.Sum256([]byte(o.Dir))
	label := "peergpu.agent=" + hex.EncodeToString(sum[:8])
	id := docker("create", "--label", label, o.Image, "true")
	stuck := filepath.Join(docker("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", id), "stuck")
	f, err := os.Create(stuck)
	require.NoError(t, err)
	defer f.Close()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	require.NoError(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable))
	left := func() string { return docker("ps", "--all", "--quiet", "--filter", "label="+label) }
	require.NoError(t, r.Sweep(t.Context()))
	assert.NotEmpty(t, left())
	require.NoError(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0))
	require.Eventually(t, func() bool { return left() == "" }, patience, 50*time.Millisecond)
}

func TestAJobMayUseAllOfItsDisk(t *testing.T) {
	t.Parallel()
	c := docker(dockerOptions(t))
	if !volumes(t, c.Open(t)) {
		return // a watched folder counts in the blocks of the machine's disk
	}
	const disk = 16 << 20
	_, e := c.within(t, disk, "sh", "-c", "head -c 16777216 /dev/zero > a && sleep 1")
	assert.Zero(t, e.Code, e.Detail)
	_, e = c.within(t, disk, "sh", "-c", "i=0; while [ $i -lt 10000 ]; do echo $i > f$i || exit 1; i=$((i+1)); done")
	assert.Zero(t, e.Code, e.Detail)
}

func TestAnImageOfAHundredLayersIsPulledAndRuns(t *testing.T) {
	t.Parallel()
	o := dockerOptions(t)
	c := docker(o)
	ref := testkit.Registry(t, o.Host).Host + "/a/layers:1"
	task := c.task(t, "exit 3")
	task.Image = ref + "@" + testkit.PushLayers(t, o.Host, o.Image, ref, 99)
	rt := c.Open(t)
	var last daemon.Progress
	require.NoError(t, rt.Prepare(t.Context(), task, func(p daemon.Progress) { last = p }))
	assert.Equal(t, "pulling", last.Phase)
	assert.Positive(t, last.Total)
	assert.Equal(t, last.Total, last.Done)
	run, err := rt.Start(t.Context(), task)
	require.NoError(t, err)
	exit, err := run.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 3, exit.Code)
	require.NoError(t, run.Cleanup())
}

func process(o runtime.Options) func(t *testing.T) runtime.Machine {
	return func(t *testing.T) runtime.Machine {
		own := o
		own.Dir = t.TempDir()
		r, err := runtime.NewProcess(t.Context(), own)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		return r
	}
}

func docker(o runtime.DockerOptions) RuntimeCase {
	var folders sync.Map // *runtime.Docker → its folder
	open := func(t *testing.T, dir string) runtime.Machine {
		own := o
		own.Dir = dir
		r, err := runtime.NewDocker(t.Context(), own)
		require.NoError(t, err)
		t.Cleanup(func() { _ = r.Close() }) // Again may have closed it
		folders.Store(r, dir)
		return r
	}
	return RuntimeCase{
		Open: func(t *testing.T) runtime.Machine { return open(t, testkit.Dir(t)) },
		Again: func(t *testing.T, dead runtime.Machine) runtime.Machine {
			require.NoError(t, dead.(*runtime.Docker).Close())
			dir, _ := folders.Load(dead)
			return open(t, dir.(string))
		},
		Command: shell,
	}
}

// shell translates a script of the simulated runtime for /bin/sh.
func shell(script ...string) []string {
	lines := []string{"exec 2>/dev/null"}
	for _, step := range script {
		verb, args, _ := strings.Cut(step, " ")
		lines = append(lines, shellStep(verb, args))
	}
	return []string{"sh", "-c", strings.Join(lines, "\n")}
}

func shellStep(verb, args string) string {
	first, second, _ := strings.Cut(args, " ")
	switch verb {
	case "log":
		return fmt.Sprintf("printf '%%s\\n' '%s'", args)
	case "bytes":
		return "seq 1 99999999 | head -c " + args
	case "environ":
		return "cat /proc/$$/environ | tr '\\0' '\\n'" // a shell may become its last command, and then there is nothing to read
	case "cwd":
		return "pwd"
	case "cat":
		return "cat " + args
	case "write":
		return fmt.Sprintf("mkdir -p \"$(dirname %s)\"; head -c %s /dev/zero > %s || exit 1", first, second, first)
	case "wait":
		d, _ := time.ParseDuration(args)
		return fmt.Sprintf("sleep %f", d.Seconds())
	case "memory":
		return fmt.Sprintf("head -c %s /dev/zero | tail > /dev/null || exit 1", args)
	case "ignore-term":
		return "trap '' TERM"
	case "hang":
		return "sleep 100000"
	case "exit":
		return "exit " + args
	case "signal":
		return "kill -" + args + " $$"
	}
	return "exit 99"
}
