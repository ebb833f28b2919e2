package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// pass lets time go by, and everything happen that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// connects is how often in a minute one may open a WebSocket.
const connects = 12

// house is a marketplace behind its gateway.
type house struct {
	*market.Market
	t       *testing.T
	gateway *gateway.Gateway
	reach   *wakes
	wire    *pipes
	retry   string // Retry-After of the latest refusal
	owner   domain.Actor
	renter  domain.Actor
}

// open starts a marketplace; the test runs in a bubble.
func open(t *testing.T, o market.Options) *house {
	t.Helper()
	h := &house{t: t, reach: &wakes{}}
	ofJobs, ofHosts := o.JobDeps, o.HostDeps
	o.JobDeps = func(d *jobs.Deps) {
		d.Channels = h.reach
		if ofJobs != nil {
			ofJobs(d)
		}
	}
	o.HostDeps = func(d *hosts.Deps) {
		d.Channels = h.reach
		if ofHosts != nil {
			ofHosts(d)
		}
	}
	h.Market = market.Open(t, o)
	h.owner, h.renter = h.Person("bob", 0), h.Person("ada", 100*market.Dollar)
	h.reach.Channels = h.serve(h.Live)
	return h
}

// serve lets a gateway of the house serve.
func (h *house) serve(live ports.Live) *gateway.Channels {
	h.t.Helper()
	channels := gateway.NewChannels(live)
	h.wire = &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
	h.gateway = gateway.New(gateway.Deps{
		Jobs: h.Jobs, Hosts: h.Hosts, Identity: h.Identity, Manifests: h.Manifests, Clock: h.Clock, IDs: system.IDs{},
		Live: live, Limiter: memory.NewLimiter(h.Clock), Connects: ports.Limit{Times: connects, Per: time.Minute},
		Address: func(r *http.Request) string { return r.Header.Get("X-From") }, Log: slog.New(slog.DiscardHandler), JobJSON: func(v jobs.View) any { return map[string]any{"state": v.State} },
	}, channels)
	g, conns := h.gateway, h.wire
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/agent", g.Agent)
	mux.HandleFunc("GET /ws/job/{job}", func(w http.ResponseWriter, r *http.Request) { g.Job(w, r, r.PathValue("job")) })
	mux.HandleFunc("GET /ws/me", g.Me)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(conns) })
	running.Go(func() { _ = g.Deliver(ctx) })
	running.Go(func() { _ = g.Listen(ctx) })
	h.t.Cleanup(func() {
		cancel()
		assert.NoError(h.t, g.Stop(context.WithoutCancel(ctx)))
		_ = server.Close()
		running.Wait()
	})
	return channels
}

// wakes is Channels that can lose what it is told, as one does between two replicas.
type wakes struct {
	ports.Channels
	lost atomic.Bool
}

// Wake implements ports.Channels.
func (w *wakes) Wake(host domain.ID) {
	if !w.lost.Load() {
		w.Channels.Wake(host)
	}
}

// Close implements ports.Channels.
func (w *wakes) Close(host domain.ID, reason string) {
	if !w.lost.Load() {
		w.Channels.Close(host, reason)
	}
}

// pipes is a network in memory, on which a bubble knows who waits.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.dialed <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// upgrade opens a WebSocket; the answer's status is that of a refusal.
func (h *house) upgrade(path string, header http.Header, protocols ...string) (*websocket.Conn, int) {
	h.t.Helper()
	d := websocket.Dialer{NetDialContext: h.wire.dial, Subprotocols: protocols}
	conn, answer, err := d.DialContext(h.t.Context(), "ws://gpu.example"+path, header)
	if err != nil {
		require.ErrorIs(h.t, err, websocket.ErrBadHandshake)
		assert.Equal(h.t, "application/problem+json", answer.Header.Get("Content-Type"))
		assert.Equal(h.t, answer.StatusCode == http.StatusTooManyRequests, answer.Header.Get("Retry-After") != "")
		h.retry = answer.Header.Get("Retry-After")
		return nil, answer.StatusCode
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return conn, answer.StatusCode
}

// machine enrols a host that does not connect yet.
func (h *house) machine() *market.Host {
	h.t.Helper()
	return h.Host(h.owner, market.Machine{Away: true})
}

// line is an agent's end of a WebSocket. It reads all the time, as agents do.
type line struct {
	*websocket.Conn
	t      *testing.T
	host   *market.Host
	frames chan wire.Frame
	ended  chan *websocket.CloseError
}

// dial opens the WebSocket of a host, with its token.
func (h *house) dial(host *market.Host) *line {
	h.t.Helper()
	token, err := h.Hosts.AgentToken(h.t.Context(), host.ID, host.Assertion(rand.Text(), h.Clock.Now()))
	require.NoError(h.t, err)
	return h.dialWith(host, token)
}

func (h *house) dialWith(host *market.Host, token string) *line {
	h.t.Helper()
	conn, status := h.upgrade("/ws/agent", http.Header{"Authorization": {"Bearer " + token}}, "v1.agent")
	require.Equal(h.t, http.StatusSwitchingProtocols, status)
	l := &line{Conn: conn, t: h.t, host: host, frames: make(chan wire.Frame, 100), ended: make(chan *websocket.CloseError, 1)}
	go func() {
		defer close(l.frames)
		for {
			_, data, err := conn.ReadMessage()
			if closed, ok := err.(*websocket.CloseError); ok { //nolint:errorlint // the library wraps none
				l.ended <- closed
			}
			if err != nil {
				close(l.ended)
				return
			}
			frame, err := wire.Decode(data)
			assert.NoError(l.t, err)
			l.frames <- frame
		}
	}()
	return l
}

// greet answers the challenge.
func (l *line) greet(held ...wire.HeldAttempt) {
	l.t.Helper()
	hello := wire.Hello{
		AgentVersion: l.host.Facts.AgentVersion, MachineID: l.host.Facts.MachineID, InventoryHash: l.host.Facts.Inventory, Attempts: held,
	}
	payload := wire.HelloPayload(heard[*wire.Challenge](l).Nonce, l.host.ID.Prefixed("hst"), hello)
	hello.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(l.host.Key, payload))
	l.send(&hello, "")
}

// connect is dial and greet, until the welcome.
func (h *house) connect(host *market.Host, held ...wire.HeldAttempt) *line {
	h.t.Helper()
	l := h.dial(host)
	l.greet(held...)
	heard[*wire.Welcome](l)
	synctest.Wait()
	return l
}

// send sends a frame, which wants an answer if it has an id.
func (l *line) send(body any, id string) {
	l.t.Helper()
	data, err := wire.Encode(wire.Frame{ID: id, Body: body})
	require.NoError(l.t, err)
	require.NoError(l.t, l.WriteMessage(websocket.TextMessage, data))
}

// heard is the next frame, which has to be of a type.
func heard[B any](l *line) B {
	l.t.Helper()
	body, ok := (<-l.frames).Body.(B)
	require.True(l.t, ok, "another frame, or none any more")
	return body
}

// quiet checks that nothing has come.
func (l *line) quiet() {
	l.t.Helper()
	synctest.Wait()
	assert.Empty(l.t, l.frames)
}

// closed is the code with which the server ended the connection.
func (l *line) closed() int {
	l.t.Helper()
	if end := <-l.ended; end != nil {
		return end.Code
	}
	return 0
}
