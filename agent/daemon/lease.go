package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/faults"
)

// lease is how long this host may go on with its attempts unheard. The server counts
// from when it received the last heartbeat, the agent from when it sent the last one
// that was acked, so the agent always stops first.
type lease struct {
	mu       sync.Mutex
	renewed  time.Duration // by Clock.Boot
	reassign time.Duration
}

// renew notes a sign of life that the server has answered, by when it was sent.
func (l *lease) renew(sent, reassign time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = max(l.renewed, sent)
	if reassign > 0 {
		l.reassign = reassign
	}
}

// over says that an attempt with its own reassign time has to be stopped.
func (l *lease) over(now, own time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := own
	if l.reassign > 0 {
		limit = min(limit, l.reassign)
	}
	return now >= l.renewed+limit-fenceMargin(limit)
}

// fenceMargin is how long before the server gives a job to another host this one stops
// it: time for the kill, and for clocks that do not run alike.
func fenceMargin(reassign time.Duration) time.Duration {
	if reassign < 180*time.Second {
		return reassign / 5 // settings for tests
	}
	return max(time.Minute, reassign/50)
}

// watchdogTime is how long after the last sign of life the watchdog kills what the fence
// did not stop: half of the margin is left for that.
func watchdogTime(reassign time.Duration) time.Duration { return reassign - fenceMargin(reassign)/2 }

// renewed takes a sign of life that the server has answered; reassign is 0 where it is the
// same as before.
func (d *Daemon) renewed(sent, reassign time.Duration) {
	d.lease.renew(sent, reassign)
	d.keepLease()
	if d.ports.Watchdog == nil {
		return
	}
	d.lease.mu.Lock()
	at, within := d.lease.renewed, watchdogTime(d.lease.reassign)
	d.lease.mu.Unlock()
	if err := d.ports.Watchdog.Pet(at, within); err != nil {
		d.log.Warn("the watchdog could not be told of the server's answer", "error", err)
	}
}

// leaseFile is the name of the file that remembers the lease for the next process of the
// agent, where runs outlive it.
const leaseFile = "lease"

// keptLease is what stands in it.
type keptLease struct {
	Boot     string        `json:"boot"` // which boot of the machine Renewed counts from
	Renewed  time.Duration `json:"renewed"`
	Reassign time.Duration `json:"reassign"`
}

// keepLease writes the lease down. After a loss of power no run is left to need it.
func (d *Daemon) keepLease() {
	if !d.ports.Runtime.Info().Survives {
		return
	}
	d.lease.mu.Lock()
	k := keptLease{Boot: bootID(), Renewed: d.lease.renewed, Reassign: d.lease.reassign}
	d.lease.mu.Unlock()
	data, err := json.Marshal(k)
	path := filepath.Join(d.cfg.Dir, leaseFile)
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		d.log.Warn("the lease cannot be written down; jobs do not survive a restart of the agent", "error", err)
	}
}

// resumeLease goes on with the lease of the process before.
func (d *Daemon) resumeLease() {
	var k keptLease
	data, err := os.ReadFile(filepath.Join(d.cfg.Dir, leaseFile))
	if err != nil || json.Unmarshal(data, &k) != nil || k.Boot != bootID() || k.Boot == "" {
		return
	}
	d.renewed(k.Renewed, k.Reassign)
}

// guard hands a run's processes to the watchdog. One whose lease is over must not start: an
// agent that was suspended wakes up in the middle of whatever it did.
func (a *attempt) guard(p Processes) error {
	if a.leaseOver() {
		return errors.New("the lease is over")
	}
	if a.d.ports.Watchdog == nil {
		return nil
	}
	return a.d.ports.Watchdog.Watch(a.key.String(), watchdogTime(a.reassign()), p)
}

// unguard ends the watchdog's watch: nothing is left of the run.
func (a *attempt) unguard() {
	if a.d.ports.Watchdog == nil {
		return
	}
	if err := a.d.ports.Watchdog.Forget(a.key.String()); err != nil {
		a.log.Warn("the watchdog could not be told of the job's end", "error", err)
	}
}

// reassign is how long after the last sign of life the server gives the attempt away.
func (a *attempt) reassign() time.Duration {
	return time.Duration(a.claims.ReassignAfterMs) * time.Millisecond
}

// leaseOver says that the attempt must not run any more.
func (a *attempt) leaseOver() bool { return a.d.lease.over(a.d.clock.Boot(), a.reassign()) }

// lostServer is the order to stop for want of a lease.
func lostServer(grace time.Duration) order {
	return order{
		reason: wire.ReasonHostError, lost: true, grace: grace,
		detail: "the host lost the server and stopped the job",
	}
}

// fence stops what runs when the lease is over.
func (d *Daemon) fence(ctx context.Context) {
	for {
		d.lease.mu.Lock()
		tick := min(time.Second, max(10*time.Millisecond, d.lease.reassign/50))
		d.lease.mu.Unlock()
		// A timer stands still in suspend but the boot clock does not: waking often
		// is what makes the fence hold after a laptop's lid was opened.
		if d.pause(ctx, tick) != nil {
			return
		}
		for _, a := range d.all() {
			if a.claims == nil || !a.runs() || a.stopped() != nil {
				continue
			}
			if a.leaseOver() {
				a.log.Error("the server was out of reach for too long; the job is stopped, for it may run elsewhere soon")
				_ = faults.Point("fence.before_kill")
				a.stop(lostServer(min(d.cfg.StopGrace, fenceMargin(a.reassign())/4)))
			}
		}
	}
}

// beat sends heartbeats on a session.
func (d *Daemon) beat(ctx context.Context, s *session) {
	every := seconds(s.welcome.HeartbeatS)
	var mu sync.Mutex
	acked := s.began
	total, idle := cpuTimes()
	for seq := int64(1); ; seq++ {
		// ±20 %, so that hosts that connected together do not beat together.
		if d.pause(ctx, every*4/5+rand.N(every*2/5+1)) != nil {
			return
		}
		mu.Lock()
		silence := d.clock.Boot() - acked
		mu.Unlock()
		if silence > 4*every {
			d.log.Warn("the server does not answer heartbeats", "for", silence)
			s.close(wire.CloseTimeout, "no ack in time")
			return
		}
		t, i := cpuTimes()
		b := d.heartbeat(seq)
		if t > total {
			b.CPUPct = 100 * (1 - float64(i-idle)/float64(t-total))
			b.CPUPct = min(100, max(0, b.CPUPct))
		}
		total, idle = t, i
		sent := d.clock.Boot()
		err := s.ask(b, func(f wire.Frame) {
			if refusal(f) != nil {
				return
			}
			d.renewed(sent, 0)
			if a, ok := f.Body.(*wire.Ack); ok && a.ServerTime != nil {
				d.time.set(*a.ServerTime, d.clock.Boot())
			}
			mu.Lock()
			acked = max(acked, sent)
			mu.Unlock()
		})
		if err != nil {
			s.close(wire.CloseTimeout, "cannot write")
			return
		}
	}
}

// heartbeat is one sign of life, with the latest load.
func (d *Daemon) heartbeat(seq int64) *wire.Heartbeat {
	b := &wire.Heartbeat{
		Seq: seq, DiskFreeMB: freeBytes(d.cfg.Dir) / mib, Attempts: len(d.all()),
		MemoryUsedMB: (kilobytes(keyed("/proc/meminfo", "MemTotal")) - kilobytes(keyed("/proc/meminfo", "MemAvailable"))) / mib,
	}
	if load := d.load.Load(); load != nil {
		b.GPUs = loadOf(*load)
	}
	return b
}

// sampleEvery is how often the GPUs' load is read. nvidia-smi takes up to a second, so
// heartbeats send the latest sample instead of waiting for one.
const sampleEvery = 5 * time.Second

// sample keeps the GPUs' load current.
func (d *Daemon) sample(ctx context.Context) {
	for {
		limited, cancel := context.WithTimeout(ctx, sampleEvery)
		load, err := d.ports.GPUs.Load(limited)
		cancel()
		if err == nil {
			d.load.Store(&load)
		} else if ctx.Err() == nil {
			d.log.Warn("the GPUs' load cannot be read", "error", err)
		}
		if d.pause(ctx, sampleEvery) != nil {
			return
		}
	}
}
