package contract

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/eventbus"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/redislive"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// replica is a bus of its own over a shared Redis, not running yet.
func busOf(t *testing.T, url string) *eventbus.Redis {
	t.Helper()
	c, log := redis(t, url), slog.New(slog.DiscardHandler)
	live := redislive.NewLive(c, memory.NewLive(), log)
	live.Start()
	t.Cleanup(live.Stop)
	return eventbus.NewRedis(c.Client, c.Prefix, live, log)
}

// runs lets a bus run until the test, or stop, ends it.
func runs(t *testing.T, b ports.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	var once atomic.Bool
	stop = func() {
		cancel()
		if once.CompareAndSwap(false, true) {
			assert.NoError(t, <-ended)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestOneOfTheReplicasHandlesAnEvent(t *testing.T) {
	t.Parallel()
	url := testkit.Redis(t)
	var handled [2]atomic.Int64
	buses := []*eventbus.Redis{busOf(t, url), busOf(t, url)}
	for i, b := range buses {
		b.Subscribe("one", func(context.Context, domain.Event) error { handled[i].Add(1); return nil }, "tests.x")
		runs(t, b)
	}
	for n := range byte(100) {
		require.NoError(t, buses[n%2].Publish(t.Context(), fact("tests.x", ids.New(), int64(n))))
	}
	assert.Equal(t, int64(100), handled[0].Load()+handled[1].Load())
	assert.Positive(t, handled[0].Load())
	assert.Positive(t, handled[1].Load())
}

func TestWhatAConsumerOfAnotherReplicaSaysIsTheError(t *testing.T) {
	t.Parallel()
	url := testkit.Redis(t)
	there, here := busOf(t, url), busOf(t, url)
	there.Subscribe("one", func(context.Context, domain.Event) error { return errors.New("not today") }, "tests.x")
	here.Subscribe("one", func(context.Context, domain.Event) error { return errors.New("not here") }, "tests.x")
	runs(t, there)
	stop := runs(t, here)
	err := here.Publish(t.Context(), fact("tests.x", ids.New(), int64(1)))
	require.ErrorContains(t, err, "one: not ")
	stop()
	require.ErrorContains(t, there.Publish(t.Context(), fact("tests.x", ids.New(), int64(2))), "not today")
}

func TestAnEventThatRedisForgotIsAnErrorAndTheNextArrives(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		forget func(*testing.T, *servers.Redis)
		codes  []string // of the error; which of them is a matter of who is faster
	}{
		"flushed": {func(t *testing.T, r *servers.Redis) { t.Helper(); require.NoError(t, r.Flush(t.Context())) }, []string{"event_gone"}},
		"started again": {func(t *testing.T, r *servers.Redis) {
			t.Helper()
			require.NoError(t, r.Down())
			require.NoError(t, r.Up(t.Context()))
		}, []string{"event_not_sent", "answers_lost", "event_gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testkit.RedisServer(t)
			b := busOf(t, server.URL)
			begun, release := make(chan struct{}), make(chan struct{})
			var calls atomic.Int64
			b.Subscribe("one", func(context.Context, domain.Event) error {
				if calls.Add(1) == 1 {
					close(begun)
					<-release
				}
				return nil
			}, "tests.x")
			runs(t, b)
			published := make(chan error, 1)
			go func() { published <- b.Publish(t.Context(), fact("tests.x", ids.New(), 1)) }()
			<-begun
			c.forget(t, server)
			assert.Contains(t, c.codes, domain.CodeOf(<-published))
			close(release)
			require.Eventually(t, func() bool { return b.Publish(t.Context(), fact("tests.x", ids.New(), 2)) == nil }, patience, 10*time.Millisecond)
		})
	}
}

// deaf loses what others say.
type deaf struct{ ports.Live }

func (deaf) Publish(string, []byte) {}

func TestAnAnswerThatWasLostIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	client, log := redis(t, testkit.Redis(t)), slog.New(slog.DiscardHandler)
	b := eventbus.NewRedis(client.Client, client.Prefix, deaf{memory.NewLive()}, log)
	var handled atomic.Int64
	b.Subscribe("one", func(context.Context, domain.Event) error { handled.Add(1); return nil }, "tests.x")
	runs(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	assert.Equal(t, "answers_lost", domain.CodeOf(b.Publish(ctx, fact("tests.x", ids.New(), 1))))
	assert.Equal(t, int64(1), handled.Load())
}
