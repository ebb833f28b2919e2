package daemon_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

func TestOnlyAnsweredHeartbeatsPutTheWatchdogOff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dog := &fakeWatchdog{watched: map[string]time.Duration{}}
		w.watchdog = dog
		w.runtime = &guardedRuntime{Runtime: w.runtime}
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		running(p)
		within, watched := dog.of(jobA + "/1")
		require.True(t, watched)
		// Later than the fence and its kill, sooner than the server: 240 s and 300 s.
		assert.Equal(t, 270*time.Second, within)
		pass(time.Minute)
		at, most := dog.petted()
		assert.Equal(t, 270*time.Second, most)
		assert.InDelta(t, w.clock.Boot().Seconds(), at.Seconds(), 13)

		p.set(func(p *peer) { p.acksBeats = false })
		pass(time.Second)
		last, _ := dog.petted()
		pass(30 * time.Second)
		at, _ = dog.petted()
		assert.Equal(t, last, at, "a heartbeat that nobody answered is no sign of life")
		pass(5 * time.Minute)
		_, watched = dog.of(jobA + "/1")
		assert.False(t, watched, "the fence stopped it")
	})
}

func TestNoJobStartsWithoutAWatchdog(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.watchdog = &fakeWatchdog{watched: map[string]time.Duration{}, broken: true}
		w.runtime = &guardedRuntime{Runtime: w.runtime}
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		expect[wire.Accept](p)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonHostError, finished.Reason)
		p.ack(f)
	})
}

func TestWhatTheWatchdogKilledIsNotTheRentersFault(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		jobs := &killedAsleep{Runtime: w.runtime, kill: make(chan struct{})}
		w.runtime = jobs
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		running(p)
		// The agent wakes up, and hears of the job's end before its fence looks.
		w.clock.suspend(10 * time.Minute)
		close(jobs.kill)
		exited, _ := expect[wire.Exited](p)
		assert.Equal(t, wire.ReasonHostError, exited.Reason)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonHostError, finished.Reason)
		p.ack(f)
	})
}

func TestAJobThatKillsItselfInTimeIsJudgedByItsExit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "signal 9"))
		running(p)
		expect[wire.Exited](p)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonExitCode, finished.Reason)
		p.ack(f)
	})
}

func TestNothingStartsOnceTheLeaseIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		// The machine is suspended between fetching and starting.
		jobs := &guardedRuntime{Runtime: w.runtime, before: func() { w.clock.suspend(10 * time.Minute) }}
		w.runtime = jobs
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "hang"))
		expect[wire.Accept](p)
		finished, f := expect[wire.Finished](p)
		assert.Equal(t, wire.ReasonHostError, finished.Reason)
		assert.False(t, jobs.started.Load())
		p.ack(f)
	})
}

// fakeWatchdog remembers what it is told.
type fakeWatchdog struct {
	mu      sync.Mutex
	at, max time.Duration
	watched map[string]time.Duration
	broken  bool
}

func (d *fakeWatchdog) Watch(name string, within time.Duration, _ daemon.Processes) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken {
		return errors.New("no watchdog")
	}
	d.watched[name] = within
	return nil
}

func (d *fakeWatchdog) Pet(at, within time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.max = at, within
	return nil
}

func (d *fakeWatchdog) Forget(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watched, name)
	return nil
}

func (d *fakeWatchdog) of(name string) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	within, watched := d.watched[name]
	return within, watched
}

func (d *fakeWatchdog) petted() (at, within time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.max
}

// guardedRuntime tells its guard, as a runtime with processes does.
type guardedRuntime struct {
	daemon.Runtime
	before  func()
	started atomic.Bool
}

func (r *guardedRuntime) Start(ctx context.Context, t daemon.Task) (daemon.Run, error) {
	if r.before != nil {
		r.before()
	}
	if err := t.Guarded(daemon.Processes{First: 1}); err != nil {
		return nil, err
	}
	r.started.Store(true)
	return r.Runtime.Start(ctx, t)
}

// killedAsleep is a runtime whose job is killed by somebody else.
type killedAsleep struct {
	daemon.Runtime
	kill chan struct{}
}

func (r *killedAsleep) Start(ctx context.Context, t daemon.Task) (daemon.Run, error) {
	t.Argv = []string{"simulate", "hang"}
	run, err := r.Runtime.Start(ctx, t)
	return &killedRun{Run: run, kill: r.kill}, err
}

type killedRun struct {
	daemon.Run
	kill chan struct{}
}

func (r *killedRun) Wait(ctx context.Context) (daemon.Exit, error) {
	<-r.kill
	if err := r.Stop(ctx, 0); err != nil {
		return daemon.Exit{}, err
	}
	return daemon.Exit{Code: 137, Duration: time.Minute}, nil
}
