package bench

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/e2e"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Jobs and floors take turns, in rounds, so that both see the same machine.
const (
	warmUp = 20
	rounds = 10
	each   = 40
)

// BenchmarkE1 submits `echo hello` again and again, to a real server and a real agent,
// and waits for its first line and for its end at a WebSocket that is opened on the job
// right after the answer to the submit.
func BenchmarkE1(b *testing.B) {
	for _, isolation := range []struct {
		name     string
		settings []string
		command  []string // the bare process of the floor
		need     func(*testing.B)
	}{
		{"isolation=none", []string{"trusted: true", "unsandboxed: true"}, []string{"/bin/echo", "hello"}, func(*testing.B) {}},
		{"isolation=sandboxed", nil, []string{
			"bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
			"--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/echo", "hello",
		}, func(b *testing.B) { testkit.Need(b, servers.Bubblewrap) }},
	} {
		for _, p := range profiles {
			b.Run(isolation.name+"/"+p.name, func(b *testing.B) {
				isolation.need(b)
				e1(b, p.open(b).Profile, isolation.settings, isolation.command)
			})
		}
	}
}

func e1(b *testing.B, p e2e.Profile, settings, command []string) {
	b.Helper()
	c := e2e.NewCluster(b, p, "PEERGPU_LEASE_TTL=60s")
	c.Start()
	u := c.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
	agent := c.Agent(u, "box", "process", 4, settings...)
	f := newFloor(b, c.URL, p.Database, command)
	r := renter{b: b, url: c.URL, token: u.Token()}
	for range warmUp {
		r.run()
		f.once(false)
	}

	var ack, first, finished samples
	var server, host time.Duration
	for b.Loop() {
		for range rounds {
			serverBefore, hostBefore := cpu(b, c.Process()), cpu(b, agent)
			for range each {
				at := r.run()
				ack, first, finished = append(ack, at[0]), append(first, at[1]), append(finished, at[2])
			}
			server, host = server+cpu(b, c.Process())-serverBefore, host+cpu(b, agent)-hostBefore
			for range each {
				f.once(true)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // of a whole series: it would say nothing
	b.ReportMetric(ack.at(50), "ack-p50-ms")
	first.report(b, "first-line")
	finished.report(b, "finished")
	f.first.report(b, "first-line-floor")
	f.finished.report(b, "finished-floor")
	b.ReportMetric(first.at(50)/f.first.at(50), "first-line/floor")
	b.ReportMetric(finished.at(50)/f.finished.at(50), "finished/floor")
	b.ReportMetric(server.Seconds()*1e3/float64(len(first)), "server-cpu-ms/job")
	b.ReportMetric(host.Seconds()*1e3/float64(len(first)), "agent-cpu-ms/job")
	b.ReportMetric(load(b), "load")
	f.report()
	// The milliseconds are for jobs that nothing isolates.
	firstGoals, finishedGoals, tail := []goal{timesAtMost(2.5)}, []goal{timesAtMost(2.5)}, []goal{}
	if len(settings) > 0 {
		firstGoals, finishedGoals, tail = append(firstGoals, atMost(3)), append(finishedGoals, atMost(4)), append(tail, atMost(15))
	}
	aim(b, "submit → first line p50, ms", first.at(50), f.first.at(50), firstGoals...)
	aim(b, "submit → finished p50, ms", finished.at(50), f.finished.at(50), finishedGoals...)
	aim(b, "submit → finished p99, ms", finished.at(99), f.finished.at(99), tail...)
	settled(b, u)
}

// renter is a program that uses the API over one connection.
type renter struct {
	b          *testing.B
	url, token string
}

// run submits a job and watches it to its end. It tells when the answer, the first byte
// of the log and the final state were there, counted from before the submit.
func (r renter) run() (at [3]time.Duration) {
	submit, err := json.Marshal(map[string]any{
		"name": "echo", "command": []string{"/bin/echo", "hello"}, "needs": map[string]any{"gpus": 1},
		"limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 100_000},
	})
	require.NoError(r.b, err)
	began := time.Now()
	req, err := http.NewRequest(http.MethodPost, r.url+"/api/jobs", bytes.NewReader(submit))
	require.NoError(r.b, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.b, err)
	var job struct{ ID string }
	require.Equal(r.b, http.StatusCreated, resp.StatusCode)
	require.NoError(r.b, json.NewDecoder(resp.Body).Decode(&job))
	require.NoError(r.b, resp.Body.Close())
	at[0] = time.Since(began)

	conn, _, err := websocket.DefaultDialer.Dial(strings.Replace(r.url, "http", "ws", 1)+"/ws/job/"+job.ID,
		http.Header{"Authorization": {"Bearer " + r.token}})
	require.NoError(r.b, err)
	defer conn.Close()
	var log []byte
	for {
		kind, data, err := conn.ReadMessage()
		require.NoError(r.b, err)
		if kind == websocket.BinaryMessage {
			if len(log) == 0 {
				at[1] = time.Since(began)
			}
			log = append(log, data[16:]...) // after its offset and its time
			continue
		}
		var frame struct {
			Job struct{ State, Reason string }
		}
		require.NoError(r.b, json.Unmarshal(data, &frame))
		switch frame.Job.State {
		case "succeeded":
			at[2] = time.Since(began)
		case "failed", "cancelled":
			r.b.Fatalf("the job has %s: %s", frame.Job.State, frame.Job.Reason)
		default:
			continue
		}
		// The state may overtake the line, but never for long.
		for len(log) == 0 {
			kind, data, err := conn.ReadMessage()
			require.NoError(r.b, err)
			if kind == websocket.BinaryMessage {
				at[1] = time.Since(began)
				log = data[16:]
			}
		}
		require.Equal(r.b, "hello\n", string(log))
		return at
	}
}
