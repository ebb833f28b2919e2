package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
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
	crowd     = 100     // viewers
	lineBytes = 100     // of each line, with its end
	chunk     = 32_000  // bytes that the job prints at once
	slowPace  = 1 << 10 // bytes a second of the slow viewer
	stampAt   = 20      // a line of the paced log begins with the time, in so many digits
)

// BenchmarkE4 follows the log of a job: as fast as it goes, to one viewer and to a
// hundred, beside one who reads a kilobyte a second; and at a thousand lines a second,
// where the latency of each line counts. Every viewer compares every byte with what the
// job printed. The floor is a bare fan-out of the same bytes in the same frames.
func BenchmarkE4(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.name, func(b *testing.B) { e4(b, p.open(b).Profile) })
	}
}

func e4(b *testing.B, p e2e.Profile) {
	b.Helper()
	c := e2e.NewCluster(b, p, "PEERGPU_LEASE_TTL=60s")
	c.Start()
	scripts := make(chan func(*fleet.Attempt))
	s := &stream{c: c, u: rich(c), scripts: scripts}
	f, err := fleet.Start(b.Context(), fleet.Options{
		URL: c.URL, Owner: s.u.Token(), Name: "box", Count: 1, Run: func(a *fleet.Attempt) { (<-scripts)(a) },
	})
	require.NoError(b, err)
	b.Cleanup(f.Stop)
	require.Eventually(b, func() bool { return f.Online() == 1 }, time.Minute, 10*time.Millisecond)
	fast := lines(*lineCount)
	for _, v := range []struct {
		name    string
		viewers int
		slow    bool
	}{{"viewers=1", 1, false}, {"viewers=1+slow", 1, true}, {"viewers=100", crowd, false}} {
		b.Run("fast/"+v.name, func(b *testing.B) {
			for b.Loop() {
				floor := bareFanOut(b, fast, v.viewers)
				took := s.fast(b, fast, v.viewers, v.slow)
				rate := float64(*lineCount) / took.Seconds()
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(rate, "lines/s")
				b.ReportMetric(rate*lineBytes/1e6, "MB/s")
				b.ReportMetric(rate*float64(v.viewers), "deliveries/s")
				b.ReportMetric(float64(*lineCount)/floor.Seconds(), "lines-floor/s")
				b.ReportMetric(floor.Seconds()/took.Seconds(), "lines/floor")
				b.ReportMetric(load(b), "load")
				floorRate := float64(*lineCount) / floor.Seconds()
				if v.viewers == 1 {
					aim(b, "lines/s", rate, floorRate, atLeast(200_000))
				} else {
					aim(b, "deliveries/s", rate*float64(v.viewers), floorRate*float64(v.viewers), atLeast(2_000_000), timesAtLeast(0.4))
				}
			}
		})
	}
	for _, viewers := range []int{1, crowd} {
		b.Run(fmt.Sprintf("paced/viewers=%d", viewers), func(b *testing.B) {
			for b.Loop() {
				floor := barePaced(b, viewers)
				late := s.paced(b, viewers)
				b.ReportMetric(0, "ns/op")
				late.report(b, "latency")
				floor.report(b, "latency-floor")
				b.ReportMetric(late.at(99)/floor.at(99), "p99/floor")
				b.ReportMetric(load(b), "load")
				most := 10.0
				if viewers > 1 {
					most = 25
				}
				aim(b, "latency p99 at 1,000 lines/s, ms", late.at(99), floor.at(99), atMost(most))
			}
		})
	}
}

// lines is a log of n different lines.
func lines(n int) []byte {
	var log bytes.Buffer
	for i := range n {
		fmt.Fprintf(&log, "%0*d\n", lineBytes-1, i)
	}
	return log.Bytes()
}

// stream runs jobs that print, on the one agent that there is.
type stream struct {
	c       *e2e.Cluster
	u       *e2e.User
	scripts chan<- func(*fleet.Attempt)
}

// run submits a job, lets viewers come, and then lets it print. It gives what it prints.
func (s *stream) run(b *testing.B, watch func(job string), script func(*fleet.Attempt)) (job string) {
	b.Helper()
	var j struct{ ID string }
	s.u.Call(http.MethodPost, "/api/jobs", map[string]any{
		"command": []string{"print"}, "limits": map[string]any{"max_runtime_s": 3600, "max_cost_micros": 100_000_000},
	}, &j)
	watch(j.ID)
	s.scripts <- script
	return j.ID
}

// fast is how long the log takes from its first byte to every viewer's last.
func (s *stream) fast(b *testing.B, log []byte, viewers int, slow bool) time.Duration {
	b.Helper()
	var group, later sync.WaitGroup
	var began time.Time
	hurry := make(chan struct{})
	job := s.run(b, func(job string) {
		for range viewers {
			conn := s.watch(b, job)
			group.Go(func() { same(b, log, conn) })
		}
		if slow {
			later.Go(func() { s.slowly(b, job, log, hurry) })
		}
	}, func(a *fleet.Attempt) {
		began = time.Now()
		for rest := log; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
			a.Print(rest[:min(chunk, len(rest))])
		}
	})
	group.Wait()
	took := time.Since(began)
	close(hurry)
	later.Wait()
	s.stored(b, job, log)
	return took
}

// watch opens the WebSocket of a job that prints nothing yet, and waits for its first
// frame, which is the job.
func (s *stream) watch(b *testing.B, job string) *websocket.Conn {
	b.Helper()
	conn := s.view(b, job, 0, 0)
	_, _, err := conn.ReadMessage()
	require.NoError(b, err)
	return conn
}

// view opens a job's WebSocket.
func (s *stream) view(b *testing.B, job string, from, buffer int) *websocket.Conn {
	b.Helper()
	d := websocket.Dialer{NetDial: func(network, address string) (net.Conn, error) {
		conn, err := net.Dial(network, address)
		if err == nil && buffer > 0 {
			err = conn.(*net.TCPConn).SetReadBuffer(buffer)
		}
		return conn, err
	}}
	conn, resp, err := d.Dial(fmt.Sprintf("%s/ws/job/%s?from=%d", strings.Replace(s.c.URL, "http", "ws", 1), job, from),
		http.Header{"Authorization": {"Bearer " + s.u.Token()}})
	require.NoError(b, err)
	require.NoError(b, resp.Body.Close())
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// same reads a log to its end and compares it: no gap, no repeat, no other byte.
func same(b *testing.B, log []byte, conn *websocket.Conn) {
	b.Helper()
	for at := 0; at < len(log); {
		kind, frame, err := conn.ReadMessage()
		if !assert.NoError(b, err) {
			return
		}
		if kind != websocket.BinaryMessage {
			continue
		}
		offset, data := int(binary.BigEndian.Uint64(frame)), frame[16:]
		if !assert.Equal(b, at, offset) || !assert.True(b, bytes.Equal(log[at:at+len(data)], data)) {
			return
		}
		at += len(data)
	}
}

// slowly reads a kilobyte a second until the others are through, and then the rest. The
// server may hang up on who is too slow; then it goes on from where it is.
func (s *stream) slowly(b *testing.B, job string, log []byte, hurry <-chan struct{}) {
	b.Helper()
	sum, at := sha256.New(), 0
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for at < len(log) {
		conn := s.view(b, job, at, 256<<10) // loopback has packets of 64 KB, and stutters with room for less than some
		for at < len(log) {
			kind, r, err := conn.NextReader()
			if err != nil {
				break
			}
			if kind != websocket.BinaryMessage {
				continue
			}
			head := make([]byte, 16)
			if _, err := io.ReadFull(r, head); err != nil {
				break
			}
			assert.EqualValues(b, at, binary.BigEndian.Uint64(head))
			n, err := trickle(io.MultiWriter(sum), r, tick.C, hurry)
			at += n
			if err != nil {
				break
			}
		}
		_ = conn.Close()
	}
	assert.Equal(b, sha256.Sum256(log), [32]byte(sum.Sum(nil)), "the slow viewer has it all")
}

// trickle copies slowPace bytes at each tick, and all at once after hurry.
func trickle(w io.Writer, r io.Reader, tick <-chan time.Time, hurry <-chan struct{}) (n int, err error) {
	for {
		copied, err := io.CopyN(w, r, slowPace)
		n += int(copied)
		if err == io.EOF { //nolint:errorlint // io.CopyN wraps none
			return n, nil
		}
		if err != nil {
			return n, err
		}
		select {
		case <-tick:
		case <-hurry:
		}
	}
}

// stored checks what the server has of the log in the end.
func (s *stream) stored(b *testing.B, job string, log []byte) {
	b.Helper()
	var j struct{ State string }
	require.Eventually(b, func() bool {
		s.u.Call(http.MethodGet, "/api/jobs/"+job, nil, &j)
		return j.State == "succeeded"
	}, time.Minute, 10*time.Millisecond)
	status, data := s.u.Try(http.MethodGet, "/api/jobs/"+job+"/logs", nil)
	require.Equal(b, http.StatusOK, status)
	require.Equal(b, sha256.Sum256(log), sha256.Sum256(data))
}

// pace prints a line each millisecond, each with the time at its beginning.
func pace(emit func([]byte)) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(*paceTime)
	for now := time.Now(); now.Before(end); now = time.Now() {
		<-tick.C
		emit(fmt.Appendf(nil, "%0*d%0*d\n", stampAt, time.Now().UnixNano(), lineBytes-1-stampAt, 0))
	}
}

// lateness is how old each line of a frame is.
func lateness(b *testing.B, frame []byte) (late samples) {
	b.Helper()
	now := time.Now().UnixNano()
	for ; len(frame) >= lineBytes; frame = frame[lineBytes:] {
		var at int64
		_, err := fmt.Sscan(strings.TrimLeft(string(frame[:stampAt]), "0"), &at)
		assert.NoError(b, err)
		late = append(late, time.Duration(now-at))
	}
	assert.Empty(b, frame, "lines come whole")
	return late
}

// paced is the latency of each line at each viewer.
func (s *stream) paced(b *testing.B, viewers int) samples {
	b.Helper()
	var group sync.WaitGroup
	var printed bytes.Buffer
	var mu sync.Mutex
	var late samples
	logs := make([][]byte, viewers)
	job := s.run(b, func(job string) {
		for i := range viewers {
			conn := s.watch(b, job)
			group.Go(func() {
				var mine samples
				for {
					kind, frame, err := conn.ReadMessage()
					if err != nil {
						break // the server closes after the end
					}
					if kind == websocket.BinaryMessage {
						mine = append(mine, lateness(b, frame[16:])...)
						logs[i] = append(logs[i], frame[16:]...)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				late = append(late, mine...)
			})
		}
	}, func(a *fleet.Attempt) {
		pace(func(line []byte) {
			printed.Write(line)
			a.Print(line)
		})
	})
	group.Wait()
	s.stored(b, job, printed.Bytes())
	for _, log := range logs {
		assert.True(b, bytes.Equal(printed.Bytes(), log), "every viewer has it all")
	}
	return late
}
