package redislive_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/redislive"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

const patience = 20 * time.Second

var quiet = slog.New(slog.DiscardHandler)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"redis://127.0.0.1", "redis://:s3cret@redis:6380/2?prefix=a-b_c", "rediss://ann:s3cret@redis"} {
		_, err := redislive.Parse(raw, "")
		assert.NoError(t, err, raw)
	}
	for raw, says := range map[string]string{
		"redis://ann:s3cret@redis:port":       "no URL",
		"postgres://ann:s3cret@db":            "redis://",
		"redis://ann:s3cret@":                 "host is missing",
		"redis://ann:s3cret@redis/jobs":       "number of a database",
		"redis://ann:s3cret@redis/-1":         "number of a database",
		"redis://ann:s3cret@redis?prefix=a:b": "prefix",
		"redis://ann:s3cret@redis?max=3":      "prefix",
	} {
		_, err := redislive.Parse(raw, "")
		require.ErrorContains(t, err, says, raw)
		assert.NotContains(t, err.Error(), "s3cret")
	}
	_, err := redislive.Parse("redis://ann:s3cret@redis", "other")
	require.ErrorContains(t, err, "beside it")
	_, err = redislive.Parse("redis://redis", "s3cret")
	require.NoError(t, err)
}

func TestARedisThatIsNotThereIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	require.NoError(t, server.Down())
	opened := make(chan error, 1)
	go func() {
		o, err := redislive.Parse(server.URL, "")
		if err == nil {
			var client *redislive.Client
			if client, err = redislive.Open(t.Context(), o, quiet); err == nil {
				err = client.Ping(t.Context())
				client.Close()
			}
		}
		opened <- err
	}()
	require.NoError(t, server.Up(t.Context()))
	require.NoError(t, <-opened)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, server.Down())
	o, err := redislive.Parse(server.URL, "")
	require.NoError(t, err)
	_, err = redislive.Open(ended, o, quiet)
	require.Error(t, err)
	require.NoError(t, server.Up(t.Context()))
}

func open(t *testing.T, server *servers.Redis) *redislive.Client {
	t.Helper()
	o, err := redislive.Parse(server.URL, "")
	require.NoError(t, err)
	client, err := redislive.Open(t.Context(), o, quiet)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func replica(t *testing.T, server *servers.Redis) *redislive.Live {
	t.Helper()
	live := redislive.NewLive(open(t, server), memory.NewLive(), quiet)
	live.Start()
	t.Cleanup(live.Stop)
	return live
}

// What happens to Redis, how it comes back, and that what was published meanwhile, which
// cannot have come, was told.
var mishaps = map[string]struct {
	begin, end func(*testing.T, *servers.Redis)
}{
	"killed and started again": {
		begin: func(t *testing.T, r *servers.Redis) { t.Helper(); require.NoError(t, r.Down()) },
		end:   func(t *testing.T, r *servers.Redis) { t.Helper(); require.NoError(t, r.Up(t.Context())) },
	},
	"silent for longer than its connections are kept": {
		begin: func(t *testing.T, r *servers.Redis) { t.Helper(); require.NoError(t, r.Freeze()) },
		end:   func(t *testing.T, r *servers.Redis) { t.Helper(); require.NoError(t, r.Thaw()) },
	},
}

func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	o, err := redislive.Parse(server.URL, "")
	require.NoError(t, err)
	client, err := redislive.Open(t.Context(), o, quiet)
	require.NoError(t, err)
	require.NoError(t, client.Ping(t.Context()))
	before := client.Pool()
	assert.Positive(t, before.Open)
	assert.Equal(t, before.Opened, before.Open)
	assert.Zero(t, before.Failed)
	require.NoError(t, server.Down())
	require.Eventually(t, func() bool {
		_ = client.Ping(t.Context())
		p := client.Pool()
		return p.Open == 0 && p.Failed > 0
	}, patience, 10*time.Millisecond)
	require.NoError(t, server.Up(t.Context()))
	require.Eventually(t, func() bool { return client.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	after := client.Pool()
	assert.Positive(t, after.Open)
	assert.Greater(t, after.Opened, before.Opened)
	client.Close()
	require.Eventually(t, func() bool { return client.Pool().Open == 0 }, patience, 10*time.Millisecond)
}

func TestMessagesThatDidNotComeAreTold(t *testing.T) {
	t.Parallel()
	for name, mishap := range mishaps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testkit.RedisServer(t)
			a, b := replica(t, server), replica(t, server)
			messages, cancel := b.Subscribe("topic")
			defer cancel()
			own, cancelOwn := a.Subscribe("topic")
			defer cancelOwn()
			a.Publish("topic", []byte("1"))
			require.Equal(t, "1", string(<-messages))
			require.Equal(t, "1", string(<-own))

			probe := open(t, server)
			mishap.begin(t, server)
			// It goes on inside the replica, and nobody waits for Redis.
			for n := 2; n < 100; n++ {
				a.Publish("topic", strconv.AppendInt(nil, int64(n), 10))
				require.Equal(t, strconv.Itoa(n), string(next(t, own)))
			}
			require.Eventually(t, func() bool { return probe.Ping(t.Context()) != nil }, patience, time.Millisecond, "a connection from before ends")
			mishap.end(t, server)
			toldOfGaps(t, messages, 1, 100, func() { a.Publish("topic", []byte("100")) })
		})
	}
}

// toldOfGaps reads numbers from the one behind last up to the final one, which more
// publishes again and again, and checks that those that are missing were told before the
// next one came.
func toldOfGaps(t *testing.T, messages <-chan []byte, last, final int, more func()) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	told := false
	for deadline := time.After(patience); last < final; {
		select {
		case m := <-messages:
			if m == nil {
				told = true
				continue
			}
			text, _, _ := strings.Cut(string(m), " ")
			n, err := strconv.Atoi(text)
			require.NoError(t, err)
			require.Greater(t, n, last)
			require.True(t, n == last+1 || told, "%d follows %d, and nobody said so", n, last)
			last, told = n, false
		case <-tick.C:
			more()
		case <-deadline:
			require.Fail(t, "it never comes again")
		}
	}
}

// What is more than can wait for Redis is lost, told, and what comes then is the newest.
func TestWhatCannotWaitForRedisIsToldAsLost(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	a, b := replica(t, server), replica(t, server)
	messages, cancel := b.Subscribe("topic")
	defer cancel()
	a.Publish("topic", []byte("1"))
	require.Equal(t, "1", string(<-messages))
	require.NoError(t, server.Freeze())
	filling := strings.Repeat(" ", 1<<20)
	for n := 2; n < 60; n++ {
		a.Publish("topic", []byte(strconv.Itoa(n)+filling))
	}
	require.NoError(t, server.Thaw())
	toldOfGaps(t, messages, 1, 60, func() { a.Publish("topic", []byte("60")) })
}

// Who comes while Redis is known to be away does not wait for it, and is told afterwards.
func TestNobodyWaitsForARedisThatIsKnownToBeAway(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	a, b := replica(t, server), replica(t, server)
	first, cancel := a.Subscribe("first")
	defer cancel()
	require.NoError(t, server.Down())
	// The first one that waits less than for Redis shows that it is known.
	require.Eventually(t, func() bool {
		began := time.Now()
		_, cancel := a.Subscribe("probe")
		cancel()
		return time.Since(began) < time.Second
	}, patience, 10*time.Millisecond)
	messages, cancelLater := a.Subscribe("later")
	defer cancelLater()
	a.Publish("later", []byte("from here"))
	require.Equal(t, "from here", string(next(t, messages)))
	require.NoError(t, server.Up(t.Context()))
	for _, m := range []<-chan []byte{first, messages} {
		select {
		case told := <-m:
			require.Nil(t, told, "what came meanwhile is missing")
		case <-time.After(patience):
			require.Fail(t, "nobody told")
		}
	}
	require.Eventually(t, func() bool {
		b.Publish("later", []byte("from there"))
		select {
		case m := <-messages:
			return string(m) == "from there"
		case <-time.After(10 * time.Millisecond):
			return false
		}
	}, patience, time.Millisecond)
}

func next(t *testing.T, messages <-chan []byte) []byte {
	t.Helper()
	for {
		select {
		case m := <-messages:
			if m != nil {
				return m
			}
		case <-time.After(patience):
			require.Fail(t, "no message")
		}
	}
}

func TestALimitHoldsInEachReplicaWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	limit := ports.Limit{Times: 2, Per: time.Hour}
	var replicas []*redislive.Limiter
	for range 2 {
		replicas = append(replicas, redislive.NewLimiter(open(t, server), memory.NewLimiter(system.Clock{}), quiet))
	}
	uses := func() (allowed int) {
		for _, r := range replicas {
			for range 3 {
				_, ok, err := r.Allow(t.Context(), "key", limit)
				require.NoError(t, err)
				if ok {
					allowed++
				}
			}
		}
		return allowed
	}
	assert.Equal(t, 2, uses(), "of both together")
	require.NoError(t, server.Down())
	assert.Equal(t, 4, uses(), "of each")
	require.NoError(t, server.Up(t.Context()))
	// It is asked again soon, and has forgotten what it counted.
	require.Eventually(t, func() bool { return uses() > 0 }, patience, 10*time.Millisecond)
}
