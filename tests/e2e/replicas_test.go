package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	shared := NewCluster(t, testkit.PostgresDatabase(t), append(env,
		"PEERGPU_EVENTS="+testkit.Redis(t), "PEERGPU_PUBLIC_URL="+front, "PEERGPU_AGENTS_PER_SECOND=0")...)
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
	other.env = append(append([]string{}, c.env...), "PEERGPU_LISTEN="+address, "PEERGPU_DATA="+testkit.Dir(t), "PEERGPU_BLOBS=file://"+filepath.Join(c.dir, "data", "blobs"))
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
	r := newReplicas(t, 3, "PEERGPU_LEASE_TTL=10s")
	u := r.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
	var midway sync.Once
	reached := make(chan struct{})
	var ran atomic.Int64
	f, err := fleet.Start(t.Context(), fleet.Options{
		URL: r.URL, Owner: u.Token(), Name: "box", Count: hosts,
		Run: func(a *fleet.Attempt) {
			a.Print([]byte("begun\n"))
			<-time.After(50 * time.Millisecond) // a job takes its time
			a.Print([]byte("ended\n"))
			if ran.Add(1) == jobs/4 {
				midway.Do(func() { close(reached) })
			}
		},
	})
	require.NoError(t, err)
	t.Cleanup(f.Stop)
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
	killed := r.servers[1]
	killed.Kill()
	gone := time.Now()
	require.Eventually(t, func() bool { return f.Online() == hosts }, 10*time.Second, 5*time.Millisecond)
	t.Logf("all hosts were back %s after a replica was killed", time.Since(gone).Round(time.Millisecond))
	submitting.Wait()
	require.Eventually(t, func() bool { return f.Finished() == jobs }, time.Minute, 10*time.Millisecond)

	sum, w := sha256.Sum256([]byte("begun\nended\n")), invariants.World{Logs: map[string]string{}}
	for _, j := range submitted {
		require.Eventually(t, func() bool {
			u.Call(http.MethodGet, "/api/jobs/"+j.ID, nil, &j)
			return j.State == "succeeded"
		}, 30*time.Second, 10*time.Millisecond, j.ID)
		assert.Equal(t, 1, j.Attempt)
		assert.Equal(t, 1, f.Runs()[j.ID], j.ID)
		w.Acknowledged = append(w.Acknowledged, j.ID)
		w.Logs[uuidOf(j.ID)] = hex.EncodeToString(sum[:])
	}
	r.Sound(w)
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
