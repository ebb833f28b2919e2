package daemon_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/wire"
)

// fakeServer is daemon.Server without a network.
type fakeServer struct {
	w       *world
	peers   chan *peer
	hostKey ed25519.PublicKey

	mu     sync.Mutex
	refuse error // answered to Dial
	dials  []time.Time
	banned error // answered to Token
	asked  int   // for a token
}

// ban answers token requests with an error, and tells how many there were.
func (s *fakeServer) ban(err error) (asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.banned = err
	return s.asked
}

func (s *fakeServer) Register(_ context.Context, r wire.Registration) (wire.Registered, error) {
	key, err := base64.RawURLEncoding.DecodeString(r.PublicKey.X)
	require.NoError(s.w.t, err)
	proof, err := base64.RawURLEncoding.DecodeString(r.Proof)
	require.NoError(s.w.t, err)
	if !ed25519.Verify(key, wire.EnrolPayload(r.EnrollmentToken, key), proof) {
		return wire.Registered{}, errors.New("wrong proof")
	}
	s.hostKey = key
	return wire.Registered{HostID: hostID, Keys: s.w.keySet(1, s.w.key, s.w.key), ServerTime: time.Now(), MinAgentVersion: "0.0.0"}, nil
}

func (s *fakeServer) Token(_ context.Context, assertion string) (wire.TokenResponse, error) {
	s.mu.Lock()
	banned := s.banned
	s.asked++
	s.mu.Unlock()
	if banned != nil {
		return wire.TokenResponse{}, banned
	}
	jws, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(s.w.t, err)
	payload, err := jws.Verify(s.hostKey)
	require.NoError(s.w.t, err)
	var c wire.AssertionClaims
	require.NoError(s.w.t, wire.ParseClaims(payload, &c))
	require.Equal(s.w.t, wire.AssertionAudience, c.Aud)
	require.LessOrEqual(s.w.t, c.Exp-c.Iat, int64(60))
	return wire.TokenResponse{AccessToken: "token", TokenType: "Bearer", ExpiresIn: 600}, nil
}

func (s *fakeServer) Ping(context.Context) (time.Time, error) { return time.Now(), nil }

func (s *fakeServer) Dial(_ context.Context, token string) (daemon.Conn, error) {
	require.Equal(s.w.t, "token", token)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, time.Now())
	if s.refuse != nil {
		return nil, s.refuse
	}
	p := &peer{
		t: s.w.t, up: make(chan message, 100_000), down: make(chan message, 1000),
		gone: make(chan struct{}), frames: make(chan wire.Frame, 1000), acksBeats: true, acksLogs: true, acksReports: true,
	}
	s.peers <- p
	return p.conn(), nil
}

type message struct {
	binary bool
	data   []byte
}

// peer is the server's end of a connection.
type peer struct {
	t      *testing.T
	up     chan message // from the agent
	down   chan message
	gone   chan struct{}
	once   sync.Once
	closed *daemon.Closed

	frames chan wire.Frame // what the test is to see: all but heartbeats, inventories, logs

	mu                               sync.Mutex
	acksBeats, acksLogs, acksReports bool
	lag                              time.Duration // of the answers to heartbeats
	log                              []byte        // as appended by offset
	logFrames                        int
	beats                            int
	dups                             int // bytes that came twice
}

// fakeConn is the agent's end.
type fakeConn struct{ p *peer }

func (p *peer) conn() daemon.Conn { return fakeConn{p} }

func (c fakeConn) Read() (bool, []byte, error) {
	select {
	case m := <-c.p.down:
		return m.binary, m.data, nil
	default:
	}
	select {
	case m := <-c.p.down:
		return m.binary, m.data, nil
	case <-c.p.gone:
		if c.p.closed != nil {
			return false, nil, c.p.closed
		}
		return false, nil, io.ErrUnexpectedEOF
	}
}

func (c fakeConn) Write(binary bool, data []byte) error {
	select {
	case <-c.p.gone:
		return io.ErrClosedPipe
	case c.p.up <- message{binary, bytes.Clone(data)}:
		return nil
	}
}

func (c fakeConn) Close(int, string) error {
	c.p.once.Do(func() { close(c.p.gone) })
	return nil
}

// hangUp ends the connection from the server's side; 0 is without a close frame.
func (p *peer) hangUp(code int) {
	p.once.Do(func() {
		if code != 0 {
			p.closed = &daemon.Closed{Code: code}
		}
		close(p.gone)
	})
}

func (p *peer) send(body any, ref string) {
	data, err := wire.Encode(wire.Frame{Ref: ref, Body: body})
	require.NoError(p.t, err)
	p.down <- message{data: data}
}

func (p *peer) ack(f wire.Frame) { p.send(&wire.Ack{Ok: true}, f.ID) }

// raw is the next text frame, before pump runs.
func (p *peer) raw() wire.Frame {
	m := <-p.up
	return p.checked(m.data)
}

// pump answers what is always the same and shows the rest to the test.
func (p *peer) pump() {
	for {
		select {
		case <-p.gone:
			return
		case m := <-p.up:
			p.mu.Lock()
			p.handle(m)
			p.mu.Unlock()
		}
	}
}

// checked reads a frame, which has to be as agent.yaml says.
func (p *peer) checked(data []byte) wire.Frame {
	f, err := wire.Decode(data)
	require.NoError(p.t, err)
	assert.NoError(p.t, openapi.CheckFrame(wire.TypeOf(f.Body), data))
	return f
}

func (p *peer) handle(m message) {
	if m.binary {
		l, err := wire.DecodeLog(m.data)
		require.NoError(p.t, err)
		p.logFrames++
		switch have := int64(len(p.log)); {
		case l.Offset > have:
			assert.Failf(p.t, "a gap", "log frame at %d, have %d", l.Offset, have)
		default:
			fresh := l.Data[min(have-l.Offset, int64(len(l.Data))):]
			p.dups += len(l.Data) - len(fresh)
			p.log = append(p.log, fresh...)
		}
		if p.acksLogs {
			p.send(&wire.LogAck{JobID: l.JobID, Attempt: l.Attempt, Offset: int64(len(p.log))}, "")
		}
		return
	}
	f := p.checked(m.data)
	switch f.Body.(type) {
	case *wire.Heartbeat:
		p.beats++
		if p.acksBeats {
			time.AfterFunc(p.lag, func() {
				now := time.Now()
				p.send(&wire.Ack{Ok: true, ServerTime: &now}, f.ID)
			})
		}
	case *wire.Inventory:
		p.ack(f)
	case *wire.Accept, *wire.Exited, *wire.Reject, *wire.Reclaim:
		if p.acksReports {
			p.ack(f)
		}
		p.frames <- f
	case *wire.Phase:
		if f.ID != "" && p.acksReports {
			p.ack(f)
		}
		p.frames <- f
	default:
		p.frames <- f
	}
}

// set changes what the peer answers by itself.
func (p *peer) set(change func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *peer) received() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.log)
}

// expect waits for the next frame of a type and passes over phases on the way.
func expect[T any](p *peer) (*T, wire.Frame) {
	p.t.Helper()
	deadline := time.After(2 * time.Hour)
	for {
		select {
		case f := <-p.frames:
			if body, ok := f.Body.(*T); ok {
				return body, f
			}
			if _, phase := f.Body.(*wire.Phase); !phase {
				require.Failf(p.t, "an unexpected frame", "wanted %T, got %s %+v", new(T), wire.TypeOf(f.Body), f.Body)
			}
		case <-deadline:
			require.Failf(p.t, "no frame", "waiting for %T", new(T))
		}
	}
}

// running waits until the command runs.
func running(p *peer) {
	p.t.Helper()
	expect[wire.Accept](p)
	for {
		if phase, _ := expect[wire.Phase](p); phase.Name == wire.PhaseNameRunning {
			return
		}
	}
}

// quiet says that the agent sends nothing more for a while.
func quiet(p *peer, d time.Duration) {
	p.t.Helper()
	select {
	case f := <-p.frames:
		require.Failf(p.t, "an unexpected frame", "%s %+v", wire.TypeOf(f.Body), f.Body)
	case <-time.After(d):
	}
}
