package jobs

import (
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// ErrStale answers a report about an attempt that the host does not hold any more.
// It changes nothing; the agent stops the attempt and forgets it.
var ErrStale = domain.Conflict("stale_attempt", "the attempt is over or belongs to another host")

// held gives the current attempt if the host holds it, and ErrStale if not.
func (j *Job) held(host domain.ID, attempt int) (*Attempt, error) {
	a := j.s.Current()
	if a == nil || a.Number != attempt || a.Host != host || !a.Active() || !j.s.State.Active() {
		return nil, ErrStale
	}
	// Copy before write: snapshots that were handed out share nothing with us.
	j.s.Attempts = slices.Clone(j.s.Attempts)
	return j.s.Current(), nil
}

// Accept notes that the agent has the manifest in its journal.
func (j *Job) Accept(host domain.ID, attempt int, now time.Time) error {
	a, err := j.held(host, attempt)
	if err != nil || !a.AcceptedAt.IsZero() {
		return err
	}
	a.AcceptedAt = now
	j.note(EventAccepted, now, Happening{})
	return nil
}

// Advance notes progress. It is not a transition and records no event.
func (j *Job) Advance(host domain.ID, attempt int, p Progress) error {
	if _, err := j.held(host, attempt); err != nil {
		return err
	}
	j.s.Phase = p
	return nil
}

// Start begins the clock: the command runs. Repeating it changes nothing.
func (j *Job) Start(host domain.ID, attempt int, now time.Time) error {
	a, err := j.held(host, attempt)
	if err != nil || !a.StartedAt.IsZero() {
		return err
	}
	a.StartedAt = now
	if a.AcceptedAt.IsZero() {
		a.AcceptedAt = now
	}
	j.s.Phase = Progress{Name: PhaseRunning}
	if j.s.State == Cancelling {
		return nil // the start crossed the cancel on its way
	}
	return j.move(Running, now, Happening{})
}

// Exit stops the clock: the command has ended, its results are still to come.
func (j *Job) Exit(host domain.ID, attempt int, e Exit, now time.Time) error {
	a, err := j.held(host, attempt)
	if err != nil || !a.ExitedAt.IsZero() {
		return err
	}
	if a.StartedAt.IsZero() {
		return domain.Invalid("contradiction", "what ended has begun before")
	}
	a.ExitedAt, a.ExitCode, a.AgentRan = now, e.Code, max(0, e.Ran)
	a.Reason, a.Detail = e.Reason, e.Detail
	j.s.Phase = Progress{Name: PhaseUploading}
	j.note(EventExited, now, Happening{Detail: e.Detail})
	return nil
}

// Finish ends the attempt and with it, unless the fault was the host's, the job.
func (j *Job) Finish(host domain.ID, attempt int, r Result, now time.Time) error {
	a, err := j.held(host, attempt)
	if err != nil {
		return err
	}
	ruling, known := Rulings[r.Reason]
	if !known || !ruling.FromAgent {
		return domain.Invalid("unknown_reason", "an agent does not report the reason %q", r.Reason)
	}
	if r.Reason == ReasonTimeout && a.MaxRuntime < j.s.Spec.Limits.MaxRuntime {
		r.Reason, ruling = ReasonFundsExhausted, Rulings[ReasonFundsExhausted]
		r.Detail = Rulings[ReasonFundsExhausted].Explanation
	}
	if untrue := j.belied(a, r); untrue != "" {
		r.Reason, ruling, r.Detail = ReasonHostError, Rulings[ReasonHostError], untrue
	}
	success := r.Reason == "" && j.s.State != Cancelling
	if success && (r.Code == nil || *r.Code != 0 || a.StartedAt.IsZero()) {
		return domain.Invalid("contradiction", "a success has an exit code of 0 and a start")
	}
	a.LogBytes, a.LogLines, a.LogSHA256 = r.LogBytes, r.LogLines, r.LogSHA256
	a.PeakMemory, a.CPUTime = r.PeakMemory, r.CPUTime
	if a.ExitedAt.IsZero() && !a.StartedAt.IsZero() {
		a.ExitedAt, a.ExitCode, a.AgentRan = now, r.Code, max(0, r.Ran)
	}
	h := Happening{Fetched: max(0, r.Fetched), FetchMS: max(0, r.FetchTook.Milliseconds())}
	switch {
	case j.s.State == Cancelling:
		return j.end(Cancelled, OutcomeCancelled, j.s.Reason, r.Detail, now, h)
	case ruling.Retried:
		return j.giveBack(r.Reason, r.Detail, now)
	case success:
		return j.end(Succeeded, OutcomeSucceeded, "", r.Detail, now, h)
	}
	return j.end(Failed, OutcomeFailed, r.Reason, r.Detail, now, h)
}

// belied says what contradicts a reason that would be the renter's; nothing is well.
func (j *Job) belied(a *Attempt, r Result) string {
	ran := r.Ran
	if !a.ExitedAt.IsZero() {
		ran = a.AgentRan
	}
	switch {
	case j.s.State == Cancelling:
	case r.Reason == ReasonCancelledByRenter:
		return "the host reported a cancel that nobody asked for"
	case (r.Reason == ReasonTimeout || r.Reason == ReasonFundsExhausted) && ran < a.MaxRuntime-time.Second:
		return "the host reported that the job's time was up, before it was"
	}
	return ""
}

// ErrLogKnown says that there is nothing to add to what is known of a log.
var ErrLogKnown = domain.Conflict("log_known", "size and sum of the log are known")

// LogKept notes what is kept of the log of an attempt that ended without its host's word.
// Its lines stay uncounted.
func (j *Job) LogKept(attempt int, bytes int64, sum string) error {
	if attempt < 1 || attempt > len(j.s.Attempts) || bytes == 0 {
		return ErrLogKnown
	}
	if a := j.s.Attempts[attempt-1]; a.Active() || a.LogSHA256 != "" {
		return ErrLogKnown
	}
	j.s.Attempts = slices.Clone(j.s.Attempts)
	a := &j.s.Attempts[attempt-1]
	a.LogBytes, a.LogSHA256 = bytes, sum
	return nil
}

// Decline returns a job that the host's own policy refuses. It does not count as a
// loss, unless the host had taken the job before.
func (j *Job) Decline(host domain.ID, attempt int, detail string, now time.Time) error {
	a, err := j.held(host, attempt)
	if err != nil {
		return err
	}
	if !a.AcceptedAt.IsZero() {
		return j.giveBack(ReasonHostError, "the host refused the job after it had taken it", now)
	}
	return j.giveBack(ReasonRejected, detail, now)
}

// Lose takes the attempt away from its host. The third loss fails the job; one that
// was being cancelled is cancelled.
func (j *Job) Lose(attempt int, reason Reason, detail string, now time.Time) error {
	a := j.s.Current()
	if a == nil {
		return ErrStale
	}
	if _, err := j.held(a.Host, attempt); err != nil {
		return err
	}
	return j.giveBack(reason, detail, now)
}

// giveBack returns the job to the queue, or ends it when it may not be tried again.
func (j *Job) giveBack(reason Reason, detail string, now time.Time) error {
	a := j.s.Current()
	if j.s.State == Cancelling {
		if a.ExitedAt.IsZero() {
			// Nobody can say how long it ran, and that is not the renter's doing.
			a.ExitedAt, a.AgentRan = now, 0
		}
		return j.end(Cancelled, OutcomeCancelled, j.s.Reason, detail, now, Happening{})
	}
	ruling := Rulings[reason]
	if ruling.AvoidsHost && !slices.Contains(j.s.Avoid, a.Host) {
		j.s.Avoid = append(slices.Clone(j.s.Avoid), a.Host)
	}
	outcome := OutcomeDeclined
	if ruling.Counts {
		j.s.Losses++
		outcome = OutcomeLost
	}
	if j.s.Losses >= MaxLosses {
		return j.end(Failed, outcome, reason, detail, now, Happening{})
	}
	a.Outcome, a.Reason, a.Detail, a.EndedAt = outcome, reason, detail, now
	a.bill()
	j.s.Reason, j.s.Detail, j.s.Phase, j.s.QueuedAt = reason, detail, Progress{}, now
	if ruling.Counts { // a job that nobody takes expires, however often it was offered
		j.s.WaitUntil = now.Add(j.s.Spec.Limits.MaxWait)
	}
	return j.move(Queued, now, Happening{})
}

// end closes the attempt, bills it and ends the job.
func (j *Job) end(to State, outcome Outcome, reason Reason, detail string, now time.Time, h Happening) error {
	if _, err := transition(j.s.State, to); err != nil {
		return err
	}
	a := j.s.Current()
	a.Outcome, a.Reason, a.Detail, a.EndedAt = outcome, reason, detail, now
	a.bill()
	j.s.Reason, j.s.Detail = reason, detail
	return j.move(to, now, h)
}
