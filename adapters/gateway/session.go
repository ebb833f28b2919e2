package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
)

// The times of a connection.
const (
	helloTimeout = 10 * time.Second
	writeTimeout = 10 * time.Second
	closeTimeout = 2 * time.Second
	logWindow    = 1 << 20 // log bytes of an attempt that an agent may have in flight
	mostQueued   = 256     // reports of one attempt that wait for the one before
)

// session is the connection of one agent, from its hello on.
type session struct {
	hosts.Session
	g    *Gateway
	who  domain.Actor
	key  string // thumbprint of the key that the access token is bound to
	conn *websocket.Conn

	writing  sync.Mutex
	stopping bool // the agent takes no more work; known to the reader alone

	mu     sync.Mutex
	sent   map[order]bool        // what was sent in this session, of attempts that the host holds
	ended  map[jobs.Ref]bool     // of those, the ones whose result was taken: nobody can take them away
	queues map[jobs.Ref][]func() // reports of an attempt are done one after the other
	ready  bool                  // the agent was welcomed
	woken  bool                  // there is something to look for
	busy   bool                  // deliver runs
	ctx    context.Context       //nolint:containedctx // ends with the connection
	cancel context.CancelFunc
}

type order struct {
	ref    jobs.Ref
	cancel bool
}

// Agent serves GET /ws/agent.
func (g *Gateway) Agent(w http.ResponseWriter, r *http.Request) {
	if !g.gate.enter(g.Clock.Now()) {
		g.gate.turnAway(w)
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	who, key, err := g.Hosts.AuthenticateAgent(r.Context(), token)
	if err = g.admit(r, who, err); err != nil {
		refuse(w, err)
		return
	}
	conn, err := g.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	s := &session{g: g, who: who, key: key, conn: conn, sent: map[order]bool{}, ended: map[jobs.Ref]bool{}, queues: map[jobs.Ref][]func(){}}
	s.ctx, s.cancel = context.WithCancel(ports.WithLog(g.ctx, slog.String("host", who.Host.Prefixed("hst"))))
	conn.SetReadLimit(wire.MaxText)
	// The handler returns, so that the server's buffers of the request are freed.
	if !g.take(conn, s.serve) {
		s.cancel()
	}
}

// serve is the life of a connection.
func (s *session) serve() {
	if !s.arrive() {
		s.cancel()
		return
	}
	// What the handshake needed of a stack is given back: from now on little happens.
	s.g.all.Go(func() {
		defer s.leave()
		s.wake()
		s.read()
	})
}

// arrive makes the session that of its host, unless it is not to be.
func (s *session) arrive() bool {
	held, err := s.greet()
	if err != nil {
		s.refuse(err)
		return false
	}
	older, ok := s.g.channels.put(s)
	if !ok {
		s.close(wire.CloseRestart, "the server restarts")
		return false
	}
	if older != nil {
		older.end(wire.CloseFenced, "a newer session of this host took over")
	}
	if older == s {
		return false
	}
	s.g.channels.fence(s.Host, s.Epoch)
	// A host that lost its place after Connect let it in had no session here to close.
	if err := s.g.Hosts.Admit(s.ctx, s.who); err != nil {
		s.refuse(err)
		s.leave()
		return false
	}
	if err := s.welcome(held); err != nil {
		s.g.Log.WarnContext(s.ctx, "a host cannot be welcomed", "error", err)
		s.close(wire.CloseRestart, "try again")
		s.leave()
		return false
	}
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	return true
}

func (s *session) leave() {
	s.g.channels.drop(s)
	s.cancel()
	_ = s.conn.Close()
	s.disconnect()
}

// disconnect ends the host's presence, also when the session is over.
func (s *session) disconnect() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 5*time.Second)
	defer cancel()
	if err := s.g.Hosts.Disconnect(ctx, s.Session); err != nil {
		s.g.Log.WarnContext(ctx, "a host's leaving cannot be stored", "error", err)
	}
}

// greet challenges the agent and verifies that it has the host's key: the token alone
// is not enough.
func (s *session) greet() (*wire.Hello, error) {
	nonce := rand.Text()
	if err := s.conn.SetReadDeadline(s.g.Clock.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	s.send(&wire.Challenge{Nonce: nonce}, "")
	kind, data, err := s.conn.ReadMessage()
	if err != nil {
		return nil, domain.Unauthenticated("no hello in time")
	}
	frame, err := wire.Decode(data)
	hello, ok := frame.Body.(*wire.Hello)
	if err != nil || !ok || kind != websocket.TextMessage {
		return nil, domain.Invalid("bad_frame", "the first frame is a hello")
	}
	if err := check(frame); err != nil {
		return nil, domain.Invalid("bad_frame", "%s", err.Error())
	}
	signed := func(key []byte) bool {
		signature, err := base64.RawURLEncoding.DecodeString(hello.Signature)
		return err == nil && len(key) == ed25519.PublicKeySize && domainhosts.Thumbprint(key) == s.key &&
			ed25519.Verify(key, wire.HelloPayload(nonce, s.who.Host.Prefixed("hst"), *hello), signature)
	}
	s.Session, err = s.g.Hosts.Connect(s.ctx, s.who, hosts.Hello{
		Signed:       signed,
		AgentVersion: hello.AgentVersion, MachineID: hello.MachineID, Inventory: hello.InventoryHash,
	})
	return hello, err
}

// welcome tells the agent what becomes of the attempts that it holds.
func (s *session) welcome(hello *wire.Hello) error {
	claims := make([]jobs.Held, 0, len(hello.Attempts))
	for _, a := range hello.Attempts {
		ref, err := refOf(a.JobID, a.Attempt)
		if err != nil {
			return err
		}
		claims = append(claims, jobs.Held{Ref: ref, Lost: a.State == "lost"})
		s.mu.Lock()
		s.sent[order{ref: ref}] = true
		s.mu.Unlock()
	}
	resumes, err := s.g.Jobs.Reconcile(s.ctx, s.who, claims)
	if err != nil {
		return err
	}
	settings, mine := s.g.Jobs.Settings(), s.g.Hosts.Settings()
	w := &wire.Welcome{
		Session: s.g.IDs.New().String(), Epoch: s.Epoch, ServerTime: s.g.Clock.Now(),
		HeartbeatS: mine.Heartbeat.Seconds(), LeaseTTLS: settings.LeaseTTL.Seconds(),
		ReassignAfterS: settings.ReassignAfter.Seconds(), LogWindowBytes: logWindow,
	}
	for _, r := range resumes {
		w.Jobs = append(w.Jobs, wire.Resume{
			JobID: r.Job.Prefixed("job"), Attempt: r.Attempt, Action: wire.ResumeAction(r.Action), LogOffset: r.LogOffset,
		})
	}
	s.send(w, "")
	return nil
}

// read takes frames until the connection ends. Log bytes are taken in order right here;
// reports about an attempt go one after the other beside it, so that a slow commit
// holds up neither logs nor other jobs.
func (s *session) read() {
	silence := s.g.Hosts.Settings().LeaseTTL
	for {
		if err := s.conn.SetReadDeadline(s.g.Clock.Now().Add(silence)); err != nil {
			return
		}
		kind, data, err := s.conn.ReadMessage()
		if err != nil {
			var timeout interface{ Timeout() bool }
			switch {
			case errors.As(err, &timeout) && timeout.Timeout():
				s.close(wire.CloseTimeout, "no frame in time")
			case errors.Is(err, websocket.ErrReadLimit):
				s.close(wire.CloseTooLarge, "the frame is too large")
			}
			return
		}
		if kind == websocket.BinaryMessage {
			err = s.log(data)
		} else {
			err = s.text(data)
		}
		if err != nil {
			s.refuse(err)
			return
		}
	}
}

// log takes a frame of log bytes.
func (s *session) log(frame []byte) error {
	l, err := wire.DecodeLog(frame)
	if errors.Is(err, wire.ErrUnknownType) {
		return nil
	}
	if err != nil {
		return domain.Invalid("bad_frame", "%s", err.Error())
	}
	ref, err := refOf(l.JobID, l.Attempt)
	if err != nil {
		return err
	}
	err = s.g.Jobs.AppendLog(s.ctx, s.who, ref, l.Offset, l.Time, l.Data, func(p jobs.Position) {
		s.send(&wire.LogAck{JobID: l.JobID, Attempt: l.Attempt, Offset: p.Offset, Rewind: p.Rewind, Stale: p.Stale}, "")
	})
	switch {
	case domain.CodeOf(err) == "log_limit":
		s.send(&wire.LogAck{JobID: l.JobID, Attempt: l.Attempt, Stale: true}, "")
		return s.g.Jobs.Lost(s.ctx, s.who, ref, "host_error", "the agent sent more log than the job may have")
	case err != nil:
		s.g.Log.WarnContext(s.ctx, "log bytes cannot be taken", "job", ref.Job.Prefixed("job"), "error", err)
	}
	return nil
}

// send writes a frame, which answers another where ref is not empty. An error shows at the next read.
func (s *session) send(body any, ref string) {
	data, err := wire.Encode(wire.Frame{Ref: ref, Body: body})
	if err != nil {
		s.g.Log.Error("a frame cannot be encoded", "type", wire.TypeOf(body), "error", err)
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.conn.SetWriteDeadline(s.g.Clock.Now().Add(writeTimeout))
	if err := s.conn.WriteMessage(websocket.TextMessage, data); err != nil {
		_ = s.conn.Close()
	}
}

// refuse closes the connection with the code that fits the error.
func (s *session) refuse(err error) {
	code := wire.CloseRestart
	switch domain.KindOf(err) {
	case domain.KindUnauthenticated:
		code = wire.CloseUnauthenticated
	case domain.KindForbidden, domain.KindNotFound:
		code = wire.CloseForbidden
	case domain.KindInvalid:
		code = wire.CloseBadFrame
	case domain.KindConflict:
		code = wire.CloseFenced
	case domain.KindInternal, domain.KindPaymentRequired, domain.KindExhausted, domain.KindUnavailable:
		s.g.Log.WarnContext(s.ctx, "a session ends", "error", err)
	}
	s.close(code, err.Error())
}

// end closes the connection from another goroutine than its reader's.
func (s *session) end(code int, reason string) {
	s.close(code, reason)
	s.cancel()
}

func (s *session) close(code int, reason string) {
	if len(reason) > 120 {
		reason = reason[:120]
	}
	deadline := s.g.Clock.Now().Add(closeTimeout)
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline)
	_ = s.conn.SetReadDeadline(deadline) // the agent answers the close, or not
	_ = s.conn.Close()
}

func refOf(job string, attempt int) (jobs.Ref, error) {
	id, err := domain.ParsePrefixed("job", job)
	return jobs.Ref{Job: id, Attempt: attempt}, err
}
