package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// What a host that is heard of has to do in time with an attempt. These are far beyond
// what it takes: they end what would otherwise never end.
const (
	PrepareBy     = 6 * time.Hour    // from its acceptance to the start: the bundle, an image
	StopBy        = 10 * time.Minute // from the end of the promised run, or a cancel, to its exit
	deliverBy     = 30 * time.Minute // from the exit to the result, and for each
	slowestUpload = 1 << 20          // bytes of the log, and of the results announced, a second
)

// overdue says what the host of an attempt has not done in time; nothing is well. What
// it tried to tell while we were away counts from when we were back, and a host that is
// silent is first judged by its silence.
func (s *Service) overdue(ctx context.Context, j jobs.Snapshot) (string, error) {
	a, now := j.Current(), s.Clock.Now()
	late := func(from time.Time, within time.Duration) bool {
		return now.After(later(from, s.steady).Add(within + s.settings.ReassignAfter))
	}
	switch {
	case a.AcceptedAt.IsZero():
		// The order is void by now: the host is connected, and yet did not take it.
		if !now.Before(a.LeasedAt.Add(StartBy)) {
			return "the host did not take the job in time", nil
		}
	case j.State == jobs.Cancelling:
		at, err := s.cancelledAt(ctx, j.ID)
		if err == nil && late(at, StopBy) {
			return "the host did not stop the job in time", nil
		}
		return "", err
	case !a.ExitedAt.IsZero():
		if !late(a.ExitedAt, deliverBy) {
			return "", nil
		}
		size, err := s.delivery(ctx, j)
		if err == nil && late(a.ExitedAt, deliverBy+time.Duration(size/slowestUpload)*time.Second) {
			return "the host did not deliver the results in time", nil
		}
		return "", err
	case a.StartedAt.IsZero():
		if late(a.AcceptedAt, PrepareBy) {
			return "the host did not start the job in time", nil
		}
	case late(later(a.StartedAt, s.jumped).Add(a.MaxRuntime), StopBy):
		return "the host did not report the end of the command, long after its time was up", nil
	}
	return "", nil
}

// delivery is how many bytes the host has to send once the command has ended: the log,
// and the results that it has announced so far.
func (s *Service) delivery(ctx context.Context, j jobs.Snapshot) (int64, error) {
	planned, err := s.Artifacts.List(ctx, j.ID, j.Attempt(), true)
	size := s.settings.LogBytes
	for _, a := range planned {
		size += a.Size
	}
	return size, err
}

// cancelledAt is when a job that is being cancelled was told to.
func (s *Service) cancelledAt(ctx context.Context, job domain.ID) (at time.Time, err error) {
	events, err := s.Jobs.Events(ctx, job, 0, sweepPage)
	for _, e := range events {
		if e.Type == jobs.EventCancelling {
			at = e.Time
		}
	}
	return at, err
}

// lose takes an attempt away, unless something happened to it meanwhile, and lets the
// host know.
func (s *Service) lose(ctx context.Context, j jobs.Snapshot, reason jobs.Reason, detail string) error {
	seen := j.Current()
	_, err := s.update(ctx, j.ID, func(fresh *jobs.Job) error {
		a := snapshotAttempt(fresh)
		if a == nil || !a.AcceptedAt.Equal(seen.AcceptedAt) || !a.StartedAt.Equal(seen.StartedAt) || !a.ExitedAt.Equal(seen.ExitedAt) {
			return jobs.ErrStale // it was accepted, or went on, at this moment
		}
		return fresh.Lose(j.Attempt(), reason, detail, s.Clock.Now())
	})
	if errors.Is(err, jobs.ErrStale) {
		return nil
	}
	if err == nil {
		s.Channels.Wake(seen.Host)
	}
	return err
}

// Taken says that an attempt was taken away from the agent's host, which has to stop it.
func (s *Service) Taken(ctx context.Context, who domain.Actor, ref Ref) (bool, error) {
	if who.Host.IsZero() {
		return false, domain.Unauthenticated("only agents have attempts")
	}
	j, err := s.Jobs.Get(ctx, ref.Job, domain.ID{})
	if domain.KindOf(err) == domain.KindNotFound {
		return true, nil
	}
	if err != nil || ref.Attempt < 1 || ref.Attempt > len(j.Attempts) {
		return err == nil, err
	}
	a := j.Attempts[ref.Attempt-1]
	return a.Host != who.Host || a.Outcome == jobs.OutcomeLost, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
