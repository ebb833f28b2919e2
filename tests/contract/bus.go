package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Bus is the contract of ports.Bus.
func Bus(t *testing.T, open func(*testing.T) ports.Bus) {
	c := busCases{open}
	t.Run("each consumer gets every event of its types, and no others", c.consumers)
	t.Run("events arrive as they were published", c.fields)
	t.Run("events of one key arrive in order, whatever other keys do", c.order)
	t.Run("an event whose handler fails is tried again before the next of its key", c.retry)
	t.Run("an event may be published again", c.again)
	t.Run("an event that nobody waits for is published", c.unheard)
	t.Run("run ends after the handlers that run have returned", c.end)
	t.Run("a cancelled context ends a call with its error", c.cancelled)
}

type busCases struct {
	open func(*testing.T) ports.Bus
}

// consumer notes what it handled, in order, each event once.
type consumer struct {
	mu     sync.Mutex
	events []domain.Event
}

func (c *consumer) handle(_ context.Context, e domain.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.events, func(o domain.Event) bool { return o.ID == e.ID }) {
		c.events = append(c.events, e)
	}
	return nil
}

func (c *consumer) seqs(key domain.ID) (seqs []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.Key == key {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// eventually waits until a consumer has handled the events of a key.
func (c *consumer) eventually(t *testing.T, key domain.ID, want ...int64) {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.seqs(key)) >= len(want) }, patience, time.Millisecond, "only %v", c.seqs(key))
	assert.Equal(t, want, c.seqs(key))
}

// running is a bus with subscribers that runs until the test ends.
func (c busCases) running(t *testing.T, subscribe func(ports.Bus)) ports.Bus {
	t.Helper()
	b := c.open(t)
	subscribe(b)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, received(t, ended, "Run returned"))
	})
	return b
}

// relay publishes as the relay does: again, until it goes through.
func relay(ctx context.Context, b ports.Bus, events ...domain.Event) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, e := range events {
		for b.Publish(ctx, e) != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("event %d of %s was never published", e.Seq, e.Key)
			}
			<-time.After(time.Millisecond)
		}
	}
	return nil
}

// fact is an event of a type of the test's own.
func fact(typ string, key domain.ID, seq int64) domain.Event {
	return domain.Event{ID: ids.New(), Type: typ, V: 1, Key: key, Seq: seq, Time: now(), Data: json.RawMessage(`{}`)}
}

func (c busCases) consumers(t *testing.T) {
	t.Parallel()
	key := ids.New()
	one, two, none := &consumer{}, &consumer{}, &consumer{}
	b := c.running(t, func(b ports.Bus) {
		b.Subscribe("one", one.handle, "tests.x", "tests.y")
		b.Subscribe("two", two.handle, "tests.x")
		b.Subscribe("none", none.handle, "tests.never")
	})
	require.NoError(t, relay(t.Context(), b,
		fact("tests.x", key, 1), fact("tests.y", key, 2), fact("tests.z", key, 3), fact("tests.x", key, 4)))
	one.eventually(t, key, 1, 2, 4)
	two.eventually(t, key, 1, 4)
	assert.Empty(t, none.seqs(key))
}

func (c busCases) fields(t *testing.T) {
	t.Parallel()
	seen := &consumer{}
	b := c.running(t, func(b ports.Bus) { b.Subscribe("one", seen.handle, "tests.x") })
	want := filled[domain.Event]()
	want.Type, want.Time = "tests.x", domain.Time(want.Time)
	require.NoError(t, relay(t.Context(), b, want))
	seen.eventually(t, want.Key, want.Seq)
	got := seen.events[0]
	assert.JSONEq(t, string(want.Data), string(got.Data))
	got.Data = want.Data
	same(t, want, got)
}

func (c busCases) order(t *testing.T) {
	t.Parallel()
	one, two := &consumer{}, &consumer{}
	b := c.running(t, func(b ports.Bus) {
		b.Subscribe("one", one.handle, "tests.x", "tests.y")
		b.Subscribe("two", two.handle, "tests.y", "tests.x")
	})
	keys, want := []domain.ID{ids.New(), ids.New(), ids.New(), ids.New()}, []int64{}
	for i := range int64(25) {
		want = append(want, i)
	}
	for _, err := range race(len(keys), func(i int) error {
		for _, seq := range want {
			if err := relay(t.Context(), b, fact([]string{"tests.x", "tests.y"}[seq%2], keys[i], seq)); err != nil {
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	for _, key := range keys {
		one.eventually(t, key, want...)
		two.eventually(t, key, want...)
	}
}

func (c busCases) retry(t *testing.T) {
	t.Parallel()
	key := ids.New()
	steady, shaky := &consumer{}, &consumer{}
	var failures, early atomic.Int64
	b := c.running(t, func(b ports.Bus) {
		b.Subscribe("steady", steady.handle, "tests.x")
		b.Subscribe("shaky", func(ctx context.Context, e domain.Event) error {
			if e.Seq == 2 && failures.Add(1) <= 2 {
				return errors.New("not now")
			}
			if e.Seq == 3 && failures.Load() <= 2 {
				early.Add(1)
			}
			return shaky.handle(ctx, e)
		}, "tests.x")
	})
	require.NoError(t, relay(t.Context(), b, fact("tests.x", key, 1), fact("tests.x", key, 2), fact("tests.x", key, 3)))
	shaky.eventually(t, key, 1, 2, 3)
	steady.eventually(t, key, 1, 2, 3)
	assert.Zero(t, early.Load(), "the next of the key waits")
	assert.GreaterOrEqual(t, failures.Load(), int64(3))
}

func (c busCases) again(t *testing.T) {
	t.Parallel()
	key, seen := ids.New(), &consumer{}
	b := c.running(t, func(b ports.Bus) { b.Subscribe("one", seen.handle, "tests.x") })
	first := fact("tests.x", key, 1)
	require.NoError(t, relay(t.Context(), b, first, first, fact("tests.x", key, 2)))
	seen.eventually(t, key, 1, 2)
}

func (c busCases) unheard(t *testing.T) {
	t.Parallel()
	b := c.running(t, func(ports.Bus) {})
	require.NoError(t, relay(t.Context(), b, fact("tests.unheard", ids.New(), 1)))
}

func (c busCases) end(t *testing.T) {
	t.Parallel()
	b, began, release := c.open(t), make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	b.Subscribe("one", func(context.Context, domain.Event) error {
		if finished.Load() {
			return nil
		}
		close(began)
		<-release
		finished.Store(true)
		return nil
	}, "tests.x")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	published := make(chan error, 1)
	go func() { published <- b.Publish(ctx, fact("tests.x", ids.New(), 1)) }()
	received(t, began, "the handler runs")
	cancel()
	select {
	case <-ended:
		assert.Fail(t, "Run returned while a handler runs")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	require.NoError(t, received(t, ended, "Run returned"))
	assert.True(t, finished.Load())
	received(t, published, "Publish returned")
}

func (c busCases) cancelled(t *testing.T) {
	t.Parallel()
	b := c.running(t, func(b ports.Bus) { b.Subscribe("one", (&consumer{}).handle, "tests.x") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, b.Publish(ctx, fact("tests.x", ids.New(), 1)), context.Canceled)
}
