package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// window is how many bytes of a log may be under way.
const window = 1 << 20

// Attempt is a job that runs on an agent. Its log is kept whole until its end, so that
// it can be sent again from anywhere.
type Attempt struct {
	agent *Agent
	key   key
	began time.Time

	mu      sync.Mutex
	changed sync.Cond
	log     []byte
	sent    int64 // bytes that were sent in this session
	durable int64 // bytes that the server has stored
	link    *link // nil: there is no session
	over    bool  // the script is through
	gone    bool  // the server wants nothing of it any more
	sum     string
	ran     time.Duration
}

func newAttempt(a *Agent, k key) *Attempt {
	t := &Attempt{agent: a, key: k, began: time.Now()}
	t.changed.L = &t.mu
	return t
}

// Job is the id of its job.
func (t *Attempt) Job() string { return t.key.job }

func (t *Attempt) size() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(len(t.log))
}

func (t *Attempt) settling() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// run does the script, and delivers the end.
func (t *Attempt) run() {
	t.agent.fleet.Run(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over, t.ran = true, time.Since(t.began)
	sum := sha256.Sum256(t.log)
	t.sum = hex.EncodeToString(sum[:])
	t.finish()
}

// resume tells a new session everything of the attempt, of the log what is missing. All
// of it may be told twice.
func (t *Attempt) resume(l *link, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link, t.sent, t.durable = l, offset, offset
	t.tell(&wire.Accept{JobID: t.key.job, Attempt: t.key.attempt})
	t.tell(&wire.Phase{JobID: t.key.job, Attempt: t.key.attempt, Name: wire.PhaseNameRunning})
	t.push()
	if t.over {
		t.finish()
	}
	t.changed.Broadcast()
}

func (t *Attempt) pause() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link = nil
}

func (t *Attempt) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
	t.changed.Broadcast()
}

// tell sends a report whose answer is of no interest. One that is lost with its session
// is told to the next.
func (t *Attempt) tell(body any) {
	if t.link != nil {
		_ = t.link.ask(body, func(*wire.Ack) {})
	}
}

// Print adds to the log. It waits while too much is under way, as the pipe of a job does.
func (t *Attempt) Print(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for int64(len(t.log))-t.durable > window && !t.gone {
		t.changed.Wait()
	}
	t.log = append(t.log, data...)
	t.push()
}

// push sends what was not sent yet.
func (t *Attempt) push() {
	for t.link != nil && t.sent < int64(len(t.log)) {
		data := t.log[t.sent:min(int64(len(t.log)), t.sent+wire.MaxLogData)]
		if t.link.log(wire.Log{JobID: t.key.job, Attempt: t.key.attempt, Offset: t.sent, Time: time.Now(), Data: data}) != nil {
			return // the reader notices
		}
		t.sent += int64(len(data))
	}
}

func (t *Attempt) acked(ack *wire.LogAck) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.durable = max(t.durable, ack.Offset)
	if ack.Rewind {
		t.sent = ack.Offset
		t.push()
	}
	t.gone = t.gone || ack.Stale
	t.changed.Broadcast()
}

// finish delivers the result, again until it is accepted.
func (t *Attempt) finish() {
	if t.link == nil || t.gone {
		return
	}
	code := 0
	t.tell(&wire.Exited{JobID: t.key.job, Attempt: t.key.attempt, ExitCode: &code, DurationMs: t.ran.Milliseconds()})
	_ = t.link.ask(&wire.Finished{
		JobID: t.key.job, Attempt: t.key.attempt, ExitCode: &code, DurationMs: t.ran.Milliseconds(),
		Log: wire.LogSummary{Bytes: int64(len(t.log)), Lines: int64(bytes.Count(t.log, []byte("\n"))), SHA256: t.sum},
	}, t.finished)
}

func (t *Attempt) finished(a *wire.Ack) {
	switch {
	case a.Ok || a.Error == nil:
		t.agent.done(t.key)
	case a.Error.Stale:
		t.forget()
	case a.Error.Code == wire.CodeLogMismatch:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sent = a.Error.Offset
		t.push()
		t.finish()
	default:
		again := max(time.Duration(a.Error.RetryAfterS*float64(time.Second)), 100*time.Millisecond)
		time.AfterFunc(again, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.finish()
		})
	}
}
