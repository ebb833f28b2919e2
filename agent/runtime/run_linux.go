package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// processRun is one attempt, in the sandbox or beside it.
type processRun struct {
	p    *Process
	name string
	task daemon.Task
	out  *output

	box    *launched // nil outside the sandbox
	direct *direct   // nil inside
	group  *cgroup   // nil where there is none
	began  time.Duration

	ended chan struct{} // closed once exit and err are set
	exit  daemon.Exit
	err   error

	mu     sync.Mutex
	cause  string // why we end it, the first reason given
	detail string
	seen   daemon.Usage // what watching saw, where no cgroup counts
	clean  bool
}

func newProcessRun(p *Process, name string, t daemon.Task) *processRun {
	return &processRun{p: p, name: name, task: t, ended: make(chan struct{})}
}

// Output implements daemon.Run.
func (r *processRun) Output() io.Reader { return r.out }

// Wait implements daemon.Run.
func (r *processRun) Wait(ctx context.Context) (daemon.Exit, error) {
	if err := wait(ctx, r.ended); err != nil {
		return daemon.Exit{}, err
	}
	return r.exit, r.err
}

// Stop implements daemon.Run.
func (r *processRun) Stop(ctx context.Context, grace time.Duration) error {
	r.end(daemon.ReasonStopped, "The job was stopped.", grace, ctx.Done())
	killed := time.NewTimer(grace + 2*time.Second)
	defer killed.Stop()
	select {
	case <-r.ended:
		return nil
	case <-killed.C:
		return fmt.Errorf("stop %s: processes are left after SIGKILL", r.name)
	}
}

// Usage implements daemon.Run.
func (r *processRun) Usage() daemon.Usage {
	select {
	case <-r.ended:
		return daemon.Usage{PeakMemoryBytes: r.exit.PeakMemoryBytes, CPUTime: r.exit.CPUTime}
	default:
	}
	r.mu.Lock()
	u := r.seen
	r.mu.Unlock()
	memory, peak, cpu, pids := r.group.usage()
	u.MemoryBytes = max(u.MemoryBytes, memory)
	u.PeakMemoryBytes = max(u.PeakMemoryBytes, peak, u.MemoryBytes)
	u.CPUTime = max(u.CPUTime, cpu)
	u.PIDs = max(u.PIDs, pids)
	return u
}

// Cleanup implements daemon.Run.
func (r *processRun) Cleanup() error {
	r.mu.Lock()
	clean := r.clean
	r.clean = true
	r.mu.Unlock()
	if clean {
		return nil
	}
	var errs []error
	if r.box != nil || r.direct != nil {
		errs = append(errs, r.Stop(context.Background(), 0))
	}
	if r.out != nil {
		errs = append(errs, r.out.close())
	}
	errs = append(errs, r.group.remove())
	if r.box != nil {
		r.box.close()
	}
	if !r.p.sandboxed(r.task) {
		errs = append(errs, os.RemoveAll(r.folder()), os.RemoveAll(r.folder()+recordSuffix))
	}
	r.p.mu.Lock()
	delete(r.p.runs, r.name)
	r.p.mu.Unlock()
	return errors.Join(errs...)
}

// folder is the run's own place in the runtime's folder, outside a sandbox: its
// HOME and TMPDIR.
func (r *processRun) folder() string { return filepath.Join(r.p.o.Dir, "runs", r.name) }

// start brings the command up, its limits in force before its first
// instruction when it is sandboxed.
func (r *processRun) start(ctx context.Context) error {
	out, job, err := newOutput()
	if err != nil {
		return err
	}
	defer job.Close()
	r.out = out
	if detail := r.workdirMissing(); detail != "" {
		r.conclude(notFound(detail), nil)
		return nil
	}
	if r.p.sandboxed(r.task) {
		err = r.startSandboxed(ctx, job)
	} else {
		err = r.startDirect(job)
	}
	if r.box != nil || r.direct != nil {
		go r.reap()
	}
	return err
}

// groupLimits are what the run's cgroup enforces.
func (r *processRun) groupLimits() cgroupLimits {
	l := cgroupLimits{memory: r.task.Limits.MemoryBytes, pids: r.task.Limits.PIDs, cpuMilli: r.task.Limits.CPUMilli}
	if l.pids > 0 && r.p.sandboxed(r.task) {
		l.pids += 2 // bubblewrap's own, outside and inside
	}
	return l
}

func (r *processRun) startSandboxed(ctx context.Context, out *os.File) error {
	l, err := r.p.box.launch(ctx, r, out)
	if err != nil {
		if said := strings.TrimSpace(r.out.start()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return err
	}
	r.box = l
	r.limitProcess(l.first)
	me, _ := lookup(l.first)
	if err := r.task.Guarded(daemon.Processes{First: l.first, Started: me.started, Sandbox: true}); err != nil {
		return err
	}
	r.began = monotonic()
	if _, err := l.release.Write([]byte{1}); err != nil {
		return fmt.Errorf("%w: %s", errNoSandbox, strings.TrimSpace(r.out.start()))
	}
	return nil
}

// limitProcess sets what the kernel limits per process, where it lets us: root
// in a container often lacks CAP_SYS_RESOURCE, without which a process of
// another user keeps its limits. The limits that have to hold are the cgroup's
// or watched.
func (r *processRun) limitProcess(pid int) {
	rlimit(pid, unix.RLIMIT_NOFILE, 65536)
	if n := r.task.Limits.DiskBytes; n > 0 {
		rlimit(pid, unix.RLIMIT_FSIZE, uint64(n))
	}
	// Where there is a cgroup, it refuses and counts what it refused.
	if n := r.task.Limits.PIDs; n > 0 && r.box != nil && !r.p.cgroups.has("pids") && r.p.box.countsProcesses() {
		rlimit(pid, unix.RLIMIT_NPROC, uint64(n)+1)
	}
	// Should the whole machine run out of memory, a job goes first.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
}

// workdirMissing is a sentence when the bundle lacks the folder to start in.
func (r *processRun) workdirMissing() string {
	if r.task.Workdir == "" {
		return ""
	}
	root, err := os.OpenRoot(r.task.Dir)
	if err == nil {
		defer root.Close()
		var i os.FileInfo
		if i, err = root.Stat(r.task.Workdir); err == nil && i.IsDir() {
			return ""
		}
	}
	return fmt.Sprintf("The working folder %q is not in the bundle.", r.task.Workdir)
}

// end asks the job to stop and kills it after grace, or when hurry closes. The
// first reason stays.
func (r *processRun) end(reason, detail string, grace time.Duration, hurry <-chan struct{}) {
	select {
	case <-r.ended:
		return
	default:
	}
	r.mu.Lock()
	if r.cause == "" {
		r.cause, r.detail = reason, detail
	}
	r.mu.Unlock()
	if grace > 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		again := time.NewTicker(startTick)
		defer again.Stop()
		for asked := false; ; {
			// In a sandbox that is just being built there is nobody yet. Later ones are
			// not asked: the job may have started them to end well.
			if !asked {
				asked = r.ask()
			}
			select {
			case <-r.ended:
				return
			case <-hurry:
			case <-t.C:
			case <-again.C:
				continue
			}
			break
		}
	}
	r.kill()
}

// startTick is how often end looks whether the command is there to be asked.
const startTick = 50 * time.Millisecond

// ask tells the job's processes to end, and says whether there were any.
func (r *processRun) ask() bool {
	pids := r.pids()
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGTERM)
		_ = unix.Kill(pid, unix.SIGCONT) // a stopped process sees no signal
	}
	return len(pids) > 0
}

// pids are the job's own processes, without the sandbox's.
func (r *processRun) pids() []int {
	if r.box == nil {
		first := r.direct.process.Pid
		if r.group != nil {
			return append(r.group.pids(), first)
		}
		return append(family(first, r.direct.mark), first)
	}
	all := r.group.pids()
	if r.group == nil {
		all = family(r.box.first, "")
	}
	return slices.DeleteFunc(all, func(pid int) bool { return pid == r.box.first || pid == r.box.monitor.Pid })
}

func (r *processRun) kill() {
	if r.box != nil {
		r.box.kill()
		return
	}
	r.direct.kill(r.pids())
}

// firstLine reads a stream to its end and answers its first line.
func firstLine(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, headSize))
	_, _ = io.Copy(io.Discard, r)
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
