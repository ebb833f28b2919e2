package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// onSmallDisk starts a program for which a folder of the cluster is a small disk, with
// what lay in the folder before. It gives the folder as others see it.
func (c *Cluster) onSmallDisk(folder string, size int, cmd *exec.Cmd) (running *exec.Cmd, seen string) {
	c.t.Helper()
	testkit.Need(c.t, servers.Bubblewrap)
	dir := filepath.Join(c.dir, folder)
	require.NoError(c.t, os.MkdirAll(dir, 0o700))
	before := dir + ".before"
	require.NoError(c.t, os.Rename(dir, before))
	require.NoError(c.t, os.Mkdir(dir, 0o700))
	bwrap, err := exec.LookPath("bwrap")
	require.NoError(c.t, err)
	cmd.Args = append([]string{
		"bwrap", "--dev-bind", "/", "/", "--perms", "0700", "--size", fmt.Sprint(size), "--tmpfs", dir, "--die-with-parent", "--",
		"sh", "-c", `cp -a "$1/." "$2" && shift 2 && exec "$@"`, "small", before, dir, cmd.Path,
	}, cmd.Args[1:]...)
	cmd.Path = bwrap
	running = c.launch(cmd)
	pid := running.Process.Pid
	require.Eventually(c.t, func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || len(strings.Fields(string(children))) != 1 {
			return false
		}
		seen = filepath.Join("/proc", strings.TrimSpace(string(children)), "root", dir)
		var disk unix.Statfs_t
		return unix.Statfs(seen, &disk) == nil && disk.Type == unix.TMPFS_MAGIC && disk.Blocks*uint64(disk.Bsize) <= uint64(size)+8192
	}, 20*time.Second, interval)
	return running, seen
}

// fill leaves no room on a small disk until what it gives is called.
func fill(t *testing.T, dir string) (room func()) {
	t.Helper()
	path := filepath.Join(dir, "fill")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

func TestAnAgentWhoseDiskIsFullGivesTheJobToAnother(t *testing.T) {
	t.Parallel()
	c, u := market(t, Profile{}, patient)
	c.Enrol(u, "box", "simulated", 1)
	agent := c.command("peergpu-agent", "run")
	agent.Env = append(agent.Env, "PEERGPU_AGENT_HOME="+filepath.Join(c.dir, "box"))
	c.agents["box"], _ = c.onSmallDisk("box", 2<<20, agent)
	require.Eventually(t, func() bool { return u.online("box") }, 20*time.Second, interval)
	id := c.Submit(u, []string{"simulate", "log begun", "wait 2s", "burst 400000", "hang"}, oneGPU())
	u.Await(id, func(j job) bool { return j.Log.Bytes > 0 })
	c.Agent(u, "spare", "simulated", 1)
	j := u.Await(id, func(j job) bool { return j.Attempt > 1 && j.Log.Bytes > 4_000_000 })
	_, events := u.Try(http.MethodGet, "/api/jobs/"+id+"/events", nil)
	assert.Contains(t, string(events), `"host_error"`)
	_, log := u.Try(http.MethodGet, "/api/jobs/"+id+"/logs?attempt=1", nil)
	assert.Contains(t, string(log), "\n[truncated ", "the cut is marked")
	assert.Equal(t, "running", j.State, "it runs where there is room")
	u.Call(http.MethodPost, "/api/jobs/"+id+"/cancel", nil, nil)
	u.Await(id, job.over)

	// The folder of the attempt is gone, and there is room again.
	c.KillAgent("spare")
	again := c.Submit(u, []string{"simulate", "burst 1000"}, oneGPU())
	assert.Equal(t, "succeeded", u.Await(again, job.over).State)
	c.Sound(invariants.World{Acknowledged: []string{id, again}})
}

func TestAJobThatFailsBecauseTheHostsDiskIsFullGoesToAnother(t *testing.T) {
	t.Parallel()
	c, u := market(t, Profile{}, patient)
	c.Enrol(u, "box", "process", 1, plain()...)
	agent := c.command("peergpu-agent", "run")
	agent.Env = append(agent.Env, "PEERGPU_AGENT_HOME="+filepath.Join(c.dir, "box"))
	running, disk := c.onSmallDisk("box", 24<<20, agent)
	c.agents["box"] = running
	require.Eventually(t, func() bool { return u.online("box") }, 20*time.Second, interval)
	gate := filepath.Join(t.TempDir(), "open")
	id := c.Submit(u, []string{"sh", "-c", "mkdir -p outputs; while [ ! -e " + gate + " ]; do sleep 0.02; done; " +
		"sleep 0.1; head -c 4000000 /dev/zero >outputs/large 2>/dev/null && echo done || exit 7"}, map[string]any{"gpus": 1, "disk_mb": 8})
	u.Await(id, func(j job) bool { return j.State == "running" })
	c.Agent(u, "spare", "process", 1, plain()...)
	fill(t, disk)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	j := u.Await(id, job.over)
	assert.Equal(t, "succeeded", j.State, j.Reason)
	assert.Equal(t, 2, j.Attempt)
	_, events := u.Try(http.MethodGet, "/api/jobs/"+id+"/events", nil)
	assert.Contains(t, string(events), "the host's disk is full")
	u.settled(id)
	c.Sound(invariants.World{Acknowledged: []string{id}})
}

// A container has the disk that it was promised although others fill up what is left of it.
func TestAContainerKeepsItsDiskWhenTheHostsIsFull(t *testing.T) {
	t.Parallel()
	host, image := testkit.Docker(t)
	c, u := market(t, Profile{}, patient)
	c.Enrol(u, "box", "docker", 1, fmt.Sprintf("docker: {host: %q, image: %q}", host, image))
	// The engine has to see it too, so that this is done where it runs.
	box := filepath.Join(c.dir, "box")
	before := box + ".before"
	require.NoError(t, os.Rename(box, before))
	require.NoError(t, os.Mkdir(box, 0o700))
	require.NoError(t, unix.Mount("tmpfs", box, "tmpfs", 0, "size=64m,mode=0700"))
	require.NoError(t, os.CopyFS(box, os.DirFS(before)))
	require.NoError(t, os.Chmod(filepath.Join(box, "key.pem"), 0o600))
	c.StartAgent("box")
	require.Eventually(t, func() bool { return u.online("box") }, patience, interval)
	id := c.Submit(u, []string{"sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; mkdir outputs; head -c 6000000 /dev/zero > outputs/a"},
		map[string]any{"gpus": 1, "disk_mb": 8})
	u.Await(id, func(j job) bool { return j.State == "running" })
	assert.Equal(t, testkit.Volumes(), slices.Contains(c.mounts(), filepath.Join(box, "attempts", id+"-1", "work")))
	room := fill(t, box)
	require.NoError(t, os.WriteFile(filepath.Join(box, "attempts", id+"-1", "work", "go"), nil, 0o600))
	j := u.Await(id, job.over)
	if testkit.Volumes() {
		assert.Equal(t, 1, j.Attempt)
		assert.Equal(t, "succeeded", j.State, j.Reason)
		assert.Len(t, u.results(id)["outputs/a"], 6_000_000)
	}
	room()
	again := u.Await(c.Submit(u, []string{"echo", "well"}, map[string]any{"gpus": 1, "disk_mb": 8}), job.over)
	assert.Equal(t, "succeeded", again.State, again.Reason)
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}

func TestAServerWhoseDiskIsFullSaysSoAndRecovers(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, Embedded, patient)
	server, data := c.onSmallDisk("data", 24<<20, c.command("peergpu", "serve"))
	c.proc = server
	c.awaitReady()
	u := c.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 100_000_000}, nil)
	c.Agent(u, "box", "simulated", 1)
	running := c.Submit(u, []string{"simulate", "burst 1000", "wait 3s", "burst 1000", "write outputs/a 100000"}, oneGPU())
	u.Await(running, func(j job) bool { return j.Log.Bytes > 0 })

	room := fill(t, data)
	spec := map[string]any{
		"name": "no room", "command": []string{"simulate", "log " + strings.Repeat("x", 8000)}, "needs": oneGPU(),
		"limits": map[string]any{"max_runtime_s": 120, "max_cost_micros": 1_000_000},
	}
	require.Eventually(t, func() bool {
		status, answer := u.Try(http.MethodPost, "/api/jobs", spec)
		if status < 300 {
			return false // what was free within the database's own pages is used up first
		}
		assert.Equal(t, http.StatusServiceUnavailable, status, string(answer))
		assert.Contains(t, string(answer), `"code":"disk_full"`)
		return true
	}, 30*time.Second, time.Millisecond)
	status, answer := u.withBundle(spec, map[string]string{"data": strings.Repeat("\x00", 1<<20)})
	assert.Equal(t, http.StatusServiceUnavailable, status, string(answer))
	assert.Contains(t, string(answer), `"code":"disk_full"`)
	room()
	assert.Equal(t, "succeeded", u.Await(running, job.over).State)
	after := c.Submit(u, []string{"simulate", "wait 50ms", "burst 1000", "write outputs/a 100000"}, oneGPU())
	assert.Equal(t, "succeeded", u.Await(after, job.over).State)
	assert.Equal(t, 1, u.Job(running).Attempt)
	u.settled(after)
	// SQLite finds no file behind a link out of this world, so it gets a copy.
	copied := filepath.Join(t.TempDir(), "data")
	w := invariants.World{
		Database: "sqlite://" + filepath.Join(copied, "peergpu.db"), Blobs: filepath.Join(copied, "blobs"),
		Acknowledged: []string{uuidOf(running), uuidOf(after)},
	}
	if !assert.Eventually(t, func() bool {
		err := errors.Join(os.RemoveAll(copied), os.CopyFS(copied, os.DirFS(data)))
		found, unread := invariants.Find(t.Context(), w)
		return err == nil && unread == nil && len(found) == 0
	}, 20*time.Second, interval) {
		invariants.Clean(t, w)
	}
}

// settled waits until a job's money is where it belongs.
func (u *User) settled(job string) {
	u.c.t.Helper()
	require.EventuallyWithT(u.c.t, func(t *assert.CollectT) {
		_, statement := u.Try(http.MethodGet, "/api/jobs/"+job+"/statement", nil)
		assert.Contains(t, string(statement), `"settled"`)
	}, 20*time.Second, interval)
}
