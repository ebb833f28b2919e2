// Package gateway is where WebSockets end: those of the agents, by which hosts get
// their work and report it, and those of people who watch a job.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// Deps is what the gateway needs.
type Deps struct {
	Jobs      *jobs.Service
	Hosts     *hosts.Service
	Identity  *identity.Service
	Manifests ports.Manifests
	Clock     ports.Clock
	IDs       ports.IDs
	Live      ports.Live
	Limiter   ports.Limiter
	Log       *slog.Logger
	// AgentsPerSecond is how many agents may connect within a second; 0: no limit.
	AgentsPerSecond int
	// JobJSON is how a job looks in the API.
	JobJSON func(jobs.View) any
	// HostJSON is how a host looks to its owner, whose short name comes with it, and
	// LoadJSON how its load does.
	HostJSON func(v hosts.View, owner, currency string) any
	LoadJSON func([]hosts.DeviceLoad) any
	// Connects is how often a host or an account may open a WebSocket, or an address with
	// a credential that is none; 0 times is no limit.
	Connects ports.Limit
	// Address is where a request comes from.
	Address func(*http.Request) string
}

// Gateway holds the connected agents and the viewers.
type Gateway struct {
	Deps
	channels *Channels
	gate     gate
	upgrader websocket.Upgrader
	viewers  websocket.Upgrader
	owners   websocket.Upgrader

	ctx  context.Context //nolint:containedctx // connections outlive the requests that made them
	stop context.CancelFunc
	mu   sync.Mutex // of stop against all that begins
	all  sync.WaitGroup
}

// New makes a gateway whose agents are reached through channels.
func New(d Deps, channels *Channels) *Gateway {
	g := &Gateway{Deps: d, channels: channels, gate: gate{most: d.AgentsPerSecond}}
	g.ctx, g.stop = context.WithCancel(context.Background())
	// Small buffers and a shared pool: most connections are idle most of the time.
	pool := &sync.Pool{}
	g.upgrader = websocket.Upgrader{
		ReadBufferSize: 512, WriteBufferSize: 512, WriteBufferPool: pool,
		Subprotocols: []string{agentProtocol}, HandshakeTimeout: 10 * time.Second, Error: noUpgrade,
	}
	forPages := func(protocol string) websocket.Upgrader {
		return websocket.Upgrader{
			ReadBufferSize: 512, WriteBufferSize: 4096, WriteBufferPool: &sync.Pool{},
			Subprotocols: []string{protocol}, HandshakeTimeout: 10 * time.Second, Error: noUpgrade,
		}
	}
	g.viewers, g.owners = forPages(viewerProtocol), forPages(ownerProtocol)
	return g
}

// The subprotocols.
const (
	agentProtocol  = "v1.agent"
	viewerProtocol = "v1.job"
	ownerProtocol  = "v1.me"
	ticketPrefix   = "ticket."
)

// Channels reaches the agents that are connected here, and through the other replicas
// those that are connected there. It implements ports.Channels, and exists before the
// gateway because the use cases need it.
type Channels struct {
	live     ports.Live
	mu       sync.Mutex
	sessions map[domain.ID]*session
	draining bool
}

// NewChannels knows no agents yet. Replicas that share live reach each other's.
func NewChannels(live ports.Live) *Channels {
	return &Channels{live: live, sessions: map[domain.ID]*session{}}
}

// Wake makes the host's session look for work.
func (c *Channels) Wake(host domain.ID) {
	if s := c.find(host); s != nil {
		s.wake()
		return
	}
	c.tell(callWake, host, nil)
}

// Close ends the host's session.
func (c *Channels) Close(host domain.ID, reason string) {
	c.close(host, reason)
	c.tell(callClose, host, []byte(reason))
}

func (c *Channels) close(host domain.ID, reason string) {
	if s := c.find(host); s != nil {
		go s.end(wire.CloseForbidden, reason)
	}
}

func (c *Channels) find(host domain.ID) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[host]
}

func (c *Channels) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sessions) == 0
}

// put makes a session the host's, and gives the one that it replaces. While the server
// stops it takes none.
func (c *Channels) put(s *session) (older *session, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return nil, false
	}
	older = c.sessions[s.Host]
	if older != nil && older.Epoch > s.Epoch {
		return s, true // a newer one was faster: this one is fenced
	}
	c.sessions[s.Host] = s
	return older, true
}

func (c *Channels) drop(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[s.Host] == s {
		delete(c.sessions, s.Host)
	}
}

// drain refuses new sessions and gives those that there are.
func (c *Channels) drain() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	return slices.Collect(maps.Values(c.sessions))
}

func (c *Channels) all() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.sessions))
}

// Stop tells agents to come back, closes everything and waits for what runs. Jobs go
// on at the hosts.
func (g *Gateway) Stop(ctx context.Context) error {
	var closing sync.WaitGroup
	for _, s := range g.channels.drain() {
		closing.Go(func() {
			s.send(&wire.Drain{ReconnectWithinS: 5}, "")
			s.end(wire.CloseRestart, "the server restarts")
		})
	}
	closing.Wait()
	_ = faults.Point("drain.mid")
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		g.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take serves a connection, unless Stop waits already for those that it serves.
func (g *Gateway) take(conn *websocket.Conn, serve func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		_ = conn.Close()
		return false
	}
	g.all.Go(serve)
	return true
}

// admit counts an attempt to open a WebSocket, of whoever a credential names. Agents count
// each for itself: many may stand behind one address, and all come back at once when the
// server was away.
func (g *Gateway) admit(r *http.Request, who domain.Actor, err error) error {
	by := "address:"
	switch {
	case !who.Host.IsZero():
		by = "host:" + who.Host.String()
	case !who.User.IsZero():
		by = "user:" + who.User.String()
	case g.Address != nil:
		by += g.Address(r)
	}
	if limited := g.Connects.Use(r.Context(), g.Limiter, "ws:"+by); limited != nil {
		return limited
	}
	return err
}

// refuse answers an upgrade that is not allowed, as the API answers everything (RFC
// 9457). What is our own fault is not explained.
func refuse(w http.ResponseWriter, err error) {
	status, code, detail := http.StatusServiceUnavailable, "unavailable", "try again in a moment"
	var ours *domain.Error
	var wait time.Duration
	if errors.As(err, &ours) {
		wait = ours.RetryAfter
		if known, ok := statuses[ours.Kind]; ok {
			status, code, detail = known, ours.Code, ours.Detail
		}
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	}
	answer(w, status, code, detail)
}

var statuses = map[domain.Kind]int{
	domain.KindUnauthenticated: http.StatusUnauthorized,
	domain.KindForbidden:       http.StatusForbidden,
	domain.KindNotFound:        http.StatusNotFound,
	domain.KindInvalid:         http.StatusBadRequest,
	domain.KindExhausted:       http.StatusTooManyRequests,
}

// noUpgrade answers what is no attempt to open a WebSocket, or none of ours.
func noUpgrade(w http.ResponseWriter, _ *http.Request, status int, reason error) {
	if status == http.StatusForbidden {
		answer(w, status, "forbidden", "pages of other sites cannot open this")
		return
	}
	answer(w, http.StatusBadRequest, "invalid_request", reason.Error())
}

func answer(w http.ResponseWriter, status int, code, detail string) {
	body, err := json.Marshal(api.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
		RequestID: w.Header().Get("X-Request-Id"),
	})
	if err != nil {
		return // texts can always be encoded
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever has gone does not read it
}
