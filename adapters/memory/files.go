package memory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// attempt names an attempt of a job.
type attempt struct {
	job    domain.ID
	number int
}

// Logs is the log bytes of attempts. They are not compressed here.
func (s *Store) Logs() ports.Logs { return logs{s} }

type logs struct{ s *Store }

func (r logs) Open(ctx context.Context, job domain.ID, number int, host domain.ID) (int64, error) {
	if err := r.s.enter(ctx); err != nil {
		return 0, err
	}
	defer r.s.mu.Unlock()
	if !r.held(job, number, host) {
		return 0, jobs.ErrStale
	}
	return int64(len(r.s.logs[attempt{job, number}])), nil
}

// held says whether a host holds an attempt.
func (r logs) held(job domain.ID, number int, host domain.ID) bool {
	return slices.ContainsFunc(r.s.jobs.rows[job].Attempts, func(a jobs.Attempt) bool {
		return a.Number == number && a.Host == host && a.Active()
	})
}

func (r logs) Append(ctx context.Context, job domain.ID, number int, host domain.ID, offset int64, data []byte, _ time.Time) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	if !r.held(job, number, host) {
		return jobs.ErrStale
	}
	a := attempt{job, number}
	if offset != int64(len(r.s.logs[a])) {
		return domain.Conflict("wrong_offset", "the log has another size")
	}
	r.s.logs[a] = append(r.s.logs[a], data...)
	return nil
}

func (r logs) Size(ctx context.Context, job domain.ID, number int) (int64, error) {
	if err := r.s.enter(ctx); err != nil {
		return 0, err
	}
	defer r.s.mu.Unlock()
	return int64(len(r.s.logs[attempt{job, number}])), nil
}

func (r logs) Read(ctx context.Context, job domain.ID, number int, offset int64, limit int) ([]byte, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	log := r.s.logs[attempt{job, number}]
	return slices.Clone(head(log[min(max(offset, 0), int64(len(log))):], limit)), nil
}

func (r logs) Drop(ctx context.Context, job domain.ID, number int) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	delete(r.s.logs, attempt{job, number})
	return nil
}

// Artifacts is what is known of result files.
func (s *Store) Artifacts() ports.Artifacts { return artifacts{s} }

type artifacts struct{ s *Store }

func (r artifacts) Plan(ctx context.Context, files []ports.Artifact) ([]ports.Artifact, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	stored := make([]ports.Artifact, len(files))
	for i, f := range files {
		for id, other := range r.s.artifacts {
			if other.Job != f.Job || other.Attempt != f.Attempt || other.Path != f.Path {
				continue
			}
			if other.Confirmed {
				f = other
			} else {
				delete(r.s.artifacts, id)
			}
		}
		stored[i] = kept(f)
		r.s.artifacts[f.ID] = stored[i]
	}
	return stored, nil
}

func (r artifacts) Confirm(ctx context.Context, ids ...domain.ID) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	for _, id := range ids {
		if f, found := r.s.artifacts[id]; found {
			f.Confirmed = true
			r.s.artifacts[id] = f
		}
	}
	return nil
}

func (r artifacts) List(ctx context.Context, job domain.ID, number int, planned bool) ([]ports.Artifact, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	var list []ports.Artifact
	for _, f := range r.s.artifacts {
		if f.Job == job && f.Attempt == number && (f.Confirmed || planned) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b ports.Artifact) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func (r artifacts) Get(ctx context.Context, job, id domain.ID) (ports.Artifact, error) {
	if err := r.s.enter(ctx); err != nil {
		return ports.Artifact{}, err
	}
	defer r.s.mu.Unlock()
	f, found := r.s.artifacts[id]
	if !found || f.Job != job || !f.Confirmed {
		return ports.Artifact{}, domain.NotFound("artifact")
	}
	return f, nil
}
