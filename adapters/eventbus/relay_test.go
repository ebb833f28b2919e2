package eventbus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// outbox is one whose calls can fail.
type outbox struct {
	mu      sync.Mutex
	pending []domain.Event
	wake    chan struct{}
	fail    int // calls that fail from now on
	reads   int
	marks   int
}

var errDown = errors.New("the database is away")

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) record(events ...domain.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, events...)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) enter(ctx context.Context) error {
	o.mu.Lock()
	if ctx.Err() == nil && o.fail > 0 {
		o.fail--
		o.mu.Unlock()
		return errDown
	}
	if ctx.Err() != nil {
		o.mu.Unlock()
	}
	return ctx.Err()
}

func (o *outbox) Pending(ctx context.Context, limit int) ([]domain.Event, error) {
	if err := o.enter(ctx); err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	o.reads++
	return slices.Clone(o.pending[:min(limit, len(o.pending))]), nil
}

func (o *outbox) Done(ctx context.Context, ids ...domain.ID) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	o.marks++
	o.pending = slices.DeleteFunc(o.pending, func(e domain.Event) bool { return slices.Contains(ids, e.ID) })
	return nil
}

func (o *outbox) Wake() <-chan struct{} { return o.wake }

func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending)
}

// set changes what the relay may be looking at.
func (o *outbox) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *outbox) count(n *int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return *n
}

// publisher is a bus that notes what it publishes, after asking.
type publisher struct {
	seen
	ask func(ctx context.Context, e domain.Event) error
}

func (p *publisher) Publish(ctx context.Context, e domain.Event) error {
	p.mu.Lock()
	ask := p.ask
	p.mu.Unlock()
	if ask != nil {
		if err := ask(ctx, e); err != nil {
			return err
		}
	}
	return p.handle(ctx, e)
}

func (*publisher) Subscribe(string, ports.Handler, ...string) {}
func (*publisher) Run(context.Context) error                  { return nil }

// relaying is a relay in a bubble; stop ends it.
func relaying(t *testing.T, o *outbox, p *publisher, leader ports.Leader) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- NewRelay(o, p, leader, make(told, 1), slog.New(slog.DiscardHandler)).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			assert.NoError(t, <-ended)
		})
	}
	t.Cleanup(stop)
	synctest.Wait()
	return stop
}

// pass lets time go by in a bubble, until nothing is left to do.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestEventsArePublishedSoonAfterTheyAreStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		o.record(event(1, 1)) // before there was a relay
		relaying(t, o, p, memory.NewLeader())
		assert.Equal(t, []byte{1}, p.of(1), "the first at once")
		pass(2 * linger)
		o.record(event(1, 2))
		synctest.Wait()
		assert.Equal(t, []byte{1, 2}, p.of(1), "after a pause too")
		o.record(event(2, 1))
		o.record(event(3, 1))
		synctest.Wait()
		assert.Empty(t, p.of(2), "those right behind it are read together")
		pass(10 * linger)
		assert.Equal(t, []byte{1}, p.of(2))
		assert.Equal(t, []byte{1}, p.of(3))
		assert.Zero(t, o.left())
	})
}

func TestEventsOfAnotherProcessAreFoundByTheTick(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		relaying(t, o, p, memory.NewLeader())
		o.set(func() { o.pending = []domain.Event{event(1, 1)} }) // without a signal in this process
		synctest.Wait()
		assert.Empty(t, p.of(1))
		pass(relayTick)
		assert.Equal(t, []byte{1}, p.of(1))
		reads := o.count(&o.reads)
		pass(10 * relayTick)
		assert.LessOrEqual(t, o.count(&o.reads)-reads, 11, "an idle relay reads once a tick")
	})
}

func TestAFailedPublishBlocksItsOwnKeyAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		tries := 0
		p.ask = func(_ context.Context, e domain.Event) error {
			if e.Key == (domain.ID{1}) && e.ID[1] == 1 && tries < 4 {
				tries++
				return errors.New("not now")
			}
			return nil
		}
		// More of the blocked key than a page holds lie before the others.
		var events []domain.Event
		for n := range 3 * relayPage {
			e := event(1, byte(n+1))
			e.ID[2] = byte(n >> 8)
			events = append(events, e)
		}
		o.record(append(events, event(2, 1), event(3, 1))...)
		relaying(t, o, p, memory.NewLeader())
		assert.Empty(t, p.of(1))
		assert.Equal(t, []byte{1}, p.of(2))
		assert.Equal(t, []byte{1}, p.of(3))
		pass(firstPause*(1+2+4+8) + 20*linger)
		assert.Len(t, p.of(1), len(events))
		assert.Zero(t, o.left())
	})
}

func TestAHundredBlockedKeysStopNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		p.ask = func(_ context.Context, e domain.Event) error {
			if e.Key[0] <= 100 {
				return errors.New("never")
			}
			return nil
		}
		for key := range byte(100) {
			o.record(event(key+1, 1))
		}
		relaying(t, o, p, memory.NewLeader())
		o.record(event(200, 1))
		pass(relayTick)
		assert.Equal(t, []byte{1}, p.of(200))
		assert.Equal(t, 100, o.left())
	})
}

func TestAtMostSixtyFourKeysArePublishedAtTheSameTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		release := make(chan struct{})
		var mu sync.Mutex
		now, most := 0, 0
		p.ask = func(context.Context, domain.Event) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-release
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		for key := range byte(200) {
			o.record(event(key, 1), event(key, 2))
		}
		relaying(t, o, p, memory.NewLeader())
		assert.Equal(t, relayKeys, most)
		close(release)
		pass(20 * linger)
		assert.Equal(t, relayKeys, most)
		assert.Len(t, p.events, 400)
		assert.Less(t, o.count(&o.marks), 400, "what is ready together is marked together")
	})
}

func TestAnEventThatCannotBeMarkedIsNotPublishedAgainByThisProcess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		p.ask = func(context.Context, domain.Event) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.fail = 3
			p.ask = nil
			return nil
		}
		o.record(event(1, 1), event(1, 2))
		relaying(t, o, p, memory.NewLeader())
		pass(5 * relayTick)
		assert.Equal(t, []byte{1, 2}, p.of(1))
		assert.Zero(t, o.left())
	})
}

func TestAStopPublishesWhatIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		entered := make(chan struct{}, 10)
		p.ask = func(ctx context.Context, e domain.Event) error {
			entered <- struct{}{}
			switch e.Key[0] {
			case 1:
				time.Sleep(time.Second) // slow, and then right
				return ctx.Err()
			case 2:
				return errors.New("never")
			}
			return nil
		}
		o.record(event(1, 1), event(1, 2), event(2, 1))
		stop := relaying(t, o, p, memory.NewLeader())
		<-entered
		began := time.Now()
		o.record(event(3, 1))
		stop()
		assert.Equal(t, []byte{1, 2}, p.of(1))
		assert.Equal(t, []byte{1}, p.of(3))
		assert.Equal(t, 1, o.left(), "what fails is left for the next start")
		assert.Less(t, time.Since(began), 3*time.Second)
	})
}

func TestAStopEndsAlsoWhenAHandlerHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		p.ask = func(ctx context.Context, _ domain.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}
		o.record(event(1, 1))
		stop := relaying(t, o, p, memory.NewLeader())
		began := time.Now()
		stop()
		assert.Equal(t, flushTime, time.Since(began))
		assert.Equal(t, 1, o.left())
	})
}

// fickle is a leader whose leadership the test takes away.
type fickle struct{ terms chan context.Context }

func (f fickle) Lead(ctx context.Context, _ string, work func(context.Context) error) error {
	for {
		select {
		case term := <-f.terms:
			_ = work(term)
		case <-ctx.Done():
			return nil
		}
	}
}

func TestLostLeadershipEndsThePublishingAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, p := newOutbox(), &publisher{}
		p.ask = func(ctx context.Context, _ domain.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}
		leader := fickle{make(chan context.Context)}
		o.record(event(1, 1))
		relaying(t, o, p, leader)
		term, lose := context.WithCancel(t.Context())
		leader.terms <- term
		synctest.Wait()
		began := time.Now()
		lose()
		leader.terms <- t.Context() // taken when the work of the first term has returned
		assert.Zero(t, time.Since(began))
		p.mu.Lock()
		p.ask = nil
		p.mu.Unlock()
	})
}

// Whatever fails in between: every event is published, and those of a key in order.
func TestEveryEventIsPublishedInTheOrderOfItsKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.ByteRange(1, 5).Draw(rt, "keys")
		recorded := rapid.SliceOfN(rapid.ByteRange(1, keys), 1, 40).Draw(rt, "recorded")
		publishes := rapid.SliceOfN(rapid.Bool(), 0, 20).Draw(rt, "publishes that fail")
		calls := rapid.IntRange(0, 5).Draw(rt, "calls that fail")
		synctest.Test(t, func(t *testing.T) {
			o, p := newOutbox(), &publisher{}
			var mu sync.Mutex
			p.ask = func(context.Context, domain.Event) error {
				mu.Lock()
				defer mu.Unlock()
				if len(publishes) > 0 {
					fails := publishes[0]
					publishes = publishes[1:]
					if fails {
						return errDown
					}
				}
				return nil
			}
			o.fail = calls
			counts := map[byte]byte{}
			stop := relaying(t, o, p, memory.NewLeader())
			for i, key := range recorded {
				counts[key]++
				o.record(event(key, counts[key]))
				if i%3 == 0 {
					synctest.Wait()
				}
			}
			pass(10 * time.Minute)
			for key, n := range counts {
				got := p.of(key)
				require.Len(t, got, int(n))
				assert.True(t, slices.IsSorted(got), "%v", got)
			}
			assert.Zero(t, o.left())
			stop()
		})
	})
}

// told is a fan-out with one topic and one subscriber.
type told chan []byte

func (l told) Publish(_ string, data []byte) {
	select {
	case l <- data:
	default:
	}
}

func (told) Elsewhere(string, []byte) {}

func (l told) Subscribe(string) (messages <-chan []byte, cancel func()) { return l, func() {} }
