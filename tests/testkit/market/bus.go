package market

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Bus = (*Bus)(nil)

// Bus hands the events of the outbox to their reactions, one after another. It is relay
// and bus in one.
type Bus struct {
	outbox   ports.Outbox
	mu       sync.Mutex
	handlers []reaction
	lose     func(domain.Event) bool
	seen     []domain.Event
}

type reaction struct {
	handler ports.Handler
	types   []string
}

// Subscribe implements ports.Bus.
func (b *Bus) Subscribe(_ string, handler ports.Handler, types ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handlers = append(b.handlers, reaction{handler, types})
}

// Publish implements ports.Bus.
func (b *Bus) Publish(ctx context.Context, e domain.Event) error {
	b.mu.Lock()
	handlers := slices.Clone(b.handlers)
	lost := b.lose != nil && b.lose(e)
	if !lost {
		b.seen = append(b.seen, e)
	}
	b.mu.Unlock()
	for _, r := range handlers {
		if !lost && slices.Contains(r.types, e.Type) {
			if err := r.handler(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lose makes the bus throw events away, as a broker that broke its promise would.
func (b *Bus) Lose(which func(domain.Event) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose = which
}

// Seen gives the events that were handed on, in order.
func (b *Bus) Seen() []domain.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// Run relays until ctx ends, and then what is still there.
func (b *Bus) Run(ctx context.Context) error {
	for {
		wait := time.Minute
		if b.Relay(context.WithoutCancel(ctx)) != nil {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return b.Relay(context.WithoutCancel(ctx))
		case <-b.outbox.Wake():
		case <-time.After(wait):
		}
	}
}

// Relay hands on what is pending. An event that cannot be handled stops it.
func (b *Bus) Relay(ctx context.Context) error {
	for {
		events, err := b.outbox.Pending(ctx, 100)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if err := b.Publish(ctx, e); err != nil {
				return err
			}
			if err := b.outbox.Done(ctx, e.ID); err != nil {
				return err
			}
		}
	}
}

var _ ports.Channels = (*Channels)(nil)

// Channels remembers which hosts were woken and whose session was closed.
type Channels struct {
	mu     sync.Mutex
	woken  []domain.ID
	closed []domain.ID
}

// Wake implements ports.Channels.
func (c *Channels) Wake(host domain.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken = append(c.woken, host)
}

// Close implements ports.Channels.
func (c *Channels) Close(host domain.ID, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = append(c.closed, host)
}

// Woken counts how often a host was woken.
func (c *Channels) Woken(host domain.ID) int { return c.count(&c.woken, host) }

// Closed counts how often a host's session was closed.
func (c *Channels) Closed(host domain.ID) int { return c.count(&c.closed, host) }

func (c *Channels) count(list *[]domain.ID, host domain.ID) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range *list {
		if id == host {
			n++
		}
	}
	return n
}

// cheapPasswords compares passwords as they are: a test has no time for real hashes.
type cheapPasswords struct{}

const plain = "plain:"

func (cheapPasswords) Hash(_ context.Context, password string) (string, error) {
	return plain + password, nil
}

func (cheapPasswords) Verify(_ context.Context, hash, password string) (ok, stale bool, err error) {
	secret, found := strings.CutPrefix(hash, plain)
	return found && secret == password, false, nil
}
