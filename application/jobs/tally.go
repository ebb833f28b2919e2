package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Tally is how many jobs succeeded.
type Tally struct {
	Ever, LastDay int64
}

// tally is counted rarely: it is for show, and counting reads every job.
type tally struct {
	mu    sync.Mutex
	until time.Time
	Tally
}

const tallyTTL = time.Minute

// Tally tells how many jobs of everybody succeeded, up to a minute ago.
func (s *Service) Tally(ctx context.Context) (Tally, error) {
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	now := s.Clock.Now()
	if now.Before(t.until) {
		return t.Tally, nil
	}
	ever, err := s.Jobs.Count(ctx, ports.JobFilter{States: []jobs.State{jobs.Succeeded}})
	if err != nil {
		return Tally{}, err
	}
	day, err := s.Jobs.Count(ctx, ports.JobFilter{States: []jobs.State{jobs.Succeeded}, Finished: now.Add(-24 * time.Hour)})
	if err != nil {
		return Tally{}, err
	}
	t.Tally, t.until = Tally{ever, day}, now.Add(tallyTTL)
	return t.Tally, nil
}
