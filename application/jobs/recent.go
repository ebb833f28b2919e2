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
	jobs map[domain.ID]*recentJob
	ring [recentJobs]domain.ID // in the order in which they came
	next int
}

// recentJob is a job at a version.
type recentJob struct {
	jobs.Snapshot

	measuring sync.Mutex // held while its sizes are read, so that one reads for all
	size      *sizes     // nil: not read yet
}

const recentJobs = 1024

func newRecent() *recent { return &recent{jobs: map[domain.ID]*recentJob{}} }

// put remembers a state, unless a newer one is known.
func (r *recent) put(j jobs.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.jobs[j.ID]
	if known && old.Version >= j.Version {
		return
	}
	r.jobs[j.ID] = &recentJob{Snapshot: j}
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
	if !known || j.Version < version {
		return jobs.Snapshot{}, false
	}
	return j.Snapshot, true
}

// measured gives the sizes of a job at its version, which are read once for all who
// watch.
func (r *recent) measured(j jobs.Snapshot, read func() (sizes, error)) (sizes, error) {
	r.mu.Lock()
	known := r.jobs[j.ID]
	r.mu.Unlock()
	if known == nil || known.Version != j.Version {
		return read()
	}
	known.measuring.Lock()
	defer known.measuring.Unlock()
	if known.size == nil {
		size, err := read()
		if err != nil {
			return size, err
		}
		known.size = &size
	}
	return *known.size, nil
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
	return s.Show(ctx, who, j)
}

// ToldInList shows a job as lists do, after a message of RenterTopic. It costs no query
// for each who is told: what one of them had read serves all. False says that messages
// were lost.
func (s *Service) ToldInList(ctx context.Context, who domain.Actor, message []byte) (View, bool, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return View{}, false, err
	}
	u, ok := parseUpdate(message)
	if !ok {
		return View{}, false, nil
	}
	j, err := s.told(ctx, who, u.Job, message)
	if err != nil {
		return View{}, true, err
	}
	size, err := s.recent.measured(j, func() (sizes, error) { return s.measure(ctx, j) })
	if err != nil {
		return View{}, true, err
	}
	if a := active(j); a != nil && s.books.find(Ref{j.ID, a.Number}) != nil {
		// The log has grown since; an open one is known without asking.
		if size.log, err = s.durable(ctx, Ref{j.ID, a.Number}); err != nil {
			return View{}, true, err
		}
	}
	v, err := s.sized(ctx, j, size)
	return v, true, err
}
