package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/e2e"
	"github.com/peergpu/peergpu/tests/testkit/fleet"
)

const (
	// tidy makes the garbage collector of both servers leave little, because the memory
	// of a process is what the figure is about, and not when it was last cleaned up.
	tidy = "GOGC=10"
	beat = 10 * time.Second
	// quiet is how long after the last of so many agents idleness begins: what they told of
	// themselves is still being spread.
	quiet    = 5 * time.Second
	quietFor = 1000
	// looks is how many heartbeats are looked for in what the API shows.
	looks = 200
	// mostAge is until when a heartbeat has to be seen.
	mostAge = 10 * time.Second
	// backWithin is how long 1,000 agents may take to come back to a server that was killed.
	backWithin = 10 * time.Second
)

// BenchmarkE3 keeps idle agents: what each of them takes of the server's memory, what
// their heartbeats take of its time, how old what the API shows of them is, and how long
// all of them take to come back after the server was killed. The floor is a bare
// WebSocket server with as many connections that say as much.
func BenchmarkE3(b *testing.B) {
	for _, p := range profiles {
		for _, count := range strings.Split(*agentCount, ",") {
			n, err := strconv.Atoi(count)
			require.NoError(b, err, "-agents is a number, or some by commas")
			b.Run(fmt.Sprintf("%s/agents=%d", p.name, n), func(b *testing.B) { e3(b, p.open(b).Profile, n) })
		}
	}
}

func e3(b *testing.B, p e2e.Profile, n int) {
	b.Helper()
	c := e2e.NewCluster(b, p, "PEERGPU_LEASE_TTL=60s", tidy)
	c.Start()
	u := c.User("ada")
	f, err := fleet.Start(b.Context(), fleet.Options{URL: c.URL, Owner: u.Token(), Name: "box", Count: n})
	require.NoError(b, err)
	all := func() bool { return f.Online() == n }
	require.Eventually(b, all, 5*time.Minute, 10*time.Millisecond)
	f.Stop()
	for b.Loop() {
		bareEach, bareBusy := e3floor(b, n)
		// A server that has done nothing yet, and knows all hosts.
		c.Kill()
		c.Start()
		before := c.Memory("VmRSS")
		f.Connect(b.Context())
		require.Eventually(b, all, 5*time.Minute, 10*time.Millisecond)
		<-time.After(quiet * time.Duration(max(1, n/quietFor)))
		busy := busyFor(b, c, *idleTime)
		each := float64(c.Memory("VmRSS")-before) / 1024 / float64(n)

		var ages samples
		for range looks {
			ages = append(ages, age(b, u, f.Agents[rand.IntN(n)]))
		}
		c.Kill()
		c.Start("GOGC=100") // as it is for users
		ready := time.Now()
		require.Eventually(b, all, 5*time.Minute, 10*time.Millisecond)
		took := time.Since(ready)
		if n <= 1000 && took > backWithin {
			b.Errorf("%d agents were back after %s, and %s are allowed", n, took, backWithin)
		}
		b.ReportMetric(took.Seconds(), "back-s")
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(each, "rss-KB/agent")
		b.ReportMetric(bareEach, "rss-floor-KB/agent")
		b.ReportMetric(each/bareEach, "rss/floor")
		b.ReportMetric(busy*100, "idle-cpu-%")
		b.ReportMetric(bareBusy*100, "idle-cpu-floor-%")
		ages.report(b, "heartbeat-to-view")
		b.ReportMetric(float64(c.Memory("VmHWM"))/(1<<20), "rss-most-MB")
		b.ReportMetric(load(b), "load")
		// What it takes to have agents at all counts less with each of them.
		back, memory, idle := backWithin, []goal{}, []goal{}
		if n > 1000 {
			back = 3 * backWithin
		}
		if n >= 10_000 {
			memory, idle = append(memory, atMost(12), timesAtMost(2.3)), append(idle, atMost(2))
		}
		aim(b, "all back after kill -9, s", took.Seconds(), 0, atMost(back.Seconds()))
		aim(b, "memory, KB an agent", each, bareEach, memory...)
		aim(b, "CPU of heartbeats, % of a core", busy*100, bareBusy*100, idle...)
	}
	f.Stop()
}

// busyFor is which part of a core the server uses.
func busyFor(b *testing.B, c *e2e.Cluster, d time.Duration) float64 {
	b.Helper()
	before := cpu(b, c.Process())
	<-time.After(d)
	return (cpu(b, c.Process()) - before).Seconds() / d.Seconds()
}

// age is how long after an agent sent a heartbeat the API shows it.
func age(b *testing.B, u *e2e.User, a *fleet.Agent) time.Duration {
	b.Helper()
	began := time.Now()
	require.NoError(b, a.Beat())
	var host struct {
		SeenAt time.Time `json:"seen_at"`
	}
	for {
		u.Call(http.MethodGet, "/api/hosts/"+a.ID, nil, &host)
		took := time.Since(began)
		if !host.SeenAt.Before(began.Truncate(time.Microsecond)) {
			return took
		}
		require.Less(b, took, mostAge)
	}
}

// e3floor is memory and time of a bare server.
func e3floor(b *testing.B, n int) (each, busy float64) {
	b.Helper()
	s := startBare(b, tidy)
	s.dial(b, "/idle")
	before, err := e2e.Memory(s.process.Pid, "VmRSS")
	require.NoError(b, err)
	var group sync.WaitGroup
	var conns []*websocket.Conn
	stop := make(chan struct{})
	text := []byte(`{"v":1,"type":"heartbeat","gpus":[],"seq":1,"pad":"` + strings.Repeat("x", 20) + `"}`)
	for range n {
		conn := s.dial(b, "/idle")
		conns = append(conns, conn)
		group.Go(func() {
			timer := time.NewTimer(rand.N(beat))
			defer timer.Stop()
			for {
				select {
				case <-stop:
					return
				case <-timer.C:
				}
				assert.NoError(b, conn.WriteMessage(websocket.TextMessage, text))
				timer.Reset(beat*9/10 + rand.N(beat/5))
			}
		})
	}
	used := cpu(b, s.process)
	<-time.After(*idleTime)
	used = cpu(b, s.process) - used
	after, err := e2e.Memory(s.process.Pid, "VmRSS")
	require.NoError(b, err)
	close(stop)
	group.Wait()
	for _, conn := range conns { // this process has so many more to open
		assert.NoError(b, conn.Close())
	}
	return float64(after-before) / 1024 / float64(n), used.Seconds() / idleTime.Seconds()
}
