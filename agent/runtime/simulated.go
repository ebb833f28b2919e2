package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Simulated acts out jobs instead of running them: the command itself is the
// script, as in ["simulate", "log hello", "wait 10ms", "exit 3"]. It keeps to
// real timers, so that testing/synctest makes its hours pass at once.
//
// A script is a list of steps, each a verb and its arguments:
//
//	log TEXT          a line of output
//	burst N           N numbered lines
//	bytes N           exactly N bytes of numbered lines, the last one cut
//	env NAME          a line with the value of a variable; environ prints all
//	cwd               a line with the working folder, as a sandboxed job sees it
//	cat PATH          what a file holds
//	write PATH N      a file of N bytes (against the disk limit)
//	wait DURATION     time passes
//	memory N          N bytes are in use (against the memory limit)
//	ignore-term       SIGTERM does nothing from here on
//	hang              until somebody ends it
//	repeat N          the N steps before it, again and again until somebody ends it
//	exit N            ends with code N; without it a script ends with 0
//	signal N          ends as by that signal
//	oom               ends as the kernel would end it
//	phase NAME N      not a step: Prepare reports N bytes of progress
//	refuse TEXT       not a step: Start fails, as by the host's fault
//
// Paths are relative to the working folder. A command that does not begin with
// "simulate" does not exist.
type Simulated struct {
	now func() time.Time

	mu   sync.Mutex
	runs map[string]*simulatedRun
}

var _ Machine = (*Simulated)(nil)

// NewSimulated makes a runtime that measures time by now.
func NewSimulated(now func() time.Time) *Simulated {
	return &Simulated{now: now, runs: map[string]*simulatedRun{}}
}

// Info implements daemon.Runtime.
func (s *Simulated) Info() daemon.RuntimeInfo {
	return daemon.RuntimeInfo{Name: "simulated", Isolation: daemon.IsolationNone}
}

// Probe implements daemon.Runtime.
func (s *Simulated) Probe(context.Context) (daemon.Report, error) {
	return daemon.Report{
		Version: "simulated", Memory: daemon.EnforcedWatched, PIDs: daemon.EnforcedNot,
		CPU: daemon.EnforcedNot, Disk: daemon.EnforcedWatched,
		Commands: map[string]string{"simulate": "1"},
		Warnings: []string{"Jobs are simulated: nothing of theirs is run."},
	}, nil
}

// MakeDir implements daemon.Folders.
func (s *Simulated) MakeDir(_ context.Context, dir string, _ int64) error {
	return os.Mkdir(dir, 0o700)
}

// RemoveDir implements daemon.Folders.
func (s *Simulated) RemoveDir(dir string) error { return removeFolder(dir) }

// Prepare implements daemon.Runtime.
func (s *Simulated) Prepare(ctx context.Context, t daemon.Task, progress func(daemon.Progress)) error {
	if err := errors.Join(check(t), ctx.Err()); err != nil {
		return err
	}
	for _, line := range t.Argv[1:] {
		if verb, args := step(line); verb == "phase" && progress != nil {
			name, size, _ := strings.Cut(args, " ")
			n, err := count(size)
			if err != nil {
				return err
			}
			for _, done := range []int64{0, n / 2, n} {
				progress(daemon.Progress{Phase: name, Done: done, Total: n})
			}
		}
	}
	return copyInputs(ctx, t, progress)
}

// Start implements daemon.Runtime.
func (s *Simulated) Start(ctx context.Context, t daemon.Task) (daemon.Run, error) {
	if err := errors.Join(check(t), ctx.Err()); err != nil {
		return nil, err
	}
	for _, line := range t.Argv[1:] {
		if verb, args := step(line); verb == "refuse" {
			return nil, errors.New(args)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := runName(t)
	if s.runs[name] != nil {
		return nil, fmt.Errorf("attempt %s runs already", name)
	}
	r := &simulatedRun{
		home: s, name: name, task: t, out: newBuffer(), began: s.now(),
		ended: make(chan struct{}), term: make(chan struct{}), killed: make(chan struct{}),
	}
	s.runs[name] = r
	go r.play()
	return r, nil
}

// Attach implements daemon.Runtime: a simulation dies with the agent.
func (s *Simulated) Attach(context.Context, daemon.Task, int64) (daemon.Run, error) {
	return nil, daemon.ErrGone
}

// Sweep implements daemon.Runtime: nothing is ever left.
func (s *Simulated) Sweep(context.Context) error { return nil }

// simulatedRun is one script being acted out.
type simulatedRun struct {
	home  *Simulated
	name  string
	task  daemon.Task
	out   *buffer
	began time.Time

	ended  chan struct{}
	exit   daemon.Exit
	term   chan struct{} // closed by the first SIGTERM
	killed chan struct{} // closed by SIGKILL

	mu       sync.Mutex
	deaf     bool // SIGTERM is ignored
	usage    daemon.Usage
	cause    string
	detail   string
	termOnce sync.Once
	killOnce sync.Once
}

// Output implements daemon.Run.
func (r *simulatedRun) Output() io.Reader { return r.out }

// Wait implements daemon.Run.
func (r *simulatedRun) Wait(ctx context.Context) (daemon.Exit, error) {
	if err := wait(ctx, r.ended); err != nil {
		return daemon.Exit{}, err
	}
	return r.exit, nil
}

// Stop implements daemon.Run.
func (r *simulatedRun) Stop(ctx context.Context, grace time.Duration) error {
	r.end(daemon.ReasonStopped, "The job was stopped.", grace, ctx.Done())
	<-r.ended
	return nil
}

// Usage implements daemon.Run.
func (r *simulatedRun) Usage() daemon.Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usage
}

// Cleanup implements daemon.Run.
func (r *simulatedRun) Cleanup() error {
	err := r.Stop(context.Background(), 0)
	r.out.close()
	r.home.mu.Lock()
	defer r.home.mu.Unlock()
	delete(r.home.runs, r.name)
	return err
}

func (r *simulatedRun) end(reason, detail string, grace time.Duration, hurry <-chan struct{}) {
	select {
	case <-r.ended:
		return
	default:
	}
	r.blame(reason, detail)
	if grace > 0 {
		r.termOnce.Do(func() { close(r.term) })
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-r.ended:
			return
		case <-hurry:
		case <-t.C:
		}
	}
	r.killOnce.Do(func() { close(r.killed) })
	r.out.end() // a writer that nobody reads from dies as well
}

func (r *simulatedRun) blame(reason, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == "" {
		r.cause, r.detail = reason, detail
	}
}

// play runs the script to its end.
func (r *simulatedRun) play() {
	if d := r.task.Limits.MaxRuntime; d > 0 {
		t := time.AfterFunc(d, func() {
			r.end(daemon.ReasonTimeout, fmt.Sprintf("The job ran longer than %s.", d), r.task.Limits.Grace, nil)
		})
		defer t.Stop()
	}
	e := r.script()
	e.Duration = r.home.now().Sub(r.began)
	r.mu.Lock()
	if e.Reason == "" {
		e.Reason, e.Detail = r.cause, r.detail
	}
	e.PeakMemoryBytes = r.usage.PeakMemoryBytes
	r.mu.Unlock()
	r.exit = e
	r.out.end()
	close(r.ended)
}

func (r *simulatedRun) script() daemon.Exit {
	argv := r.task.Argv
	if argv[0] != "simulate" {
		return notFound(fmt.Sprintf("The command %q could not be started: no such file or directory.", argv[0]))
	}
	cwd := filepath.Join(r.task.Dir, r.task.Workdir)
	if i, err := os.Stat(cwd); err != nil || !i.IsDir() {
		return notFound(fmt.Sprintf("The working folder %q is not in the bundle.", r.task.Workdir))
	}
	root, err := os.OpenRoot(cwd)
	if err != nil {
		return notFound(err.Error())
	}
	defer root.Close()
	for next := 1; next < len(argv); {
		line := argv[next]
		next++
		verb, args := step(line)
		e, err := r.act(root, verb, args)
		if verb == "repeat" && err == nil {
			next, err = back(next, args)
		}
		switch {
		case errors.Is(err, errKilled):
			return daemon.Exit{Code: 128 + 9}
		case errors.Is(err, errTerminated):
			return daemon.Exit{Code: 128 + 15}
		case err != nil:
			fmt.Fprintf(r.out, "simulate: %s: %v\n", line, err)
			return daemon.Exit{Code: 2}
		case e != nil:
			return *e
		}
		if err := r.over(); err != nil {
			return daemon.Exit{Code: signalOf(err)}
		}
	}
	return daemon.Exit{}
}
