package redislive

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/peergpu/peergpu/ports"
)

var _ ports.Live = (*Live)(nil)

const (
	confirmTime = 2 * time.Second // that Subscribe waits for Redis
	reconnect   = 100 * time.Millisecond
)

// Here is the fan-out inside this replica.
type Here interface {
	ports.Live
	// Lose tells the subscribers of a topic that messages are missing.
	Lose(topic string)
	// LoseAll tells every subscriber.
	LoseAll()
}

// Live is the fan-out to all replicas. What is published reaches the subscribers of this
// replica at once and those of others through Redis, which is asked only for the topics
// that somebody here watches. Of one publisher the messages keep their order.
type Live struct {
	client  *Client
	here    Here
	log     *slog.Logger
	out     *sending
	changed chan struct{}
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	topics map[string]*watched
	have   map[string]bool // channels asked for over the present connection; true: confirmed
	away   bool            // the connection was lost and is not back
}

// watched is a topic that has subscribers here.
type watched struct {
	subscribers int
	settled     chan struct{} // closed when Redis sends its messages
	confirmed   bool
	late        bool // a subscriber went on before that
}

// NewLive makes a fan-out over the one inside this replica. Start connects it.
func NewLive(client *Client, here Here, log *slog.Logger) *Live {
	return &Live{
		client: client, here: here, log: log, out: newSending(client, log),
		changed: make(chan struct{}, 1), topics: map[string]*watched{}, have: map[string]bool{},
	}
}

// Start begins to send and to receive, until Stop.
func (l *Live) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.running.Go(func() { l.out.run(ctx) })
	l.running.Go(func() { l.receive(ctx) })
}

// Stop sends what is queued, and ends.
func (l *Live) Stop() {
	l.stop()
	l.running.Wait()
}

// Publish hands data to those who are subscribed now, see ports.Live.
func (l *Live) Publish(topic string, data []byte) {
	l.here.Publish(topic, data)
	l.out.offer(topic, data)
}

// Elsewhere hands data to those who are subscribed at other replicas, see ports.Live.
func (l *Live) Elsewhere(topic string, data []byte) { l.out.offer(topic, data) }

// Subscribe receives what is published from now on, see ports.Live. A Redis that does not
// answer is waited for 2 s, and one that is known to be away not at all: the subscriber
// goes on with what is published here, and is told once more comes.
func (l *Live) Subscribe(topic string) (<-chan []byte, func()) {
	messages, cancel := l.here.Subscribe(topic)
	l.mu.Lock()
	w := l.topics[topic]
	if w == nil {
		w = &watched{settled: make(chan struct{})}
		l.topics[topic] = w
		l.turn()
	}
	w.subscribers++
	away := l.away && !w.confirmed
	w.late = w.late || away
	l.mu.Unlock()
	if away {
		return messages, l.leave(topic, w, cancel)
	}
	patience := time.NewTimer(confirmTime)
	defer patience.Stop()
	select {
	case <-w.settled:
	case <-patience.C:
		l.mu.Lock()
		w.late = w.late || !w.confirmed
		l.mu.Unlock()
	}
	return messages, l.leave(topic, w, cancel)
}

// leave ends one subscription.
func (l *Live) leave(topic string, w *watched, cancel func()) func() {
	return sync.OnceFunc(func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.subscribers--; w.subscribers == 0 {
			delete(l.topics, topic)
			l.turn()
		}
	})
}

// turn wakes the loop that asks Redis for the topics that are wanted.
func (l *Live) turn() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// receive keeps a connection on which the messages come.
func (l *Live) receive(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		first := !l.away
		l.away = true
		l.mu.Unlock()
		if first {
			l.log.WarnContext(ctx, "live messages of other replicas are missing until redis is back", "error", err)
		}
		select {
		case <-time.After(reconnect):
		case <-ctx.Done():
		}
	}
}

// listen connects, asks for what is wanted, tells everybody that messages may be missing,
// and goes on until the connection ends.
func (l *Live) listen(ctx context.Context) error {
	conn, release := l.client.Dedicate()
	defer release()
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: l.take, OnSubscription: l.confirm})
	l.mu.Lock()
	clear(l.have)
	for _, w := range l.topics {
		if w.confirmed {
			w.late = true // it is told once its messages come again
		}
	}
	l.mu.Unlock()
	if err := conn.Do(ctx, conn.B().Subscribe().Channel(l.client.channel(everybody)).Build()).Error(); err != nil {
		return err
	}
	for {
		add, drop := l.difference()
		if len(drop) > 0 {
			if err := conn.Do(ctx, conn.B().Unsubscribe().Channel(drop...).Build()).Error(); err != nil {
				return err
			}
		}
		if len(add) > 0 {
			if err := conn.Do(ctx, conn.B().Subscribe().Channel(add...).Build()).Error(); err != nil {
				return err
			}
		}
		select {
		case <-l.changed:
		case err := <-lost:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// difference says which channels to ask for and which no more.
func (l *Live) difference() (add, drop []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := make(map[string]bool, len(l.topics))
	for topic, w := range l.topics {
		channel := l.client.channel(topic)
		wanted[channel] = true
		confirmed, asked := l.have[channel]
		switch {
		case !asked:
			add = append(add, channel)
			l.have[channel] = false
		case confirmed:
			w.settle() // it was left and taken up again before Redis was asked
		}
	}
	for channel := range l.have {
		if !wanted[channel] {
			drop = append(drop, channel)
			delete(l.have, channel)
		}
	}
	return add, drop
}

// settle lets the subscribers go on. The caller holds the lock.
func (w *watched) settle() {
	if !w.confirmed {
		w.confirmed = true
		close(w.settled)
	}
}

// confirm notes that the messages of a topic come from now on.
func (l *Live) confirm(s rueidis.PubSubSubscription) {
	topic, ours := strings.CutPrefix(s.Channel, l.client.channel(""))
	if !ours || s.Kind != "subscribe" {
		return
	}
	l.mu.Lock()
	l.away = false
	if _, asked := l.have[s.Channel]; asked {
		l.have[s.Channel] = true
	}
	w := l.topics[topic]
	late := w != nil && w.late
	if w != nil {
		w.late = false
		w.settle()
	}
	l.mu.Unlock()
	if late {
		l.here.Lose(topic)
	}
}

// take hands a message of another replica to the subscribers of this one.
func (l *Live) take(m rueidis.PubSubMessage) {
	topic, ours := strings.CutPrefix(m.Channel, l.client.channel(""))
	if !ours || len(m.Message) <= originLength || m.Message[:originLength] == l.out.origin {
		return
	}
	switch m.Message[originLength] {
	case kindMessage:
		l.here.Publish(topic, []byte(m.Message[originLength+1:]))
	case kindLoss:
		if topic == everybody {
			l.here.LoseAll()
		} else {
			l.here.Lose(topic)
		}
	}
}
