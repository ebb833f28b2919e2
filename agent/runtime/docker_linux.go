package runtime

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime/entry"
)

// The labels by which a container of ours is known.
const (
	labelAgent   = "peergpu.agent"   // whose it is: of the runtime's folder
	labelJob     = "peergpu.job"     // of which job
	labelAttempt = "peergpu.attempt" // and which attempt
)

// How long the engine may take for an answer. It hangs at times, and a host has to go on.
const (
	engineAnswers = 30 * time.Second
	engineLooks   = 3 * time.Second
	engineStarts  = 2 * time.Minute  // a container: drivers and hooks load
	engineRemoves = 10 * time.Second // then it is tried again while others go on
	engineRetry   = time.Second
	pullIdle      = 2 * time.Minute
)

// Docker runs jobs in containers of a Docker engine. A run outlives the agent: the
// container's entry keeps what was not read yet.
type Docker struct {
	o      DockerOptions
	api    *client.Client
	engine system.Info
	owner  string // value of labelAgent
	user   string // who a job is
	uid    int    // whose the job's folder is; -1: the agent's own already

	mu      sync.Mutex
	runs    map[string]*dockerRun // until Cleanup
	watched error                 // why folders of jobs are no file systems of their own; nil: they are
	jobs    sync.WaitGroup        // removals that the engine did not answer in time
	stop    context.CancelFunc
	life    context.Context
}

var _ Machine = (*Docker)(nil)

// NewDocker checks that the engine answers and that the entry can be mounted.
func NewDocker(ctx context.Context, o DockerOptions) (*Docker, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("docker runtime: the folder %q is not absolute", o.Dir)
	}
	o.PullIdle = cmp.Or(o.PullIdle, pullIdle)
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if o.Host != "" {
		options = append(options, client.WithHost(o.Host))
	}
	api, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	sum := sha256.Sum256([]byte(o.Dir))
	d := &Docker{o: o, api: api, owner: hex.EncodeToString(sum[:8]), user: fmt.Sprintf("%d:%d", nobody, nobody), uid: nobody, runs: map[string]*dockerRun{}}
	d.life, d.stop = context.WithCancel(context.Background())
	if uid := os.Geteuid(); uid != 0 {
		// Only root can give a folder away.
		d.user, d.uid = fmt.Sprintf("%d:%d", uid, os.Getegid()), -1
	}
	ctx, cancel := context.WithTimeout(ctx, engineAnswers)
	defer cancel()
	if d.engine, err = api.Info(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("docker runtime: the engine at %s does not answer: %w", api.DaemonHost(), err), api.Close())
	}
	if err := d.installEntry(); err != nil {
		return nil, errors.Join(fmt.Errorf("docker runtime: %w", err), api.Close())
	}
	// What an earlier agent was trying when it was killed.
	if err := errors.Join(removeFolder(d.tries()), os.Mkdir(d.tries(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("docker runtime: %w", err), api.Close())
	}
	d.watched = tryVolume(ctx, d.tries())
	return d, nil
}

// EngineAnswers says whether there is an engine at a host, which is as in DockerOptions.
func EngineAnswers(ctx context.Context, host string) bool {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	api, err := client.NewClientWithOpts(options...)
	if err != nil {
		return false
	}
	defer func() { _ = api.Close() }() // nothing was asked of it
	ctx, cancel := context.WithTimeout(ctx, engineLooks)
	defer cancel()
	_, err = api.Ping(ctx)
	return err == nil
}

// installEntry puts the entry where containers of this agent find it: the engine mounts
// what lies on its machine, and another agent may be of another version.
func (d *Docker) installEntry() error {
	program, err := os.ReadFile(d.o.Entry)
	if err != nil {
		return fmt.Errorf("the entry of containers, which belongs beside the agent, is missing (make builds both): %w", err)
	}
	if err := os.MkdirAll(filepath.Join(d.o.Dir, "runs"), 0o711); err != nil { //nolint:gosec // containers pass through
		return err
	}
	path := filepath.Join(d.o.Dir, entry.Binary)
	if err := os.WriteFile(path+".new", program, 0o755); err != nil { //nolint:gosec // jobs run it
		return err
	}
	return os.Rename(path+".new", path) // one that runs keeps its own
}

// Close gives up the engine. Containers go on, for the next agent to attach.
func (d *Docker) Close() error {
	d.stop()
	d.mu.Lock()
	var errs []error
	for _, r := range d.runs {
		errs = append(errs, r.abandon())
	}
	d.mu.Unlock()
	d.jobs.Wait()
	return errors.Join(append(errs, d.api.Close())...)
}

// Info implements daemon.Runtime.
func (d *Docker) Info() daemon.RuntimeInfo {
	isolation := daemon.IsolationContainer
	if strings.Contains(d.o.Runtime, "runsc") {
		isolation = daemon.IsolationGVisor
	}
	return daemon.RuntimeInfo{Name: "docker", Isolation: isolation, Mounts: true, Survives: true}
}

// Probe implements daemon.Runtime: it runs the entry alone, in the default image.
func (d *Docker) Probe(ctx context.Context) (r daemon.Report, _ error) {
	r = daemon.Report{
		Version: fmt.Sprintf("Docker %s", d.engine.ServerVersion), Memory: enforced(d.engine.MemoryLimit),
		PIDs: enforced(d.engine.PidsLimit), CPU: enforced(d.engine.CPUCfsQuota), Disk: daemon.EnforcedVolume,
		Commands: map[string]string{},
	}
	defer func() {
		if why := d.whyWatched(); why != nil {
			r.Disk = daemon.EnforcedWatched
			r.Warnings = append(r.Warnings, "What a job writes is watched instead of limited: "+why.Error()+".")
		}
	}()
	if r.Memory == daemon.EnforcedNot {
		return r, errors.New("the engine cannot limit memory: enable the memory cgroup (kernel parameter cgroup_enable=memory)")
	}
	if d.o.Image == "" {
		r.Warnings = append(r.Warnings, "No image is named for jobs without one: nothing was tried.")
		return r, nil
	}
	for _, command := range []string{"sh", "python3"} {
		v, err := probeCommand(ctx, d, d.tries(), command)
		if errors.Is(err, errUnseen) { // from now on they are watched
			v, err = probeCommand(ctx, d, d.tries(), command)
		}
		switch {
		case err == nil:
			r.Commands[command] = v
		case command == "sh":
			return r, fmt.Errorf("no job runs in the image %s: %w", d.o.Image, err)
		default:
			r.Warnings = append(r.Warnings, "Jobs without an image of their own find no "+command+": "+err.Error())
		}
	}
	return r, nil
}

func enforced(by bool) string {
	if by {
		return daemon.EnforcedCgroup
	}
	return daemon.EnforcedNot
}

// image is what a task runs in.
func (d *Docker) image(t daemon.Task) string {
	if t.Image == "" {
		return d.o.Image
	}
	return t.Image
}

// Prepare implements daemon.Runtime.
func (d *Docker) Prepare(ctx context.Context, t daemon.Task, progress func(daemon.Progress)) error {
	if err := errors.Join(d.allowed(t), ctx.Err()); err != nil {
		return err
	}
	if err := d.pull(ctx, d.image(t), progress); err != nil {
		return err
	}
	return admit(ctx, t, d.uid)
}

// allowed refuses what this runtime cannot run.
func (d *Docker) allowed(t daemon.Task) error {
	own := t
	if len(own.Argv) == 0 && own.Image != "" {
		own.Argv = []string{"the image's own"}
	}
	if err := check(own); err != nil {
		return err
	}
	switch image := d.image(t); {
	case image == "":
		return errors.New("the job names no image, and this machine has no default")
	case !Pinned(image):
		// The engine would ask whatever the name says now, in its own network.
		return fmt.Errorf("the image %q is not pinned by its digest", image)
	case t.Network.Mode != "" && t.Network.Mode != "none":
		return fmt.Errorf("network mode %q is not offered here", t.Network.Mode)
	}
	return nil
}

// Start implements daemon.Runtime.
func (d *Docker) Start(ctx context.Context, t daemon.Task) (daemon.Run, error) {
	if err := d.allowed(t); err != nil {
		return nil, err
	}
	r, err := d.claim(t)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx); err != nil {
		if errors.Is(err, errUnseen) {
			d.mu.Lock()
			d.watched = errUnseen
			d.mu.Unlock()
		}
		return nil, errors.Join(fmt.Errorf("start %s: %w", r.name, err), r.Cleanup())
	}
	return r, nil
}

// claim makes the run of an attempt that this process does not have yet.
func (d *Docker) claim(t daemon.Task) (*dockerRun, error) {
	name := runName(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.runs[name] != nil {
		return nil, fmt.Errorf("attempt %s runs already", name)
	}
	r := &dockerRun{d: d, name: name, task: t, dir: d.folder(t), ended: make(chan struct{})}
	d.runs[name] = r
	return r, nil
}

// folder is what the container of an attempt sees as entry.Folder.
func (d *Docker) folder(t daemon.Task) string { return filepath.Join(d.o.Dir, "runs", runName(t)) }

// Attach implements daemon.Runtime.
func (d *Docker) Attach(ctx context.Context, t daemon.Task, from int64) (daemon.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, engineAnswers)
	defer cancel()
	found, err := d.containers(ctx, filters.Arg("label", labelJob+"="+t.JobID), filters.Arg("label", fmt.Sprintf("%s=%d", labelAttempt, t.Attempt)))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, daemon.ErrGone
	}
	c, err := d.api.ContainerInspect(ctx, found[0].ID)
	if errdefs.IsNotFound(err) || err == nil && (c.State == nil || !c.State.Running) {
		return nil, daemon.ErrGone // killed while nobody looked; Sweep removes it
	}
	if err != nil {
		return nil, err
	}
	r, err := d.claim(t)
	if err != nil {
		return nil, err
	}
	if err := r.attach(ctx, c, from); err != nil {
		return nil, errors.Join(fmt.Errorf("attach %s: %w", r.name, err), r.Cleanup())
	}
	return r, nil
}

// containers lists those of this agent.
func (d *Docker) containers(ctx context.Context, more ...filters.KeyValuePair) ([]container.Summary, error) {
	return d.api.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(append(more, filters.Arg("label", labelAgent+"="+d.owner))...),
	})
}

// writeTask fills the folder that the container sees.
func (d *Docker) writeTask(dir string, t entry.Task) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil { //nolint:gosec // the folder above is closed
		return err
	}
	path := filepath.Join(dir, entry.Job)
	if err := os.WriteFile(path, data, 0o400); err != nil {
		return err
	}
	if d.uid >= 0 {
		if err := os.Chown(path, d.uid, d.uid); err != nil {
			return err
		}
	}
	return os.Link(filepath.Join(d.o.Dir, entry.Binary), filepath.Join(dir, entry.Binary))
}

// newToken is what an entry shows.
func newToken() string { return rand.Text() }

// tokenOf finds the token of a container that runs.
func tokenOf(c container.InspectResponse) (string, bool) {
	if c.Config == nil {
		return "", false
	}
	i := slices.IndexFunc(c.Config.Env, func(e string) bool { return strings.HasPrefix(e, entry.TokenVariable+"=") })
	if i < 0 {
		return "", false
	}
	_, token, _ := strings.Cut(c.Config.Env[i], "=")
	return token, true
}

// command is what a container runs: the job's own, or else the image's.
func command(t daemon.Task, i image.InspectResponse) []string {
	if len(t.Argv) > 0 || i.Config == nil {
		return t.Argv
	}
	return slices.Concat(i.Config.Entrypoint, i.Config.Cmd)
}

// openFiles is how many files a process of a job may have open.
func openFiles() int64 {
	const enough = 65536
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Max > enough {
		return enough
	}
	return int64(l.Max)
}
