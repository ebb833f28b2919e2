package fleet

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/openapi/wire"
)

const version = "0.1.0"

// The times of reconnecting, as those of the agent.
const (
	firstRetry  = 5 * time.Second // after a session: uniform within it
	baseRetry   = time.Second
	mostRetry   = time.Minute
	stableAfter = time.Minute
	writeTime   = 10 * time.Second
)

// Agent is one host.
type Agent struct {
	ID string // hst_…

	fleet     *Fleet
	key       ed25519.PrivateKey
	token     string
	inventory wire.Inventory

	mu       sync.Mutex
	held     map[key]*Attempt
	link     *link // nil while there is no session
	Sessions int   // how often it was welcomed; read it after Stop
	Overlap  int   // how often it was given a job while another one ran on its one GPU
}

// key names an attempt.
type key struct {
	job     string
	attempt int
}

// connect keeps a session until ctx ends.
func (a *Agent) connect(ctx context.Context) {
	lost, failures := time.Now(), 0
	for ctx.Err() == nil {
		began := time.Now()
		welcomed, within, err := a.session(ctx)
		most := within
		if welcomed {
			lost = time.Now()
			if lost.Sub(began) >= stableAfter {
				failures = 0
			}
		} else {
			most = min(mostRetry, baseRetry<<min(failures, 16))
			if time.Since(lost) < stableAfter {
				most = min(most, firstRetry)
			}
			failures++
		}
		wait := max(jitter(most), a.patience(err))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// patience is the least wait that an answer asks for.
func (a *Agent) patience(err error) time.Duration {
	var refused *refusal
	if !errors.As(err, &refused) {
		return 0
	}
	if refused.status == http.StatusUnauthorized {
		a.token = ""
	}
	s, err := strconv.Atoi(refused.after)
	if err != nil {
		return 0
	}
	asked := time.Duration(s) * time.Second
	return asked + jitter(asked/4)
}

func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return mathrand.N(most)
}

// session connects once and serves until the connection is lost.
func (a *Agent) session(ctx context.Context) (welcomed bool, within time.Duration, err error) {
	within = firstRetry
	conn, err := a.dial(ctx)
	if err != nil {
		return false, within, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	l := &link{conn: conn, answers: map[string]func(any){}}
	welcome, err := a.greet(l)
	if err != nil {
		return false, within, err
	}
	a.fleet.online.Add(1)
	defer a.fleet.online.Add(-1)
	a.welcomed(l, welcome)
	defer a.parted()
	live, stop := context.WithCancel(ctx)
	defer stop()
	a.fleet.all.Go(func() { l.beat(live, time.Duration(welcome.HeartbeatS*float64(time.Second))) })
	for {
		kind, data, err := conn.ReadMessage()
		if err != nil {
			return true, within, err
		}
		if kind == websocket.BinaryMessage {
			continue
		}
		frame, err := wire.Decode(data)
		if err != nil {
			return true, within, err
		}
		switch body := frame.Body.(type) {
		case *wire.Ack, *wire.Upload:
			l.answered(frame.Ref, body)
		case *wire.LogAck:
			a.acked(body)
		case *wire.Manifest:
			if err := a.offered(body.JWS); err != nil {
				return true, within, err
			}
		case *wire.Drain:
			within = time.Duration(body.ReconnectWithinS * float64(time.Second))
		}
	}
}

// dial gets a token, unless there is one, and opens the WebSocket.
func (a *Agent) dial(ctx context.Context) (*websocket.Conn, error) {
	if a.token == "" {
		assertion, err := a.assertion()
		if err != nil {
			return nil, err
		}
		var answer wire.TokenResponse
		err = a.fleet.post(ctx, "/api/agent/token", "", wire.TokenRequest{ClientAssertionType: wire.AssertionType, ClientAssertion: assertion}, &answer)
		if err != nil {
			return nil, err
		}
		a.token = answer.AccessToken
	}
	conn, resp, err := a.fleet.dialer.DialContext(ctx, a.fleet.socket(), http.Header{"Authorization": {"Bearer " + a.token}})
	if resp != nil {
		_ = resp.Body.Close()
		if err != nil {
			err = &refusal{status: resp.StatusCode, after: resp.Header.Get("Retry-After"), body: err.Error()}
		}
	}
	return conn, err
}

// assertion is the proof of who it is (RFC 7523).
func (a *Agent) assertion() (string, error) {
	now := time.Now()
	claims, err := wire.MarshalClaims(&wire.AssertionClaims{
		Iss: a.ID, Sub: a.ID, Aud: wire.AssertionAudience, JTI: rand.Text(), Iat: now.Unix(), Exp: now.Add(time.Minute).Unix(),
	})
	if err != nil {
		return "", err
	}
	head := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":%q}`, wire.Thumbprint(a.key.Public().(ed25519.PublicKey)), wire.TypAssertion)
	text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(a.key, []byte(text))), nil
}

// greet answers the challenge, and gets the welcome.
func (a *Agent) greet(l *link) (*wire.Welcome, error) {
	challenge, err := next[wire.Challenge](l)
	if err != nil {
		return nil, err
	}
	hello := wire.Hello{AgentVersion: version, MachineID: a.inventory.Host.MachineID, InventoryHash: a.inventory.Hash}
	hello.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(a.key, wire.HelloPayload(challenge.Nonce, a.ID, hello)))
	a.mu.Lock()
	for k, attempt := range a.held {
		hello.Attempts = append(hello.Attempts, wire.HeldAttempt{
			JobID: k.job, Attempt: k.attempt, LogBytes: attempt.size(), State: wire.HeldAttemptStateRunning,
		})
	}
	a.mu.Unlock()
	if err := l.send(&hello, ""); err != nil {
		return nil, err
	}
	return next[wire.Welcome](l)
}

// next reads a frame that has to be of one type.
func next[T any](l *link) (*T, error) {
	_, data, err := l.conn.ReadMessage()
	if err != nil {
		return nil, err
	}
	frame, err := wire.Decode(data)
	if err != nil {
		return nil, err
	}
	body, ok := frame.Body.(*T)
	if !ok {
		return nil, fmt.Errorf("the server sent %s", wire.TypeOf(frame.Body))
	}
	return body, nil
}

// welcomed makes the session the agent's, and resumes what it holds.
func (a *Agent) welcomed(l *link, w *wire.Welcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = l
	a.Sessions++
	inventory := a.inventory
	_ = l.ask(&inventory, func(*wire.Ack) {})
	for _, r := range w.Jobs {
		k := key{r.JobID, r.Attempt}
		attempt := a.held[k]
		switch {
		case attempt == nil:
		case r.Action == wire.ResumeActionContinue:
			attempt.resume(l, r.LogOffset)
		default:
			delete(a.held, k)
			attempt.forget()
		}
	}
}

// parted notes that the session is over.
func (a *Agent) parted() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = nil
	for _, attempt := range a.held {
		attempt.pause()
	}
}

// offered takes a manifest. Its signature is the daemon's business.
func (a *Agent) offered(jws string) error {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return errors.New("a manifest that is no JWS")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims wire.ManifestClaims
	if err := wire.ParseClaims(payload, &claims); err != nil {
		return err
	}
	k := key{claims.JobID, claims.Attempt}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[k] != nil || a.link == nil {
		return nil
	}
	for _, other := range a.held {
		if !other.settling() {
			a.Overlap++
		}
	}
	attempt := newAttempt(a, k)
	a.held[k] = attempt
	a.fleet.begun(k)
	attempt.resume(a.link, 0)
	a.fleet.all.Go(attempt.run)
	return nil
}

// acked hands on what the server has durably of a log.
func (a *Agent) acked(ack *wire.LogAck) {
	a.mu.Lock()
	attempt := a.held[key{ack.JobID, ack.Attempt}]
	a.mu.Unlock()
	if attempt != nil {
		attempt.acked(ack)
	}
}

// done forgets an attempt whose result was accepted.
func (a *Agent) done(k key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[k] != nil {
		delete(a.held, k)
		a.fleet.count.Add(1)
	}
}

// Beat sends a heartbeat now.
func (a *Agent) Beat() error {
	a.mu.Lock()
	l := a.link
	a.mu.Unlock()
	if l == nil {
		return errors.New("the agent is not connected")
	}
	return l.heartbeat()
}
