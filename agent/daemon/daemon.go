package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// Config is how a daemon behaves. Dir alone has no default.
type Config struct {
	Dir     string // the state folder, with the identity
	Version string // of the agent; "dev"
	Trusted bool   // run the owner's jobs alone, and those with weaker isolation
	Policy  Policy
	// StopGrace is between SIGTERM and SIGKILL; 10 s.
	StopGrace time.Duration
	// DrainFor is how long Run lets jobs go on after its context ended; 0.
	DrainFor time.Duration
	// StopWithin is how long Run then waits for what remains to be reported; 15 s.
	StopWithin time.Duration
	// SpoolBytes may wait for the server, per attempt, before a job's writes block; 1 GiB.
	SpoolBytes int64
	// ProbeEvery is how often the machine is looked at for changes; 1 min.
	ProbeEvery time.Duration
	Retry      Retry
	Log        *slog.Logger // slog.Default
}

// Retry is the pace of reconnecting.
type Retry struct {
	First  time.Duration // the first try after a session comes uniformly within it, and for Stable no later ones take longer; 5 s
	Base   time.Duration // then full jitter: uniformly within Base × 2ⁿ; 1 s
	Cap    time.Duration // at most; 60 s
	Stable time.Duration // a session of this length sets n back to 0; 60 s
	// Suspended is between the tries of a host that may not connect for now; 5 min.
	Suspended time.Duration
}

// Daemon is a host at work.
type Daemon struct {
	cfg      Config
	ports    Ports
	clock    Clock
	log      *slog.Logger
	identity *Identity
	trust    *trust
	journal  *journal
	lockFile *os.File

	link      *link
	connected chan struct{} // closed at the first welcome
	removed   chan struct{} // closed when the server has this host no more
	once      sync.Once
	lease     lease
	time      serverTime
	token     token
	load      atomic.Pointer[[]GPULoad]
	inventory atomic.Pointer[inventory]
	surveying sync.Mutex
	report    Report // of the runtime

	life    context.Context // of everything that the daemon does
	endLife context.CancelCauseFunc

	handedOver context.Context // ends when runs are left to the next agent
	handOver   context.CancelFunc
	workers    sync.WaitGroup

	mu       sync.Mutex
	attempts map[attemptKey]*attempt
	stopping bool
	policy   wire.PolicyClaims // of the platform; zero: none
}

// New opens a state folder. Another daemon on the same folder is an error, and so is a
// folder that is not enrolled.
func New(cfg Config, ports Ports) (*Daemon, error) {
	cfg = cfg.withDefaults()
	if ports.Server == nil || ports.Transfer == nil || ports.Runtime == nil || ports.Folders == nil || ports.GPUs == nil {
		return nil, errors.New("a daemon needs all of its ports but Clock and Watchdog")
	}
	clock := ports.Clock
	if clock == nil {
		clock = SystemClock{}
	}
	identity, err := LoadIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	keys, err := pinned(identity.keys)
	if err != nil {
		return nil, err
	}
	lockFile, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Lock(lockFile); err != nil {
		return nil, errors.Join(fmt.Errorf("another agent works in %s", cfg.Dir), lockFile.Close())
	}
	journal, err := openJournal(cfg.Dir, clock.Now())
	if err != nil {
		return nil, errors.Join(err, lockFile.Close())
	}
	d := &Daemon{
		cfg: cfg, ports: ports, clock: clock, log: cfg.Log.With("host", identity.HostID),
		identity: identity, trust: keys, journal: journal, lockFile: lockFile,
		link: newLink(), connected: make(chan struct{}), removed: make(chan struct{}), attempts: map[attemptKey]*attempt{},
	}
	d.life, d.endLife = context.WithCancelCause(context.Background())
	d.handedOver, d.handOver = context.WithCancel(context.Background())
	for _, w := range journal.warnings {
		d.log.Warn("the journal is damaged", "what", w)
	}
	return d, nil
}

// withDefaults fills in what was left open.
func (c Config) withDefaults() Config {
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&c.StopGrace, 10*time.Second)
	def(&c.StopWithin, 15*time.Second)
	def(&c.ProbeEvery, time.Minute)
	def(&c.Retry.First, 5*time.Second)
	def(&c.Retry.Base, time.Second)
	def(&c.Retry.Cap, time.Minute)
	def(&c.Retry.Stable, time.Minute)
	def(&c.Retry.Suspended, 5*time.Minute)
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 1 << 30
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Policy = c.Policy.withDefaults()
	return c
}

// HostID is the host's id at the server.
func (d *Daemon) HostID() string { return d.identity.HostID }

// Connected is closed when the server has welcomed this daemon for the first time.
func (d *Daemon) Connected() <-chan struct{} { return d.connected }

// Run works until ctx ends; then it stops taking work, lets jobs go on for DrainFor,
// gives the others back, and leaves no process. It fails at once where no job can run,
// and stops everything with ErrRemoved when its host was removed.
// A daemon runs once.
func (d *Daemon) Run(ctx context.Context) error {
	defer func() {
		d.endLife(errEnded)
		d.workers.Wait()
		_ = errors.Join(d.journal.Close(), d.lockFile.Close())
	}()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, job := range []func(context.Context){d.connect, d.fence, d.sample, d.probe} {
		d.workers.Go(func() { job(d.life) })
	}
	select {
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), ErrHandOver) && d.ports.Runtime.Info().Survives {
			d.leave()
			return nil
		}
		d.shutdown(d.cfg.DrainFor)
		return nil
	case <-d.removed:
		d.shutdown(0) // what runs, runs for nobody
		return ErrRemoved
	}
}

// ErrHandOver is the cause of a context whose end leaves runs that outlive the agent to
// the next one.
var ErrHandOver = errors.New("the agent is replaced")

// leave goes without a word about what runs: the next agent of this folder takes it up.
func (d *Daemon) leave() {
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	d.log.Info("leaving the running jobs to the next agent", "attempts", len(d.all()))
	d.handOver()
	if s, _ := d.link.present(); s != nil {
		s.close(wire.CloseTimeout, "the agent is replaced")
	}
}

// prepare looks at the machine, clears up after an earlier process and takes up what it
// owes to the server.
func (d *Daemon) prepare(ctx context.Context) error {
	info := d.ports.Runtime.Info()
	report, err := d.ports.Runtime.Probe(ctx)
	if err != nil {
		return fmt.Errorf("no job can run here: %w", err)
	}
	if info.Isolation == IsolationNone && info.Name == "process" && !d.cfg.Trusted {
		return errors.New("no job can run here: without a sandbox an agent takes its owner's jobs alone (trusted: true)")
	}
	d.report = report
	for _, warning := range report.Warnings {
		d.log.Warn(warning)
	}
	if err := d.survey(ctx); err != nil {
		return err
	}
	d.resumeLease()
	open, results := d.journal.unsettled()
	for key, b := range open {
		r, ended := results[key]
		a, err := d.restoreAttempt(ctx, key, b, r, ended)
		if err != nil {
			return fmt.Errorf("taking up %s: %w", key, err)
		}
		d.attempts[key] = a
	}
	if err := d.ports.Runtime.Sweep(ctx); err != nil {
		return fmt.Errorf("clearing up after an earlier agent: %w", err)
	}
	for _, a := range d.attempts {
		d.workers.Go(func() { a.courier.carry(a.held, d.link) })
		if a.run != nil {
			d.workers.Go(a.resume)
			continue
		}
		a.hush.Do(func() { close(a.quiet) })
		d.workers.Go(a.settle)
	}
	return d.clearFolders()
}

// clearFolders removes the folders of attempts that were settled.
func (d *Daemon) clearFolders() error {
	dir := filepath.Join(d.cfg.Dir, "attempts")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		kept := false
		for _, a := range d.attempts {
			kept = kept || filepath.Base(a.dir) == e.Name()
		}
		if !kept {
			if err := d.ports.Folders.RemoveDir(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// hello says who this is and what it holds; the signature is still to come.
func (d *Daemon) hello() wire.Hello {
	h := wire.Hello{
		AgentVersion: d.cfg.Version, MachineID: machineID(), InventoryHash: d.inventory.Load().Hash,
	}
	for _, a := range d.all() {
		h.Attempts = append(h.Attempts, a.report())
	}
	return h
}

// all lists the attempts that are held, in a steady order.
func (d *Daemon) all() []*attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*attempt, 0, len(d.attempts))
	for _, a := range d.attempts {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *attempt) int { return strings.Compare(a.key.String(), b.key.String()) })
	return list
}

// find is the attempt that is held under a key, or nil.
func (d *Daemon) find(key attemptKey) *attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.attempts[key]
}

// forget is the end of an attempt here.
func (d *Daemon) forget(a *attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.attempts, a.key)
}

// shutdown gives the machine back to its owner.
func (d *Daemon) shutdown(drain time.Duration) {
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	d.log.Info("stopping", "attempts", len(d.all()), "drain", drain)
	drained := drain > 0 && len(d.all()) > 0
	if drained {
		d.reclaim(nil)
		ctx, cancel := context.WithTimeout(d.life, drain)
		d.idle(ctx)
		cancel()
	}
	var stopped []wire.Attempt
	for _, a := range d.all() {
		if a.runs() {
			stopped = append(stopped, a.key.wire())
			a.stop(order{reason: wire.ReasonHostReclaimed, detail: "the host's owner stopped the agent", grace: d.cfg.StopGrace})
		}
	}
	d.reclaim(stopped)
	ctx, cancel := context.WithTimeout(d.life, d.cfg.StopWithin)
	defer cancel()
	// Without a connection nobody hears the reports; the journal keeps them. The
	// processes have to be gone all the same.
	d.idle(ctx)
	if s, _ := d.link.present(); s != nil {
		s.close(wire.CloseLeaving, "the agent stops")
	}
}

// reclaim tells the server that no more work is wanted, and which attempts are stopped.
func (d *Daemon) reclaim(attempts []wire.Attempt) {
	if s, _ := d.link.present(); s != nil {
		_ = s.ask(&wire.Reclaim{Stopping: true, Attempts: attempts}, func(wire.Frame) {})
	}
}

// idle waits until nothing is held, or, when there is no connection to report by, until
// nothing runs; or until ctx ends.
func (d *Daemon) idle(ctx context.Context) {
	for _, a := range d.all() {
		for done := false; !done; {
			s, changed := d.link.present()
			quiet := a.quiet
			if s != nil {
				quiet = nil
			}
			select {
			case <-a.gone:
				done = true
			case <-quiet:
				done = true
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}

// pause waits, or answers ctx's error.
func (d *Daemon) pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
