// Package daemon is the host's side of the marketplace: it takes signed
// manifests, runs them through a Runtime and reports what became of them.
// The ports below are what it needs of the machine; each sentence of their
// comments is a case of a contract suite in tests/contract.
package daemon

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrGone is what Runtime.Attach answers for an attempt that no longer runs
// and left nothing to collect.
var ErrGone = errors.New("the attempt is gone")

// ErrFetch is the answer of Prepare when something of the job's could not be had from
// elsewhere, such as its image.
var ErrFetch = errors.New("it could not be fetched")

// Runtime runs jobs on this machine. Its methods may be called concurrently.
type Runtime interface {
	// Info says what kind of runtime this is, without looking at the machine.
	Info() RuntimeInfo

	// Probe runs something small the way a job would be run and says what
	// works here. It fails when no job could run at all, and the error then
	// says what to do about it.
	Probe(ctx context.Context) (Report, error)

	// Prepare makes Start quick: it pulls the image, opens Task.Dir to the
	// job, copies what cannot be mounted. Nothing of it is billed. Progress
	// may be nil; when given it is called with growing Done, from one
	// goroutine at a time, and not after Prepare returned. Cancelling ctx
	// stops Prepare. Preparing twice is harmless. What cannot be fetched is an ErrFetch.
	Prepare(ctx context.Context, task Task, progress func(Progress)) error

	// Start starts the task's command. An error is the host's fault and
	// leaves nothing behind. A command that does not exist is the job's: it
	// starts a Run that has already ended with ReasonCommandNotFound. Ctx
	// bounds starting alone; cancelling it later does not touch the Run. An
	// attempt that runs already is refused.
	Start(ctx context.Context, task Task) (Run, error)

	// Attach finds the Run that an earlier process of this agent started, with
	// Output beginning at byte from of the merged stream, or below 0 with the first
	// that is there still. What lies before from may be gone for good. It answers ErrGone
	// where there is none, always so for runtimes whose jobs die with the
	// agent.
	Attach(ctx context.Context, task Task, from int64) (Run, error)

	// Sweep removes everything that an earlier process left behind and that
	// was not attached: processes, containers, cgroups, temporary files. Runs
	// of this process are not touched.
	Sweep(ctx context.Context) error
}

// Folders are what jobs work in. Its methods may be called concurrently.
type Folders interface {
	// MakeDir makes the folder of a job, empty, for files to be laid in before Prepare.
	// No more than about size bytes fit in where this machine can see to that; elsewhere
	// the Run watches it. A size of 0 is no limit. On an error nothing is left of it, and
	// one that was there is left alone.
	MakeDir(ctx context.Context, dir string, size int64) error

	// RemoveDir removes a folder with all that is in it, folders of MakeDir too, whatever
	// a job did to them. One that is not there is no error.
	RemoveDir(dir string) error
}

// Run is one attempt under way. The caller reads Output to its end, calls
// Wait, collects the results from Task.Dir and then calls Cleanup. All methods
// may be called concurrently.
type Run interface {
	// Output is stdout and stderr as one raw stream, in the order written.
	// There is one reader. It answers io.EOF once the job's processes are
	// gone and everything that they wrote was read. A job that writes faster
	// than Output is read blocks; nothing is dropped.
	Output() io.Reader

	// Wait blocks until the command has ended and no process of the job is
	// left. It does not wait for Output to be read. Every call answers the
	// same. Cancelling ctx ends the call, not the Run.
	Wait(ctx context.Context) (Exit, error)

	// Stop ends the Run: SIGTERM to its processes, SIGKILL after grace to all
	// that are left. It returns when no process is left, within two seconds
	// of grace; cancelling ctx kills at once. Stopping a Run that has ended
	// is no error.
	Stop(ctx context.Context, grace time.Duration) error

	// Usage is what the job uses now, or used in all once it ended.
	Usage() Usage

	// Cleanup kills what still runs and removes everything that Start made,
	// but not Task.Dir. It may be called at any time and more than once;
	// after it Output answers no more bytes.
	Cleanup() error
}

// Watchdog is a process beside the agent that kills jobs when the agent cannot: while it is
// stopped or hangs, and after it was killed. Times are by Clock.Boot, which both share. A
// name may be watched anew, with what is known by then.
type Watchdog interface {
	// Watch makes it answerable for a run: its processes are killed, and again whenever
	// there are some, from within after the last Pet on. An error means that nobody
	// watches.
	Watch(name string, within time.Duration, p Processes) error

	// Pet says when the last sign of life was sent that the server answered. Nothing is
	// killed before within after it has passed, or the time of the run where that is
	// shorter. One older than the last changes nothing.
	Pet(at, within time.Duration) error

	// Forget ends the watch over a run. A name that is not watched is no error.
	Forget(name string) error
}

// Processes is how the processes of a run are found by somebody else than their runtime.
// What is not known is zero.
type Processes struct {
	First   int    `json:"first,omitempty"`   // a pid: process 1 of a sandbox, or the leader of a session
	Started uint64 `json:"started,omitempty"` // when First did, in the kernel's ticks since boot: no later process has both
	Sandbox bool   `json:"sandbox,omitempty"` // all processes end with First
	Mark    string `json:"mark,omitempty"`    // stands in the environment of each of them, and of no other
	// Cgroup maps controllers to the folders of a group of their own.
	Cgroup map[string]string `json:"cgroup,omitempty"`
	// Charge is set where they outlive the agent: a file that says which watchdog has charge
	// of them. When the agent has ended they are killed at their time and not before, and
	// not at all if another watchdog has charge by then.
	Charge string `json:"charge,omitempty"`
}

// GPUs looks at this machine's GPUs.
type GPUs interface {
	// Probe lists the GPUs, in the driver's order. A machine without GPUs, or
	// without a driver, has an empty list and no error.
	Probe(ctx context.Context) ([]GPU, error)

	// Load samples every GPU once, in the same order.
	Load(ctx context.Context) ([]GPULoad, error)
}

// RuntimeInfo names a runtime and the isolation that it gives.
type RuntimeInfo struct {
	Name      string // "process", "simulated", "docker"
	Isolation string // one of the Isolation constants
	Mounts    bool   // inputs are mounted read-only, not copied
	Survives  bool   // a Run outlives the agent and can be attached
}

// How far a job is kept from the machine, weakest first.
const (
	IsolationNone      = "none"
	IsolationProcess   = "process"
	IsolationContainer = "container"
	IsolationGVisor    = "gvisor"
)

// Report is what doctor shows of a runtime and the listing repeats.
type Report struct {
	Version string // of what does the isolating
	// How each limit is kept: EnforcedCgroup, EnforcedRlimit, EnforcedVolume,
	// EnforcedWatched or EnforcedNot.
	Memory, PIDs, CPU, Disk string
	// Commands maps an interpreter to its version as seen inside a job;
	// those that are missing there are absent.
	Commands map[string]string
	// Warnings are sentences for the owner of the machine.
	Warnings []string
}

// How a limit is enforced.
const (
	EnforcedCgroup  = "cgroup"  // by the kernel, for all processes together
	EnforcedRlimit  = "rlimit"  // by the kernel, per process or file
	EnforcedVolume  = "volume"  // by a file system of that size
	EnforcedWatched = "watched" // looked at several times a second, then killed
	EnforcedNot     = "none"
)

// Progress is one step of Prepare: bytes done of total, 0 when unknown.
type Progress struct {
	Phase       string // "pulling", "copying"
	Done, Total int64
}

// Task is everything that a runtime has to know of an attempt.
type Task struct {
	JobID   string
	Attempt int

	Image string   // pinned by digest; runtimes without images ignore it
	Argv  []string // executed as it is; no shell is involved
	// Env is the whole environment, as K=V, beside PATH, HOME, LANG and
	// TMPDIR, which have defaults, PWD, and the variables that choose GPUs,
	// which are the runtime's to set. The agent's own environment is not seen.
	Env []string

	// Dir is the folder of the host with the unpacked bundle. The job sees it
	// as its writable working folder (WorkDir, where the runtime has a file
	// system of its own) and leaves its results there. It belongs to the
	// caller, who keeps it until Cleanup.
	Dir     string
	Workdir string  // where the command starts, relative to Dir; "" is Dir
	Inputs  []Input // readable at their Target; the originals cannot be changed

	GPUs    []string // UUIDs; the job sees these and no others
	Limits  Limits
	Network Network
	Trusted bool // the owner's own job, which weaker isolation may run

	// Guard, unless nil, is told how the run's processes are found, before the command
	// runs, and again where more is known then. Its error keeps the command from running.
	// Runs without processes of their own tell nothing.
	Guard func(Processes) error
}

// Guarded calls Guard, when there is one.
func (t Task) Guarded(p Processes) error {
	if t.Guard == nil {
		return nil
	}
	return t.Guard(p)
}

// WorkDir is where a job finds Task.Dir in runtimes that mount it.
const WorkDir = "/work"

// Input is a file or folder of the host that the job may read. What lies at its
// Target in Dir, a copy or an empty place to mount, is no result.
type Input struct {
	Source string // on the host, absolute
	Target string // relative to Dir
}

// Network is what a job may reach.
type Network struct {
	Mode  string   // "none", "proxy", "full"; "" is none
	Allow []string // host names, in mode proxy
}

// Limits bound an attempt. Zero means no limit of that kind.
type Limits struct {
	CPUMilli    int64
	MemoryBytes int64
	PIDs        int64
	ShmBytes    int64
	DiskBytes   int64         // what Dir may hold in all
	MaxRuntime  time.Duration // from the start of the command
	Grace       time.Duration // between SIGTERM and SIGKILL at MaxRuntime

	// The daemon's own to keep.
	LogBytes      int64
	ArtifactBytes int64
	ArtifactFiles int
}

// Exit is how a Run ended.
type Exit struct {
	// Code is the command's exit code, or 128 + the signal that ended it.
	Code int
	// Reason is set when not the command but a limit or its start decided the
	// end; "" otherwise, whatever Code is.
	Reason string
	// Detail is one sentence for the renter, set with Reason.
	Detail string
	// Duration is monotonic, from the start of the command to its end.
	Duration        time.Duration
	PeakMemoryBytes int64 // 0 where it is not known
	CPUTime         time.Duration
}

// Why a Run ended, when not by its own exit.
const (
	ReasonTimeout         = "timeout"
	ReasonOutOfMemory     = "out_of_memory"
	ReasonDiskFull        = "disk_full"
	ReasonCommandNotFound = "command_not_found"
	ReasonTooManyPIDs     = "too_many_processes"
	ReasonStopped         = "stopped" // by Stop or Cleanup, before it ended by itself
)

// Usage is a sample of what a Run uses; fields that are not known are 0.
type Usage struct {
	MemoryBytes, PeakMemoryBytes int64
	CPUTime                      time.Duration
	PIDs                         int64
	DiskBytes                    int64
}

// GPU is one device as the driver describes it.
type GPU struct {
	Index       int
	UUID        string // stable across reboots; the identity of the device
	Model       string // "NVIDIA H200"
	MemoryBytes int64
	Driver      string // "570.124.06"
	CUDA        string // highest CUDA version that the driver supports
	Capability  string // compute capability, "9.0"
	BusID       string
	PowerLimitW int
	MIG         bool // partitioned; not offered as a whole
}

// GPULoad is one sample of a GPU; fields that are not known are 0.
type GPULoad struct {
	UUID        string
	Utilization int // percent
	MemoryUsed  int64
	PowerW      int
	TempC       int
	Processes   []int // pids that hold memory on it
}
