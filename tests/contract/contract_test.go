package contract

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bunstore"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/redislive"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
)

// storages is every adapter that stores.
var storages = map[string]func(*testing.T) Storage{
	"memory": func(*testing.T) Storage { return memory.New(memory.Options{Clock: system.Clock{}, IDs: &ids}) },
	"bun/SQLite": func(t *testing.T) Storage {
		return database(t, "sqlite://"+filepath.Join(t.TempDir(), "peergpu.db"))
	},
	"bun/Postgres": func(t *testing.T) Storage { return database(t, testkit.Postgres(t)) },
}

// database opens a store, which is closed with the test.
func database(t *testing.T, url string) *bunstore.Store {
	t.Helper()
	s, err := bunstore.Open(t.Context(), url, bunstore.Options{Clock: system.Clock{}, IDs: &ids})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStorage(t *testing.T) {
	t.Parallel()
	for suite, run := range map[string]func(*testing.T, func(*testing.T) Storage){
		"Users": Users, "Sessions": Sessions, "APITokens": APITokens,
		"Hosts": Hosts, "Enrollments": Enrollments, "Presences": Presences, "Pins": Pins,
		"Jobs": Jobs, "Logs": Logs, "Artifacts": Artifacts, "Ledger": Ledger, "Earnings": Earnings, "Outbox": Outbox,
	} {
		for adapter, open := range storages {
			t.Run(suite+" in "+adapter, func(t *testing.T) {
				t.Parallel()
				run(t, open)
			})
		}
	}
}

func TestMemoryLeader(t *testing.T) {
	t.Parallel()
	Leader(t, func(*testing.T) (a, b ports.Leader) {
		l := memory.NewLeader()
		return l, l
	})
}

func TestSQLiteLeader(t *testing.T) {
	t.Parallel()
	Leader(t, func(t *testing.T) (a, b ports.Leader) {
		s := database(t, "sqlite://:memory:")
		return s.Leader(), s.Leader()
	})
}

func TestPostgresLeader(t *testing.T) {
	t.Parallel()
	Leader(t, func(t *testing.T) (a, b ports.Leader) {
		url := testkit.Postgres(t)
		return database(t, url).Leader(), database(t, url).Leader()
	})
}

func TestMemoryLimiter(t *testing.T) {
	t.Parallel()
	Limiter(t, func(*testing.T) ports.Limiter { return memory.NewLimiter(system.Clock{}) })
}

func TestMemoryLive(t *testing.T) {
	t.Parallel()
	Live(t, func(*testing.T) ports.Live { return memory.NewLive() })
	LiveElsewhere(t, memory.NewLive())
}

func TestRedisLimiter(t *testing.T) {
	t.Parallel()
	Limiter(t, func(t *testing.T) ports.Limiter {
		// It counts for itself only where Redis does not answer.
		return redislive.NewLimiter(redis(t, testkit.Redis(t)), refusing{}, slog.New(slog.DiscardHandler))
	})
}

// refusing is a limiter that is not to be asked.
type refusing struct{}

func (refusing) Allow(context.Context, string, ports.Limit) (time.Duration, bool, error) {
	return 0, false, errors.New("redis did not answer")
}

func TestRedisLive(t *testing.T) {
	t.Parallel()
	replica := func(t *testing.T, url string) ports.Live {
		live := redislive.NewLive(redis(t, url), memory.NewLive(), slog.New(slog.DiscardHandler))
		live.Start()
		t.Cleanup(live.Stop)
		return live
	}
	t.Run("one replica", func(t *testing.T) {
		t.Parallel()
		Live(t, func(t *testing.T) ports.Live { return replica(t, testkit.Redis(t)) })
	})
	t.Run("what is for the others comes to them alone", func(t *testing.T) {
		t.Parallel()
		url := testkit.Redis(t)
		LiveElsewhere(t, replica(t, url), replica(t, url), replica(t, url))
	})
	t.Run("published by one replica, received by another", func(t *testing.T) {
		t.Parallel()
		Live(t, func(t *testing.T) ports.Live {
			url := testkit.Redis(t)
			return apart{there: replica(t, url), here: replica(t, url)}
		})
	})
}

// apart publishes to one replica what another receives.
type apart struct{ there, here ports.Live }

func (a apart) Publish(topic string, data []byte) { a.there.Publish(topic, data) }

func (a apart) Elsewhere(topic string, data []byte) { a.there.Elsewhere(topic, data) }

func (a apart) Subscribe(topic string) (<-chan []byte, func()) { return a.here.Subscribe(topic) }

func redis(t *testing.T, url string) *redislive.Client {
	t.Helper()
	o, err := redislive.Parse(url, "")
	require.NoError(t, err)
	client, err := redislive.Open(t.Context(), o, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestSystemClock(t *testing.T) {
	t.Parallel()
	Clock(t, func(*testing.T) ports.Clock { return system.Clock{} })
}

func TestSystemIDs(t *testing.T) {
	t.Parallel()
	IDs(t, func(*testing.T) ports.IDs { return system.IDs{} })
}
