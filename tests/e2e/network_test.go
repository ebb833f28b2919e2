package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// lease is the lease of these tests: an agent stops its jobs after 4 s, its watchdog kills
// them after 4.5 s, the server gives them away after 5 s.
const lease = time.Second

// patient is for jobs that have to survive: an agent may take five seconds before it
// comes back, and several tries.
const patient = "PEERGPU_LEASE_TTL=4s"

// market starts a server with a user who has money.
func market(t *testing.T, p Profile, env ...string) (*Cluster, *User) {
	t.Helper()
	c := NewCluster(t, p, append([]string{"PEERGPU_LEASE_TTL=" + lease.String()}, env...)...)
	c.Start()
	u := c.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 100_000_000}, nil)
	return c, u
}

// plain is an agent that runs its owner's jobs as they are.
func plain(more ...string) []string { return append(more, "trusted: true", "unsandboxed: true") }

func oneGPU() map[string]any { return map[string]any{"gpus": 1} }

// runsNow waits until the job itself says so.
func (w *Witness) runsNow(processes int) {
	w.c.t.Helper()
	require.Eventually(w.c.t, func() bool { return len(w.Runs()) == processes }, 30*time.Second, 10*time.Millisecond)
}

func TestAPartitionCostsAnAttemptOnlyOnceTheJobRunsElsewhere(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]struct {
		lease    string
		until    func(c *Cluster, u *User, w *Witness)
		attempts int
	}{
		"shorter than the lease": {patient, func(_ *Cluster, _ *User, w *Witness) { w.goesOnFor(lease) }, 1},
		"longer than the lease": {patient, func(c *Cluster, u *User, w *Witness) {
			require.Eventually(c.t, func() bool { return !u.online("box") }, 20*time.Second, 20*time.Millisecond)
			assert.Equal(c.t, 1, u.Job(w.id).Attempt)
		}, 1},
		"longer than the server waits": {"PEERGPU_LEASE_TTL=1s", func(_ *Cluster, u *User, w *Witness) {
			u.Await(w.id, func(j job) bool { return j.Attempt == 2 })
			w.runsNow(2)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, u := market(t, Profile{}, p.lease)
			link := c.Link()
			c.Agent(u, "box", "process", 1, plain("server: "+link.URL)...)
			w := c.Witness(u, oneGPU())
			w.runsNow(1)
			c.Agent(u, "spare", "process", 1, plain()...)
			link.Cut()
			p.until(c, u, w)
			link.Heal()
			require.Eventually(t, func() bool { return u.online("box") }, 40*time.Second, 20*time.Millisecond)
			w.Release()
			w.Succeeded(p.attempts)
		})
	}
}

// goesOnFor waits until the job has been seen to run for so long.
func (w *Witness) goesOnFor(d time.Duration) {
	w.c.t.Helper()
	seen := func() time.Time { runs := w.Runs(); return runs[len(runs)-1].To }
	began := seen()
	require.Eventually(w.c.t, func() bool { return seen().Sub(began) >= d }, 30*time.Second, 10*time.Millisecond)
}

func TestABadLinkCostsNoByteAndNoAttempt(t *testing.T) {
	t.Parallel()
	again := func(l *Link, w *Witness, direction, kind string, attributes map[string]any) {
		for range 3 {
			l.Disturb(direction, kind, attributes)
			w.goesOnFor(200 * time.Millisecond)
			l.Heal()
			w.goesOnFor(200 * time.Millisecond)
		}
	}
	for name, disturb := range map[string]func(*Link, *User, *Witness){
		"connections are reset": func(l *Link, _ *User, w *Witness) {
			again(l, w, "upstream", "reset_peer", map[string]any{"timeout": 0})
		},
		"connections end in the middle of a frame": func(l *Link, _ *User, w *Witness) {
			again(l, w, "upstream", "limit_data", map[string]any{"bytes": 1237})
		},
		"answers end in the middle of a frame": func(l *Link, _ *User, w *Witness) {
			again(l, w, "downstream", "limit_data", map[string]any{"bytes": 611})
		},
		"it is slow, and frames come in pieces": func(l *Link, _ *User, w *Witness) {
			for _, direction := range []string{"upstream", "downstream"} {
				l.Disturb(direction, "latency", map[string]any{"latency": 150, "jitter": 100})
				l.Disturb(direction, "bandwidth", map[string]any{"rate": 64})
				l.Disturb(direction, "slicer", map[string]any{"average_size": 7, "size_variation": 3, "delay": 100})
			}
			w.goesOnFor(3 * lease)
		},
		"the server hears nothing": func(l *Link, u *User, _ *Witness) {
			l.Disturb("upstream", "timeout", map[string]any{"timeout": 0})
			require.Eventually(l.t, func() bool { return !u.online("box") }, 20*time.Second, 20*time.Millisecond)
		},
		"the agent hears nothing": func(l *Link, u *User, _ *Witness) {
			l.Disturb("downstream", "timeout", map[string]any{"timeout": 0})
			require.Eventually(l.t, func() bool { return !u.online("box") }, 20*time.Second, 20*time.Millisecond, "the agent leaves a server that does not answer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, u := market(t, Profile{}, patient)
			link := c.Link()
			c.Agent(u, "box", "process", 1, plain("server: "+link.URL)...)
			w := c.Witness(u, oneGPU())
			w.runsNow(1)
			disturb(link, u, w)
			w.Release() // the end and the result have to come through, too
			link.Heal()
			w.Succeeded(1)
		})
	}
}

func TestTheWatchdogKillsTheJobsOfAStoppedAgentBeforeTheyRunElsewhere(t *testing.T) {
	t.Parallel()
	c, u := market(t, Profile{})
	box := c.Agent(u, "box", "process", 1, plain()...)
	w := c.Witness(u, oneGPU())
	w.runsNow(1)
	c.Agent(u, "spare", "process", 1, plain()...)
	require.NoError(t, box.Signal(syscall.SIGSTOP))
	u.Await(w.id, func(j job) bool { return j.Attempt == 2 })
	w.runsNow(2)
	require.NoError(t, box.Signal(syscall.SIGCONT))
	// It comes back and tells of a run that is not wanted any more.
	require.Eventually(t, func() bool { return u.online("box") }, 40*time.Second, 20*time.Millisecond)
	assert.Equal(t, 2, u.Job(w.id).Attempt)
	w.Release()
	w.Succeeded(2)
}

func TestTheWatchdogKillsASandboxWithTheTimeThatIsItsOwn(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Bubblewrap)
	c, u := market(t, Profile{})
	box := c.Agent(u, "box", "process", 1)
	mark := "marked-" + strings.ReplaceAll(strings.TrimPrefix(c.URL, "http://127.0.0.1:"), ":", "-")
	id := c.Submit(u, []string{"sh", "-c", "echo started; while :; do sleep 0.1; done", mark}, oneGPU())
	u.Await(id, func(j job) bool { return j.Log.Bytes > 0 })
	require.NotEmpty(t, testkit.Processes(mark))
	require.NoError(t, box.Signal(syscall.SIGSTOP))
	var alive time.Time
	require.Eventually(t, func() bool {
		now := time.Now()
		if len(testkit.Processes(mark)) == 0 {
			return true
		}
		alive = now
		return false
	}, 20*time.Second, 5*time.Millisecond)
	j := u.Await(id, func(j job) bool { return j.State == "queued" })
	assert.Equal(t, 1, j.Attempt)
	assert.True(t, j.QueuedAt.After(alive), "the server gave it away at %s, while it ran, at %s", j.QueuedAt, alive)
	require.NoError(t, box.Signal(syscall.SIGCONT))
	u.Await(id, func(j job) bool { return j.Attempt == 2 && j.State == "running" })
	u.Call(http.MethodPost, "/api/jobs/"+id+"/cancel", nil, nil)
	u.Await(id, job.over)
	c.Sound(invariants.World{Acknowledged: []string{id}})
}
