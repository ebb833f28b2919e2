package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Ref names an attempt. Everything that an agent reports carries one.
type Ref struct {
	Job     domain.ID
	Attempt int
}

// report lets a host change an attempt that it holds. A host that asks about a job
// that does not exist learns no more than that it does not hold it.
func (s *Service) report(ctx context.Context, who domain.Actor, ref Ref, change func(*jobs.Job) error) error {
	if who.Host.IsZero() {
		return domain.Unauthenticated("only agents report")
	}
	_, err := s.update(ctx, ref.Job, change)
	if domain.KindOf(err) == domain.KindNotFound {
		err = jobs.ErrStale
	}
	return err
}

// Accept notes that the agent has the manifest in its journal.
func (s *Service) Accept(ctx context.Context, who domain.Actor, ref Ref) error {
	return s.report(ctx, who, ref, func(j *jobs.Job) error { return j.Accept(who.Host, ref.Attempt, s.Clock.Now()) })
}

// Decline returns a job that the agent refuses to run.
func (s *Service) Decline(ctx context.Context, who domain.Actor, ref Ref, detail string) error {
	return s.report(ctx, who, ref, func(j *jobs.Job) error {
		return j.Decline(who.Host, ref.Attempt, detail, s.Clock.Now())
	})
}

// Advance notes progress; phase running starts the clock, at the time of receipt.
func (s *Service) Advance(ctx context.Context, who domain.Actor, ref Ref, p jobs.Progress) error {
	now := s.Clock.Now()
	return s.report(ctx, who, ref, func(j *jobs.Job) error {
		if p.Name == jobs.PhaseRunning {
			return j.Start(who.Host, ref.Attempt, now)
		}
		return j.Advance(who.Host, ref.Attempt, p)
	})
}

// Exited stops the clock, at the time of receipt.
func (s *Service) Exited(ctx context.Context, who domain.Actor, ref Ref, e jobs.Exit) error {
	now := s.Clock.Now()
	return s.report(ctx, who, ref, func(j *jobs.Job) error { return j.Exit(who.Host, ref.Attempt, e, now) })
}

// LogMismatch refuses a result whose log is not whole here: the agent sends it again
// from Offset and repeats.
type LogMismatch struct{ Offset int64 }

func (e *LogMismatch) Error() string { return "the log is not whole" }

// Finished ends the attempt. Its log has to be whole first. Repeating it after it was
// accepted is fine.
func (s *Service) Finished(ctx context.Context, who domain.Actor, ref Ref, r jobs.Result) error {
	if j, ok := s.settled(ctx, who, ref); ok {
		// The first answer was lost, and what should have followed it perhaps too.
		s.books.close(ref.Job, ref.Attempt)
		s.announce(j)
		return nil
	}
	size, sum, lines, err := s.sealLog(ctx, who, ref)
	if err != nil {
		return err
	}
	if size < r.LogBytes {
		return &LogMismatch{Offset: size}
	}
	if size > r.LogBytes || (r.LogBytes > 0 && sum != r.LogSHA256) {
		r = jobs.Result{Exit: jobs.Exit{Code: r.Code, Ran: r.Ran, Reason: jobs.ReasonUploadFailed, Detail: "the log that arrived is not the log that was sent"}}
	}
	r.LogBytes, r.LogSHA256, r.LogLines = size, sum, lines
	metrics := s.metrics(ctx, ref)
	now := s.Clock.Now()
	return s.report(ctx, who, ref, func(j *jobs.Job) error {
		if metrics != nil {
			j.Measure(metrics)
		}
		return j.Finish(who.Host, ref.Attempt, r, now)
	})
}

// settled says that the attempt's result was accepted before, and gives its job.
func (s *Service) settled(ctx context.Context, who domain.Actor, ref Ref) (jobs.Snapshot, bool) {
	j, err := s.Jobs.Get(ctx, ref.Job, domain.ID{})
	if err != nil || ref.Attempt < 1 || ref.Attempt > len(j.Attempts) {
		return j, false
	}
	a := j.Attempts[ref.Attempt-1]
	return j, a.Host == who.Host && (a.Outcome == jobs.OutcomeSucceeded || a.Outcome == jobs.OutcomeFailed || a.Outcome == jobs.OutcomeCancelled)
}

// Lost gives up an attempt because the agent says that it died, or that its owner
// wants the machine.
func (s *Service) Lost(ctx context.Context, who domain.Actor, ref Ref, reason jobs.Reason, detail string) error {
	return s.report(ctx, who, ref, func(j *jobs.Job) error {
		if a := snapshotAttempt(j); a == nil || a.Host != who.Host {
			return jobs.ErrStale
		}
		return j.Lose(ref.Attempt, reason, detail, s.Clock.Now())
	})
}

func snapshotAttempt(j *jobs.Job) *jobs.Attempt {
	snapshot := j.Snapshot()
	return snapshot.Current()
}

// Held is an attempt that the agent says it has.
type Held struct {
	Ref
	Lost bool // the agent died, and the attempt with it
}

// Action is what an agent has to do with an attempt that it holds.
type Action string

// The actions.
const (
	ActionContinue Action = "continue"
	ActionKill     Action = "kill"     // stale: stop and forget it
	ActionFinished Action = "finished" // its result is accepted: forget it
)

// Resume answers one Held.
type Resume struct {
	Ref
	Action    Action
	LogOffset int64 // durable bytes
}

// Reconcile compares what a host says it holds with what it should: what it lost goes
// back to the queue at once, what it should not have is stopped.
func (s *Service) Reconcile(ctx context.Context, who domain.Actor, claims []Held) ([]Resume, error) {
	if who.Host.IsZero() {
		return nil, domain.Unauthenticated("only agents report")
	}
	held, err := s.held(ctx, who.Host)
	if err != nil {
		return nil, err
	}
	active := map[Ref]jobs.Snapshot{}
	for _, j := range held {
		active[Ref{j.ID, j.Attempt()}] = j
	}
	var resumes []Resume
	for _, c := range claims {
		r := Resume{Ref: c.Ref, Action: ActionKill}
		_, known := active[c.Ref]
		delete(active, c.Ref)
		switch {
		case known && c.Lost:
			err = s.gone(ctx, who, c.Ref, "the agent was restarted while the job ran")
		case known:
			r.Action = ActionContinue
			r.LogOffset, err = s.Logs.Size(ctx, c.Job, c.Attempt)
		default:
			if _, accepted := s.settled(ctx, who, c.Ref); accepted {
				r.Action = ActionFinished
			}
		}
		if err != nil {
			return nil, err
		}
		resumes = append(resumes, r)
	}
	for ref, j := range active {
		// What it has not accepted it is told again, unless it is to be stopped anyway.
		if !j.Current().AcceptedAt.IsZero() || j.State == jobs.Cancelling {
			if err := s.gone(ctx, who, ref, "the agent does not know the attempt any more"); err != nil {
				return nil, err
			}
		}
	}
	return resumes, nil
}

// gone gives up an attempt that the agent does not have. That it ended meanwhile is as
// well.
func (s *Service) gone(ctx context.Context, who domain.Actor, ref Ref, detail string) error {
	err := s.Lost(ctx, who, ref, jobs.ReasonAgentRestarted, detail)
	if errors.Is(err, jobs.ErrStale) {
		return nil
	}
	return err
}

// largestMetrics is how much of a metrics.json is shown with a job.
const largestMetrics = 64 << 10

// metrics reads the job's metrics.json, when it wrote a valid one.
func (s *Service) metrics(ctx context.Context, ref Ref) []byte {
	files, err := s.Artifacts.List(ctx, ref.Job, ref.Attempt, false)
	if err != nil {
		return nil
	}
	for _, f := range files {
		if path.Base(f.Path) != "metrics.json" || f.Size > largestMetrics {
			continue
		}
		data, err := s.readBlob(ctx, f)
		if err != nil {
			s.Log.Warn("metrics cannot be read", "job", ref.Job, "error", err)
			return nil
		}
		if json.Valid(data) {
			return data
		}
	}
	return nil
}

func (s *Service) readBlob(ctx context.Context, f ports.Artifact) ([]byte, error) {
	r, err := s.Blobs.Open(ctx, f.BlobKey, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, largestMetrics))
}
