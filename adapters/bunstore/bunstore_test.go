package bunstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit"
)

// The ports are held to their contracts by the suites of tests/contract; here stands
// what is this adapter's own.

// counter makes times and ids that grow.
type counter struct{ n atomic.Int64 }

func (c *counter) Now() time.Time { return time.UnixMicro(1_770_000_000_000_000 + c.n.Add(1)).UTC() }

func (c *counter) New() (id domain.ID) {
	_, _ = rand.Read(id[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(1_770_000_000_000+c.n.Add(1)))
	copy(id[:6], ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

var count counter

var options = Options{Clock: &count, IDs: &count, Log: slog.New(slog.DiscardHandler)}

// urls gives a new database of each kind.
var urls = map[string]func(testing.TB) string{
	"SQLite":     func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "data", "peergpu.db") },
	"PostgreSQL": testkit.Postgres,
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// onEach runs a test on a store of each kind.
func onEach(t *testing.T, test func(*testing.T, *Store)) {
	t.Helper()
	t.Parallel()
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, url(t)))
		})
	}
}

func newJob(t testing.TB) *jobs.Job {
	t.Helper()
	j, err := jobs.New(jobs.Draft{
		ID: count.New(), Renter: count.New(), Spec: jobs.Spec{Command: []string{"echo", "hello"}}, Currency: "EUR", RunVersion: 1,
	}, count.Now())
	require.NoError(t, err)
	require.NoError(t, j.Enqueue(1_000_000, count.Now()))
	return j
}

func addJob(t testing.TB, s *Store) domain.ID {
	t.Helper()
	j := newJob(t)
	require.NoError(t, s.Jobs().Add(t.Context(), j))
	return j.Snapshot().ID
}

// leaseJob makes a job with an attempt, which the host holds.
func leaseJob(t testing.TB, s *Store) (job, host domain.ID) {
	t.Helper()
	j, host := newJob(t), count.New()
	require.NoError(t, j.Lease(jobs.Lease{Host: host, HostOwner: count.New(), Devices: []jobs.Device{{ID: count.New()}}}, count.Now()))
	require.NoError(t, s.Jobs().Add(t.Context(), j))
	return j.Snapshot().ID, host
}

func TestWhatIsNoDatabaseIsRefusedWithoutRepeatingItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "mysql://user:secret@host/db", "sqlite://", "postgres://user:secret@host:99999999/db", "postgres://user:secret@[::/db"} {
		_, err := Open(t.Context(), url, options)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%s: %v", url, err)
		assert.NotContains(t, err.Error(), "secret")
	}
	_, err := Open(t.Context(), "postgres://user:secret@127.0.0.1:1/db?connect_timeout=2", options)
	assert.Equal(t, domain.KindUnavailable, domain.KindOf(err), "%v", err)
	assert.NotContains(t, err.Error(), "secret")
}

func TestDataSurvivesClosing(t *testing.T) {
	t.Parallel()
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := url(t)
			s, err := Open(t.Context(), at, options)
			require.NoError(t, err)
			id := addJob(t, s)
			require.NoError(t, s.Close())
			assert.Equal(t, domain.KindUnavailable, domain.KindOf(s.Jobs().Add(t.Context(), newJob(t))), "closed")
			_, err = s.Jobs().Get(t.Context(), id, domain.ID{})
			assert.Equal(t, domain.KindUnavailable, domain.KindOf(err), "%v", err)
			_, err = open(t, at).Jobs().Get(t.Context(), id, domain.ID{})
			require.NoError(t, err)
		})
	}
}

func TestADatabaseInMemoryIsGoneAfterClosing(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite://:memory:", options)
	require.NoError(t, err)
	id := addJob(t, s)
	_, err = s.Jobs().Get(t.Context(), id, domain.ID{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestTextThatIsNoneIsStoredAsText(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		u := identity.Restore(identity.Snapshot{ID: count.New(), Email: "a\x00@b", Handle: "a", Name: "x\xff\xfe'\\"})
		require.NoError(t, s.Users().Add(t.Context(), u))
		got, err := s.Users().Get(t.Context(), u.Snapshot().ID)
		require.NoError(t, err)
		assert.Equal(t, "x\uFFFD'\\", got.Name)
		assert.Equal(t, "a\uFFFD@b", got.Email)
		_, err = s.Users().ByEmail(t.Context(), "a\x00@b")
		require.NoError(t, err)
	})
}

func TestPingTellsTheSkewOfTheClocks(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		skew, err := s.Ping(t.Context())
		require.NoError(t, err)
		assert.Equal(t, s.postgres == nil, skew == 0, "SQLite has no clock of its own")
	})
}

func TestTheLedgerCannotBeRewritten(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		require.NoError(t, s.Ledger().Post(t.Context(), topUp(count.New(), 5)))
		for _, statement := range []string{
			"UPDATE ledger_entries SET amount = amount + 1", "DELETE FROM ledger_entries",
			"UPDATE ledger_txs SET memo = 'x'", "DELETE FROM ledger_txs",
		} {
			_, err := s.write.ExecContext(t.Context(), statement)
			assert.ErrorContains(t, err, "the ledger is immutable", statement)
		}
		_, err := s.write.ExecContext(t.Context(), "UPDATE ledger_accounts SET balance = -1 WHERE guarded")
		assert.Error(t, err, "a guarded balance does not go below zero, whatever the program believes")
	})
}

// lines runs a query that gives one text a row.
func lines(t *testing.T, db *bun.DB, query string, args ...any) (found []string) {
	t.Helper()
	require.NoError(t, db.NewRaw(query, args...).Scan(context.WithoutCancel(t.Context()), &found))
	return found
}
