package runtime

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// reap follows the run to its end. One goroutine per run does it, and another
// where something has to be watched.
func (r *processRun) reap() {
	if d := r.task.Limits.MaxRuntime; d > 0 {
		t := time.AfterFunc(d, func() {
			r.end(daemon.ReasonTimeout, timeoutDetail(r.task.Limits), r.task.Limits.Grace, nil)
		})
		defer t.Stop()
	}
	watched := r.watch()
	state, took, err := r.waitAndKill()
	e := daemon.Exit{Duration: took}
	watched()

	_, e.PeakMemoryBytes, e.CPUTime, _ = r.group.usage()
	r.mu.Lock()
	e.PeakMemoryBytes = max(e.PeakMemoryBytes, r.seen.PeakMemoryBytes)
	e.Reason, e.Detail = r.cause, r.detail
	r.mu.Unlock()
	if err == nil {
		e.Code = exitCode(state)
		e.CPUTime = max(e.CPUTime, state.UserTime()+state.SystemTime())
		if u, ok := state.SysUsage().(*syscall.Rusage); ok && r.box == nil {
			e.PeakMemoryBytes = max(e.PeakMemoryBytes, u.Maxrss<<10)
		}
	}
	if r.box != nil {
		code, ran := r.box.exitCode()
		switch {
		case ran:
			e.Code = code
		case e.Reason == "":
			e, err = r.neverRan(e)
		}
	}
	if e.Reason == "" && err == nil {
		r.explain(&e)
	}
	r.conclude(e, err)
}

// neverRan tells a command that is not there from a sandbox that failed: both
// stand in bubblewrap's words alone.
func (r *processRun) neverRan(e daemon.Exit) (daemon.Exit, error) {
	said := strings.TrimSpace(r.out.start())
	r.out.forget()
	if _, why, ok := strings.Cut(said, "bwrap: execvp "); ok {
		why = strings.TrimPrefix(why, r.task.Argv[0]+": ")
		n := notFound(commandDetail(r.task.Argv[0], why))
		n.Duration = e.Duration
		return n, nil
	}
	if r.group.oomKills() > 0 {
		e.Reason, e.Detail = daemon.ReasonOutOfMemory, memoryDetail(r.task.Limits)
		return e, nil
	}
	return e, fmt.Errorf("%w: %s", errNoSandbox, said)
}

// explain finds out whether a limit stands behind an exit that nobody asked for.
func (r *processRun) explain(e *daemon.Exit) {
	// A killed child alone is not the job's end: a job that copes exits 0.
	if e.Code != 0 && r.group.oomKills() > 0 {
		e.Reason, e.Detail = daemon.ReasonOutOfMemory, memoryDetail(r.task.Limits)
		return
	}
	if detail := filledDisk(r.task, e.Code); detail != "" {
		e.Reason, e.Detail = daemon.ReasonDiskFull, detail
		return
	}
	if e.Code != 0 && e.Code != killedCode && r.group.forksRefused() > 0 {
		e.Reason, e.Detail = daemon.ReasonTooManyPIDs, processesDetail(r.task.Limits)
	}
}

func (r *processRun) conclude(e daemon.Exit, err error) {
	r.exit, r.err = e, err
	r.out.end()
	close(r.ended)
}

// waitAndKill waits for the command and ends what it left running.
func (r *processRun) waitAndKill() (*os.ProcessState, time.Duration, error) {
	if r.direct != nil {
		return r.direct.wait(r.group, r.began)
	}
	state, err := r.box.monitor.Wait()
	took := monotonic() - r.began
	r.box.kill()
	r.box.gone()
	return state, took, err
}

// killedCode is that of a command which somebody killed: it did not fail by itself.
const killedCode = 128 + 9

// The sentences that a renter reads of a limit.
func memoryDetail(l daemon.Limits) string {
	return fmt.Sprintf("The job needed more than its %d MiB of memory: ask for more with needs.memory_mb.", l.MemoryBytes>>20)
}

func diskDetail(l daemon.Limits) string {
	return fmt.Sprintf("The job wrote more than its %d MiB of disk: ask for more with needs.disk_mb.", l.DiskBytes>>20)
}

func processesDetail(l daemon.Limits) string {
	return fmt.Sprintf("The job wanted more than the %d processes that it may have at a time.", l.PIDs)
}

func timeoutDetail(l daemon.Limits) string {
	return fmt.Sprintf("The job ran longer than %s.", l.MaxRuntime)
}

// filledDisk tells of a job that ended with a code that it has used up its disk; "" says
// that it has not.
func filledDisk(t daemon.Task, code int) string {
	limit := t.Limits.DiskBytes
	if limit <= 0 {
		return ""
	}
	used := diskUsage(t.Dir)
	if used > limit || code != 0 && used == limit || code == 128+int(unix.SIGXFSZ) {
		return diskDetail(t.Limits)
	}
	if fs, own := volume(t.Dir); own && code != 0 && fs.Ffree == 0 {
		return fmt.Sprintf("The job made %d files, which is all that its %d MiB of disk hold: ask for more with needs.disk_mb.", fs.Files, limit>>20)
	}
	return ""
}

// exitCode is the shell's: signals count from 128.
func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// commandDetail is the sentence that a renter reads whose command does not start.
func commandDetail(command, why string) string {
	why, _, _ = strings.Cut(strings.TrimSpace(why), "\n")
	return fmt.Sprintf("The command %q could not be started: %s.", command, strings.ToLower(why))
}
