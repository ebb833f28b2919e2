package daemon

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// handshakeTime bounds each step from dialling to welcome.
const handshakeTime = 15 * time.Second

// session is one connection after its welcome.
type session struct {
	conn    Conn
	welcome wire.Welcome
	window  int64         // log bytes per attempt that may be on their way
	began   time.Duration // by Clock.Boot, when hello was sent

	writing sync.Mutex

	mu      sync.Mutex
	next    int
	waiting map[string]func(wire.Frame)
	gone    chan struct{}
}

// handshake takes a new connection from challenge to welcome.
func (d *Daemon) handshake(ctx context.Context, conn Conn) (*session, error) {
	// A server that accepts and then says nothing must not hold the agent up.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(wire.CloseTimeout, "no handshake in time") })
	defer stop()
	frame, err := readText(conn)
	if err != nil {
		return nil, fmt.Errorf("waiting for the challenge: %w", err)
	}
	challenge, ok := frame.Body.(*wire.Challenge)
	if !ok {
		return nil, fmt.Errorf("the server began with %s, not with a challenge", wire.TypeOf(frame.Body))
	}
	hello := d.hello()
	hello.Signature = base64.RawURLEncoding.EncodeToString(d.identity.Sign(wire.HelloPayload(challenge.Nonce, d.identity.HostID, hello)))
	s := &session{conn: conn, waiting: map[string]func(wire.Frame){}, gone: make(chan struct{}), began: d.clock.Boot()}
	data, err := wire.Encode(wire.Frame{ID: "hello", Body: &hello})
	if err != nil {
		return nil, err
	}
	if err := conn.Write(false, data); err != nil {
		return nil, fmt.Errorf("sending hello: %w", err)
	}
	if frame, err = readText(conn); err != nil {
		return nil, fmt.Errorf("waiting for welcome: %w", err)
	}
	welcome, ok := frame.Body.(*wire.Welcome)
	if !ok {
		return nil, fmt.Errorf("the server answered hello with %s", wire.TypeOf(frame.Body))
	}
	if welcome.HeartbeatS <= 0 || welcome.ReassignAfterS <= welcome.HeartbeatS {
		return nil, fmt.Errorf("welcome asks for a heartbeat every %g s and a lease of %g s", welcome.HeartbeatS, welcome.ReassignAfterS)
	}
	s.welcome, s.window = *welcome, max(welcome.LogWindowBytes, wire.MaxLogData)
	return s, nil
}

// readText reads a frame of the handshake.
func readText(conn Conn) (wire.Frame, error) {
	binary, data, err := conn.Read()
	if err != nil {
		return wire.Frame{}, err
	}
	if binary {
		return wire.Frame{}, errors.New("the server sent a binary frame")
	}
	return wire.Decode(data)
}

// post sends a frame that is not answered.
func (s *session) post(body any) error { return s.send(wire.Frame{Body: body}) }

// ask sends a frame and calls answer, from the reader, with the answer to it. When the
// session ends first, answer is not called.
func (s *session) ask(body any, answer func(wire.Frame)) error {
	s.mu.Lock()
	s.next++
	id := strconv.Itoa(s.next)
	s.waiting[id] = answer
	s.mu.Unlock()
	return s.send(wire.Frame{ID: id, Body: body})
}

// answer hands an answer to whom it is for.
func (s *session) answer(f wire.Frame) {
	s.mu.Lock()
	answer := s.waiting[f.Ref]
	delete(s.waiting, f.Ref)
	s.mu.Unlock()
	if answer != nil {
		answer(f)
	}
}

// send encodes and writes a frame.
func (s *session) send(f wire.Frame) error {
	data, err := wire.Encode(f)
	if err != nil {
		return err
	}
	return s.write(false, data)
}

// write sends a frame; frames of one goroutine stay in order.
func (s *session) write(binary bool, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.conn.Write(binary, data)
}

// close ends the connection; the reader notices and cleans up.
func (s *session) close(code int, reason string) { _ = s.conn.Close(code, reason) }

// end marks the session as over.
func (s *session) end() { close(s.gone) }

// link is where those that send find the present session.
type link struct {
	mu      sync.Mutex
	now     *session
	changed chan struct{}
}

// newLink is a link without a session.
func newLink() *link { return &link{changed: make(chan struct{})} }

// set makes s the present session; nil is none.
func (l *link) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = s
	close(l.changed)
	l.changed = make(chan struct{})
}

// present is the session, or nil, and a channel that is closed when that changes.
func (l *link) present() (*session, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.changed
}

// wait gives the present session, or the next.
func (l *link) wait(ctx context.Context) (*session, error) {
	for {
		s, changed := l.present()
		if s != nil {
			select {
			case <-s.gone:
			default:
				return s, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
