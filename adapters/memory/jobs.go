package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Jobs is the jobs with their attempts.
func (s *Store) Jobs() ports.Jobs { return jobStore{s.jobs} }

type jobStore struct {
	*shelf[*jobs.Job, jobs.Snapshot]
}

func newJobs(s *Store) *shelf[*jobs.Job, jobs.Snapshot] {
	return &shelf[*jobs.Job, jobs.Snapshot]{
		store: s, name: "job", restore: jobs.Restore, snapshot: (*jobs.Job).Snapshot,
		row:   func(j *jobs.Snapshot) (domain.ID, *int64) { return j.ID, &j.Version },
		admit: s.admitJob, rows: map[domain.ID]jobs.Snapshot{},
	}
}

// admitJob lets a job have one active attempt, a device one active attempt, a
// request of a renter one job, and a run version of an origin one job.
func (s *Store) admitJob(old, next *jobs.Snapshot) error {
	if old == nil {
		for _, other := range s.jobs.rows {
			if next.Idempotency.Key != "" && other.Renter == next.Renter && other.Idempotency.Key == next.Idempotency.Key {
				return ports.ErrDuplicateRequest
			}
			if other.Origin == next.Origin && other.RunVersion == next.RunVersion {
				return ports.ErrVersionTaken
			}
		}
	}
	active, wanted := 0, heldBy(next)
	for _, a := range next.Attempts {
		if a.Active() {
			active++
		}
	}
	if active > 1 {
		return domain.Conflict("attempt_active", "the job has an active attempt already")
	}
	for _, d := range wanted {
		if holder, held := s.devices[d]; held && holder != next.ID {
			return ports.ErrDeviceTaken
		}
	}
	if old != nil {
		for _, d := range heldBy(old) {
			delete(s.devices, d)
		}
	}
	for _, d := range wanted {
		s.devices[d] = next.ID
	}
	return nil
}

// heldBy lists the devices that a job's active attempts hold.
func heldBy(j *jobs.Snapshot) (devices []domain.ID) {
	for _, a := range j.Attempts {
		if a.Active() {
			devices = append(devices, a.DeviceIDs()...)
		}
	}
	return devices
}

func (r jobStore) Add(ctx context.Context, j *jobs.Job) error { return r.add(ctx, j) }

func (r jobStore) Update(ctx context.Context, id domain.ID, change func(*jobs.Job) error) (jobs.Snapshot, error) {
	return r.update(ctx, id, change)
}

func (r jobStore) Get(ctx context.Context, id, renter domain.ID) (jobs.Snapshot, error) {
	j, err := r.get(ctx, id)
	if err == nil && !renter.IsZero() && j.Renter != renter {
		return jobs.Snapshot{}, domain.NotFound(r.name)
	}
	return j, err
}

func (r jobStore) List(ctx context.Context, f ports.JobFilter, p ports.Page) ([]jobs.Snapshot, error) {
	match := func(j *jobs.Snapshot) bool {
		behind := f.Order == ports.NewestFirst && !p.After.IsZero() && compareIDs(j.ID, p.After) >= 0
		return matches(j, f) && !behind
	}
	order := func(a, b *jobs.Snapshot) int { return compareIDs(b.ID, a.ID) }
	if f.Order == ports.LongestQueued {
		order = func(a, b *jobs.Snapshot) int {
			return cmp.Or(a.QueuedAt.Compare(b.QueuedAt), compareIDs(a.ID, b.ID))
		}
	}
	return r.list(ctx, match, order, p.Limit)
}

func (r jobStore) Count(ctx context.Context, f ports.JobFilter) (int64, error) {
	if err := r.store.enter(ctx); err != nil {
		return 0, err
	}
	defer r.store.mu.Unlock()
	n := int64(0)
	for _, j := range r.rows {
		if matches(&j, f) {
			n++
		}
	}
	return n, nil
}

func matches(j *jobs.Snapshot, f ports.JobFilter) bool {
	there := func(a jobs.Attempt) bool { return a.Host == f.Host }
	holds := func(a jobs.Attempt) bool { return a.Host == f.Holder && a.Active() }
	switch {
	case !f.Renter.IsZero() && j.Renter != f.Renter,
		!f.Host.IsZero() && !slices.ContainsFunc(j.Attempts, there),
		!f.Holder.IsZero() && !slices.ContainsFunc(j.Attempts, holds),
		len(f.States) > 0 && !slices.Contains(f.States, j.State),
		f.Text != "" && !called(j, f.Text),
		!f.Origin.IsZero() && j.Origin != f.Origin,
		f.Key != "" && j.Idempotency.Key != f.Key,
		!f.WaitedUntil.IsZero() && (j.State != jobs.Queued || j.WaitUntil.After(domain.Time(f.WaitedUntil))),
		!f.Finished.IsZero() && (j.FinishedAt.IsZero() || j.FinishedAt.Before(domain.Time(f.Finished))),
		!f.Before.IsZero() && !j.CreatedAt.Before(domain.Time(f.Before)):
		return false
	}
	return true
}

// called says that a text occurs in the name of a job, or that its id begins with it.
func called(j *jobs.Snapshot, text string) bool {
	from, to, ok := domain.IDsBeginning("job", text)
	return strings.Contains(strings.ToLower(j.Spec.Name), strings.ToLower(text)) ||
		ok && compareIDs(j.ID, from) >= 0 && compareIDs(j.ID, to) <= 0
}

func (r jobStore) Events(ctx context.Context, job domain.ID, after int64, limit int) ([]domain.Event, error) {
	if err := r.store.enter(ctx); err != nil {
		return nil, err
	}
	defer r.store.mu.Unlock()
	var events []domain.Event
	for _, i := range r.store.timelines[job] {
		if e := r.store.outbox[i].Event; e.Seq > after && len(events) < max(limit, 1) {
			events = append(events, kept(e))
		}
	}
	return events, nil
}
