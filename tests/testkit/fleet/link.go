package fleet

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/openapi/wire"
)

// link is one session.
type link struct {
	conn *websocket.Conn

	writing sync.Mutex
	buffer  []byte
	beats   int64

	mu      sync.Mutex
	ids     int
	answers map[string]func(body any)
}

func (l *link) send(body any, id string) error {
	data, err := wire.Encode(wire.Frame{ID: id, Body: body})
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.write(websocket.TextMessage, data)
}

func (l *link) write(kind int, data []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	return l.conn.WriteMessage(kind, data)
}

// ask sends a frame that is acknowledged.
func (l *link) ask(body any, answer func(*wire.Ack)) error {
	return l.call(body, func(body any) {
		if ack, ok := body.(*wire.Ack); ok {
			answer(ack)
		}
	})
}

// call sends a frame that is answered by another.
func (l *link) call(body any, answer func(body any)) error {
	l.mu.Lock()
	l.ids++
	id := strconv.Itoa(l.ids)
	l.answers[id] = answer
	l.mu.Unlock()
	return l.send(body, id)
}

func (l *link) answered(id string, body any) {
	l.mu.Lock()
	answer := l.answers[id]
	delete(l.answers, id)
	l.mu.Unlock()
	if answer != nil {
		answer(body)
	}
}

func (l *link) log(log wire.Log) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	var err error
	if l.buffer, err = wire.AppendLog(l.buffer[:0], log); err != nil {
		return err
	}
	return l.write(websocket.BinaryMessage, l.buffer)
}

// beat sends heartbeats; the first comes at a moment of its own, so that a fleet that
// connects at once does not beat as one.
func (l *link) beat(ctx context.Context, every time.Duration) {
	timer := time.NewTimer(jitter(every))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if l.heartbeat() != nil {
			return
		}
		timer.Reset(every*9/10 + jitter(every/5))
	}
}

func (l *link) heartbeat() error {
	l.mu.Lock()
	l.beats++
	b := wire.Heartbeat{Seq: l.beats}
	l.mu.Unlock()
	return l.send(&b, "")
}
