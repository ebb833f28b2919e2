package e2e

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/fleet"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

// replicas are servers with one database and one Redis, and what stands before them.
type replicas struct {
	*Cluster // the one that users reach: its URL is the balancer's
	servers  []*Cluster
}

// newReplicas starts so many servers behind a balancer that gives each connection to the
// next of them that takes it, and knows nothing of sessions.
func newReplicas(t *testing.T, n int, env ...string) *replicas {
	t.Helper()
	l := testkit.Listen(t)
	front := "http://" + l.Addr().String()
	shared := NewCluster(t, Shared(t), append([]string{
		"PEERGPU_PUBLIC_URL=" + front, "PEERGPU_AGENTS_PER_SECOND=0",
	}, env...)...)
	r := &replicas{Cluster: shared}
	for range n {
		r.servers = append(r.servers, shared.beside(t))
	}
	for _, s := range r.servers {
		s.Start()
	}
	shared.URL = front
	balance(t, l, r.servers)
	return r
}

// beside is another server with the same database, files and keys.
func (c *Cluster) beside(t *testing.T) *Cluster {
	t.Helper()
	other := *c
	l := testkit.Listen(t)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	other.env = append(append([]string{}, c.env...), "PEERGPU_LISTEN="+address, "PEERGPU_DATA="+testkit.Dir(t))
	other.URL, other.proc, other.agents, other.gone = "http://"+address, nil, nil, map[*exec.Cmd]<-chan struct{}{}
	t.Cleanup(other.Kill)
	return &other
}

// balance hands connections on, each to the next server that takes it.
func balance(t *testing.T, l net.Listener, servers []*Cluster) {
	t.Helper()
	var next atomic.Int64
	var open sync.Map
	var all sync.WaitGroup
	hand := func(in net.Conn) {
		defer in.Close()
		for range servers {
			s := servers[int(next.Add(1))%len(servers)]
			out, err := net.Dial("tcp", s.URL[len("http://"):])
			if err != nil {
				continue
			}
			open.Store(out, nil)
			defer open.Delete(out)
			both := make(chan struct{}, 2)
			pipe := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				both <- struct{}{}
			}
			go pipe(out, in)
			go pipe(in, out)
			<-both // one end of it is the end
			_ = out.Close()
			_ = in.Close()
			<-both
			return
		}
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { hand(in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Range(func(out, _ any) bool {
			_ = out.(net.Conn).Close()
			return true
		})
		all.Wait()
	})
}

// The three replicas have 20 hosts between them. Jobs are submitted and read through the
// balancer, and so the replica that takes a job is mostly not the one that its host is
// connected to, and another one shows its log.
func TestThreeReplicasOfWhichOneIsKilledRunEveryJobOnce(t *testing.T) {
	t.Parallel()
	const hosts, jobs = 20, 200
	// What a submit had set aside when its replica died is free after five leases.
	r := newReplicas(t, 3, "PEERGPU_LEASE_TTL=2s")
	u := r.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
	// A quarter of the jobs end. The next ones run when the replica is killed, and the others
	// wait.
	var begun atomic.Int64
	reached, killed := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(killed) })
	f, err := fleet.Start(t.Context(), fleet.Options{
		URL: r.URL, Owner: u.Token(), Name: "box", Count: hosts,
		Run: func(a *fleet.Attempt) {
			a.Print([]byte("begun\n"))
			switch n := begun.Add(1); {
			case n == jobs/4+hosts: // all of them are busy
				close(reached)
				fallthrough
			case n > jobs/4:
				<-killed
			}
			a.Print([]byte("ended\n"))
		},
	})
	require.NoError(t, err)
	t.Cleanup(f.Stop)
	t.Cleanup(goOn)
	require.Eventually(t, func() bool { return f.Online() == hosts }, time.Minute, 10*time.Millisecond)

	submitted := make([]job, jobs)
	var submitting sync.WaitGroup
	for part := range 4 {
		submitting.Go(func() {
			for i := part; i < jobs; i += 4 {
				r.submit(t, u, &submitted[i], fmt.Sprintf("job-%d", i))
			}
		})
	}
	<-reached
	r.servers[1].Kill()
	gone := time.Now()
	goOn()
	require.Eventually(t, func() bool { return f.Online() < hosts }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return f.Online() == hosts }, 10*time.Second, 5*time.Millisecond)
	t.Logf("all hosts were back %s after a replica was killed", time.Since(gone).Round(time.Millisecond))
	submitting.Wait()

	r.once(t, u, f, submitted)
}

// submit sends a job until it is taken, with one key: a replica may die with the request in
// its hands.
func (r *replicas) submit(t *testing.T, u *User, j *job, key string) {
	t.Helper()
	spec, err := json.Marshal(map[string]any{
		"command": []string{"anything"}, "limits": map[string]any{"max_runtime_s": 600, "max_cost_micros": 100_000},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+"/api/jobs", bytes.NewReader(spec))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+u.token)
		req.Header.Set("Idempotency-Key", key)
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode < 300 && json.NewDecoder(answer.Body).Decode(j) == nil
	}, 30*time.Second, 10*time.Millisecond)
}

// A thousand agents, and two hundred jobs that run all the while: first a replica is killed
// and started again, then each is restarted as for an upgrade.
func TestReplicasAreKilledAndRestartedUnderAThousandAgents(t *testing.T) {
	t.Parallel()
	const jobs = 200
	r := newReplicas(t, 3, "PEERGPU_LEASE_TTL=10s")
	u := r.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 200_000_000}, nil)
	f, end := holding(t, u, stormAgents)
	all := func() bool { return f.Online() == stormAgents }
	running := make([]job, jobs)
	for i := range running {
		r.submit(t, u, &running[i], fmt.Sprintf("job-%d", i))
	}
	require.Eventually(t, func() bool { return len(f.Runs()) == jobs }, 30*time.Second, 10*time.Millisecond)

	r.servers[0].Kill()
	gone := time.Now()
	require.Eventually(t, all, back, 5*time.Millisecond)
	t.Logf("killed: %d agents were there %s later", stormAgents, time.Since(gone).Round(10*time.Millisecond))
	r.servers[0].Start()
	for i, s := range r.servers {
		require.Zero(t, s.Stop(), "it stops cleanly")
		s.Start()
		ready := time.Now()
		require.Eventually(t, all, back, 5*time.Millisecond)
		t.Logf("restarted %d: all were there %s after it was ready", i, time.Since(ready).Round(10*time.Millisecond))
	}
	end()
	require.Eventually(t, func() bool { return f.Finished() == jobs }, time.Minute, 10*time.Millisecond)
	r.once(t, u, f, running)
}

// once checks that each job ran once and is whole: its log, its money, the books.
func (r *replicas) once(t *testing.T, u *User, f *fleet.Fleet, all []job) {
	t.Helper()
	sum, w := sha256.Sum256([]byte("begun\nended\n")), invariants.World{Logs: map[string]string{}, Swept: invariants.Later}
	for _, j := range all {
		require.Eventually(t, func() bool {
			u.Call(http.MethodGet, "/api/jobs/"+j.ID, nil, &j)
			return j.State == "succeeded"
		}, 30*time.Second, 10*time.Millisecond, j.ID)
		assert.Equal(t, 1, j.Attempt, "it was never lost")
		assert.Equal(t, 1, f.Runs()[j.ID], j.ID)
		w.Acknowledged = append(w.Acknowledged, j.ID)
		w.Logs[uuidOf(j.ID)] = hex.EncodeToString(sum[:])
	}
	r.Sound(w)
}

// What happens to Redis while jobs run costs nothing but time.
func TestNothingIsLostWithRedis(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	r := newReplicas(t, 2, "PEERGPU_LEASE_TTL=10s", "PEERGPU_EVENTS="+server.URL)
	u := r.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
	const hosts, jobs = 10, 20
	gate := make(chan struct{})
	f, err := fleet.Start(t.Context(), fleet.Options{
		URL: r.URL, Owner: u.Token(), Name: "box", Count: hosts,
		Run: func(a *fleet.Attempt) {
			a.Print([]byte("begun\n"))
			<-gate
			a.Print([]byte("ended\n"))
		},
	})
	require.NoError(t, err)
	t.Cleanup(f.Stop)
	require.Eventually(t, func() bool { return f.Online() == hosts }, time.Minute, 10*time.Millisecond)
	var all []job
	for name, mishap := range map[string]func(meanwhile func()){
		"killed": func(meanwhile func()) {
			require.NoError(t, server.Down())
			meanwhile()
			require.NoError(t, server.Up(t.Context()))
		},
		"silent": func(meanwhile func()) {
			require.NoError(t, server.Freeze())
			meanwhile()
			require.NoError(t, server.Thaw())
		},
		"flushed": func(meanwhile func()) {
			require.NoError(t, server.Flush(t.Context()))
			meanwhile()
			require.NoError(t, server.Flush(t.Context()))
		},
	} {
		these := make([]job, jobs)
		finished := f.Finished()
		for i := range these[:jobs/2] {
			r.submit(t, u, &these[i], fmt.Sprintf("%s-%d", name, i))
		}
		mishap(func() {
			for i := range these[jobs/2:] {
				r.submit(t, u, &these[jobs/2+i], fmt.Sprintf("%s-%d", name, jobs/2+i))
			}
			for range jobs {
				gate <- struct{}{}
			}
			require.Eventually(t, func() bool { return f.Finished() == finished+jobs }, time.Minute, 10*time.Millisecond, name)
		})
		all = append(all, these...)
	}
	r.once(t, u, f, all)
}

// A host is connected to one replica, its job was submitted to another, and a browser sees
// its log at the third, with a ticket of the second.
func TestAJobIsSeenAtAnotherReplicaThanItWasSubmittedToAndRunsAt(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, "PEERGPU_LEASE_TTL=10s")
	ada := r.User("ada")
	ada.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
	lines := make(chan string)
	over := sync.OnceFunc(func() { close(lines) })
	f, err := fleet.Start(t.Context(), fleet.Options{
		URL: r.servers[0].URL, Owner: ada.Token(), Name: "box", Count: 1,
		Run: func(a *fleet.Attempt) {
			for line := range lines {
				a.Print([]byte(line))
			}
		},
	})
	require.NoError(t, err)
	t.Cleanup(f.Stop)
	t.Cleanup(over)
	require.Eventually(t, func() bool { return f.Online() == 1 }, 10*time.Second, time.Millisecond)

	second := &User{c: r.servers[1], token: ada.token}
	var j job
	second.Call(http.MethodPost, "/api/jobs", map[string]any{
		"command": []string{"anything"}, "limits": map[string]any{"max_runtime_s": 600, "max_cost_micros": 1_000_000},
	}, &j)
	var ticket struct{ Protocols []string }
	second.Call(http.MethodPost, "/api/ws-tickets", map[string]any{"job_id": j.ID}, &ticket)
	dialer := websocket.Dialer{Subprotocols: ticket.Protocols}
	socket := strings.Replace(r.servers[2].URL, "http", "ws", 1) + "/ws/job/" + j.ID
	conn, resp, err := dialer.Dial(socket, nil)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, resp.Body.Close())
	_, resp, err = dialer.Dial(socket, nil)
	require.ErrorIs(t, err, websocket.ErrBadHandshake, "a ticket is good once, wherever")
	require.NoError(t, resp.Body.Close())

	var log []byte
	state := ""
	next := func() {
		t.Helper()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		kind, data, err := conn.ReadMessage()
		require.NoError(t, err)
		if kind == websocket.BinaryMessage {
			log = append(log, data[16:]...) // after its offset and its time
			return
		}
		var frame struct{ Job struct{ State string } }
		require.NoError(t, json.Unmarshal(data, &frame))
		state = cmp.Or(frame.Job.State, state)
	}
	want := ""
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		lines <- line
		want += line
		for string(log) != want {
			next()
		}
		assert.NotEqual(t, "succeeded", state, "the next line is printed when this one was seen")
	}
	over()
	for state != "succeeded" {
		next()
	}
	assert.Equal(t, want, string(log))
}
