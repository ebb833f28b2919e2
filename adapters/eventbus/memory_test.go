package eventbus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Bus = (*Memory)(nil)

// event makes the n-th event of a key.
func event(key, n byte) domain.Event {
	return domain.Event{ID: domain.ID{key, n}, Type: "jobs.queued", V: 1, Key: domain.ID{key}, Seq: int64(n), Data: []byte(`{"n": 1}`)}
}

// seen is what a handler got, in order.
type seen struct {
	mu     sync.Mutex
	events []domain.Event
}

func (s *seen) handle(_ context.Context, e domain.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return nil
}

// of gives the numbers of a key's events.
func (s *seen) of(key byte) (n []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Key == (domain.ID{key}) {
			n = append(n, e.ID[1])
		}
	}
	return n
}

// running is a bus in a bubble, with what subscribes to it; stop ends it.
func running(t *testing.T, subscribe func(*Memory)) (b *Memory, stop func()) {
	t.Helper()
	b = NewMemory(slog.New(slog.DiscardHandler))
	subscribe(b)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			assert.NoError(t, <-ended)
		})
	}
	t.Cleanup(stop)
	return b, stop
}

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func TestEachConsumerGetsEveryEventOfItsTypesAsItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var one, two, other seen
		spoil := func(_ context.Context, e domain.Event) error { e.Data[0] = 'X'; return nil }
		b, _ := running(t, func(b *Memory) {
			b.Subscribe("spoiler", spoil, "jobs.queued")
			b.Subscribe("one", one.handle, "jobs.queued", "jobs.lost")
			b.Subscribe("two", two.handle, "jobs.queued")
			b.Subscribe("other", other.handle, "jobs.lost")
		})
		e := event(1, 1)
		require.NoError(t, b.Publish(t.Context(), e))
		assert.Equal(t, []domain.Event{event(1, 1)}, one.events, "it is handled when Publish returns")
		assert.Equal(t, []domain.Event{event(1, 1)}, two.events)
		assert.Empty(t, other.events)
		assert.Equal(t, event(1, 1), e)
		lost := event(1, 2)
		lost.Type = "jobs.lost"
		require.NoError(t, b.Publish(t.Context(), lost))
		assert.Len(t, one.events, 2)
		assert.Len(t, other.events, 1)
		unknown := event(1, 3)
		unknown.Type = "jobs.unheard_of"
		require.NoError(t, b.Publish(t.Context(), unknown))
	})
}

func TestAHandlerThatFailsIsTriedAgainBeforeTheNextEventOfItsKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got seen
		failures := 3
		b, _ := running(t, func(b *Memory) {
			b.Subscribe("c", func(ctx context.Context, e domain.Event) error {
				if e.Key == (domain.ID{1}) && failures > 0 {
					failures--
					return errors.New("not yet")
				}
				return got.handle(ctx, e)
			}, "jobs.queued")
		})
		var wg sync.WaitGroup
		for n := range byte(3) {
			wg.Go(func() { assert.NoError(t, b.Publish(t.Context(), event(1, n))) })
			synctest.Wait() // the order of the calls
		}
		require.NoError(t, b.Publish(t.Context(), event(2, 0)))
		assert.Empty(t, got.of(1), "another key did not wait for it")
		wg.Wait()
		assert.Equal(t, []byte{0, 1, 2}, got.of(1))
		synctest.Wait()
		assert.Empty(t, b.tails)
	})
}

func TestAHandlerThatKeepsFailingFailsThePublishWhichMayBeRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got seen
		broken := errors.New("broken")
		fail, calls := true, 0
		b, _ := running(t, func(b *Memory) {
			b.Subscribe("good", got.handle, "jobs.queued")
			b.Subscribe("settler", func(context.Context, domain.Event) error {
				if calls++; calls == 2 {
					panic("a nil map, perhaps")
				}
				if fail {
					return broken
				}
				return nil
			}, "jobs.queued")
		})
		began := time.Now()
		err := b.Publish(t.Context(), event(1, 1))
		require.ErrorIs(t, err, broken)
		assert.ErrorContains(t, err, "settler")
		assert.Equal(t, retries+1, calls)
		assert.Less(t, time.Since(began), 10*time.Second)
		fail = false
		require.NoError(t, b.Publish(t.Context(), event(1, 1)))
		assert.Equal(t, []byte{1, 1}, got.of(1))
	})
}

func TestACancelledPublishLetsNothingOvertakeItsHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got seen
		release := make(chan struct{})
		b, _ := running(t, func(b *Memory) {
			b.Subscribe("stubborn", func(ctx context.Context, e domain.Event) error {
				if e.ID[1] == 1 {
					<-release // it does not listen to its context
				}
				return got.handle(ctx, e)
			}, "jobs.queued")
		})
		ctx, cancel := context.WithCancel(t.Context())
		first, waiting, last := make(chan error), make(chan error), make(chan error)
		go func() { first <- b.Publish(ctx, event(1, 1)) }()
		synctest.Wait()
		go func() { waiting <- b.Publish(ctx, event(1, 2)) }()
		synctest.Wait()
		go func() { last <- b.Publish(t.Context(), event(1, 3)) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		require.ErrorIs(t, <-waiting, context.Canceled)
		synctest.Wait()
		assert.Empty(t, got.of(1))
		close(release)
		require.NoError(t, <-last)
		assert.Equal(t, []byte{1, 3}, got.of(1))
		require.ErrorIs(t, b.Publish(ctx, event(1, 4)), context.Canceled)
	})
}

func TestAStopWaitsForHandlersAndRefusesWhatComesLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		fail := make(chan struct{}, 100)
		b, stop := running(t, func(b *Memory) {
			b.Subscribe("slow", func(_ context.Context, e domain.Event) error {
				if e.Key == (domain.ID{2}) {
					fail <- struct{}{}
					return errors.New("always")
				}
				<-release
				return nil
			}, "jobs.queued")
		})
		slow, failing := make(chan error), make(chan error)
		go func() { slow <- b.Publish(t.Context(), event(1, 1)) }()
		go func() { failing <- b.Publish(t.Context(), event(2, 1)) }()
		<-fail
		synctest.Wait()
		stopped := make(chan struct{})
		began := time.Now()
		go func() { stop(); close(stopped) }()
		require.Error(t, <-failing)
		assert.Less(t, time.Since(began), 100*time.Millisecond, "it is not retried to the end")
		select {
		case <-stopped:
			t.Error("the handler still runs")
		default:
		}
		close(release)
		require.NoError(t, <-slow)
		<-stopped
		err := b.Publish(t.Context(), event(1, 2))
		assert.Equal(t, domain.KindUnavailable, domain.KindOf(err))
	})
}

func TestBeforeRunPublishWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got seen
		b := NewMemory(slog.New(slog.DiscardHandler))
		b.Subscribe("c", got.handle, "jobs.queued")
		published := make(chan error)
		go func() { published <- b.Publish(t.Context(), event(1, 1)) }()
		synctest.Wait()
		assert.Empty(t, got.of(1))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		require.NoError(t, <-published)
		assert.Equal(t, []byte{1}, got.of(1))
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestABusWithoutConsumersRunsAndStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, stop := running(t, func(*Memory) {})
		require.NoError(t, b.Publish(t.Context(), event(1, 1)))
		stop()
	})
}

func TestAConsumerHasOneHandlerForAType(t *testing.T) {
	t.Parallel()
	b := NewMemory(slog.New(slog.DiscardHandler))
	b.Subscribe("c", nil, "jobs.queued")
	b.Subscribe("c", nil, "jobs.lost")
	assert.Panics(t, func() { b.Subscribe("c", nil, "jobs.queued") })
}
