package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
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
	if err := faults.Point("accept.before_commit"); err != nil {
		return err
	}
	err := s.report(ctx, who, ref, func(j *jobs.Job) error { return j.Accept(who.Host, ref.Attempt, s.Clock.Now()) })
	if err == nil {
		err = faults.Point("accept.after_commit")
	}
	return err
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
	err := s.finish(ctx, who, ref, r)
	if !errors.Is(err, jobs.ErrStale) {
		return err
	}
	j, ok := s.settled(ctx, who, ref)
	if !ok {
		return err
	}
	// The first answer was lost, and what should have followed it perhaps too.
	s.books.close(ref.Job, ref.Attempt)
	s.announce(ctx, j, j)
	return nil
}

func (s *Service) finish(ctx context.Context, who domain.Actor, ref Ref, r jobs.Result) error {
	size, sum, lines, err := s.sealLog(ctx, who, ref)
	if err != nil {
		return err
	}
	if size < r.LogBytes {
		return &LogMismatch{Offset: size}
	}
	results, err := s.Artifacts.List(ctx, ref.Job, ref.Attempt, false)
	if err != nil {
		return err
	}
	switch {
	case size > r.LogBytes || (r.LogBytes > 0 && sum != r.LogSHA256):
		r = undelivered(r, "the log that arrived is not the log that was sent")
	case missing(r.Files, results) != "":
		r = undelivered(r, fmt.Sprintf("the host lists the result %q, which never came as it says", missing(r.Files, results)))
	}
	r.LogBytes, r.LogSHA256, r.LogLines = size, sum, lines
	metrics := s.metrics(ctx, results)
	now := s.Clock.Now()
	if err := faults.Point("finish.before_commit"); err != nil {
		return err
	}
	err = s.report(ctx, who, ref, func(j *jobs.Job) error {
		if metrics != nil {
			j.Measure(metrics)
		}
		return j.Finish(who.Host, ref.Attempt, r, now)
	})
	if err == nil {
		err = faults.Point("finish.after_commit_before_ack")
	}
	return err
}

// undelivered is the end of an attempt whose host did not deliver what it says it did.
func undelivered(r jobs.Result, detail string) jobs.Result {
	return jobs.Result{Exit: jobs.Exit{Code: r.Code, Ran: r.Ran, Reason: jobs.ReasonUploadFailed, Detail: detail}}
}

// missing is the path of the first file that is not among the results; empty: none.
func missing(files []jobs.File, results []ports.Artifact) string {
	there := make(map[jobs.File]bool, len(results))
	for _, a := range results {
		there[jobs.File{Path: a.Path, Size: a.Size, SHA256: a.SHA256}] = true
	}
	for _, f := range files {
		if !there[f] {
			return f.Path
		}
	}
	return ""
}

// settled says that the attempt's result was accepted before, and gives its job.
func (s *Service) settled(ctx context.Context, who domain.Actor, ref Ref) (jobs.Snapshot, bool) {
	j, err := s.Jobs.Get(ctx, ref.Job, domain.ID{})
	if err != nil || ref.Attempt < 1 || ref.Attempt > len(j.Attempts) {
		return j, false
	}
	a := j.Attempts[ref.Attempt-1]
	return j, a.Host == who.Host && !a.Active() && a.Counts()
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
			err = s.gone(ctx, who, c.Ref, "the agent lost the job: it was restarted, or without the server for too long")
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

// metrics reads the metrics.json among the results, when there is a valid one.
func (s *Service) metrics(ctx context.Context, results []ports.Artifact) []byte {
	for _, f := range results {
		if path.Base(f.Path) != "metrics.json" || f.Size > largestMetrics {
			continue
		}
		data, err := s.readBlob(ctx, f)
		if err != nil {
			s.Log.WarnContext(ctx, "metrics cannot be read", "job", f.Job.Prefixed("job"), "error", err)
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
