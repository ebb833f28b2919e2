package bunstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Jobs is the jobs with their attempts.
func (s *Store) Jobs() ports.Jobs { return jobStore{s} }

type jobStore struct{ s *Store }

var jobKind = &kind[*jobs.Job, jobs.Snapshot]{
	name: "job", table: "jobs", restore: jobs.Restore, snapshot: (*jobs.Job).Snapshot,
	load: loadJob, insert: insertJob, replace: replaceJob,
}

func (r jobStore) Add(ctx context.Context, j *jobs.Job) error {
	return jobKind.add(ctx, r.s, j.Snapshot().ID, j)
}

func (r jobStore) Update(ctx context.Context, id domain.ID, change func(*jobs.Job) error) (jobs.Snapshot, error) {
	return jobKind.update(ctx, r.s, id, change)
}

func (r jobStore) Get(ctx context.Context, id, renter domain.ID) (jobs.Snapshot, error) {
	s, err := jobKind.get(ctx, r.s, id)
	if err == nil && !renter.IsZero() && s.Renter != renter {
		return jobs.Snapshot{}, domain.NotFound(jobKind.name)
	}
	return s, err
}

func (r jobStore) List(ctx context.Context, f ports.JobFilter, p ports.Page) ([]jobs.Snapshot, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	page := db.NewSelect().TableExpr("jobs AS j").ColumnExpr("j.*").Limit(int64(max(p.Limit, 1)))
	holder := f.Holder
	if !holder.IsZero() {
		// Agents ask often, for few jobs or none: their ids are read off an index.
		var held []key
		if err := db.NewSelect().TableExpr("attempts").Column("job_id").Where("host = ?", key(holder)).Where("active").Scan(ctx, &held); err != nil || len(held) == 0 {
			return nil, r.s.failed(ctx, err)
		}
		page.Where("j.id IN (?)", bun.List(held))
		f.Holder = domain.ID{}
	}
	page = filterJobs(page, f)
	order := "j.id DESC"
	if f.Order == ports.LongestQueued {
		order = "j.queued_at, j.id"
	} else if !p.After.IsZero() {
		page.Where("j.id < ?", key(p.After))
	}
	list, err := readJobs(ctx, db, page.OrderExpr(order), order)
	if !holder.IsZero() {
		list = slices.DeleteFunc(list, func(j jobs.Snapshot) bool { // no more
			return !slices.ContainsFunc(j.Attempts, func(a jobs.Attempt) bool { return a.Host == holder && a.Active() })
		})
	}
	return list, r.s.failed(ctx, err)
}

func (r jobStore) Count(ctx context.Context, f ports.JobFilter) (int64, error) {
	db, err := r.s.reader()
	if err != nil {
		return 0, err
	}
	n, err := filterJobs(db.NewSelect().TableExpr("jobs AS j"), f).Count(ctx)
	return n, r.s.failed(ctx, err)
}

func filterJobs(q *bun.SelectQuery, f ports.JobFilter) *bun.SelectQuery {
	if !f.Renter.IsZero() {
		q.Where("j.renter = ?", key(f.Renter))
	}
	if !f.Host.IsZero() {
		q.Where("j.id IN (SELECT job_id FROM attempts WHERE host = ?)", key(f.Host))
	}
	if !f.Holder.IsZero() {
		q.Where("j.id IN (SELECT job_id FROM attempts WHERE host = ? AND active)", key(f.Holder))
	}
	if len(f.States) > 0 {
		q.Where("j.state IN (?)", bun.List(f.States))
	}
	if f.Text != "" {
		inName := "j.search LIKE ? ESCAPE '!'"
		name := "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(string(text(strings.ToLower(f.Text)).clean())) + "%"
		if from, to, ok := domain.IDsBeginning("job", f.Text); ok {
			q.Where("("+inName+" OR j.id BETWEEN ? AND ?)", name, key(from), key(to))
		} else {
			q.Where(inName, name)
		}
	}
	if !f.Origin.IsZero() {
		q.Where("j.origin = ?", key(f.Origin))
	}
	if f.Key != "" {
		// The index is partial; it is used only when its condition is repeated.
		q.Where("j.idempotency_key <> ''").Where("j.idempotency_key = ?", text(f.Key))
	}
	if !f.WaitedUntil.IsZero() {
		q.Where("j.state = 'queued'").Where("j.wait_until <= ?", stamp(f.WaitedUntil))
	}
	if !f.Before.IsZero() {
		q.Where("j.created_at < ?", stamp(f.Before))
	}
	if !f.Finished.IsZero() {
		q.Where("j.finished_at >= ?", stamp(f.Finished))
	}
	return q
}

func (r jobStore) Events(ctx context.Context, job domain.ID, after int64, limit int) ([]domain.Event, error) {
	return r.s.events(ctx, limit, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("key = ?", key(job)).Where("seq > ?", after)
	})
}

// jobLine is a job beside one of its attempts.
type jobLine struct {
	jobRow  `bun:",extend"`
	Attempt attemptRow `bun:"embed:attempt_"`
}

// readJobs reads the jobs of a page together with their attempts in one statement, so
// that what it gives was true at one moment.
func readJobs(ctx context.Context, db bun.IDB, page *bun.SelectQuery, order string) ([]jobs.Snapshot, error) {
	var lines []jobLine
	err := beside[attemptRow](db.NewSelect().TableExpr("(?) AS j", page).ColumnExpr("j.*"), "a", "attempt_").
		Join("LEFT JOIN attempts AS a ON a.job_id = j.id").OrderExpr(order).OrderExpr("a.number").Scan(ctx, &lines)
	if err != nil {
		return nil, err
	}
	list := make([]jobs.Snapshot, 0, len(lines))
	for i := range lines {
		line := &lines[i]
		if len(list) == 0 || list[len(list)-1].ID != domain.ID(line.ID) {
			s, err := line.snapshot()
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		if line.Attempt.Number == 0 {
			continue
		}
		a, err := line.Attempt.attempt()
		if err != nil {
			return nil, err
		}
		s := &list[len(list)-1]
		s.Attempts = append(s.Attempts, a)
	}
	return list, nil
}

func loadJob(ctx context.Context, db bun.IDB, id domain.ID) (jobs.Snapshot, error) {
	page := db.NewSelect().TableExpr("jobs AS j").ColumnExpr("j.*").Where("j.id = ?", key(id))
	list, err := readJobs(ctx, db, page, "j.id")
	if err == nil && len(list) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return jobs.Snapshot{}, err
	}
	return list[0], nil
}

func insertJob(t *tx, s jobs.Snapshot) (jobs.Snapshot, error) {
	s.Version = 1
	row := toJobRow(&s)
	if err := t.later(t.store.write.NewInsert().Model(&row)); err != nil {
		return s, err
	}
	return cutJob(s), writeAttempts(t, s.ID, nil, s.Attempts)
}

func replaceJob(t *tx, old, next jobs.Snapshot) (jobs.Snapshot, bool, error) {
	next.Version = old.Version + 1
	row := toJobRow(&next)
	n, err := t.exec(t.store.write.NewUpdate().Model(&row).ExcludeColumn(fixed...).WherePK().Where("version = ?", old.Version))
	if err != nil || n == 0 {
		return next, false, err
	}
	next = cutJob(next)
	return next, true, writeAttempts(t, next.ID, old.Attempts, next.Attempts)
}

// cutJob makes the times of a job what they will be when it is read.
func cutJob(s jobs.Snapshot) jobs.Snapshot {
	for i := range s.Attempts {
		cutAttempt(&s.Attempts[i])
	}
	cutTimes(&s.CreatedAt, &s.QueuedAt, &s.WaitUntil, &s.FinishedAt)
	return s
}

func cutAttempt(a *jobs.Attempt) {
	cutTimes(&a.LeasedAt, &a.AcceptedAt, &a.StartedAt, &a.ExitedAt, &a.EndedAt)
}

func cutTimes(times ...*time.Time) {
	for _, t := range times {
		*t = stamp(*t).cut()
	}
}
