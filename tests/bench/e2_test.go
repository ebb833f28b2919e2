package bench

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/e2e"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/fleet"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

const (
	submitters = 20
	hostCount  = 100
	forkSlots  = 8
	forkedJobs = 1000 // at most
	claimBatch = 100
)

// BenchmarkE2 submits trivial jobs from many connections and waits until all of them are
// settled: with simulated agents that run them in no time, and with one real agent that
// forks echo. The floor is a bare queue in the same database, in batches, and the rate at
// which the machine forks.
func BenchmarkE2(b *testing.B) {
	for _, p := range profiles {
		b.Run("jobs=simulated/"+p.name, func(b *testing.B) { e2(b, p.open(b), *jobCount) })
	}
	b.Run("jobs=forked/on=embedded", func(b *testing.B) { e2forked(b, min(*jobCount, forkedJobs)) })
}

func e2(b *testing.B, p parts, n int) {
	b.Helper()
	c := e2e.NewCluster(b, p.Profile, "PEERGPU_LEASE_TTL=60s")
	c.Start()
	u := rich(c)
	f, err := fleet.Start(b.Context(), fleet.Options{URL: c.URL, Owner: u.Token(), Name: "box", Count: hostCount})
	require.NoError(b, err)
	b.Cleanup(f.Stop)
	require.Eventually(b, func() bool { return f.Online() == hostCount }, time.Minute, 10*time.Millisecond)
	q := newQueue(b, p.postgres)
	submit(b, c, u, 200) // warm-up
	require.Eventually(b, func() bool { return f.Finished() == 200 }, time.Minute, time.Millisecond)

	for b.Loop() {
		floor := q.drain(n / 2)
		before, server, postgres := f.Finished(), cpu(b, c.Process()), cpuOf(b, p.postgres)
		began := time.Now()
		ids, submitted := submit(b, c, u, n)
		require.Eventually(b, func() bool { return f.Finished() == before+n }, 10*time.Minute, time.Millisecond)
		finished := time.Since(began)
		settled(b, u)
		took := time.Since(began)
		server, postgres = cpu(b, c.Process())-server, cpuOf(b, p.postgres)-postgres
		floor += q.drain(n - n/2)

		rate := func(d time.Duration) float64 { return float64(n) / d.Seconds() }
		each := func(d time.Duration) float64 { return d.Seconds() * 1e3 / float64(n) }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(rate(submitted), "submits/s")
		b.ReportMetric(rate(finished), "finished/s")
		b.ReportMetric(rate(took), "settled/s")
		b.ReportMetric(rate(floor), "claims-floor/s")
		b.ReportMetric(floor.Seconds()/took.Seconds(), "settled/floor")
		b.ReportMetric(each(server), "server-cpu-ms/job")
		b.ReportMetric(each(postgres), "postgres-cpu-ms/job")
		b.ReportMetric(load(b), "load")
		aim(b, "settled, jobs/s", rate(took), rate(floor), atLeast(3000), timesAtLeast(0.3))
		aim(b, "CPU of server and PostgreSQL, ms a job", each(server)+each(postgres), 0, atMost(0.5))
		once(b, u, ids)
		runs := f.Runs()
		for _, id := range ids {
			assert.Equal(b, 1, runs[id], id)
		}
	}
	f.Stop()
	for _, a := range f.Agents {
		assert.Zero(b, a.Overlap, "a GPU has one job at a time")
	}
}

// e2forked has one real agent with some GPUs.
func e2forked(b *testing.B, n int) {
	b.Helper()
	c := e2e.NewCluster(b, e2e.Embedded, "PEERGPU_LEASE_TTL=60s")
	c.Start()
	u := rich(c)
	agent := c.Agent(u, "box", "process", forkSlots, "trusted: true", "unsandboxed: true")
	submit(b, c, u, 50) // warm-up
	settled(b, u)
	for b.Loop() {
		floor := forks(b, n/2)
		server, host := cpu(b, c.Process()), cpu(b, agent)
		began := time.Now()
		ids, _ := submit(b, c, u, n)
		settled(b, u)
		took := time.Since(began)
		server, host = cpu(b, c.Process())-server, cpu(b, agent)-host
		floor += forks(b, n-n/2)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(n)/took.Seconds(), "settled/s")
		b.ReportMetric(float64(n)/floor.Seconds(), "forks-floor/s")
		b.ReportMetric(floor.Seconds()/took.Seconds(), "settled/floor")
		b.ReportMetric(server.Seconds()*1e3/float64(n), "server-cpu-ms/job")
		b.ReportMetric(host.Seconds()*1e3/float64(n), "agent-cpu-ms/job")
		b.ReportMetric(load(b), "load")
		aim(b, "settled, jobs/s", float64(n)/took.Seconds(), float64(n)/floor.Seconds(), atLeast(800), timesAtLeast(0.45))
		once(b, u, ids)
	}
}

// rich is a renter who can pay for everything.
func rich(c *e2e.Cluster) *e2e.User {
	u := c.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 10_000_000_000}, nil)
	return u
}

// submit submits n jobs and tells when the last of them was answered.
func submit(b *testing.B, c *e2e.Cluster, u *e2e.User, n int) (ids []string, took time.Duration) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: submitters}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(map[string]any{
		"command": []string{"/bin/echo", "hello"}, "limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 100_000},
	})
	require.NoError(b, err)
	ids = make([]string, n)
	numbers := make(chan int)
	began := time.Now()
	var group sync.WaitGroup
	for range submitters {
		group.Go(func() {
			for i := range numbers {
				req, err := http.NewRequest(http.MethodPost, c.URL+"/api/jobs", bytes.NewReader(body))
				if !assert.NoError(b, err) {
					continue
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+u.Token())
				resp, err := client.Do(req)
				if !assert.NoError(b, err) {
					continue
				}
				var job struct{ ID string }
				assert.NoError(b, json.NewDecoder(resp.Body).Decode(&job))
				assert.NoError(b, resp.Body.Close())
				assert.Equal(b, http.StatusCreated, resp.StatusCode)
				ids[i] = job.ID
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	return ids, time.Since(began)
}

// settled waits until no money is held for any job.
func settled(b *testing.B, u *e2e.User) {
	b.Helper()
	var account struct {
		Held int64 `json:"held_micros"`
	}
	require.Eventually(b, func() bool {
		u.Call(http.MethodGet, "/api/billing/account", nil, &account)
		return account.Held == 0
	}, 10*time.Minute, 5*time.Millisecond)
}

// once checks that each of the jobs succeeded, in its first attempt.
func once(b *testing.B, u *e2e.User, ids []string) {
	b.Helper()
	left := map[string]bool{}
	for _, id := range ids {
		left[id] = true
	}
	require.Len(b, left, len(ids), "distinct")
	for after, more := "", true; more; more = after != "" {
		var page struct {
			Items []struct {
				ID, State string
				Attempt   int
			}
			Next string
		}
		u.Call(http.MethodGet, "/api/jobs?limit=100&after="+url.QueryEscape(after), nil, &page)
		for _, j := range page.Items {
			if left[j.ID] {
				assert.Equal(b, "succeeded", j.State, j.ID)
				assert.Equal(b, 1, j.Attempt, j.ID)
				delete(left, j.ID)
			}
		}
		after = page.Next
	}
	assert.Empty(b, left)
}

// queue is a bare queue in a database: rows are inserted, claimed and finished by the
// hundred, each batch in a transaction of its own.
type queue struct {
	b     *testing.B
	db    *sql.DB
	claim string
}

func newQueue(b *testing.B, database *servers.Postgres) *queue {
	b.Helper()
	q := &queue{b: b}
	driver, dsn, skip := "sqlite", sqliteDSN(filepath.Join(testkit.Dir(b), "queue.db")), ""
	if database != nil {
		driver, dsn, skip = "pgx", database.URL, "FOR UPDATE SKIP LOCKED"
	}
	var err error
	q.db, err = sql.Open(driver, dsn)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, q.db.Close()) })
	q.db.SetMaxOpenConns(1)
	q.claim = fmt.Sprintf("UPDATE queue SET state = 1 WHERE id IN (SELECT id FROM queue WHERE state = 0 ORDER BY id LIMIT %d %s) RETURNING id", claimBatch, skip)
	q.exec("CREATE TABLE queue (id BIGINT PRIMARY KEY, state INTEGER, body TEXT)")
	q.exec("CREATE INDEX queue_waiting ON queue (id) WHERE state = 0")
	return q
}

func (q *queue) exec(statement string) {
	q.b.Helper()
	_, err := q.db.Exec(statement)
	require.NoError(q.b, err)
}

// drain inserts n rows, claims and finishes them, and tells how long that took.
func (q *queue) drain(n int) time.Duration {
	q.b.Helper()
	q.exec("DELETE FROM queue")
	return timed(func() {
		for from := 0; from < n; from += claimBatch {
			var rows []string
			for i := from; i < min(n, from+claimBatch); i++ {
				rows = append(rows, fmt.Sprintf("(%d, 0, '%s')", i, body))
			}
			q.exec("INSERT INTO queue (id, state, body) VALUES " + strings.Join(rows, ","))
		}
		for done := 0; done < n; {
			ids := q.take()
			require.NotEmpty(q.b, ids)
			q.exec("UPDATE queue SET state = 2 WHERE id IN (" + strings.Join(ids, ",") + ")")
			done += len(ids)
		}
	})
}

func (q *queue) take() (ids []string) {
	q.b.Helper()
	rows, err := q.db.Query(q.claim)
	require.NoError(q.b, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		require.NoError(q.b, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(q.b, rows.Err())
	return ids
}

// forks runs echo n times, as many side by side as the agent has GPUs.
func forks(b *testing.B, n int) time.Duration {
	b.Helper()
	f := &floor{b: b, command: []string{"/bin/echo", "hello"}}
	return timed(func() {
		var group sync.WaitGroup
		slots := make(chan struct{}, forkSlots)
		for range n {
			slots <- struct{}{}
			group.Go(func() {
				f.fork()
				<-slots
			})
		}
		group.Wait()
	})
}
