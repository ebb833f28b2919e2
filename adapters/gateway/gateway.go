// Package gateway is where WebSockets end: those of the agents, by which hosts get
// their work and report it, and those of people who watch a job.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
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
		Subprotocols: []string{agentProtocol}, HandshakeTimeout: 10 * time.Second,
	}
	g.viewers = websocket.Upgrader{
		ReadBufferSize: 512, WriteBufferSize: 4096, WriteBufferPool: &sync.Pool{},
		Subprotocols: []string{viewerProtocol}, HandshakeTimeout: 10 * time.Second,
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
			s.send(&wire.Drain{ReconnectWithinS: 5}, "", "")
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

// refuse answers an upgrade that is not allowed.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch domain.KindOf(err) {
	case domain.KindUnauthenticated:
		status = http.StatusUnauthorized
	case domain.KindForbidden:
		status = http.StatusForbidden
	case domain.KindNotFound:
		status = http.StatusNotFound
	case domain.KindInvalid:
		status = http.StatusBadRequest
	case domain.KindUnavailable, domain.KindInternal, domain.KindConflict, domain.KindPaymentRequired, domain.KindExhausted:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, http.StatusText(status), status)
}
