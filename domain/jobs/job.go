// Package jobs is what a renter's job is and how it lives: the specification, the
// state machine with its causes, attempts and what they cost, and the match of jobs
// with hosts. Everything in it is pure.
package jobs

import (
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// MaxLosses is how many hosts may fail a job before the job fails.
const MaxLosses = 3

// Job is the aggregate. Its state is changed through its methods alone, and each of
// them either records its events and returns nil, or changes nothing.
type Job struct {
	domain.Recorder
	s Snapshot
}

// Snapshot is a job's whole state, for storage and for reading.
type Snapshot struct {
	ID        domain.ID
	Renter    domain.ID
	Version   int64 // of the row; storage counts it
	Spec      Spec
	SealedEnv []byte // the values of Spec.Env, encrypted with the server's key
	Bundle    Bundle
	State     State
	Phase     Progress
	Reason    Reason
	Detail    string // one sentence more than the reason, for people
	Attempts  []Attempt
	Losses    int
	Avoid     []domain.ID   // hosts that lost or declined it
	Hold      domain.Micros // held until the job ends
	Currency  string

	RerunOf    domain.ID // the job that this one repeats
	Origin     domain.ID // the first of its versions; its own id for the first
	RunVersion int       // 1 for the first

	CreatedAt  time.Time
	QueuedAt   time.Time // of the latest return to the queue
	WaitUntil  time.Time // expires when it is queued still
	FinishedAt time.Time

	Idempotency Idempotency
	Metrics     []byte // JSON from the job's metrics.json; nil: none
}

// Bundle is the stored ZIP of a job.
type Bundle struct {
	Key    string // of the blob
	Size   int64  // bytes
	SHA256 string // hexadecimal
}

// Idempotency makes a create repeatable: the second create finds the first.
type Idempotency struct {
	Key     string // of the request's header; empty: none
	Request string // sha256 of the request's body, hexadecimal
}

// Draft is what a submit brings.
type Draft struct {
	ID, Renter  domain.ID
	Spec        Spec
	SealedEnv   []byte
	Currency    string
	Rerun       *Snapshot // what it repeats
	RunVersion  int       // 1 for the first of its origin
	Idempotency Idempotency
}

// New begins a job. It is pending until its bundle and its money are there.
func New(d Draft, now time.Time) (*Job, error) {
	spec := d.Spec.WithDefaults()
	if err := spec.Check(); err != nil {
		return nil, err
	}
	j := &Job{s: Snapshot{
		ID: d.ID, Renter: d.Renter, Spec: spec, SealedEnv: d.SealedEnv, Currency: d.Currency,
		Origin: d.ID, RunVersion: d.RunVersion, CreatedAt: now, Idempotency: d.Idempotency,
	}}
	if d.Rerun != nil {
		j.s.RerunOf, j.s.Origin, j.s.Bundle = d.Rerun.ID, d.Rerun.Origin, d.Rerun.Bundle
	}
	return j, j.move(Pending, now, Happening{})
}

// Restore makes an aggregate of what storage kept.
func Restore(s Snapshot) *Job { return &Job{s: s} }

// Snapshot gives a copy of the state that shares nothing with the aggregate.
func (j *Job) Snapshot() Snapshot {
	s := j.s
	s.Attempts = slices.Clone(s.Attempts)
	s.Avoid = slices.Clone(s.Avoid)
	return s
}

// Current is the latest attempt, or nil before the first.
func (s Snapshot) Current() *Attempt {
	if len(s.Attempts) == 0 {
		return nil
	}
	return &s.Attempts[len(s.Attempts)-1]
}

// Attempt is the number of the latest attempt; 0 before the first.
func (s Snapshot) Attempt() int { return len(s.Attempts) }

// Queued says that the job was queued at some time: that its bundle was checked, and its
// money held.
func (s Snapshot) Queued() bool { return !s.QueuedAt.IsZero() }

// Cost is what the job costs so far; it is fixed when an attempt ends.
func (s Snapshot) Cost() domain.Micros {
	var sum domain.Micros
	for _, a := range s.Attempts {
		sum += a.Amount
	}
	return sum
}

// Happening is what the events of a job carry. It holds no secret, and grows by
// fields that may be absent.
type Happening struct {
	Renter      domain.ID     `json:"renter"`
	Name        string        `json:"name,omitempty"`
	From        State         `json:"from,omitempty"`
	State       State         `json:"state"`
	Reason      Reason        `json:"reason,omitempty"`
	Cause       Cause         `json:"cause,omitempty"`
	Detail      string        `json:"detail,omitempty"`
	Attempt     int           `json:"attempt,omitempty"`
	Host        domain.ID     `json:"host,omitzero"`
	HostName    string        `json:"host_name,omitempty"`
	HostOwner   domain.ID     `json:"host_owner,omitzero"`
	Devices     []Device      `json:"devices,omitempty"`
	HourlyPrice domain.Micros `json:"hourly_price,omitempty"`
	Why         *Explanation  `json:"why,omitempty"`
	ExitCode    *int          `json:"exit_code,omitempty"`
	BillableMS  int64         `json:"billable_ms,omitempty"`
	Amount      domain.Micros `json:"amount,omitempty"`
	Hold        domain.Micros `json:"hold,omitempty"`
	Terminal    bool          `json:"terminal,omitempty"`
	Losses      int           `json:"losses,omitempty"`
	// What the host fetched, in bytes, and how long that took: of finished attempts alone.
	Fetched int64 `json:"fetched,omitempty"`
	FetchMS int64 `json:"fetch_ms,omitempty"`
}

// move takes one step of the table and records it.
func (j *Job) move(to State, now time.Time, h Happening) error {
	step, err := transition(j.s.State, to)
	if err != nil {
		return err
	}
	h.From = j.s.State
	j.s.State = to
	if to.Terminal() {
		j.s.FinishedAt = now
		j.s.Phase = Progress{}
	}
	j.note(step.Event, now, h)
	return nil
}

// note records an event, filled up from the state.
func (j *Job) note(event string, now time.Time, h Happening) {
	h.Renter, h.State, h.Name = j.s.Renter, j.s.State, j.s.Spec.Name
	h.Reason, h.Detail, h.Hold, h.Losses = j.s.Reason, j.s.Detail, j.s.Hold, j.s.Losses
	h.Terminal = j.s.State.Terminal()
	if j.s.Reason != "" || h.Terminal {
		h.Cause = Rulings[j.s.Reason].Cause
	}
	if a := j.s.Current(); a != nil && (j.s.State.Active() || h.Terminal || event == EventLost) {
		h.Attempt, h.Host, h.HostName, h.HostOwner = a.Number, a.Host, a.HostName, a.HostOwner
		h.ExitCode, h.BillableMS, h.Amount = a.ExitCode, a.Billable.Milliseconds(), a.Amount
		if event == EventExited { // the attempt knows already, the job only when its results are there
			h.Reason, h.Detail, h.Cause = a.Reason, a.Detail, Rulings[a.Reason].Cause
		}
	}
	j.Record(event, j.s.ID, now, h)
}

// Fill notes the stored bundle of a pending job.
func (j *Job) Fill(b Bundle) error {
	if j.s.State != Pending {
		return domain.Conflict("illegal_state", "the job has its bundle already")
	}
	j.s.Bundle = b
	return nil
}

// Enqueue ends the wait for bundle and money: from here on the job can be matched.
func (j *Job) Enqueue(hold domain.Micros, now time.Time) error {
	if j.s.Spec.Source.Kind == SourceBundle && j.s.Bundle.Key == "" {
		return domain.Conflict("no_bundle", "upload the bundle first")
	}
	if j.s.State != Pending {
		return domain.Conflict("illegal_state", "a job that is %s was queued already", j.s.State)
	}
	j.s.Hold, j.s.QueuedAt, j.s.WaitUntil = hold, now, now.Add(j.s.Spec.Limits.MaxWait)
	return j.move(Queued, now, Happening{})
}

// Lease grants a host the next attempt. The attempt number grows here and nowhere
// else. The promised runtime is what the hold can pay at this price.
func (j *Job) Lease(l Lease, now time.Time) error {
	if _, err := transition(j.s.State, Assigned); err != nil {
		return err
	}
	paid := domain.Affordable(j.s.Hold, l.HourlyPrice, 1)
	longest := j.s.Spec.Limits.MaxRuntime
	if paid < longest.Milliseconds() {
		longest = time.Duration(paid) * time.Millisecond
	}
	j.s.Attempts = append(slices.Clone(j.s.Attempts), Attempt{
		Number: len(j.s.Attempts) + 1, Host: l.Host, HostName: l.HostName, HostOwner: l.HostOwner,
		Devices: slices.Clone(l.Devices), HourlyPrice: l.HourlyPrice, MaxRuntime: longest, Why: l.Why, LeasedAt: now,
	})
	j.s.Reason, j.s.Detail, j.s.Phase = "", "", Progress{}
	return j.move(Assigned, now, Happening{Devices: l.Devices, HourlyPrice: l.HourlyPrice, Why: &l.Why})
}

// Cancel stops a job: at once while no host has it, else by way of cancelling.
// Cancelling what is being cancelled already changes nothing.
func (j *Job) Cancel(reason Reason, now time.Time) error {
	if j.s.State == Cancelling || j.s.State == Cancelled {
		return nil
	}
	to := Cancelling
	if !j.s.State.Active() {
		to = Cancelled
	}
	if _, err := transition(j.s.State, to); err != nil {
		return domain.Conflict("already_finished", "the job is %s already", j.s.State)
	}
	j.s.Reason, j.s.Detail = reason, ""
	if to == Cancelling {
		j.s.Attempts = slices.Clone(j.s.Attempts)
		a := j.s.Current()
		a.MaxRuntime = min(a.MaxRuntime, a.ranBy(now)+StopWithin)
	}
	return j.move(to, now, Happening{})
}

// StopWithin is how long the process of a job may go on after a cancel: ten seconds of
// grace, and some to hear of it. A host that takes longer is not paid for it.
const StopWithin = 12 * time.Second

// Expire fails a job that no host took within its max_wait_s, or whose bundle never
// came. why adds what kept the hosts from it.
func (j *Job) Expire(why string, now time.Time) error {
	switch {
	case j.s.State == Queued && !now.Before(j.s.WaitUntil):
		return j.fail(ReasonExpired, Rulings[ReasonExpired].Explanation+why, now)
	case j.s.State == Pending:
		return j.fail(ReasonNoBundle, Rulings[ReasonNoBundle].Explanation, now)
	}
	return domain.Conflict("illegal_state", "a job that is %s does not expire", j.s.State)
}

// Fail ends a job that never reached a host.
func (j *Job) Fail(reason Reason, detail string, now time.Time) error {
	if j.s.State.Active() {
		return domain.Conflict("illegal_state", "a host has the job")
	}
	return j.fail(reason, detail, now)
}

func (j *Job) fail(reason Reason, detail string, now time.Time) error {
	if _, err := transition(j.s.State, Failed); err != nil {
		return err
	}
	j.s.Reason, j.s.Detail = reason, detail
	return j.move(Failed, now, Happening{})
}

// Measure keeps what the job wrote into its metrics.json; it must be valid JSON.
func (j *Job) Measure(metrics []byte) { j.s.Metrics = slices.Clone(metrics) }
