package jobs

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// recent remembers the jobs that this replica changed last, so that those who watch one
// need not each read it again for every change. It is no truth: it serves who was told of
// a version, and only with that version or a newer one.
type recent struct {
	mu   sync.Mutex
	jobs map[domain.ID]jobs.Snapshot
	ring [recentJobs]domain.ID // in the order in which they came
	next int
}

const recentJobs = 1024

func newRecent() *recent { return &recent{jobs: map[domain.ID]jobs.Snapshot{}} }

// put remembers a state, unless a newer one is known.
func (r *recent) put(j jobs.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.jobs[j.ID]
	if known && old.Version >= j.Version {
		return
	}
	r.jobs[j.ID] = j
	if known {
		return
	}
	delete(r.jobs, r.ring[r.next])
	r.ring[r.next] = j.ID
	r.next = (r.next + 1) % recentJobs
}

// find gives a job's state as of a version at least.
func (r *recent) find(id domain.ID, version int64) (jobs.Snapshot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, known := r.jobs[id]
	return j, known && j.Version >= version
}

// parseUpdate reads a message of JobTopic. nil says that messages were lost, and so that
// nothing is known.
func parseUpdate(message []byte) (u Update, ok bool) {
	return u, message != nil && json.Unmarshal(message, &u) == nil && u.Version > 0
}

// told is a job of the actor as of a message of JobTopic, or newer.
func (s *Service) told(ctx context.Context, who domain.Actor, id domain.ID, message []byte) (jobs.Snapshot, error) {
	if u, ok := parseUpdate(message); ok {
		owner, _ := who.Owner()
		if j, known := s.recent.find(id, u.Version); known && (owner.IsZero() || owner == j.Renter) {
			return j, nil
		}
	}
	return s.get(ctx, who, id)
}

// Told shows a job after a message of JobTopic.
func (s *Service) Told(ctx context.Context, who domain.Actor, id domain.ID, message []byte) (View, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return View{}, err
	}
	j, err := s.told(ctx, who, id, message)
	if err != nil {
		return View{}, err
	}
	return s.Show(ctx, j)
}
