package bunstore

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit"
)

// others are the connections to the test's own database, apart from the one that asks.
const others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

func TestAServerThatLosesItsConnectionsGoesOnWithNewOnes(t *testing.T) {
	t.Parallel()
	url := testkit.PostgresDatabase(t)
	s, admin := open(t, url), open(t, url)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var mu sync.Mutex
	stored := map[domain.ID]bool{}
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				j := newJob(t)
				err := s.Jobs().Add(t.Context(), j)
				if err != nil {
					assert.Equal(t, domain.KindUnavailable, domain.KindOf(err), "%v", err)
					continue
				}
				mu.Lock()
				stored[j.Snapshot().ID] = true
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(stored)
	}
	for range 5 {
		n := count()
		lines(t, admin.read, "SELECT pg_terminate_backend(pid)::text "+others)
		require.Eventually(t, func() bool { return count() > n+10 }, patience, time.Millisecond)
	}
	close(stop)
	writers.Wait()
	for id := range stored {
		var err error
		require.Eventually(t, func() bool { // a connection that was ended is noticed by its next use
			_, err = s.Jobs().Get(t.Context(), id, domain.ID{})
			return domain.KindOf(err) != domain.KindUnavailable
		}, patience, time.Millisecond)
		require.NoError(t, err, "what was acknowledged is stored")
	}
}

func TestALeaderThatLosesItsConnectionStopsAndAnotherLeads(t *testing.T) {
	t.Parallel()
	url := testkit.PostgresDatabase(t)
	a, b := open(t, url), open(t, url)
	var leading atomic.Int32
	terms := make(chan struct{}, 100)
	work := func(ctx context.Context) error {
		assert.EqualValues(t, 1, leading.Add(1), "two lead at once")
		terms <- struct{}{}
		<-ctx.Done()
		leading.Add(-1)
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var both sync.WaitGroup
	for _, s := range []*Store{a, b} {
		both.Go(func() { assert.NoError(t, s.Leader().Lead(ctx, "relay", work)) })
	}
	next := func() {
		select {
		case <-terms:
		case <-time.After(patience):
			require.Fail(t, "nobody leads")
		}
	}
	next()
	require.Eventually(t, func() bool {
		return len(lines(t, a.read, "SELECT pid::text "+others+" AND state = 'idle' AND query LIKE '%pg_try_advisory_lock%'")) == 2
	}, patience, time.Millisecond, "the other was refused and waits")
	const lock = " AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
	require.NotEmpty(t, lines(t, a.read, "SELECT pg_terminate_backend(pid)::text "+others+lock))
	next()
	cancel()
	both.Wait()
	assert.Zero(t, leading.Load())
}

func TestADamagedLogIsToldAndNotReturned(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		job, host := leaseJob(t, s)
		require.NoError(t, s.Logs().Append(t.Context(), job, 1, host, 0, []byte("hello"), count.Now()))
		_, err := s.write.ExecContext(t.Context(), "UPDATE log_chunks SET size = 7")
		require.NoError(t, err)
		_, err = s.Logs().Read(t.Context(), job, 1, 0, 100)
		assert.Equal(t, "damaged_log", domain.CodeOf(err))
	})
}

// documents are what is stored as JSON. It outlives the program that wrote it: a field
// that is renamed would be lost.
type documents struct {
	Spec    jobs.Spec
	Phase   jobs.Progress
	Avoid   []domain.ID
	Attempt attemptDoc
	Facts   hosts.Facts
}

func TestDocumentsOfTheFirstVersionCanBeRead(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile(filepath.Join("testdata", "documents.json"))
	require.NoError(t, err)
	var kept documents
	require.NoError(t, json.Unmarshal(golden, &kept))
	again, err := json.Marshal(kept)
	require.NoError(t, err)
	var want, got any
	require.NoError(t, json.Unmarshal(golden, &want))
	require.NoError(t, json.Unmarshal(again, &got))
	holds(t, "", want, got)
}

// holds says that everything in want is in got, which may have more.
func holds(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for name, v := range want {
			holds(t, path+"/"+name, v, got[name])
		}
	case []any:
		got, _ := got.([]any)
		require.Len(t, got, len(want), path)
		for i, v := range want {
			holds(t, fmt.Sprintf("%s/%d", path, i), v, got[i])
		}
	default:
		assert.Equal(t, want, got, path)
	}
}
