package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/fleet"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

const (
	stormAgents = 1000
	stormJobs   = 20
	// back is within what time of the server's readiness every agent has to be back:
	// before jobs are given away. How fast it goes is what BenchmarkE3 measures.
	back = 40 * time.Second
	// stormMemory bounds what the server ever takes, in bytes: 60 MB with nobody, and
	// 100 KB for each agent while it comes back.
	stormMemory = 160 << 20
)

func TestAThousandAgentsComeBackAfterTheServerWasKilledAndAfterItRestarted(t *testing.T) {
	t.Parallel()
	for name, profile := range profiles {
		t.Run("on "+name, func(t *testing.T) {
			t.Parallel()
			c := NewCluster(t, profile(t), "PEERGPU_LEASE_TTL=10s")
			c.Start()
			u := c.User("ada")
			u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
			f, end := holding(t, u, stormAgents)
			all := func() bool { return f.Online() == stormAgents }
			jobs := make([]job, stormJobs)
			for i := range jobs {
				u.Call(http.MethodPost, "/api/jobs", map[string]any{
					"command": []string{"anything"}, "limits": map[string]any{"max_runtime_s": 600, "max_cost_micros": 1_000_000},
				}, &jobs[i])
			}
			require.Eventually(t, func() bool { return len(f.Runs()) == stormJobs }, 30*time.Second, 10*time.Millisecond)

			c.Kill()
			c.Start()
			ready := time.Now()
			require.Eventually(t, all, back, 10*time.Millisecond)
			t.Logf("killed: %d agents were back %s after the server was ready; it took at most %d MB", stormAgents,
				time.Since(ready).Round(10*time.Millisecond), c.Memory("VmHWM")>>20)
			assert.Less(t, c.Memory("VmHWM"), int64(stormMemory))

			require.Zero(t, c.Stop(), "the server stops cleanly")
			c.Start()
			ready = time.Now()
			require.Eventually(t, all, back, 10*time.Millisecond)
			t.Logf("restarted: %d agents were back %s after the server was ready; it took at most %d MB", stormAgents,
				time.Since(ready).Round(10*time.Millisecond), c.Memory("VmHWM")>>20)
			assert.Less(t, c.Memory("VmHWM"), int64(stormMemory))
			require.Eventually(t, func() bool { return u.onlineHosts() == stormAgents }, back, 100*time.Millisecond)

			end()
			require.Eventually(t, func() bool { return f.Finished() == stormJobs }, 30*time.Second, 10*time.Millisecond)
			for _, j := range jobs {
				u.Call(http.MethodGet, "/api/jobs/"+j.ID, nil, &j)
				assert.Equal(t, "succeeded", j.State, j.Reason)
				assert.Equal(t, 1, j.Attempt, "nobody was declared lost")
				assert.Equal(t, 1, f.Runs()[j.ID])
				_, log := u.Try(http.MethodGet, "/api/jobs/"+j.ID+"/logs", nil)
				assert.Equal(t, "begun\nended\n", string(log))
			}
			sum, w := sha256.Sum256([]byte("begun\nended\n")), invariants.World{Logs: map[string]string{}}
			for _, j := range jobs {
				w.Acknowledged = append(w.Acknowledged, j.ID)
				w.Logs[uuidOf(j.ID)] = hex.EncodeToString(sum[:])
			}
			c.Sound(w)
		})
	}
}

// holding starts so many agents and waits until they are online. Each job begins, and ends
// when end is called.
func holding(t *testing.T, u *User, count int) (f *fleet.Fleet, end func()) {
	t.Helper()
	release := make(chan struct{})
	f, err := fleet.Start(t.Context(), fleet.Options{
		URL: u.c.URL, Owner: u.Token(), Name: "box", Count: count,
		Run: func(a *fleet.Attempt) {
			a.Print([]byte("begun\n"))
			<-release
			a.Print([]byte("ended\n"))
		},
	})
	require.NoError(t, err)
	t.Cleanup(f.Stop)
	end = sync.OnceFunc(func() { close(release) })
	t.Cleanup(end)
	require.Eventually(t, func() bool { return f.Online() == count }, time.Minute, 10*time.Millisecond)
	return f, end
}

// onlineHosts counts the user's hosts that are connected, as the API shows them.
func (u *User) onlineHosts() (n int) {
	u.c.t.Helper()
	for after, more := "", true; more; more = after != "" {
		var page struct {
			Items []struct{ Online bool }
			Next  string
		}
		u.Call(http.MethodGet, "/api/hosts?limit=100&after="+url.QueryEscape(after), nil, &page)
		after = page.Next
		for _, h := range page.Items {
			if h.Online {
				n++
			}
		}
	}
	return n
}
