package daemon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// connect keeps a session until ctx ends.
func (d *Daemon) connect(ctx context.Context) {
	lost, failures := d.clock.Boot(), 0
	for ctx.Err() == nil {
		began := d.clock.Boot()
		welcomed, within, err := d.session(ctx)
		if ctx.Err() != nil {
			return
		}
		most := within
		if welcomed {
			lost = d.clock.Boot()
			if lost-began >= d.cfg.Retry.Stable {
				failures = 0
			}
			d.log.Info("disconnected", "reason", err)
		} else if removed(err) {
			close(d.removed)
			return
		} else {
			most = min(d.cfg.Retry.Cap, d.cfg.Retry.Base<<min(failures, 16))
			if d.clock.Boot()-lost < d.cfg.Retry.Stable {
				// Several short waits in a row say little: a server that restarts is back soon.
				most = min(most, d.cfg.Retry.First)
			}
			failures++
			d.log.Warn("cannot connect", "error", err, "tries", failures, "do", Advice(err))
		}
		if d.pause(ctx, max(jitter(most), d.patience(err))) != nil {
			return
		}
	}
}

// removed says that the server has this host no more. Only who has the host's key is told.
func removed(err error) bool {
	var refused *Refusal
	return errors.As(err, &refused) && refused.Code == codeRemoved
}

// patience is the least wait that an error asks for.
func (d *Daemon) patience(err error) time.Duration {
	var refused *Refusal
	if errors.As(err, &refused) {
		if refused.Status == http.StatusUnauthorized {
			d.token.drop()
		}
		if refused.Code == codeSuspended {
			return d.cfg.Retry.Suspended + jitter(d.cfg.Retry.Suspended/4)
		}
		// What was asked for, and some more, so that not all come back together.
		return refused.RetryAfter + jitter(refused.RetryAfter/4)
	}
	var closed *Closed
	if errors.As(err, &closed) {
		switch closed.Code {
		case wire.CloseUnauthenticated, wire.CloseForbidden:
			d.token.drop() // who asks for another is told what keeps the host out
		case wire.CloseFenced:
			d.log.Error("another agent with this host's key took over; if that is not meant, enrol this machine anew")
			return d.cfg.Retry.Cap/2 + jitter(d.cfg.Retry.Cap/2)
		case wire.CloseTooOld:
			d.log.Error("the server asks for a newer agent", "reason", closed.Reason)
			return d.cfg.Retry.Cap
		}
	}
	return 0
}

// jitter is uniform between 0 and most.
func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}

// seconds turns what the protocol says in seconds into a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// session connects once and serves until the connection is lost. It says whether the
// server welcomed this host and within what time to come back.
func (d *Daemon) session(ctx context.Context) (welcomed bool, within time.Duration, err error) {
	within = d.cfg.Retry.First
	hands, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	token, err := d.token.get(hands, d)
	if err != nil {
		return false, within, fmt.Errorf("getting a token: %w", err)
	}
	conn, err := d.ports.Server.Dial(hands, token)
	if err != nil {
		return false, within, fmt.Errorf("dialling: %w", err)
	}
	s, err := d.handshake(hands, conn)
	if err != nil {
		var closed *Closed
		if !errors.As(err, &closed) {
			_ = conn.Close(wire.CloseBadFrame, "handshake failed")
		}
		return false, within, err
	}
	cancel()
	d.welcomed(s)
	live, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { s.close(wire.CloseLeaving, "the agent stops") })()
	var sending sync.WaitGroup
	sending.Go(func() { d.beat(live, s) })
	sending.Go(func() { d.announce(live, s) })
	err = d.read(s, &within)
	stop()
	d.link.set(nil)
	s.end()
	s.close(wire.CloseLeaving, "")
	sending.Wait()
	return true, within, err
}

// welcomed takes over what the server says of time, lease and attempts.
func (d *Daemon) welcomed(s *session) {
	w := s.welcome
	d.time.set(w.ServerTime, d.clock.Boot())
	d.renewed(s.began, seconds(w.ReassignAfterS))
	for _, r := range w.Jobs {
		a := d.find(attemptKey{r.JobID, r.Attempt})
		if a == nil {
			continue
		}
		switch r.Action {
		case wire.ResumeActionContinue:
			a.spool.rewind(r.LogOffset)
			a.spool.ack(r.LogOffset)
		case wire.ResumeActionKill, wire.ResumeActionFinished:
			a.log.Info("the server has no use for the attempt", "action", r.Action)
			a.stop(order{drop: true})
		}
	}
	d.log.Info("connected", "session", w.Session, "epoch", w.Epoch, "attempts", len(w.Jobs))
	d.link.set(s)
	d.once.Do(func() { close(d.connected) })
}

// read handles what the server sends, in its order.
func (d *Daemon) read(s *session, within *time.Duration) error {
	for {
		binary, data, err := s.conn.Read()
		if err != nil {
			return err
		}
		if binary {
			continue // a kind of a later version
		}
		f, err := wire.Decode(data)
		if errors.Is(err, wire.ErrUnknownType) {
			continue
		}
		if err != nil {
			s.close(wire.CloseBadFrame, "frame not understood")
			return err
		}
		switch body := f.Body.(type) {
		case *wire.Ack, *wire.Upload:
			s.answer(f)
		case *wire.LogAck:
			if a := d.find(attemptKey{body.JobID, body.Attempt}); a != nil {
				a.courier.logAcked(body)
			}
		case *wire.Manifest:
			d.offered(s, body.JWS)
		case *wire.Cancel:
			d.cancelled(s, body.JWS)
		case *wire.Keys:
			d.rekeyed(body.JWS)
		case *wire.Policy:
			d.restricted(body.JWS)
		case *wire.Drain:
			*within = seconds(body.ReconnectWithinS)
			d.log.Info("the server is about to restart")
		default:
			s.close(wire.CloseBadFrame, "not a frame for agents")
			return fmt.Errorf("the server sent %s", wire.TypeOf(f.Body))
		}
	}
}

// rekeyed takes over a new key set, for good.
func (d *Daemon) rekeyed(signed string) {
	news, err := d.trust.renew(signed)
	if err != nil {
		d.log.Error("a key set of the server was refused", "error", err)
		return
	}
	if !news {
		return
	}
	d.identity.keys = d.trust.document()
	if err := d.identity.save(d.cfg.Dir); err != nil {
		d.log.Error("the new key set cannot be stored", "error", err)
	}
	d.log.Info("the server's keys were renewed")
}

// token is the access token, as long as it is good.
type token struct {
	mu      sync.Mutex
	value   string
	expires time.Duration // by Clock.Boot
}

// get trades an assertion for a token, unless the last one is good for a while.
func (t *token) get(ctx context.Context, d *Daemon) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value != "" && d.clock.Boot() < t.expires {
		return t.value, nil
	}
	// Before the first welcome the server's clock is not known, and the token request
	// is judged by it. A machine whose clock is wrong could never connect.
	now, known := d.time.now(d.clock.Boot())
	if !known {
		var err error
		if now, err = d.ports.Server.Ping(ctx); err != nil {
			return "", err
		}
		d.time.set(now, d.clock.Boot())
	}
	assertion, err := d.identity.Assertion(now)
	if err != nil {
		return "", err
	}
	answer, err := d.ports.Server.Token(ctx, assertion)
	if err != nil {
		// A clock that the server has set meanwhile would be refused for ever.
		d.time.forget()
		return "", err
	}
	t.value = answer.AccessToken
	t.expires = d.clock.Boot() + time.Duration(answer.ExpiresIn)*time.Second - time.Minute
	return t.value, nil
}

// drop forgets a token that the server does not take any more.
func (t *token) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value = ""
}

// serverTime is the server's clock as told last, carried on by the machine's steady one:
// what the owner does to the wall clock changes nothing.
type serverTime struct {
	mu   sync.Mutex
	at   time.Time
	boot time.Duration
}

// set notes what the server said, and when by the steady clock.
func (s *serverTime) set(at time.Time, boot time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.boot = at, boot
}

// now is the server's time, if it is known.
func (s *serverTime) now(boot time.Duration) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at.Add(boot - s.boot), !s.at.IsZero()
}

// forget makes the next token request ask for the time anew.
func (s *serverTime) forget() { s.set(time.Time{}, 0) }
