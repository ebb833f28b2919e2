package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Process runs jobs as processes of this machine, in a bubblewrap sandbox. A
// trusted job with GPUs runs outside of it, since CUDA does not start in a user
// name space; so does every trusted job where Options.Unsandboxed is set.
type Process struct {
	o       Options
	box     *sandbox // nil when unsandboxed
	cgroups *cgroups // nil where none can be made
	spawner *spawner
	python  prefix

	mu   sync.Mutex
	runs map[string]*processRun // until Cleanup
}

var _ Machine = (*Process)(nil)

// NewProcess checks by running it that the sandbox works. Without one it
// refuses, unless told that the jobs are the owner's own.
func NewProcess(ctx context.Context, o Options) (*Process, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("process runtime: the folder %q is not absolute", o.Dir)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "runs"), 0o700); err != nil {
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	// Two agents of one machine must not sweep each other's jobs.
	sum := sha256.Sum256([]byte(o.Dir))
	p := &Process{
		o: o, runs: map[string]*processRun{},
		cgroups: findCgroups("peergpu-" + hex.EncodeToString(sum[:6])),
		python:  findPython(o.Prefixes),
	}
	// What our own parent left open is not for the jobs.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	// Jobs inherit it. The agent holds keys, so that it is no loss either.
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	p.spawner = newSpawner(p.cgroups)
	if o.Unsandboxed {
		return p, nil
	}
	box, err := newSandbox(ctx, o, p.python)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.box = box
	if _, err := probeCommand(ctx, p, o.Dir, "sh"); err != nil {
		err = fmt.Errorf("the sandbox does not work here: %w; %s", err, box.advice())
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close ends the jobs that still run and removes the runtime's last traces; no
// method may be called after it.
func (p *Process) Close() error {
	p.mu.Lock()
	runs := slices.Collect(maps.Values(p.runs))
	p.mu.Unlock()
	var errs []error
	for _, r := range runs {
		errs = append(errs, r.Cleanup())
	}
	return errors.Join(append(errs, p.spawner.close())...)
}

// Info implements daemon.Runtime.
func (p *Process) Info() daemon.RuntimeInfo {
	if p.box == nil {
		return daemon.RuntimeInfo{Name: "process", Isolation: daemon.IsolationNone}
	}
	return daemon.RuntimeInfo{Name: "process", Isolation: daemon.IsolationProcess, Mounts: true}
}

// Probe implements daemon.Runtime.
func (p *Process) Probe(ctx context.Context) (daemon.Report, error) {
	r := daemon.Report{
		Memory: daemon.EnforcedWatched, PIDs: daemon.EnforcedWatched,
		CPU: daemon.EnforcedNot, Disk: daemon.EnforcedWatched, Commands: map[string]string{},
	}
	if p.cgroups.has("memory") {
		r.Memory = daemon.EnforcedCgroup
	}
	if p.cgroups.has("cpu") {
		r.CPU = daemon.EnforcedCgroup
	}
	switch {
	case p.cgroups.has("pids"):
		r.PIDs = daemon.EnforcedCgroup
	case p.box != nil && p.box.countsProcesses():
		r.PIDs = daemon.EnforcedRlimit
	}
	if p.cgroups == nil {
		r.Warnings = append(r.Warnings, "No cgroup can be made here, so memory is watched instead of limited: "+
			"run the agent as a systemd unit with Delegate=yes, or as root.")
	}
	if p.box == nil {
		r.Warnings = append(r.Warnings, "Jobs are not isolated from this machine: only the owner's own may run.")
	} else {
		r.Version = p.box.version
	}
	for _, command := range []string{"sh", "python3"} {
		v, err := probeCommand(ctx, p, p.o.Dir, command)
		switch {
		case err == nil:
			r.Commands[command] = v
		case command == "sh":
			return r, fmt.Errorf("no shell runs inside a job: %w", err)
		default:
			r.Warnings = append(r.Warnings, "Jobs find no "+command+": "+err.Error())
		}
	}
	return r, nil
}

// MakeDir implements daemon.Folders.
func (p *Process) MakeDir(_ context.Context, dir string, _ int64) error { return os.Mkdir(dir, 0o700) }

// RemoveDir implements daemon.Folders.
func (p *Process) RemoveDir(dir string) error { return removeFolder(dir) }

// Prepare implements daemon.Runtime.
func (p *Process) Prepare(ctx context.Context, t daemon.Task, progress func(daemon.Progress)) error {
	if err := errors.Join(check(t), ctx.Err()); err != nil {
		return err
	}
	if p.sandboxed(t) {
		return admit(ctx, t, p.box.owner())
	}
	return copyInputs(ctx, t, progress)
}

// Start implements daemon.Runtime.
func (p *Process) Start(ctx context.Context, t daemon.Task) (daemon.Run, error) {
	if err := p.allowed(t); err != nil {
		return nil, err
	}
	name := runName(t)
	p.mu.Lock()
	if p.runs[name] != nil {
		p.mu.Unlock()
		return nil, fmt.Errorf("attempt %s runs already", name)
	}
	r := newProcessRun(p, name, t)
	p.runs[name] = r
	p.mu.Unlock()

	if err := r.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), r.Cleanup())
	}
	return r, nil
}

// Attach implements daemon.Runtime: the sandbox dies with the agent.
func (p *Process) Attach(context.Context, daemon.Task, int64) (daemon.Run, error) {
	return nil, daemon.ErrGone
}

// Sweep implements daemon.Runtime.
func (p *Process) Sweep(ctx context.Context) error {
	active := func(name string) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.runs[name] != nil
	}
	errs := []error{p.cgroups.sweep()}
	entries, err := os.ReadDir(filepath.Join(p.o.Dir, "runs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := strings.TrimSuffix(e.Name(), recordSuffix)
		if !active(name) {
			dir := filepath.Join(p.o.Dir, "runs", name)
			killRecorded(dir)
			errs = append(errs, os.RemoveAll(dir), os.RemoveAll(dir+recordSuffix))
		}
	}
	return errors.Join(errs...)
}

// sandboxed says whether a task runs inside bubblewrap.
func (p *Process) sandboxed(t daemon.Task) bool { return p.box != nil && len(t.GPUs) == 0 }

// allowed refuses what this runtime must not or cannot run.
func (p *Process) allowed(t daemon.Task) error {
	if err := check(t); err != nil {
		return err
	}
	if !t.Trusted {
		if len(t.GPUs) > 0 {
			return errors.New("GPUs need a container: without one, only the owner's own jobs get them")
		}
		if p.box == nil {
			return errors.New("without a sandbox only the owner's own jobs may run")
		}
	}
	if t.Network.Mode != "" && t.Network.Mode != "none" && p.sandboxed(t) {
		return fmt.Errorf("network mode %q needs a container", t.Network.Mode)
	}
	return nil
}
