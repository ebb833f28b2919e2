package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/faults"
)

// attempt is one lease under way on this host, from accept until the server has its
// result. One goroutine (work) drives it; stopping comes from outside as an order.
type attempt struct {
	d       *Daemon
	key     attemptKey
	claims  *wire.ManifestClaims // nil for one that an earlier process began
	dir     string
	spool   *spool
	courier *courier
	log     *slog.Logger
	after   []<-chan struct{} // attempts of the same job or GPUs that have to be gone before it starts

	held  context.Context // ends when the server has settled the attempt or does not want it
	leave context.CancelCauseFunc
	quiet chan struct{} // closed when no process is left
	hush  sync.Once
	gone  chan struct{} // closed when the attempt is settled, or the daemon ends
	final *report       // the result on its way; set before settle
	clean func() error  // removes what the run left outside the attempt's folder
	run   Run           // of an attempt that was attached

	fetched   int64         // bytes of bundle and inputs that arrived whole
	fetchTook time.Duration // by the steady clock

	mu     sync.Mutex
	state  wire.HeldAttemptState
	order  *order        // how it is to stop; the latest counts
	orders chan struct{} // closed at the first order
	halt   context.CancelFunc
}

// order is why an attempt has to stop before its own end.
type order struct {
	reason wire.Reason
	detail string
	grace  time.Duration
	drop   bool // the server does not want to hear of it
	lost   bool // the lease is over: the server may have given the job to another host
}

// newAttempt makes the attempt's folder and its spool.
func (d *Daemon) newAttempt(key attemptKey, claims *wire.ManifestClaims) (*attempt, error) {
	a := d.bareAttempt(key)
	a.claims, a.state = claims, wire.HeldAttemptStateAccepted
	// What an earlier process left under this name is of another life.
	if err := errors.Join(d.ports.Folders.RemoveDir(a.dir), os.MkdirAll(a.dir, 0o700)); err != nil {
		return nil, err
	}
	var err error
	a.spool, err = newSpool(a.logPath(), d.clock, claims.Limits.LogBytes, d.cfg.SpoolBytes, a.courier.poke)
	a.courier.spool = a.spool
	return a, err
}

// bareAttempt is what new and restored attempts have in common. A report that the server
// calls stale drops the attempt, whichever report it is.
func (d *Daemon) bareAttempt(key attemptKey) *attempt {
	a := &attempt{
		d: d, key: key, dir: filepath.Join(d.cfg.Dir, "attempts", fmt.Sprintf("%s-%d", key.Job, key.Attempt)),
		log: d.log.With("job", key.Job, "attempt", key.Attempt), orders: make(chan struct{}),
		quiet: make(chan struct{}), gone: make(chan struct{}),
	}
	a.held, a.leave = context.WithCancelCause(d.life)
	a.courier = newCourier(key, d.clock, a.log, func() { a.stop(order{drop: true}) })
	return a
}

// workDir is the folder that the job works in.
func (a *attempt) workDir() string { return filepath.Join(a.dir, "work") }

// logPath is where the spool lies.
func (a *attempt) logPath() string { return filepath.Join(a.dir, "log") }

// stop orders the attempt to end. A later order only makes it faster.
func (a *attempt) stop(o order) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.drop {
		a.leave(errStale)
	}
	switch {
	case a.order == nil:
		a.order = &o
		close(a.orders)
	case o.drop || o.lost:
		a.order.drop = a.order.drop || o.drop
		a.order.lost = a.order.lost || o.lost
		a.order.grace = 0
		if a.halt != nil {
			a.halt()
		}
	}
}

// stopped is the order, or nil.
func (a *attempt) stopped() *order {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.order == nil {
		return nil
	}
	o := *a.order
	return &o
}

// setState is what the next hello will say.
func (a *attempt) setState(s wire.HeldAttemptState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = s
}

// report says what hello says about the attempt.
func (a *attempt) report() wire.HeldAttempt {
	size, _, _ := a.spool.state()
	a.mu.Lock()
	defer a.mu.Unlock()
	return wire.HeldAttempt{JobID: a.key.Job, Attempt: a.key.Attempt, State: a.state, LogBytes: size}
}

// runs says that the attempt has a process, or is about to.
func (a *attempt) runs() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state == wire.HeldAttemptStateAccepted || a.state == wire.HeldAttemptStateRunning
}

// work drives a new attempt to its end.
func (a *attempt) work() {
	a.conclude(a.execute())
}

// conclude writes down how the attempt ended, tells the server and leaves nothing. An
// attempt whose run goes on without this agent is left as it is.
func (a *attempt) conclude(exit wire.Exit, usage wire.Usage, files []wire.Artifact) {
	d := a.d
	a.hush.Do(func() { close(a.quiet) })
	if o := a.stopped(); (o == nil || !o.drop) && d.life.Err() == nil && d.handedOver.Err() == nil {
		r := a.result(exit, files, o != nil && o.lost)
		usage.FetchedBytes, usage.FetchMs = a.fetched, a.fetchTook.Milliseconds()
		r.Finished.Usage = usage
		_ = faults.Point("exit.before_persist")
		if err := d.journal.end(a.key, r); err != nil {
			a.log.Error("the result is not safe from a restart", "error", err)
		}
		state := wire.HeldAttemptStateFinished
		if r.Lost {
			state = wire.HeldAttemptStateLost
		}
		a.setState(state)
		_ = faults.Point("exit.after_persist_before_send")
		a.final = a.courier.tell(&r.Finished)
		a.log.Info("job ended", "reason", exit.Reason, "detail", exit.Detail, "ms", exit.DurationMs, "log_bytes", r.Finished.Log.Bytes, "artifacts", len(files))
	}
	// Not before: no process is left, and the renter need not wait for the rest.
	_ = faults.Point("cleanup.mid")
	if d.handedOver.Err() == nil {
		var err error
		if a.clean != nil {
			err = a.clean()
		}
		// What is worth keeping of it lies with the server.
		if err := errors.Join(err, d.ports.Folders.RemoveDir(a.workDir())); err != nil {
			a.log.Error("something of the job is left", "error", err)
		}
	}
	a.settle()
}

// settle waits until the server has the result, or does not want it, and leaves nothing.
// When the daemon ends first, the journal keeps the attempt for the next one.
func (a *attempt) settle() {
	defer close(a.gone)
	defer a.spool.close()
	if a.final != nil {
		// Either the server's acceptance, or its word that it is stale; everything
		// else is repeated by the courier.
		_, _ = a.final.await(a.held)
	} else {
		<-a.held.Done()
	}
	a.leave(nil)
	if errors.Is(context.Cause(a.held), errEnded) {
		return
	}
	if err := a.d.journal.settle(a.key); err != nil {
		a.log.Error("the journal cannot be written", "error", err)
	}
	if err := a.d.ports.Folders.RemoveDir(a.dir); err != nil {
		a.log.Error("the attempt's folder cannot be removed", "error", err)
	}
	a.d.forget(a)
}

// errEnded is a daemon that stops.
var errEnded = errors.New("the agent stops")

// result puts an ending together.
func (a *attempt) result(exit wire.Exit, files []wire.Artifact, lost bool) result {
	return result{Lost: lost, Finished: wire.Finished{
		JobID: a.key.Job, Attempt: a.key.Attempt, ExitCode: exit.ExitCode, Reason: exit.Reason, Detail: clip(exit.Detail),
		DurationMs: exit.DurationMs, Log: a.spool.summary(), Artifacts: files,
	}}
}

// execute fetches, runs and delivers. However it ends, the log's stream is closed and no
// process is left; what else is left, clean removes.
func (a *attempt) execute() (wire.Exit, wire.Usage, []wire.Artifact) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-a.orders:
			cancel(errors.New("the attempt is to stop"))
		case <-ctx.Done():
		}
	}()
	defer func() {
		if a.d.handedOver.Err() != nil {
			return // the next agent goes on with it
		}
		if err := a.spool.finish(); err != nil {
			a.log.Error("the log's end cannot be written", "error", err)
		}
	}()
	task, failed := a.prepare(ctx)
	if failed == nil && ctx.Err() == nil {
		for _, gone := range a.after {
			select {
			case <-gone:
			case <-ctx.Done():
			}
		}
	}
	if o := a.stopped(); o != nil {
		return wire.Exit{Reason: o.reason, Detail: o.detail}, wire.Usage{}, nil
	}
	if failed != nil {
		return *failed, wire.Usage{}, nil
	}
	_ = faults.Point("start.after_create_before_start")
	task.Guard = a.guard
	faults.Note("run.begin", a.key)
	run, err := a.d.ports.Runtime.Start(ctx, task)
	if err != nil {
		a.unguard()
		faults.Note("run.end", a.key)
		if o := a.stopped(); o != nil {
			return wire.Exit{Reason: o.reason, Detail: o.detail}, wire.Usage{}, nil
		}
		a.log.Error("the job cannot be started", "error", err)
		if len(task.GPUs) > 0 {
			a.d.lookAgain(ctx)
		}
		return wire.Exit{Reason: wire.ReasonHostError, Detail: "the host could not start the job"}, wire.Usage{}, nil
	}
	a.clean = run.Cleanup
	_ = faults.Point("start.after_start_before_persist")
	if a.d.ports.Runtime.Info().Survives {
		if err := a.d.journal.run(a.key, *a.claims); err != nil {
			a.log.Error("the job is not safe from a restart of the agent", "error", err)
		}
	}
	return a.watch(run, task)
}

// watch follows a run to its end, and its results to the server.
func (a *attempt) watch(run Run, task Task) (wire.Exit, wire.Usage, []wire.Artifact) {
	a.setState(wire.HeldAttemptStateRunning)
	a.courier.tell(&wire.Phase{JobID: a.key.Job, Attempt: a.key.Attempt, Name: wire.PhaseNameRunning})
	copied := make(chan error, 1)
	go func() {
		output := onlyReader{run.Output()}
		_, err := io.CopyBuffer(a.spool, output, make([]byte, 32<<10))
		// Once it is handed over, what is not kept is for the next agent to read.
		if err != nil && a.d.handedOver.Err() == nil {
			a.stop(order{reason: wire.ReasonHostError, detail: notKept})
			// It would wait for somebody who reads what it prints, and could not end.
			_, _ = io.Copy(io.Discard, output)
		}
		copied <- err
	}()
	ended := make(chan struct{})
	go a.obey(run, ended)
	end, err := run.Wait(a.d.handedOver)
	close(ended)
	if a.d.handedOver.Err() != nil {
		return wire.Exit{}, wire.Usage{}, nil // the next agent attaches it
	}
	if err != nil { // it may run still, and has to be gone before anybody hears of its end
		err = errors.Join(err, run.Cleanup())
	}
	a.unguard()
	faults.Note("run.end", a.key)
	a.hush.Do(func() { close(a.quiet) })
	if end.Reason == "" && end.Code == killedCode && a.leaseOver() {
		// The watchdog was quicker than the fence of an agent that was suspended.
		a.stop(lostServer(0))
		end.Reason = ReasonStopped
	}
	exit := a.exitOf(end, err)
	if (exit.Reason == wire.ReasonExitCode || exit.Reason == wire.ReasonTooManyProcesses) && freeBytes(a.dir) < mib {
		// It kept to its limits, so what it lacked had been promised to it.
		exit.Reason, exit.Detail = wire.ReasonHostError, diskFull
	}
	a.setState(wire.HeldAttemptStateExited)
	a.courier.tell(&wire.Exited{
		JobID: a.key.Job, Attempt: a.key.Attempt, ExitCode: exit.ExitCode, Reason: exit.Reason,
		Detail: exit.Detail, DurationMs: exit.DurationMs,
	})
	a.spool.release()
	if err := <-copied; err != nil {
		a.log.Error("the job's output cannot be kept", "error", err)
		if exit.Reason == "" || exit.Reason == wire.ReasonExitCode {
			exit.Reason, exit.Detail = wire.ReasonHostError, notKept
		}
	}
	usage := wire.Usage{CPUMs: end.CPUTime.Milliseconds(), PeakMemoryBytes: end.PeakMemoryBytes}
	if err := a.spool.finish(); err != nil {
		a.log.Error("the log's end cannot be written", "error", err)
	}
	if !delivers(exit.Reason) {
		return exit, usage, nil
	}
	files, exit := a.deliver(task.Dir, exit)
	return exit, usage, files
}

// notKept is what the server hears of a job whose log the disk does not take.
const notKept = "the host could not keep the job's output"

// diskFull is what the server hears of a job that failed where nothing could be written.
const diskFull = "the host's disk is full"

// killedCode is the exit code of a command that SIGKILL ended.
const killedCode = 128 + 9

// delivers says whether what the job left is of use to anybody: not of one that was
// cancelled, and not when the job will run again.
func delivers(r wire.Reason) bool {
	switch r {
	case wire.ReasonCancelledByRenter, wire.ReasonHostReclaimed, wire.ReasonHostError, wire.ReasonAgentRestarted:
		return false
	default:
		return true
	}
}

// onlyReader hides WriterTo and the like: the spool is to see the bytes as they come.
type onlyReader struct{ io.Reader }

// obey stops the run when it is ordered to.
func (a *attempt) obey(run Run, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-a.orders:
	}
	ctx, halt := context.WithCancel(context.Background())
	defer halt()
	a.mu.Lock()
	a.halt = halt
	grace := a.order.grace
	if a.order.drop || a.order.lost {
		grace = min(grace, time.Second)
	}
	a.mu.Unlock()
	// A full spool blocks the job in its write, and it could not say goodbye.
	a.spool.release()
	if err := run.Stop(ctx, grace); err != nil && ctx.Err() == nil {
		a.log.Error("the job cannot be stopped", "error", err)
	}
}

// exitOf puts the runtime's words into the server's.
func (a *attempt) exitOf(end Exit, err error) wire.Exit {
	code := end.Code
	exit := wire.Exit{ExitCode: &code, DurationMs: end.Duration.Milliseconds(), Detail: clip(end.Detail)}
	switch {
	case err != nil:
		a.log.Error("the runtime lost the job", "error", err)
		return wire.Exit{Reason: wire.ReasonHostError, Detail: "the host lost sight of the job", DurationMs: exit.DurationMs}
	case end.Reason == ReasonStopped:
		exit.Reason = wire.ReasonHostError
		if o := a.stopped(); o != nil {
			exit.Reason, exit.Detail = o.reason, o.detail
		}
	case end.Reason != "":
		exit.Reason = wire.Reason(end.Reason)
	case code != 0:
		exit.Reason = wire.ReasonExitCode
	}
	return exit
}

// clip keeps a sentence within what a frame takes.
func clip(s string) string {
	if len(s) <= 1000 {
		return s
	}
	for i := 1000; ; i-- {
		if s[i]&0xc0 != 0x80 { // not in the middle of a character
			return s[:i] + "…"
		}
	}
}
