package redislive

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	queued   = 16 << 20 // bytes that may wait for Redis; what comes beyond is lost
	batch    = 256      // messages sent at a time
	sendTime = 3 * time.Second
	again    = 100 * time.Millisecond // after a batch that was not sent
)

// The kinds of what is sent, a byte behind its origin.
const (
	kindMessage = 'm'
	kindLoss    = 'l' // messages of the topic are missing before this one
)

// everybody is the topic of a loss that no memory was left to remember by name.
const (
	everybody  = "*"
	remembered = 10_000 // topics
)

// originLength is that of rand.Text, by which a replica knows what it sent itself.
const originLength = 26

// sending is the way out: what was published here, in order, to the other replicas.
type sending struct {
	client *Client
	origin string
	log    *slog.Logger
	more   chan struct{}

	mu    sync.Mutex
	queue []outgoing
	bytes int
	lost  map[string]bool // topics of which something was not sent, and nobody was told
}

type outgoing struct {
	topic string
	kind  byte
	data  []byte
}

func newSending(client *Client, log *slog.Logger) *sending {
	return &sending{client: client, origin: rand.Text(), log: log, more: make(chan struct{}, 1), lost: map[string]bool{}}
}

// offer takes a message. Where too much waits it begins anew with this one: what waited is
// lost, and the news of that comes before what follows.
func (s *sending) offer(topic string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes > 0 && s.bytes+len(data) > queued {
		for _, o := range s.queue {
			s.lose(o.topic)
		}
		s.queue, s.bytes = nil, 0
	}
	s.queue = append(s.queue, outgoing{topic, kindMessage, data})
	s.bytes += len(data)
	s.signal()
}

func (s *sending) signal() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// lose remembers a loss. The caller holds the lock.
func (s *sending) lose(topic string) {
	if len(s.lost) >= remembered {
		clear(s.lost)
		topic = everybody
	}
	if !s.lost[everybody] {
		s.lost[topic] = true
	}
	s.signal()
}

// take gives the next to be sent: news of losses before what follows them.
func (s *sending) take() []outgoing {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next []outgoing
	for topic := range s.lost {
		next = append(next, outgoing{topic: topic, kind: kindLoss})
	}
	clear(s.lost)
	n := min(batch, len(s.queue))
	for _, o := range s.queue[:n] {
		s.bytes -= len(o.data)
	}
	next = append(next, s.queue[:n]...)
	clear(s.queue[:n])
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return next
}

// run sends until ctx ends, and then what is left, once.
func (s *sending) run(ctx context.Context) {
	for away := false; ; {
		select {
		case <-s.more:
		case <-ctx.Done():
		}
		for next := s.take(); len(next) > 0; next = s.take() {
			err := s.send(next)
			if (err != nil) != away {
				away = err != nil
				s.log.WarnContext(ctx, "live messages to other replicas", "lost", away, "error", err)
			}
			if err == nil {
				continue
			}
			select {
			case <-time.After(again):
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// send publishes a batch. Of what failed the topics are remembered.
func (s *sending) send(next []outgoing) (failed error) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTime)
	defer cancel()
	commands := make([]rueidis.Completed, len(next))
	for i, o := range next {
		frame := make([]byte, 0, originLength+1+len(o.data))
		frame = append(append(append(frame, s.origin...), o.kind), o.data...)
		commands[i] = s.client.B().Publish().Channel(s.client.channel(o.topic)).Message(rueidis.BinaryString(frame)).Build()
	}
	for i, answer := range s.client.DoMulti(ctx, commands...) {
		if err := answer.Error(); err != nil {
			failed = err
			s.mu.Lock()
			s.lose(next[i].topic)
			s.mu.Unlock()
		}
	}
	return failed
}

func (c *Client) channel(topic string) string { return c.Prefix + ":live:" + topic }
