package memory

import (
	"slices"
	"sync"

	"github.com/peergpu/peergpu/ports"
)

var _ ports.Live = (*Live)(nil)

// backlog is how many messages a subscriber may be behind before it loses some.
const backlog = 256

// Live hands messages from goroutine to goroutine. All subscribers get the same bytes:
// nothing is copied, however many watch.
type Live struct {
	mu     sync.RWMutex
	topics map[string]*topic
}

// topic has an order: publishers of one topic wait for each other, but never for a
// subscriber.
type topic struct {
	mu          sync.Mutex
	subscribers []*subscriber
}

// subscriber has a place more than its backlog, in which the news of a loss always
// finds room, behind the last message before the loss.
type subscriber struct {
	messages chan []byte
	told     bool // the newest message in the channel is the news of a loss
}

// NewLive makes a fan-out without topics.
func NewLive() *Live { return &Live{topics: map[string]*topic{}} }

// Publish hands data to those who are subscribed now, see ports.Live.
func (l *Live) Publish(name string, data []byte) {
	l.mu.RLock()
	t := l.topics[name]
	l.mu.RUnlock()
	if t == nil {
		return
	}
	if data == nil {
		data = []byte{} // nil has a meaning of its own
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.subscribers {
		s.offer(data)
	}
}

// Elsewhere reaches nobody: there are no other replicas.
func (*Live) Elsewhere(string, []byte) {}

// Lose tells the subscribers of a topic that messages are missing.
func (l *Live) Lose(name string) {
	l.mu.RLock()
	t := l.topics[name]
	l.mu.RUnlock()
	if t != nil {
		t.lose()
	}
}

// LoseAll tells every subscriber that messages are missing.
func (l *Live) LoseAll() {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, t := range l.topics {
		t.lose()
	}
}

func (t *topic) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.subscribers {
		s.lose()
	}
}

// offer never blocks: the topic's lock makes it the only sender, so room that was there
// is there still.
func (s *subscriber) offer(data []byte) {
	switch {
	case len(s.messages) < backlog:
		s.messages <- data
		s.told = false
	default:
		s.lose()
	}
}

// lose puts the news of a loss behind what is there, once.
func (s *subscriber) lose() {
	if !s.told || len(s.messages) == 0 {
		s.messages <- nil
		s.told = true
	}
}

// Subscribe receives what is published from now on, see ports.Live.
func (l *Live) Subscribe(name string) (<-chan []byte, func()) {
	s := &subscriber{messages: make(chan []byte, backlog+1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[name]
	if t == nil {
		t = &topic{}
		l.topics[name] = t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscribers = append(t.subscribers, s)
	return s.messages, sync.OnceFunc(func() { l.cancel(name, t, s) })
}

func (l *Live) cancel(name string, t *topic, s *subscriber) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscribers = slices.DeleteFunc(t.subscribers, func(other *subscriber) bool { return other == s })
	close(s.messages)
	if len(t.subscribers) == 0 {
		delete(l.topics, name)
	}
}
