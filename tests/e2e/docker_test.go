package e2e

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// inContainers is a marketplace with one host that runs jobs in containers of an engine.
func inContainers(t *testing.T, host, image string) (*Cluster, *User) {
	t.Helper()
	c := NewCluster(t, Profile{})
	c.Start()
	u := c.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 100_000_000}, nil)
	c.Agent(u, "box", "docker", 2, fmt.Sprintf("docker: {host: %q, image: %q}", host, image))
	return c, u
}

// lines prints a line every 20 ms.
func lines(n int) (command []string, printed string) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return []string{"sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); sleep 0.02; done", n)}, b.String()
}

// log is what the server has of a job's log.
func (u *User) log(id string) string {
	u.c.t.Helper()
	status, body := u.Try(http.MethodGet, "/api/jobs/"+id+"/logs", nil)
	require.Equal(u.c.t, http.StatusOK, status, string(body))
	return string(body)
}

func TestJobsRunInContainers(t *testing.T) {
	t.Parallel()
	c, u := inContainers(t, first(testkit.Docker(t)), second(testkit.Docker(t)))
	cases := map[string]struct {
		script string
		needs  map[string]any
		limits map[string]any
		state  string
		reason string
		log    string
	}{
		"one that does well":          {script: "echo hello; mkdir outputs; echo result > outputs/a", state: "succeeded", log: "hello\n"},
		"one that fails":              {script: "echo no >&2; exit 3", state: "failed", reason: "exit_code", log: "no\n"},
		"one that needs more memory":  {script: "head -c 300000000 /dev/zero | tail >/dev/null", needs: map[string]any{"memory_mb": 64}, state: "failed", reason: "out_of_memory"},
		"one that runs too long":      {script: "sleep 1000", limits: map[string]any{"max_runtime_s": 1}, state: "failed", reason: "timeout"},
		"one that fills its disk":     {script: "while head -c 1000000 /dev/zero >> big; do :; done; sleep 1000", needs: map[string]any{"disk_mb": 5}, state: "failed", reason: "disk_full"},
		"one without its command":     {script: "", state: "failed", reason: "command_not_found"},
		"one that forks without end":  {script: `f() { f | f & }; f & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 4`, state: "failed", reason: "too_many_processes"},
		"one that forks, and copes":   {script: `f() { f | f & }; f & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 0`, state: "succeeded"},
		"one that ignores to be told": {script: "trap '' TERM; while :; do sleep 1; done", limits: map[string]any{"max_runtime_s": 1}, state: "failed", reason: "timeout"},
		"one that leaves a link":      {script: "mkdir outputs; ln -s /etc/shadow outputs/shadow; echo done", state: "succeeded", log: "done\n"},
		"one that looks around": {
			script: "id -u; ls -A /; touch /x 2>&1; grep -c . /proc/net/dev; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; cat /proc/1/environ 2>&1; exit 0",
			state:  "succeeded",
		},
	}
	ids := map[string]string{}
	for name, want := range cases {
		command := []string{"sh", "-c", want.script}
		if want.script == "" {
			command = []string{"no-such-command"}
		}
		limits := map[string]any{"max_runtime_s": 60, "max_cost_micros": 1_000_000}
		maps.Copy(limits, want.limits)
		draft := map[string]any{"name": name, "command": command, "limits": limits}
		if want.needs != nil {
			draft["needs"] = want.needs
		}
		var j job
		u.Call(http.MethodPost, "/api/jobs", draft, &j)
		ids[name] = j.ID
	}
	for name, want := range cases {
		j := u.Await(ids[name], job.over)
		assert.Equal(t, want.state, j.State, "%s: %s", name, j.Reason)
		assert.Equal(t, want.reason, j.Reason, name)
		said := u.log(j.ID)
		if want.log != "" {
			assert.Equal(t, want.log, said, name)
		}
		if name == "one that looks around" {
			assert.Equal(t, "65534", strings.SplitN(said, "\n", 2)[0])
			assert.Contains(t, said, "touch: /x: Read-only file system")
			assert.Contains(t, said, "CapEff:\t0000000000000000")
			assert.Contains(t, said, "NoNewPrivs:\t1")
			assert.Contains(t, said, "Permission denied", "nor does it read the token of its entry")
		}
	}
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}

func first(a, _ string) string  { return a }
func second(_, b string) string { return b }

func TestAContainerThatPrintsPastItsLogCapIsCutAndRunsOn(t *testing.T) {
	t.Parallel()
	const most = 100_000
	host, image := testkit.Docker(t)
	c, u := market(t, Profile{}, patient, fmt.Sprintf("PEERGPU_LOG_BYTES=%d", most))
	c.Agent(u, "box", "docker", 1, fmt.Sprintf("docker: {host: %q, image: %q}", host, image))
	j := u.Await(c.Submit(u, []string{"sh", "-c", "seq 1000000; mkdir outputs; echo done > outputs/a"}, oneGPU()), job.over)
	assert.Equal(t, "succeeded", j.State, j.Reason)
	assert.Equal(t, map[string]string{"outputs/a": "done\n"}, u.results(j.ID))
	var all strings.Builder
	for i := 1; i <= 1_000_000; i++ {
		fmt.Fprintln(&all, i)
	}
	kept, cut, found := strings.Cut(u.log(j.ID), "\n[truncated ")
	require.True(t, found, "the cut is marked")
	assert.Len(t, kept, most)
	assert.True(t, strings.HasPrefix(all.String(), kept))
	assert.Equal(t, fmt.Sprintf("%d bytes]\n", all.Len()-most), cut)
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}

func TestAContainerOutlivesItsAgent(t *testing.T) {
	t.Parallel()
	host, image := testkit.Docker(t)
	for name, end := range map[string]func(c *Cluster){
		"that is killed": func(c *Cluster) { c.KillAgent("box") },
		"that is replaced": func(c *Cluster) {
			agent := c.agents["box"]
			_ = agent.Process.Signal(syscall.SIGHUP)
			<-c.gone[agent]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, u := inContainers(t, host, image)
			command, printed := lines(150)
			command[2] = "mkdir outputs; echo before > outputs/a; " + command[2] + "; echo after > outputs/b"
			id := c.Submit(u, command, map[string]any{})
			u.Await(id, func(j job) bool { return j.State == "running" && strings.Contains(u.log(id), "line 20\n") })
			end(c)
			c.StartAgent("box")
			j := u.Await(id, job.over)
			assert.Equal(t, "succeeded", j.State, j.Reason)
			assert.Equal(t, 1, j.Attempt, "it was not given to anybody else")
			assert.Equal(t, printed, u.log(id))
			assert.Equal(t, map[string]string{"outputs/a": "before\n", "outputs/b": "after\n"}, u.results(id))
			require.Eventually(t, func() bool { return len(c.mounts()) == 0 }, patience, interval, "its file system went with it")
			require.Zero(t, c.Stop())
			c.Sound(invariants.World{Swept: invariants.Later})
		})
	}
}

// mounts are the file systems of jobs that there are.
func (c *Cluster) mounts() []string {
	c.t.Helper()
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(c.dir))
	require.NoError(c.t, err)
	var list []string
	for _, m := range found {
		list = append(list, m.Mountpoint)
	}
	return list
}

// An agent of a mount namespace of its own, as many a systemd unit gives it, makes file
// systems that the engine does not see.
func TestAJobOfAnEngineThatSeesNoVolumesIsWatched(t *testing.T) {
	t.Parallel()
	host, image := testkit.Docker(t)
	registry := testkit.Registry(t, host).Host
	testkit.Push(t, host, image, registry+"/op/standard:1")
	for name, settings := range map[string]string{
		"found out when the agent starts": fmt.Sprintf("docker: {host: %q, image: %q}", host, image),
		"found out by a job":              fmt.Sprintf("docker: {host: %q}", host),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, u := market(t, Profile{}, patient, "PEERGPU_REGISTRIES=http://"+registry, "PEERGPU_IMAGES=default="+registry+"/op/standard:1")
			c.Enrol(u, "box", "docker", 1, settings)
			agent := c.command("peergpu-agent", "run")
			agent.Env = append(agent.Env, "PEERGPU_AGENT_HOME="+filepath.Join(c.dir, "box"))
			// Volumes of other tests would live on in it.
			const alone = `for m in $(grep -o "/tmp/peergpu[^ ]*/work" /proc/self/mountinfo); do umount -l "$m"; done; exec "$@"`
			agent.Args = append([]string{"unshare", "--mount", "--propagation", "private", "--", "sh", "-c", alone, "sh", agent.Path}, agent.Args[1:]...)
			unshare, err := exec.LookPath("unshare")
			require.NoError(t, err)
			agent.Path = unshare
			c.agents["box"] = c.launch(agent)
			require.Eventually(t, func() bool { return u.online("box") }, patience, interval)
			j := u.Await(c.Submit(u, []string{"sh", "-c", "mkdir outputs; echo 1 > outputs/a"}, oneGPU()), job.over)
			assert.Equal(t, "succeeded", j.State, j.Reason)
			assert.Equal(t, map[string]string{"outputs/a": "1\n"}, u.results(j.ID))
			fills := []string{"sh", "-c", "while head -c 1000000 /dev/zero >> big; do :; done; sleep 1000"}
			j = u.Await(c.Submit(u, fills, map[string]any{"gpus": 1, "disk_mb": 5}), job.over)
			assert.Equal(t, "disk_full", j.Reason, "it is watched")
			require.Zero(t, c.Stop())
			c.Sound(invariants.World{Swept: invariants.Later})
		})
	}
}

func TestAContainerThatNobodyComesBackForIsKilledAndRunsElsewhere(t *testing.T) {
	t.Parallel()
	host, image := testkit.Docker(t)
	c, u := inContainers(t, host, image)
	id := c.Submit(u, []string{"sh", "-c", "echo began; sleep 1000"}, map[string]any{})
	u.Await(id, func(j job) bool { return j.State == "running" && u.log(id) == "began\n" })
	c.KillAgent("box")
	u.Await(id, func(j job) bool { return j.State == "queued" })
	for _, left := range testkit.Processes(c.dir) {
		assert.NotContains(t, left, "entry", "its watchdog was quicker than the server")
	}
	u.Call(http.MethodPost, "/api/jobs/"+id+"/cancel", nil, nil)
	u.Await(id, job.over)
}

func TestAContainerOutlivesItsEngine(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.DockerEngine)
	engine, err := servers.StartDocker(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Stop()) })
	c, u := inContainers(t, engine.Host(), engine.Image)
	command, printed := lines(200)
	id := c.Submit(u, command, map[string]any{})
	u.Await(id, func(j job) bool { return j.State == "running" && strings.Contains(u.log(id), "line 20\n") })
	require.NoError(t, engine.Kill(t.Context()))
	require.NoError(t, engine.Start(t.Context()))
	j := u.Await(id, job.over)
	assert.Equal(t, "succeeded", j.State, j.Reason)
	assert.Equal(t, 1, j.Attempt)
	assert.Equal(t, printed, u.log(id))
	next := u.Await(c.Submit(u, []string{"echo", "well"}, map[string]any{}), job.over)
	assert.Equal(t, "succeeded", next.State, "the host goes on")
}

// hanging stands before an engine and can hang on removals until it is released.
func hanging(t *testing.T, engine string) (host string, hang, release func()) {
	t.Helper()
	socket := strings.TrimPrefix(engine, "unix://")
	released := make(chan struct{})
	var hangs atomic.Bool
	to, err := url.Parse("http://docker")
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0) // who gives up is expected to
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	path := filepath.Join(testkit.Dir(t), "docker.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete && hangs.Load() {
				select {
				case <-released:
				case <-r.Context().Done():
					return
				}
			}
			proxy.ServeHTTP(w, r)
		}),
	}}
	server.Start()
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(func() {
		release()
		server.CloseClientConnections()
		server.Close()
	})
	return "unix://" + path, func() { hangs.Store(true) }, release
}

func TestAnEngineThatHangsOnARemovalHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	engine := ownEngine(t)
	host, hang, release := hanging(t, engine.Host())
	c, u := inContainers(t, host, engine.Image)
	hang()
	for range 2 {
		j := u.Await(c.Submit(u, []string{"echo", "well"}, oneGPU()), job.over)
		assert.Equal(t, "succeeded", j.State, j.Reason)
		assert.Equal(t, 1, j.Attempt)
	}
	left := func(more ...string) int {
		ids, err := engine.Containers(t.Context(), more...)
		require.NoError(t, err)
		return len(ids)
	}
	assert.Equal(t, 2, left(), "nobody could remove them")
	require.Eventually(t, func() bool { return left("--filter", "status=running") == 0 }, patience, interval, "they end by themselves")
	c.KillAgent("box")
	require.Eventually(t, func() bool { return !u.online("box") }, patience, interval)
	c.StartAgent("box")
	require.Eventually(t, func() bool { return u.online("box") }, patience, interval, "what cannot be removed keeps no agent from starting")
	release()
	require.Eventually(t, func() bool { return left() == 0 }, patience, interval)
	assert.True(t, u.online("box"))
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}
