// Package gateway is where WebSockets end: those of the agents, by which hosts get
// their work and report it, and those of people who watch a job.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
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
	Log       *slog.Logger
	// JobJSON is how a job looks in the API.
	JobJSON func(jobs.View) any
}

// Gateway holds the connected agents and the viewers.
type Gateway struct {
	Deps
	channels *Channels
	upgrader websocket.Upgrader
	viewers  websocket.Upgrader

	ctx  context.Context //nolint:containedctx // connections outlive the requests that made them
	stop context.CancelFunc
	all  sync.WaitGroup
}

// New makes a gateway whose agents are reached through channels.
func New(d Deps, channels *Channels) *Gateway {
	g := &Gateway{Deps: d, channels: channels}
	g.ctx, g.stop = context.WithCancel(context.Background())
	// Small buffers and a shared pool: most connections are idle most of the time.
	pool := &sync.Pool{}
	g.upgrader = websocket.Upgrader{
		ReadBufferSize: 512, WriteBufferSize: 512, WriteBufferPool: pool,
		Subprotocols: []string{agentProtocol}, HandshakeTimeout: 10 * time.Second, Error: noUpgrade,
	}
	g.viewers = websocket.Upgrader{
		ReadBufferSize: 512, WriteBufferSize: 4096, WriteBufferPool: &sync.Pool{},
		Subprotocols: []string{viewerProtocol}, HandshakeTimeout: 10 * time.Second, Error: noUpgrade,
	}
	return g
}

// The subprotocols.
const (
	agentProtocol  = "v1.agent"
	viewerProtocol = "v1.job"
	ticketPrefix   = "ticket."
)

// Channels reaches the agents that are connected here. It implements ports.Channels,
// and exists before the gateway because the use cases need it.
type Channels struct {
	mu       sync.Mutex
	sessions map[domain.ID]*session
	draining bool
}

// NewChannels knows no agents yet.
func NewChannels() *Channels { return &Channels{sessions: map[domain.ID]*session{}} }

// Wake makes the host's session look for work.
func (c *Channels) Wake(host domain.ID) {
	if s := c.find(host); s != nil {
		s.wake()
	}
}

// Close ends the host's session.
func (c *Channels) Close(host domain.ID, reason string) {
	if s := c.find(host); s != nil {
		go s.end(wire.CloseForbidden, reason)
	}
}

func (c *Channels) find(host domain.ID) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[host]
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
	all := make([]*session, 0, len(c.sessions))
	for _, s := range c.sessions {
		all = append(all, s)
	}
	return all
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
	g.stop()
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

// refuse answers an upgrade that is not allowed, as the API answers everything (RFC
// 9457). What is our own fault is not explained.
func refuse(w http.ResponseWriter, err error) {
	status, code, detail := http.StatusServiceUnavailable, "unavailable", "try again in a moment"
	var ours *domain.Error
	if errors.As(err, &ours) {
		if known, ok := statuses[ours.Kind]; ok {
			status, code, detail = known, ours.Code, ours.Detail
		}
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	answer(w, status, code, detail)
}

var statuses = map[domain.Kind]int{
	domain.KindUnauthenticated: http.StatusUnauthorized,
	domain.KindForbidden:       http.StatusForbidden,
	domain.KindNotFound:        http.StatusNotFound,
	domain.KindInvalid:         http.StatusBadRequest,
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
