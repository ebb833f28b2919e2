package daemon

import (
	"context"
	"errors"
	"os"

	"github.com/peergpu/peergpu/openapi/wire"
)

// restoreAttempt takes up an attempt of an earlier agent. A run that outlived it is
// attached; any other died with it.
func (d *Daemon) restoreAttempt(ctx context.Context, key attemptKey, b begun, r result, ended bool) (*attempt, error) {
	a := d.bareAttempt(key)
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, err
	}
	var limit int64
	if b.Runs != nil {
		limit = b.Runs.Limits.LogBytes
	}
	var err error
	if a.spool, err = reopenSpool(a.logPath(), d.clock, limit, d.cfg.SpoolBytes, b.At, a.courier.poke); err != nil {
		return nil, err
	}
	a.courier.spool = a.spool
	if !ended && b.Runs != nil && a.attach(ctx, b.Runs) {
		return a, nil
	}
	if err := a.spool.finish(); err != nil {
		return nil, err
	}
	a.state = wire.HeldAttemptStateFinished
	if !ended {
		r = a.result(wire.Exit{Reason: wire.ReasonAgentRestarted, Detail: "the agent stopped while the job ran"}, nil, true)
		if err := d.journal.end(key, r); err != nil {
			return nil, err
		}
	}
	if r.Lost {
		a.state = wire.HeldAttemptStateLost
	}
	a.final = a.courier.tell(&r.Finished)
	return a, nil
}

// attach takes up a run that outlived an earlier agent, and says whether there is one.
func (a *attempt) attach(ctx context.Context, c *wire.ManifestClaims) bool {
	a.claims = c
	task := a.task()
	task.Guard = a.guard
	run, err := a.d.ports.Runtime.Attach(ctx, task, a.spool.resume())
	if err != nil {
		a.claims = nil
		if !errors.Is(err, ErrGone) {
			a.log.Error("the job cannot be taken up again, and is lost", "error", err)
		}
		return false
	}
	a.log.Info("job taken up again")
	a.run, a.state = run, wire.HeldAttemptStateRunning
	return true
}

// resume drives a run that was attached to its end.
func (a *attempt) resume() {
	a.clean = a.run.Cleanup
	a.conclude(a.watch(a.run, a.task()))
}
