package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime/entry"
)

// dockerRun is one attempt in a container.
type dockerRun struct {
	d    *Docker
	name string
	task daemon.Task
	dir  string // what the container sees as entry.Folder

	id    string // of the container; "" before there is one
	argv0 string // the command, for sentences
	feed  *feed

	ended chan struct{} // closed once exit and err are set
	once  sync.Once
	exit  daemon.Exit
	err   error

	mu     sync.Mutex
	cause  string // why we end it, the first reason given
	detail string
	clean  bool
}

// Output implements daemon.Run.
func (r *dockerRun) Output() io.Reader { return r.feed }

// Wait implements daemon.Run.
func (r *dockerRun) Wait(ctx context.Context) (daemon.Exit, error) {
	if err := wait(ctx, r.ended); err != nil {
		return daemon.Exit{}, err
	}
	return r.exit, r.err
}

// start brings the container up and lets the command go.
func (r *dockerRun) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineStarts)
	defer cancel()
	image, err := r.d.api.ImageInspect(ctx, r.d.image(r.task))
	if err != nil {
		return err
	}
	argv := command(r.task, image)
	if len(argv) == 0 {
		r.argv0 = r.d.image(r.task)
		r.feed = noFeed()
		r.conclude(notFound("The job names no command, and neither does its image."), nil)
		return nil
	}
	r.argv0 = argv[0]
	defaults := imageEnvironment(image)
	defaults["HOME"], defaults["TMPDIR"] = "/tmp", "/tmp"
	if defaults["LANG"] == "" {
		defaults["LANG"] = "C.UTF-8"
	}
	dir := path.Join(daemon.WorkDir, r.task.Workdir)
	if len(r.task.Argv) == 0 && r.task.Workdir == "" && image.Config.WorkingDir != "" {
		dir = image.Config.WorkingDir // its own command expects it
	}
	limits := r.task.Limits
	err = r.d.writeTask(r.dir, entry.Task{
		Argv: argv, Env: environment(r.task, defaults), Dir: dir, Volume: entryVolume(r.task.Dir), MaxRuntime: limits.MaxRuntime, Grace: limits.Grace,
	})
	if err != nil {
		return err
	}
	token := newToken()
	if r.feed, err = listen(r.dir, token, 0); err != nil {
		return err
	}
	policy := ContainerPolicy{
		User: r.d.user, Entry: r.dir, CPUs: r.d.engine.NCPU, Files: openFiles(), Runtime: r.d.o.Runtime, AppArmor: confines(r.d.engine), Volumes: volumes(image),
	}
	created, err := r.d.api.ContainerCreate(ctx, &container.Config{
		Image: image.ID, Entrypoint: []string{path.Join(entry.Folder, entry.Binary)}, Cmd: []string{},
		Env: containerEnvironment(image, len(r.task.GPUs) > 0, token), User: policy.User, WorkingDir: "/", Hostname: "job",
		NetworkDisabled: true, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels: map[string]string{labelAgent: r.d.owner, labelJob: r.task.JobID, labelAttempt: fmt.Sprint(r.task.Attempt)},
	}, BuildHostConfig(r.task, policy), nil, nil, "")
	if err != nil {
		return err
	}
	r.id = created.ID
	exited := r.exited() // before it starts, so that no end is missed
	if err := r.d.api.ContainerStart(ctx, r.id, container.StartOptions{}); err != nil {
		return err
	}
	return r.meet(ctx, exited)
}

// attach takes up a container that runs, with its output from an offset on.
func (r *dockerRun) attach(ctx context.Context, c container.InspectResponse, from int64) error {
	token, ok := tokenOf(c)
	if !ok {
		return errors.New("the container is not one of this agent")
	}
	r.id, r.argv0 = c.ID, strings.Join(r.task.Argv[:min(1, len(r.task.Argv))], "")
	var err error
	if r.feed, err = listen(r.dir, token, from); err != nil {
		return err
	}
	return r.meet(ctx, r.exited())
}

// meet waits for the entry, tells who has to be killed should the agent fail, and lets
// the command go.
func (r *dockerRun) meet(ctx context.Context, exited <-chan departure) error {
	select {
	case <-r.feed.came:
	case end := <-exited:
		return errors.Join(errors.New("the container ended before its command began"), end.err, r.said(ctx))
	case <-ctx.Done():
		return fmt.Errorf("the container's entry does not report: %w", ctx.Err())
	}
	c, err := r.d.api.ContainerInspect(ctx, r.id)
	if err != nil {
		return err
	}
	first := daemon.Processes{First: c.State.Pid, Sandbox: true, Charge: filepath.Join(r.dir, "charge")}
	if p, ok := lookup(first.First); ok {
		first.Started = p.started
	}
	if err := r.task.Guarded(first); err != nil {
		return err
	}
	r.feed.release()
	go r.follow(exited)
	return nil
}

// said is what stands in the way of a container that ended at once.
func (r *dockerRun) said(ctx context.Context) error {
	c, err := r.d.api.ContainerInspect(ctx, r.id)
	if err != nil {
		return err
	}
	if c.State.ExitCode == entry.WrongVolume {
		return errUnseen
	}
	return fmt.Errorf("exit code %d: %s", c.State.ExitCode, c.State.Error)
}

// errUnseen is an engine that mounts what lies below a job's file system.
var errUnseen = errors.New("the engine does not see the file systems that the agent mounts")

// entryVolume is how a container knows a folder that is a file system of its own.
func entryVolume(dir string) *entry.Volume {
	var s syscall.Stat_t
	if _, own := volume(dir); !own || syscall.Stat(dir, &s) != nil {
		return nil
	}
	return &entry.Volume{Path: daemon.WorkDir, Device: s.Dev, Inode: s.Ino}
}

// departure is the end of a container; an error says that nobody knows how.
type departure struct{ err error }

// exited receives when the container has ended.
func (r *dockerRun) exited() <-chan departure {
	done := make(chan departure, 1)
	ended, failed := r.d.api.ContainerWait(r.d.life, r.id, container.WaitConditionNextExit)
	go func() {
		for {
			select {
			case <-ended:
				done <- departure{}
				return
			case err := <-failed:
				if errdefs.IsNotFound(err) || r.d.life.Err() != nil {
					done <- departure{err}
					return
				}
			}
			// The engine is away: it is restarted, and containers may go on all the while.
			for {
				select {
				case <-time.After(engineRetry):
				case <-r.d.life.Done():
					done <- departure{r.d.life.Err()}
					return
				}
				ctx, cancel := context.WithTimeout(r.d.life, engineAnswers)
				_, err := r.d.api.Ping(ctx)
				cancel()
				if err == nil {
					break
				}
			}
			// not-running, because it may have ended in the meantime.
			ended, failed = r.d.api.ContainerWait(r.d.life, r.id, container.WaitConditionNotRunning)
		}
	}()
	return done
}

// follow sees the run to its end, and the container after it.
func (r *dockerRun) follow(exited <-chan departure) {
	unwatch := r.watchDisk()
	select {
	case <-r.feed.ended:
		unwatch()
		r.conclude(r.outcome(r.feed.end), nil)
		<-exited // Cleanup ends it
	case <-r.feed.torn:
		unwatch()
		r.conclude(daemon.Exit{}, fmt.Errorf("%s goes on, and a part of its output is lost: it was taken from here before", r.name))
		<-exited // Cleanup ends it
	case end := <-exited:
		unwatch()
		select {
		case <-r.feed.ended: // it said so just before
			r.conclude(r.outcome(r.feed.end), nil)
		default:
			r.conclude(r.killed(end.err))
		}
	}
	r.feed.finish()
}

func (r *dockerRun) conclude(e daemon.Exit, err error) {
	r.once.Do(func() {
		r.exit, r.err = e, err
		close(r.ended)
	})
}

// watchDisk ends a job whose folder grows beyond its limit; the answer ends the watching.
func (r *dockerRun) watchDisk() (stop func()) {
	limit := r.task.Limits.DiskBytes
	if limit <= 0 {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		every := watchDiskEvery
		for t := time.NewTimer(every); ; t.Reset(every) {
			select {
			case <-quit:
				t.Stop()
				return
			case <-t.C:
			}
			began := monotonic()
			if diskUsage(r.task.Dir) > limit {
				r.end(daemon.ReasonDiskFull, diskDetail(r.task.Limits), 0, nil)
				return
			}
			every = max(every, 10*(monotonic()-began))
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// Stop implements daemon.Run.
func (r *dockerRun) Stop(ctx context.Context, grace time.Duration) error {
	r.end(daemon.ReasonStopped, "The job was stopped.", grace, ctx.Done())
	killed := time.NewTimer(grace + 2*time.Second)
	defer killed.Stop()
	select {
	case <-r.ended:
		return nil
	case <-killed.C:
		return fmt.Errorf("stop %s: the container does not end", r.name)
	}
}

// end asks the job to stop and kills it after grace, or when hurry closes. The first
// reason stays.
func (r *dockerRun) end(reason, detail string, grace time.Duration, hurry <-chan struct{}) {
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
			asked = asked || r.feed.order(entry.Term)
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

// killWithin is how long the entry may take to kill; then the engine does.
const killWithin = time.Second

func (r *dockerRun) kill() {
	if r.feed.order(entry.Kill) {
		t := time.NewTimer(killWithin)
		defer t.Stop()
		select {
		case <-r.ended:
			return
		case <-t.C:
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineAnswers)
	defer cancel()
	_ = r.d.api.ContainerKill(ctx, r.id, "KILL") // Stop sees whether it ended
}

// Usage implements daemon.Run.
func (r *dockerRun) Usage() daemon.Usage {
	select {
	case <-r.ended:
		return daemon.Usage{PeakMemoryBytes: r.exit.PeakMemoryBytes, CPUTime: r.exit.CPUTime}
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	answer, err := r.d.api.ContainerStatsOneShot(ctx, r.id)
	if err != nil {
		return daemon.Usage{}
	}
	defer answer.Body.Close()
	var s container.StatsResponse
	if json.NewDecoder(answer.Body).Decode(&s) != nil {
		return daemon.Usage{}
	}
	return daemon.Usage{
		MemoryBytes: int64(s.MemoryStats.Usage), PeakMemoryBytes: int64(max(s.MemoryStats.MaxUsage, s.MemoryStats.Usage)),
		CPUTime: time.Duration(s.CPUStats.CPUUsage.TotalUsage), PIDs: int64(s.PidsStats.Current),
	}
}

// Cleanup implements daemon.Run.
func (r *dockerRun) Cleanup() error {
	r.mu.Lock()
	clean := r.clean
	r.clean = true
	r.mu.Unlock()
	if clean {
		return nil
	}
	var errs []error
	if r.id != "" {
		r.mu.Lock()
		if r.cause == "" {
			r.cause, r.detail = daemon.ReasonStopped, "The job was stopped."
		}
		r.mu.Unlock()
		if r.feed != nil {
			// It ends by itself, also where the engine does not get to removing it. An entry
			// of an older agent knows the first alone.
			r.feed.order(entry.Kill)
			r.feed.order(entry.Over)
		}
		ctx, cancel := context.WithTimeout(context.Background(), engineRemoves)
		if err := r.d.remove(ctx, r.id); err != nil {
			errs = append(errs, err)
			r.d.removeLater(r.id)
		}
		cancel()
	}
	errs = append(errs, r.forget())
	return errors.Join(errs...)
}

// forget leaves nothing of the run but the container.
func (r *dockerRun) forget() error {
	err := r.abandon()
	r.d.mu.Lock()
	delete(r.d.runs, r.name)
	r.d.mu.Unlock()
	return errors.Join(err, os.RemoveAll(r.dir))
}

// abandon gives up the socket alone.
func (r *dockerRun) abandon() error {
	if r.feed == nil {
		return nil
	}
	return r.feed.close()
}
