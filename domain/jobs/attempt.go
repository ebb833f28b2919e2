package jobs

import (
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Attempt is one lease of a job on one host. Its number is the fencing token: a
// report counts only if the host of the session holds that attempt.
type Attempt struct {
	Number      int
	Host        domain.ID
	HostName    string
	HostOwner   domain.ID // who earns
	Devices     []Device
	HourlyPrice domain.Micros // of all its devices together, as it was at the match
	MaxRuntime  time.Duration // the job's, or less when the hold pays for less
	Why         Explanation   // the sum by which the host was chosen

	LeasedAt   time.Time
	AcceptedAt time.Time // the agent has it in its journal
	StartedAt  time.Time // receipt of phase running: the clock starts
	ExitedAt   time.Time // receipt of exited: the clock stops
	EndedAt    time.Time // results delivered, or given up

	Outcome  Outcome
	Reason   Reason
	Detail   string
	ExitCode *int
	// AgentRan is the run as the agent measured it. The bill takes the shorter.
	AgentRan time.Duration
	Billable time.Duration // whole milliseconds
	Amount   domain.Micros // what the renter pays for it

	LogBytes, LogLines int64
	LogSHA256          string // hexadecimal, of the whole log, checked at the end
	PeakMemory         int64  // bytes
	CPUTime            time.Duration
}

// Device is a GPU as an attempt holds it.
type Device struct {
	ID    domain.ID
	UUID  string // as the driver names it
	Model string
}

// Outcome is how an attempt ended; the empty outcome holds devices.
type Outcome string

// The outcomes of attempts.
const (
	OutcomeActive    Outcome = ""
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"
	OutcomeCancelled Outcome = "cancelled"
	OutcomeLost      Outcome = "lost"
	OutcomeDeclined  Outcome = "declined"
)

// Active says that the attempt still holds its devices.
func (a Attempt) Active() bool { return a.Outcome == OutcomeActive }

// Counts says that what the attempt leaves is the job's: it was neither lost nor declined.
func (a Attempt) Counts() bool { return a.Outcome != OutcomeLost && a.Outcome != OutcomeDeclined }

// DeviceIDs lists the devices that the attempt holds or held.
func (a Attempt) DeviceIDs() []domain.ID {
	ids := make([]domain.ID, len(a.Devices))
	for i, d := range a.Devices {
		ids[i] = d.ID
	}
	return ids
}

// bill fixes what the attempt costs: the shorter of the server's interval, the
// agent's own measure and the longest run that was promised. Neither side can
// lengthen it alone. Fetching and uploading lie outside the interval.
func (a *Attempt) bill() {
	a.Billable, a.Amount = 0, 0
	if a.StartedAt.IsZero() || !Rulings[a.Reason].Billed {
		return
	}
	stop := a.ExitedAt
	if stop.IsZero() {
		stop = a.EndedAt
	}
	ran := stop.Sub(a.StartedAt)
	if !a.ExitedAt.IsZero() {
		ran = min(ran, a.AgentRan)
	}
	ran = max(0, min(ran, a.MaxRuntime))
	a.Billable = ran.Truncate(time.Millisecond)
	a.Amount = domain.Cost(a.HourlyPrice, 1, a.Billable.Milliseconds())
}

// ranBy is how long the attempt has run at a moment.
func (a Attempt) ranBy(now time.Time) time.Duration {
	if a.StartedAt.IsZero() {
		return 0
	}
	return now.Sub(a.StartedAt)
}

// SoFar is what the attempt would be billed if it ended at a moment; of one that has
// ended, what it was billed.
func (a Attempt) SoFar(now time.Time) (time.Duration, domain.Micros) {
	if a.Active() {
		a.EndedAt = now
		a.bill()
	}
	return a.Billable, a.Amount
}

// Lease is what the match decided and the hold allows: the start of an attempt.
type Lease struct {
	Host        domain.ID
	HostName    string
	HostOwner   domain.ID
	Devices     []Device
	HourlyPrice domain.Micros
	Why         Explanation
}

// Exit is the end of the command, as the agent reports it.
type Exit struct {
	Code   *int // nil when there was no command to end
	Reason Reason
	Detail string
	Ran    time.Duration
}

// Result is the end of an attempt, after its log and artifacts were delivered.
type Result struct {
	Exit
	LogBytes, LogLines int64
	LogSHA256          string
	PeakMemory         int64
	CPUTime            time.Duration
	Fetched            int64         // bytes of bundle and inputs
	FetchTook          time.Duration // by the agent's clock
	Files              []File        // the results that it says it delivered
}

// File is a result as its host tells of it.
type File struct {
	Path   string // below the working folder, with slashes
	Size   int64  // bytes
	SHA256 string // hexadecimal
}

// Progress is what happens within a state.
type Progress struct {
	Name        Phase
	Done, Total int64 // bytes; zero when not known
}

// Phase names a progress.
type Phase string

// The phases. Boot is free: only PhaseRunning is billed.
const (
	PhaseFetching  Phase = "fetching"  // assigned: bundle and inputs
	PhasePulling   Phase = "pulling"   // assigned: the image
	PhaseStarting  Phase = "starting"  // assigned: unpacked, about to start
	PhaseRunning   Phase = "running"   // running: the command
	PhaseUploading Phase = "uploading" // running: after the command has ended
)

// How long a host that declined a job is not asked again: longer with each time.
const (
	firstPause   = 30 * time.Second
	longestPause = time.Hour
)

// Declined lists the hosts that declined the job and are not to be asked again yet.
func (s Snapshot) Declined(now time.Time) []domain.ID {
	times, until := map[domain.ID]int{}, map[domain.ID]time.Time{}
	for _, a := range s.Attempts {
		if a.Outcome == OutcomeDeclined {
			pause := min(firstPause<<min(times[a.Host], 16), longestPause)
			times[a.Host]++
			until[a.Host] = a.EndedAt.Add(pause)
		}
	}
	var hosts []domain.ID
	for host, end := range until {
		if now.Before(end) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
