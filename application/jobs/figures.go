package jobs

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Figures is jobs in numbers, for operators.
type Figures struct {
	ByState    map[jobs.State]int64 // those that are not over
	OldestWait time.Duration        // of the queued job that has waited longest

	// Of this replica, since it started.
	Leases   uint64
	Waited   time.Duration // in the queue, before them
	LogBytes int64         // that came from agents
}

// counters are of this replica, since it started.
type counters struct {
	leases, waited, logBytes atomic.Int64
}

// leased counts a job that a host got.
func (c *counters) leased(j jobs.Snapshot, a *jobs.Attempt) {
	c.leases.Add(1)
	if !j.QueuedAt.IsZero() {
		c.waited.Add(int64(max(0, a.LeasedAt.Sub(j.QueuedAt))))
	}
}

// Figures counts what is there now. It costs a query for each state.
func (s *Service) Figures(ctx context.Context) (Figures, error) {
	f := Figures{
		ByState: map[jobs.State]int64{}, Leases: uint64(s.counters.leases.Load()),
		Waited: time.Duration(s.counters.waited.Load()), LogBytes: s.counters.logBytes.Load(),
	}
	for _, state := range []jobs.State{jobs.Pending, jobs.Queued, jobs.Assigned, jobs.Running, jobs.Cancelling} {
		n, err := s.Jobs.Count(ctx, ports.JobFilter{States: []jobs.State{state}})
		if err != nil {
			return f, err
		}
		f.ByState[state] = n
	}
	oldest, err := s.Jobs.List(ctx, ports.JobFilter{States: []jobs.State{jobs.Queued}, Order: ports.LongestQueued}, ports.Page{Limit: 1})
	if err == nil && len(oldest) > 0 {
		f.OldestWait = max(0, s.Clock.Now().Sub(oldest[0].QueuedAt))
	}
	return f, err
}
