package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/faults"
)

// errStale is the server's word that the attempt is not this host's any more.
var errStale = errors.New("the attempt is over or belongs to another host")

// The pace of what an attempt sends.
const (
	logEvery      = 5 * time.Millisecond   // between log frames, unless 64 KiB wait
	progressEvery = 500 * time.Millisecond // between phases that are not acked
	progressAfter = 50 * time.Millisecond  // before the first: a step that is over sooner is not worth telling
)

// courier brings one attempt's reports and log to the server, over as many sessions as
// it takes. Reports arrive in order, each until it is answered; log bytes arrive in
// order and once; finished goes after the last byte of the log.
type courier struct {
	key   attemptKey
	spool *spool
	clock Clock
	log   *slog.Logger
	stale func() // the server does not want this attempt any more

	wake chan struct{}

	mu       sync.Mutex
	reports  []*report // not answered yet, in order
	progress *wire.Phase
	sent     int64 // log bytes sent on the present session
	tries    int   // of the first report, since it was last answered with "later"
}

// report is a frame that is to be answered.
type report struct {
	body  any
	last  bool // goes after the log's end
	on    *session
	after time.Duration // by Clock.Boot: not before
	reply chan wire.Frame
}

// newCourier makes one without a spool; the attempt sets it before anything is sent.
func newCourier(key attemptKey, clock Clock, log *slog.Logger, stale func()) *courier {
	return &courier{key: key, clock: clock, log: log, stale: stale, wake: make(chan struct{}, 1)}
}

// tell queues a report. What comes of it can be awaited, or not.
func (c *courier) tell(body any) *report {
	_, last := body.(*wire.Finished)
	r := &report{body: body, last: last, reply: make(chan wire.Frame, 1)}
	c.mu.Lock()
	c.reports = append(c.reports, r)
	c.progress = nil // older than the report, and would now arrive behind it
	c.mu.Unlock()
	c.poke()
	return r
}

// show replaces the progress that is to be sent when there is time.
func (c *courier) show(p *wire.Phase) {
	c.mu.Lock()
	c.progress = p
	c.mu.Unlock()
	c.poke()
}

// await waits for the answer to a report. Errors of the server that are final come as
// *wire.AckError in the frame.
func (r *report) await(ctx context.Context) (wire.Frame, error) {
	select {
	case f := <-r.reply:
		if a, ok := f.Body.(*wire.Ack); ok && a.Error != nil && a.Error.Stale {
			return f, errStale
		}
		return f, nil
	case <-ctx.Done():
		return wire.Frame{}, context.Cause(ctx)
	}
}

// poke makes the courier look again.
func (c *courier) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// carry works until ctx ends: the attempt is settled or unwanted.
func (c *courier) carry(ctx context.Context, link *link) {
	for {
		s, err := link.wait(ctx)
		if err != nil {
			return
		}
		if err := c.serve(ctx, s); err != nil {
			// The connection is the reader's to close; it notices by itself, but
			// not if only writing fails.
			s.close(wire.CloseTimeout, "cannot write")
		}
		select {
		case <-s.gone:
		case <-ctx.Done():
			return
		}
	}
}

// serve sends on one session until it is gone.
func (c *courier) serve(ctx context.Context, s *session) error {
	_, acked, _ := c.spool.state()
	c.mu.Lock()
	c.sent = acked
	c.mu.Unlock()
	var buf logBuffer
	nextLog := c.clock.Boot()
	nextProgress := nextLog + progressAfter
	for {
		now := c.clock.Boot()
		wait := time.Duration(-1)
		later := func(d time.Duration) {
			if wait < 0 || d < wait {
				wait = d
			}
		}
		switch r, due := c.nextReport(s, now); {
		case r != nil:
			if err := s.ask(r.body, func(f wire.Frame) { c.answered(r, f) }); err != nil {
				return err
			}
			continue
		case due > 0:
			later(due)
		}
		if chunk, at, ready := c.nextChunk(s); chunk > 0 {
			if now >= nextLog || ready {
				if err := c.sendLog(s, &buf, chunk, at); err != nil {
					return err
				}
				nextLog = now + logEvery
				continue
			}
			later(nextLog - now)
		}
		if p := c.takeProgress(now >= nextProgress); p != nil {
			if err := s.post(p); err != nil {
				return err
			}
			nextProgress = now + progressEvery
			continue
		} else if c.hasProgress() {
			later(max(time.Millisecond, nextProgress-now))
		}
		if !c.sleep(ctx, s, wait) {
			return nil
		}
	}
}

// sleep waits for something to do, for at most d unless that is negative. It says
// whether the session still stands.
func (c *courier) sleep(ctx context.Context, s *session, d time.Duration) bool {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-c.wake:
	case <-timer:
	case <-s.gone:
		return false
	case <-ctx.Done():
		return false
	}
	return true
}

// nextReport is the next report to send on a session, or how long until there may be
// one. The last report waits for the log.
func (c *courier) nextReport(s *session, now time.Duration) (*report, time.Duration) {
	size, _, closed := c.spool.state()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.reports {
		switch {
		case r.on == s:
			continue
		case r.after > now:
			return nil, r.after - now
		case r.last && (!closed || c.sent < size):
			return nil, 0
		}
		r.on = s
		return r, 0
	}
	return nil, 0
}

// nextChunk says how many log bytes can be sent now, from where, and whether they fill
// a frame or end the stream, so that there is no use in waiting for more.
func (c *courier) nextChunk(s *session) (n int, from int64, ready bool) {
	size, acked, closed := c.spool.state()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = max(c.sent, acked)
	n = int(min(size-c.sent, s.window-(c.sent-acked), wire.MaxLogData))
	return n, c.sent, n == wire.MaxLogData || (closed && n > 0)
}

// logBuffer is what sending logs needs again and again; it grows with the first log.
type logBuffer struct{ data, frame []byte }

// sendLog sends n bytes of the spool from an offset on.
func (c *courier) sendLog(s *session, buf *logBuffer, n int, from int64) error {
	if cap(buf.data) < n {
		buf.data = make([]byte, n)
	}
	data := buf.data[:n]
	at, err := c.spool.read(from, data)
	if err != nil {
		c.log.Error("the log's spool cannot be read", "error", err)
		return err
	}
	buf.frame, err = wire.AppendLog(buf.frame[:0], wire.Log{JobID: c.key.Job, Attempt: c.key.Attempt, Offset: from, Time: at, Data: data})
	if err != nil {
		return err
	}
	c.mu.Lock()
	// A rewind may have come in between; the frame is then a repeat and harmless.
	if c.sent == from {
		c.sent = from + int64(n)
	}
	c.mu.Unlock()
	if err := faults.Point("log.after_spool_before_send"); err != nil {
		return err
	}
	return s.write(true, buf.frame)
}

// takeProgress is the progress to send, when it is due.
func (c *courier) takeProgress(due bool) *wire.Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !due || c.progress == nil {
		return nil
	}
	p := c.progress
	c.progress = nil
	return p
}

// hasProgress says that some waits for its time.
func (c *courier) hasProgress() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.progress != nil
}

// answered handles the answer to a report. It runs in the session's reader.
func (c *courier) answered(r *report, f wire.Frame) {
	ack, isAck := f.Body.(*wire.Ack)
	c.mu.Lock()
	if isAck && ack.Error != nil && !ack.Error.Stale && c.again(r, ack.Error) {
		c.mu.Unlock()
		c.log.Warn("the server asks to repeat a report", "report", wire.TypeOf(r.body), "code", ack.Error.Code, "detail", ack.Error.Detail)
		c.poke()
		return
	}
	c.tries = 0
	for i, other := range c.reports {
		if other == r {
			c.reports = append(c.reports[:i:i], c.reports[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
	r.reply <- f
	if isAck && ack.Error != nil {
		if ack.Error.Stale {
			c.stale()
		} else {
			c.log.Warn("the server refuses a report", "report", wire.TypeOf(r.body), "code", ack.Error.Code, "detail", ack.Error.Detail)
		}
	}
	c.poke()
}

// again decides whether a refused report is sent once more: always when the server is
// merely not able to now, and a result in any case, for it is repeated until it is
// accepted or stale. The lock is held.
func (c *courier) again(r *report, e *wire.AckError) bool {
	if e.Code != wire.CodeUnavailable && !r.last {
		return false
	}
	c.tries++
	wait := min(time.Second<<min(c.tries-1, 6), time.Minute)
	if e.RetryAfterS > 0 {
		wait = seconds(e.RetryAfterS)
	}
	if e.Code == wire.CodeLogMismatch {
		c.sent = min(c.sent, max(0, e.Offset))
		c.spool.rewind(c.sent)
		if c.tries == 1 {
			wait = 0
		}
	}
	r.on, r.after = nil, c.clock.Boot()+wait
	return true
}

// logAcked handles a log_ack.
func (c *courier) logAcked(a *wire.LogAck) {
	if a.Stale {
		c.stale()
		return
	}
	if a.Rewind {
		c.mu.Lock()
		c.sent = min(c.sent, a.Offset)
		c.mu.Unlock()
		c.spool.rewind(a.Offset)
	}
	_ = faults.Point("log.after_send_before_ack")
	c.spool.ack(a.Offset)
	c.poke()
}
