package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
)

// bareVariable makes this program a bare WebSocket server.
const bareVariable = "PEERGPU_BENCH_BARE"

// bare is a WebSocket server that does nothing but what no server of its kind can do
// without: it keeps idle connections (/idle), hands what comes from one (/source) to all
// others (/view), and takes and gives files (/file/). It is a process of its own, as the
// server is.
type bare struct {
	url     string
	process *os.Process
}

func startBare(b *testing.B, env ...string) *bare {
	b.Helper()
	program, err := os.Executable()
	require.NoError(b, err)
	cmd := exec.Command(program)
	cmd.Dir = testkit.Dir(b)
	cmd.Env = append(append(os.Environ(), bareVariable+"=1"), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return &bare{url: strings.TrimSpace(url), process: cmd.Process}
}

func (s *bare) dial(b *testing.B, path string) *websocket.Conn {
	b.Helper()
	d := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 512, WriteBufferPool: clientBuffers}
	conn, resp, err := d.Dial(s.url+path, nil)
	require.NoError(b, err)
	require.NoError(b, resp.Body.Close())
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

var clientBuffers = &sync.Pool{}

// bareFanOut is how long the same bytes take through a bare server.
func bareFanOut(b *testing.B, log []byte, viewers int) time.Duration {
	b.Helper()
	s := startBare(b)
	var group sync.WaitGroup
	for range viewers {
		conn := s.viewer(b)
		group.Go(func() {
			at := 0
			for at < len(log) {
				_, frame, err := conn.ReadMessage()
				if !assert.NoError(b, err) || !assert.True(b, bytes.Equal(log[at:at+len(frame)], frame)) {
					return
				}
				at += len(frame)
			}
		})
	}
	source := s.dial(b, "/source")
	return timed(func() {
		for rest := log; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
			require.NoError(b, source.WriteMessage(websocket.BinaryMessage, rest[:min(chunk, len(rest))]))
		}
		group.Wait()
	})
}

// barePaced is the latency of each line at each viewer of a bare server.
func barePaced(b *testing.B, viewers int) (late samples) {
	b.Helper()
	s := startBare(b)
	var group sync.WaitGroup
	var mu sync.Mutex
	for range viewers {
		conn := s.viewer(b)
		group.Go(func() {
			var mine samples
			for {
				_, frame, err := conn.ReadMessage()
				if err != nil {
					break
				}
				mine = append(mine, lateness(b, frame)...)
			}
			mu.Lock()
			defer mu.Unlock()
			late = append(late, mine...)
		})
	}
	source := s.dial(b, "/source")
	pace(func(line []byte) { require.NoError(b, source.WriteMessage(websocket.BinaryMessage, line)) })
	require.NoError(b, source.Close())
	group.Wait()
	return late
}

// viewer waits until the server has it on its list.
func (s *bare) viewer(b *testing.B) *websocket.Conn {
	b.Helper()
	conn := s.dial(b, "/view")
	_, _, err := conn.ReadMessage()
	require.NoError(b, err)
	return conn
}

// serveBare is what the process does.
func serveBare() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	up := websocket.Upgrader{ReadBufferSize: 512, WriteBufferSize: 512, WriteBufferPool: &sync.Pool{}}
	var mu sync.Mutex
	var viewers []chan []byte
	serve := func(path string, do func(*websocket.Conn)) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if conn, err := up.Upgrade(w, r, nil); err == nil {
				go do(conn) // the handler returns, so that its buffers are freed
			}
		})
	}
	serve("/idle", func(conn *websocket.Conn) {
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	serve("/view", func(conn *websocket.Conn) {
		frames := make(chan []byte, 256)
		mu.Lock()
		viewers = append(viewers, frames)
		mu.Unlock()
		if conn.WriteMessage(websocket.TextMessage, []byte("ready")) != nil {
			return
		}
		for frame := range frames {
			_ = conn.WriteMessage(websocket.BinaryMessage, frame) // one that has gone is read on for
		}
		_ = conn.Close()
	})
	serve("/source", func(conn *websocket.Conn) {
		for {
			_, frame, err := conn.ReadMessage()
			mu.Lock()
			if err != nil { // the source is through, and with it who watched it
				for _, v := range viewers {
					close(v)
				}
				viewers = nil
				mu.Unlock()
				return
			}
			for _, v := range viewers {
				v <- frame
			}
			mu.Unlock()
		}
	})
	http.HandleFunc("/file/", file)
	fmt.Println("ws://" + l.Addr().String())
	log.Fatal(http.Serve(l, nil))
}

// file keeps what is put in the working folder.
func file(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	if r.Method != http.MethodPut {
		http.ServeFile(w, r, name)
		return
	}
	f, err := os.Create(name)
	if err == nil {
		_, err = io.Copy(f, r.Body)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
