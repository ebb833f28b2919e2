package invariants_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bunstore"
	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

const output, result = "line 1\nline 2\n", "weights"

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// sound makes a world with one job that was lost once and then did well.
func sound(t *testing.T, database string) invariants.World {
	t.Helper()
	ctx, folder := t.Context(), testkit.Dir(t)
	if database == "" {
		database = "sqlite://" + filepath.Join(folder, "peergpu.db")
	}
	store, err := bunstore.Open(ctx, database, bunstore.Options{Clock: system.Clock{}, IDs: system.IDs{}})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	blobs, err := cloudblob.Open(t.Context(), "file://"+folder+"/blobs", cloudblob.Options{Key: make([]byte, 32), Clock: system.Clock{}})
	require.NoError(t, err)
	ids, now := system.IDs{}, domain.Time(time.Now())
	id, renter, host, owner := ids.New(), ids.New(), ids.New(), ids.New()
	j, err := jobs.New(jobs.Draft{ID: id, Renter: renter, Currency: "USD", RunVersion: 1, Spec: jobs.Spec{
		Name: "train", Command: []string{"train"}, Needs: jobs.Needs{GPUs: 1}, Source: jobs.Source{Kind: jobs.SourceBundle}, Limits: jobs.Limits{MaxRuntime: time.Hour},
	}}, now)
	require.NoError(t, err)
	put := func(key, content string) {
		_, err := blobs.Put(ctx, key, strings.NewReader(content))
		require.NoError(t, err)
	}
	bundle := "bundles/" + id.String() + ".zip"
	put(bundle, "zip")
	require.NoError(t, j.Fill(jobs.Bundle{Key: bundle, Size: 3, SHA256: sum("zip")}))
	lease := jobs.Lease{Host: host, HostOwner: owner, HourlyPrice: 3_600_000, Devices: []jobs.Device{{ID: ids.New(), UUID: "GPU-1"}}}
	require.NoError(t, j.Enqueue(1_000_000, now))
	require.NoError(t, j.Lease(lease, now))
	require.NoError(t, store.Jobs().Add(ctx, j))
	code := 0
	for _, change := range []func(*jobs.Job) error{
		func(j *jobs.Job) error { return j.Lose(1, jobs.ReasonHostLost, "", now) },
		func(j *jobs.Job) error { return j.Lease(lease, now) },
		func(j *jobs.Job) error { return j.Start(host, 2, now) },
		func(j *jobs.Job) error {
			return j.Exit(host, 2, jobs.Exit{Code: &code, Ran: time.Second}, now.Add(time.Second))
		},
		func(j *jobs.Job) error {
			return j.Finish(host, 2, jobs.Result{Exit: jobs.Exit{Code: &code, Ran: time.Second}, LogBytes: int64(len(output)), LogSHA256: sum(output)}, now.Add(time.Second))
		},
	} {
		_, err := store.Jobs().Update(ctx, id, change)
		require.NoError(t, err)
	}
	put("logs/"+id.String()+"/2.log", output)
	file := ports.Artifact{ID: ids.New(), Job: id, Attempt: 2, Path: "outputs/a", Size: int64(len(result)), SHA256: sum(result), BlobKey: "jobs/" + id.String() + "/2/" + sum(result), CreatedAt: now}
	put(file.BlobKey, result)
	_, err = store.Artifacts().Plan(ctx, []ports.Artifact{file})
	require.NoError(t, err)
	require.NoError(t, store.Artifacts().Confirm(ctx, file.ID))
	for _, tx := range []billing.Transaction{
		billing.TopUp("top_up", renter, 5_000_000), billing.HoldFor(id, renter, 1_000_000),
		billing.Settle(billing.Settlement{Job: id, Renter: renter, HostOwner: owner, Held: 1_000_000, Amount: 1000, Fee: 1000}),
	} {
		tx.ID, tx.At, tx.Currency = ids.New(), now, "USD"
		require.NoError(t, store.Ledger().Post(ctx, tx))
	}
	events, err := store.Outbox().Pending(ctx, 100)
	require.NoError(t, err)
	for _, e := range events {
		require.NoError(t, store.Outbox().Done(ctx, e.ID))
	}
	return invariants.World{
		Database: database, Blobs: folder + "/blobs", Acknowledged: []string{id.String()},
		Logs: map[string]string{id.String(): sum(output)},
	}
}

func TestASoundWorldHasNothingToReport(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) string{
		"SQLite":   func(*testing.T) string { return "" },
		"Postgres": func(t *testing.T) string { return testkit.PostgresDatabase(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := invariants.Find(t.Context(), sound(t, database(t)))
			require.NoError(t, err)
			assert.Empty(t, found)
		})
	}
}

func TestEachBrokenInvariantIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rule, sql string }{
		"an attempt that never ended":         {"J4", "UPDATE jobs SET state = 'running'"},
		"an active attempt of an ended job":   {"J1", "UPDATE attempts SET active = true, outcome = '' WHERE number = 2"},
		"two active attempts":                 {"J1", "DROP INDEX attempts_active; UPDATE attempts SET active = true, outcome = ''"},
		"a flag that contradicts":             {"J1", "UPDATE attempts SET active = true WHERE number = 2"},
		"a state that is none":                {"J3", "UPDATE jobs SET state = 'paused'"},
		"an end without a time":               {"J3", "UPDATE jobs SET finished_at = NULL"},
		"a gap between attempts":              {"J3", "PRAGMA foreign_keys=OFF; UPDATE attempts SET number = 3 WHERE number = 2"},
		"times that go backwards":             {"J3", "UPDATE attempts SET exited_at = 1 WHERE number = 2"},
		"a transition that is not allowed":    {"J3", `UPDATE outbox SET data = replace(data, '"from":"running"', '"from":"pending"')`},
		"a job that waits without a reason":   {"J4", "UPDATE jobs SET state = 'queued'"},
		"news of an attempt that was lost":    {"J5", `UPDATE outbox SET data = replace(data, '"attempt":2', '"attempt":1') WHERE type = 'jobs.succeeded'`},
		"a loss that was not counted":         {"J6", "UPDATE jobs SET losses = 0"},
		"a retry after an end":                {"J6", "UPDATE attempts SET outcome = 'failed' WHERE number = 1"},
		"a device that was not given back":    {"C1", "UPDATE attempt_devices SET active = true WHERE number = 2"},
		"a device of no attempt":              {"C1", "PRAGMA foreign_keys=OFF; UPDATE attempt_devices SET number = 9 WHERE number = 2"},
		"a device that two have":              {"C1", "DROP INDEX attempt_devices_active; UPDATE attempt_devices SET active = true"},
		"an unbalanced transaction":           {"M1", ledger + "UPDATE ledger_entries SET amount = amount + 1 WHERE amount > 0"},
		"a balance that is not the sum":       {"M1", "UPDATE ledger_accounts SET balance = balance + 1 WHERE guarded"},
		"a wallet below zero":                 {"M7", ledger + "UPDATE ledger_entries SET amount = -amount"},
		"an account that nobody guards":       {"M7", "UPDATE ledger_accounts SET guarded = false"},
		"a ledger that can be rewritten":      {"M2", "DROP TRIGGER ledger_entries_immutable_update"},
		"a ledger that can be cut":            {"M2", "DROP TRIGGER ledger_txs_immutable_delete"},
		"two settlements":                     {"M4", "INSERT INTO ledger_txs (id, kind, key, currency, job_id, memo, at) SELECT 'x', kind, 'again', currency, job_id, memo, at FROM ledger_txs WHERE kind = 'settle'"},
		"a second hold of a job":              {"M11", "INSERT INTO ledger_txs (id, kind, key, currency, job_id, memo, at) SELECT 'x', kind, 'again', currency, job_id, memo, at FROM ledger_txs WHERE kind = 'hold'"},
		"a settlement of a part of the hold":  {"M5", ledger + "UPDATE ledger_entries SET amount = amount + 600000 WHERE amount < 0 AND tx_id = (SELECT id FROM ledger_txs WHERE kind = 'settle'); UPDATE ledger_entries SET amount = amount - 600000 WHERE amount > 600000 AND tx_id = (SELECT id FROM ledger_txs WHERE kind = 'settle')"},
		"a bill that nobody was asked to pay": {"M4", ledger + "UPDATE ledger_txs SET kind = 'other' WHERE kind IN ('hold', 'settle')"},
		"a promise that nothing was held for": {"M5", ledger + "UPDATE ledger_txs SET kind = 'other' WHERE kind IN ('hold', 'settle')"},
		"a settlement without a hold":         {"M4", ledger + "UPDATE ledger_txs SET kind = 'other' WHERE kind = 'hold'"},
		"a settlement of a job that waits":    {"M4", "UPDATE jobs SET state = 'queued', reason = 'x'"},
		"a settlement of another amount":      {"M4", "UPDATE jobs SET cost = 2000; UPDATE attempts SET amount = 2000, billable_ms = 2000 WHERE number = 2"},
		"a cost that is not the attempt's":    {"M4", "UPDATE jobs SET cost = 2000"},
		"a bill that is not price by time":    {"M4", "UPDATE attempts SET billable_ms = 7 WHERE number = 2"},
		"a bill for a lost attempt":           {"M4", "UPDATE attempts SET amount = 1000, billable_ms = 1000 WHERE number = 1"},
		"a settlement that pays a stranger":   {"M4", "UPDATE attempts SET host_owner = job_id"},
		"a bill for more than was promised":   {"M5", `UPDATE attempts SET doc = replace(doc, '"MaxRuntime":1000000000000', '"MaxRuntime":1')`},
		"another hold than the job believes":  {"M5", "UPDATE jobs SET hold = hold + 1"},
		"a hold that outlives its job":        {"M11", ledger + "UPDATE ledger_txs SET kind = 'other' WHERE kind = 'settle'"},
		"a hold without a job":                {"M11", ledger + "UPDATE ledger_txs SET job_id = id WHERE kind = 'hold'"},
		"another log than was printed":        {"L1", `UPDATE attempts SET doc = replace(doc, '"LogBytes":14', '"LogBytes":15')`},
		"a log that is not archived":          {"L1", "INSERT INTO log_chunks SELECT id, 2, 0, 1, 0, '' FROM jobs"},
		"a file that is not visible":          {"A1", "UPDATE artifacts SET confirmed = false"},
		"a file of another size":              {"A1", "UPDATE artifacts SET size = 8"},
		"a file of a lost attempt":            {"A1", "UPDATE attempts SET outcome = 'lost' WHERE number = 2"},
		"a file of no attempt":                {"A1", "UPDATE artifacts SET attempt = 3"},
		"an object of no file":                {"A2", "DELETE FROM artifacts"},
		"an event that is missing":            {"E1", "DELETE FROM outbox WHERE type = 'jobs.running'"},
		"events in another order":             {"E1", "UPDATE outbox SET seq = seq + 100 WHERE type = 'jobs.queued'"},
		"a state without an event":            {"E1", "DELETE FROM outbox WHERE type = 'jobs.succeeded'"},
		"an event that is not published":      {"E2", "UPDATE outbox SET done_at = NULL WHERE type = 'jobs.queued'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := sound(t, "")
			db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(w.Database, "sqlite://"))
			require.NoError(t, err)
			_, err = db.ExecContext(t.Context(), c.sql)
			require.NoError(t, err)
			require.NoError(t, db.Close())
			assert.Contains(t, rules(t, w), c.rule)
		})
	}
}

// ledger lets a test change what is immutable.
const ledger = "DROP TRIGGER ledger_txs_immutable_update; DROP TRIGGER ledger_entries_immutable_update; "

func TestWhatOnlyTheTestKnowsIsComparedToo(t *testing.T) {
	t.Parallel()
	w := sound(t, "")
	good := w
	job := w.Acknowledged[0]
	w.Acknowledged = []string{"00000000-0000-0000-0000-000000000001"}
	assert.Equal(t, []string{"J4"}, rules(t, w))
	w = good
	w.Logs = map[string]string{job: sum("something else")}
	assert.Equal(t, []string{"L1"}, rules(t, w))

	now := time.Now()
	run := func(attempt string, from, to int) invariants.Run {
		return invariants.Run{Job: job, Attempt: attempt, From: now.Add(time.Duration(from)), To: now.Add(time.Duration(to))}
	}
	w = good
	w.Runs = []invariants.Run{run("2", 5, 9), run("1", 0, 6)}
	assert.Equal(t, []string{"J2"}, rules(t, w))
	w.Runs = []invariants.Run{run("2", 6, 9), run("1", 0, 6)}
	assert.Empty(t, rules(t, w))
}

func TestTheObjectsAreReadWhole(t *testing.T) {
	t.Parallel()
	w := sound(t, "")
	var file string
	require.NoError(t, filepath.WalkDir(filepath.Join(w.Blobs, "jobs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			file = path
		}
		return err
	}))
	require.NoError(t, os.WriteFile(file, []byte("changed"), 0o600))
	assert.Equal(t, []string{"A1", "A1"}, rules(t, w), "neither what the row nor what the store says")
	require.NoError(t, os.Remove(file))
	assert.Equal(t, []string{"A1", "A2"}, rules(t, w), "a sum without its object")
	w.Swept = invariants.Later
	assert.Equal(t, []string{"A1"}, rules(t, w), "a sweep takes the sum")
	require.NoError(t, os.WriteFile(filepath.Join(w.Blobs, "unknown"), nil, 0o600))
	assert.Equal(t, []string{"A1", "A2"}, rules(t, w), "but not what it does not know")
}

func TestRunsAreReadFromWhatWasReached(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reached")
	require.NoError(t, os.WriteFile(path, []byte("100 7 run.begin job_a/1 \n150 7 settle.mid 1 kill\n200 7 run.end job_a/1 \n300 7 run.begin job_b/1 \n"), 0o600))
	require.NoError(t, invariants.Died(path, 7))
	runs, err := invariants.Runs(path)
	require.NoError(t, err)
	require.Len(t, runs, 2)
	assert.Equal(t, invariants.Run{Job: "job_a", Attempt: "1", From: time.Unix(0, 100), To: time.Unix(0, 200)}, runs[0])
	assert.WithinDuration(t, time.Now(), runs[1].To, time.Minute, "it ended with its process")
}

func rules(t *testing.T, w invariants.World) []string {
	t.Helper()
	found, err := invariants.Find(context.Background(), w)
	require.NoError(t, err)
	var list []string
	for _, v := range found {
		list = append(list, v.Rule)
	}
	return list
}
