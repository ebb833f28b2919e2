package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// inventory is the machine as it was seen last.
type inventory struct {
	wire.Inventory
	gpus []GPU
	news chan struct{} // closed when a newer one is there
	told chan struct{} // closed when the server has answered it
	tell func()        // closes told, once
}

// lookTime is how long a survey and the server's answer are waited for.
const lookTime = 10 * time.Second

// lookAgain surveys at once and waits until the server knows the outcome: what could not
// be started because a device is gone would be given to this host again.
func (d *Daemon) lookAgain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := d.survey(ctx); err != nil {
		d.log.Warn("the machine cannot be surveyed", "error", err)
		return
	}
	select {
	case <-d.inventory.Load().told:
	case <-ctx.Done():
	}
}

// survey looks at the machine and keeps what it sees if that is new.
func (d *Daemon) survey(ctx context.Context) error {
	gpus, err := d.ports.GPUs.Probe(ctx)
	if err != nil {
		return fmt.Errorf("looking for GPUs: %w", err)
	}
	d.surveying.Lock()
	defer d.surveying.Unlock()
	facts := runtimeFacts(d.ports.Runtime.Info(), d.report, d.cfg)
	seen := inventoryOf(hostFacts(d.cfg.Dir, d.cfg.Version, d.cfg.Policy), gpus, facts)
	old := d.inventory.Load()
	if old != nil && old.Hash == seen.Hash {
		return nil
	}
	now := &inventory{Inventory: seen, gpus: gpus, news: make(chan struct{}), told: make(chan struct{})}
	now.tell = sync.OnceFunc(func() { close(now.told) })
	d.inventory.Store(now)
	if old != nil {
		d.log.Info("this machine changed", "gpus", len(gpus))
		close(old.news)
	}
	return nil
}

// probe surveys again and again.
func (d *Daemon) probe(ctx context.Context) {
	for d.pause(ctx, d.cfg.ProbeEvery) == nil {
		limited, cancel := context.WithTimeout(ctx, d.cfg.ProbeEvery)
		if err := d.survey(limited); err != nil && ctx.Err() == nil {
			// A driver that hangs is not a machine without GPUs: what was seen
			// last stands until the driver says otherwise.
			d.log.Warn("the machine cannot be surveyed", "error", err)
		}
		cancel()
	}
}

// announce sends the inventory at the beginning of a session and when it changed. The
// server, which knows the hash from hello, ignores what it has.
func (d *Daemon) announce(ctx context.Context, s *session) {
	for {
		inv := d.inventory.Load()
		answered := make(chan error, 1)
		frame := inv.Inventory
		if err := s.ask(&frame, func(f wire.Frame) { answered <- refusal(f) }); err != nil {
			return
		}
		select {
		case err := <-answered:
			inv.tell()
			if err != nil {
				d.log.Warn("the server refuses the inventory", "error", err)
				if d.pause(ctx, time.Minute) != nil {
					return
				}
				continue
			}
		case <-ctx.Done():
			return
		}
		select {
		case <-inv.news:
		case <-ctx.Done():
			return
		}
	}
}
