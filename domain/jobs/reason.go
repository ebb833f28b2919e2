package jobs

// Reason says why a job or an attempt stands where it stands. The empty reason is a
// command that ended with exit code 0.
type Reason string

// The reasons. What the agent may report is marked in the table of rulings.
const (
	ReasonExitCode          Reason = "exit_code"             // the command ended with a code other than 0
	ReasonTimeout           Reason = "timeout"               // max_runtime_s, or what the hold paid for, was used up
	ReasonOutOfMemory       Reason = "out_of_memory"         // the kernel stopped the job at its memory limit
	ReasonTooManyProcesses  Reason = "too_many_processes"    // the job could start no more processes, and failed
	ReasonDiskFull          Reason = "disk_full"             // the job wrote more than its disk_mb
	ReasonCommandNotFound   Reason = "command_not_found"     // the command does not exist where the job runs
	ReasonBadBundle         Reason = "bad_bundle"            // the ZIP breaks a rule
	ReasonArtifactLimit     Reason = "artifact_limit"        // the outputs are too large or too many
	ReasonNoBundle          Reason = "no_bundle"             // the signed upload was never completed
	ReasonExpired           Reason = "expired"               // no host fitted within max_wait_s
	ReasonCancelledByRenter Reason = "cancelled_by_renter"   // the renter cancelled
	ReasonCancelledByAdmin  Reason = "cancelled_by_admin"    // an administrator cancelled
	ReasonHostLost          Reason = "host_lost"             // no heartbeat within reassign_after
	ReasonHostReclaimed     Reason = "host_reclaimed"        // the owner took the machine back
	ReasonAgentRestarted    Reason = "agent_restarted"       // the agent died and its sandbox with it
	ReasonHostError         Reason = "host_error"            // the host could not start or finish the attempt
	ReasonFetchFailed       Reason = "fetch_failed"          // the host could not get the job's files
	ReasonUploadFailed      Reason = "upload_failed"         // the host could not deliver log or artifacts
	ReasonRejected          Reason = "rejected"              // the host's own policy declined the job
	ReasonPaymentFailed     Reason = "payment_failed"        // the hold could not be taken
	ReasonPaymentAction     Reason = "payment_action_needed" // the bank asks the renter to confirm
	ReasonFundsExhausted    Reason = "funds_exhausted"       // the hold paid for no more time
)

// Cause is whose doing an ending was; it decides who pays.
type Cause string

// The causes.
const (
	CauseNone     Cause = "none" // it simply ended
	CauseRenter   Cause = "renter"
	CauseHost     Cause = "host"
	CausePlatform Cause = "platform"
)

// Ruling is what follows from a reason.
type Ruling struct {
	Cause       Cause
	Billed      bool // the time run is paid to the host
	Retried     bool // the job goes back to the queue, until its third loss
	AvoidsHost  bool // the next attempt prefers another host
	Counts      bool // the loss counts towards the third, and against the host
	FromAgent   bool // an agent may report it
	Explanation string
}

// Rulings is the one table from reasons to consequences: jobs computes what is
// billed from it, billing posts it.
var Rulings = map[Reason]Ruling{
	"":                      {CauseNone, true, false, false, false, true, "the command ended with exit code 0"},
	ReasonExitCode:          {CauseRenter, true, false, false, false, true, "the command ended with an exit code other than 0"},
	ReasonTimeout:           {CauseRenter, true, false, false, false, true, "the job used up its max_runtime_s"},
	ReasonOutOfMemory:       {CauseRenter, true, false, false, false, true, "the job used more memory than its memory_mb"},
	ReasonTooManyProcesses:  {CauseRenter, true, false, false, false, true, "the job wanted more processes than a job may have"},
	ReasonDiskFull:          {CauseRenter, true, false, false, false, true, "the job wrote more than its disk_mb"},
	ReasonCommandNotFound:   {CauseRenter, false, false, false, false, true, "the command does not exist where the job runs"},
	ReasonBadBundle:         {CauseRenter, false, false, false, false, true, "the ZIP breaks a rule"},
	ReasonArtifactLimit:     {CauseRenter, true, false, false, false, true, "the outputs are more or larger than a job may have"},
	ReasonNoBundle:          {CauseRenter, false, false, false, false, false, "the bundle was never uploaded"},
	ReasonExpired:           {CauseNone, false, false, false, false, false, "no host fitted within max_wait_s"},
	ReasonCancelledByRenter: {CauseRenter, true, false, false, false, true, "the renter cancelled"},
	ReasonCancelledByAdmin:  {CausePlatform, false, false, false, false, false, "an administrator cancelled"},
	ReasonHostLost:          {CauseHost, false, true, true, true, false, "the host was not heard of for too long"},
	ReasonHostReclaimed:     {CauseHost, false, true, true, true, true, "the owner took the machine back"},
	ReasonAgentRestarted:    {CauseHost, false, true, true, true, true, "the agent died while the job ran"},
	ReasonHostError:         {CauseHost, false, true, true, true, true, "the host could not run the attempt"},
	ReasonFetchFailed:       {CauseHost, false, true, true, true, true, "the host could not fetch the job's files"},
	ReasonUploadFailed:      {CauseHost, false, true, true, true, true, "the host could not deliver the results"},
	ReasonRejected:          {CauseHost, false, true, true, false, true, "the host declined the job"},
	ReasonPaymentFailed:     {CauseRenter, false, false, false, false, false, "the money could not be held"},
	ReasonPaymentAction:     {CauseRenter, false, false, false, false, false, "the bank asks for a confirmation"},
	ReasonFundsExhausted:    {CauseRenter, true, false, false, false, false, "the money that was held paid for no more time"},
}
