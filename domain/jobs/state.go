package jobs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain"
)

// State is where a job stands. Progress within a state is its Phase, why it stands
// there its Reason.
type State string

// The states of a job.
const (
	Pending    State = "pending"    // waits for its bundle
	Queued     State = "queued"     // the money is held; no host has it
	Assigned   State = "assigned"   // a host has the lease and fetches; not billed
	Running    State = "running"    // the command runs, or its results are uploaded
	Cancelling State = "cancelling" // the host was told to stop
	Succeeded  State = "succeeded"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
)

// Terminal says that nothing can change the state any more.
func (s State) Terminal() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Active says that an attempt holds devices.
func (s State) Active() bool { return s == Assigned || s == Running || s == Cancelling }

// The types of the events that a job records. They are the job's timeline.
const (
	EventSubmitted  = "jobs.submitted"
	EventQueued     = "jobs.queued"
	EventAssigned   = "jobs.assigned"
	EventAccepted   = "jobs.accepted"
	EventRunning    = "jobs.running"
	EventExited     = "jobs.exited"
	EventLost       = "jobs.lost"
	EventCancelling = "jobs.cancelling"
	EventSucceeded  = "jobs.succeeded"
	EventFailed     = "jobs.failed"
	EventCancelled  = "jobs.cancelled"
)

// Transition is one allowed step and the event that records it.
type Transition struct {
	From, To State
	Event    string
	When     string
}

// Transitions is the one table that every method of Job consults.
var Transitions = []Transition{
	{"", Pending, EventSubmitted, "submitted; the bundle is still to come"},
	{Pending, Queued, EventQueued, "the bundle is there and the money is held"},
	{Pending, Failed, EventFailed, "no bundle or no money"},
	{Pending, Cancelled, EventCancelled, "cancelled"},
	{Queued, Assigned, EventAssigned, "a host was chosen"},
	{Queued, Failed, EventFailed, "max_wait_s is over"},
	{Queued, Cancelled, EventCancelled, "cancelled"},
	{Assigned, Running, EventRunning, "the command started"},
	{Assigned, Queued, EventLost, "the host is lost or declined"},
	{Assigned, Failed, EventFailed, "it could not start, or the third loss"},
	{Assigned, Cancelling, EventCancelling, "cancel was asked for"},
	{Running, Succeeded, EventSucceeded, "exit code 0 and everything is uploaded"},
	{Running, Failed, EventFailed, "it failed, or the third loss"},
	{Running, Queued, EventLost, "the host is lost"},
	{Running, Cancelling, EventCancelling, "cancel was asked for"},
	{Cancelling, Cancelled, EventCancelled, "the process is gone, or the host is lost"},
}

// transition finds the step, or says that it is not allowed.
func transition(from, to State) (Transition, error) {
	i := slices.IndexFunc(Transitions, func(t Transition) bool { return t.From == from && t.To == to })
	if i < 0 {
		return Transition{}, domain.Conflict("illegal_state", "a job that is %s cannot become %s", from, to)
	}
	return Transitions[i], nil
}

// Diagram renders the table as a Mermaid state diagram.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	for _, t := range Transitions {
		from := string(t.From)
		if from == "" {
			from = "[*]"
		}
		fmt.Fprintf(&b, "    %s --> %s: %s\n", from, t.To, t.When)
	}
	for _, s := range []State{Succeeded, Failed, Cancelled} {
		fmt.Fprintf(&b, "    %s --> [*]\n", s)
	}
	return b.String()
}
