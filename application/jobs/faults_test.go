package jobs_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// down is what a database answers that is away.
var down = domain.Unavailable("database", "the database does not answer")

// faults makes the storage of jobs and logs fail when the test wants it to.
type faults struct {
	ports.Jobs
	add, update atomic.Pointer[fault]
	lists       atomic.Pointer[fault]
	logs        atomic.Pointer[fault]
	listed      atomic.Pointer[func(ports.JobFilter)] // runs once, when a list was read and before it is given
}

// fault answers calls with an error, as long as it is in place.
type fault struct {
	err   error
	after bool         // what was asked for is done all the same
	times atomic.Int64 // how often it still happens
	when  func(*domainjobs.Job) bool
}

// failing is a fault that happens n times.
func failing(err error, n int64) *fault {
	f := &fault{err: err}
	f.times.Store(n)
	return f
}

// stored is a fault that happens once, after the change is durable.
func stored() *fault {
	f := failing(down, 1)
	f.after = true
	return f
}

// strike says whether the fault happens now.
func (f *fault) strike(j *domainjobs.Job) bool {
	return f != nil && (f.when == nil || f.when(j)) && f.times.Add(-1) >= 0
}

func (f *faults) List(ctx context.Context, filter ports.JobFilter, p ports.Page) ([]domainjobs.Snapshot, error) {
	if fault := f.lists.Load(); fault.strike(nil) {
		return nil, fault.err
	}
	list, err := f.Jobs.List(ctx, filter, p)
	if run := f.listed.Swap(nil); run != nil {
		(*run)(filter)
	}
	return list, err
}

func (f *faults) Add(ctx context.Context, j *domainjobs.Job) error {
	fault := f.add.Load()
	strikes := fault.strike(j)
	if strikes && !fault.after {
		return fault.err
	}
	err := f.Jobs.Add(ctx, j)
	if strikes && err == nil {
		err = fault.err
	}
	return err
}

func (f *faults) Update(ctx context.Context, id domain.ID, change func(*domainjobs.Job) error) (domainjobs.Snapshot, error) {
	fault, strikes := f.update.Load(), false
	s, err := f.Jobs.Update(ctx, id, func(j *domainjobs.Job) error {
		if err := change(j); err != nil {
			return err
		}
		if strikes = fault.strike(j); strikes && !fault.after {
			return fault.err
		}
		return nil
	})
	if err == nil && strikes {
		return domainjobs.Snapshot{}, fault.err
	}
	return s, err
}

// faultyLogs is storage of logs under the same faults.
type faultyLogs struct {
	ports.Logs
	*faults
}

func (l faultyLogs) Append(ctx context.Context, job domain.ID, attempt int, host domain.ID, offset int64, data []byte, at time.Time) error {
	fault := l.logs.Load()
	strikes := fault.strike(nil)
	if strikes && !fault.after {
		return fault.err
	}
	err := l.Logs.Append(ctx, job, attempt, host, offset, data, at)
	if strikes && err == nil {
		err = fault.err
	}
	return err
}

// options puts the faults between the use cases and their storage.
func (f *faults) options() market.Options {
	return market.Options{JobDeps: func(d *jobs.Deps) {
		f.Jobs = d.Jobs
		d.Jobs, d.Logs = f, faultyLogs{d.Logs, f}
	}}
}

// absent is storage of jobs that does not find any while it is away.
type absent struct {
	ports.Jobs
	away atomic.Bool
}

func (a *absent) Get(ctx context.Context, id, renter domain.ID) (domainjobs.Snapshot, error) {
	if a.away.Load() {
		return domainjobs.Snapshot{}, down
	}
	return a.Jobs.Get(ctx, id, renter)
}
