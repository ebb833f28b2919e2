package contract

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Endings is the contract of ports.Endings. open also gives the jobs that it tells of.
func Endings(t *testing.T, open func(*testing.T) (ports.Endings, ports.Jobs)) {
	endings, stored := open(t)
	c := endingCases{endings, jobCases{stored}}
	t.Run("an unknown job is not found", c.notFound)
	t.Run("a job that no host had has nobody who earns", c.nobody)
	t.Run("while a host has the job nothing is over", c.underWay)
	t.Run("what is billed is what the run cost, however it ended", c.billed)
	t.Run("what is not the renter's to pay is not billed", c.unbilled)
	t.Run("of two hosts that had the job, the one that ran it earns", c.secondHost)
	t.Run("a cancelled context ends a call with its error", calls{
		"Of": func(ctx context.Context) error { _, err := c.Of(ctx, ids.New()); return err },
	}.cancelled)
}

type endingCases struct {
	ports.Endings
	jobs jobCases
}

// An hour costs as many millionths as it has milliseconds.
const msPrice domain.Micros = 3_600_000

// hired is who runs a job.
type hired struct{ host, owner domain.ID }

func hire() hired { return hired{ids.New(), ids.New()} }

func (h hired) lease(j *work.Job) error {
	return j.Lease(work.Lease{
		Host: h.host, HostOwner: h.owner, HourlyPrice: msPrice, Devices: []work.Device{{ID: ids.New(), UUID: "GPU", Model: "RTX 4090"}},
	}, minute(0))
}

// ran begins and ends the run of an attempt, of the given milliseconds.
func (h hired) ran(attempt int, ms int, r work.Result) func(*work.Job) error {
	return func(j *work.Job) error {
		if err := j.Start(h.host, attempt, minute(1)); err != nil {
			return err
		}
		r.Ran = time.Duration(ms) * time.Millisecond
		if err := j.Exit(h.host, attempt, r.Exit, minute(1).Add(r.Ran)); err != nil {
			return err
		}
		return j.Finish(h.host, attempt, r, minute(9))
	}
}

func ended(code int, reason work.Reason) work.Result {
	return work.Result{Exit: work.Exit{Code: &code, Reason: reason}}
}

// queued is a job in the queue whose hold pays for its whole run.
func (c endingCases) queued(t *testing.T) (id, renter domain.ID) {
	t.Helper()
	renter = ids.New()
	j := draft(renter)
	require.NoError(t, j.Enqueue(1000*unit, minute(0)))
	return c.jobs.add(t, j), renter
}

func (c endingCases) change(t *testing.T, id domain.ID, steps ...func(*work.Job) error) {
	t.Helper()
	for _, step := range steps {
		_, err := c.jobs.Update(t.Context(), id, step)
		require.NoError(t, err)
	}
}

func (c endingCases) of(t *testing.T, id domain.ID) ports.Ending {
	t.Helper()
	end, err := c.Of(t.Context(), id)
	require.NoError(t, err)
	return end
}

func (c endingCases) notFound(t *testing.T) {
	t.Parallel()
	end, err := c.Of(t.Context(), ids.New())
	assert.ErrorIs(t, err, domain.NotFound(""))
	assert.Zero(t, end)
}

func (c endingCases) nobody(t *testing.T) {
	t.Parallel()
	renter := ids.New()
	pending := c.jobs.add(t, draft(renter))
	assert.Equal(t, ports.Ending{Renter: renter}, c.of(t, pending))
	for _, end := range []func(*work.Job) error{
		func(j *work.Job) error { return j.Cancel(work.ReasonCancelledByRenter, minute(1)) },
		func(j *work.Job) error { return j.Fail(work.ReasonExpired, "", minute(1)) },
	} {
		id, renter := c.queued(t)
		assert.Equal(t, ports.Ending{Renter: renter}, c.of(t, id))
		c.change(t, id, end)
		assert.Equal(t, ports.Ending{Renter: renter, Over: true}, c.of(t, id))
	}
}

func (c endingCases) underWay(t *testing.T) {
	t.Parallel()
	id, renter := c.queued(t)
	h := hire()
	for _, step := range []func(*work.Job) error{
		h.lease,
		func(j *work.Job) error { return j.Accept(h.host, 1, minute(0)) },
		func(j *work.Job) error { return j.Start(h.host, 1, minute(1)) },
		func(j *work.Job) error { return j.Exit(h.host, 1, ended(0, "").Exit, minute(2)) },
		func(j *work.Job) error { return j.Cancel(work.ReasonCancelledByRenter, minute(2)) },
	} {
		c.change(t, id, step)
		end := c.of(t, id)
		assert.False(t, end.Over, "a host may still report")
		assert.Equal(t, renter, end.Renter)
		assert.Equal(t, h.owner, end.HostOwner)
		assert.Zero(t, end.Amount, "it is fixed at the end")
	}
}

func (c endingCases) billed(t *testing.T) {
	t.Parallel()
	cancel := func(j *work.Job) error { return j.Cancel(work.ReasonCancelledByRenter, minute(1)) }
	for name, x := range map[string]struct {
		before func(*work.Job) error
		result work.Result
	}{
		"succeeded": {result: ended(0, "")},
		"failed":    {result: ended(1, work.ReasonExitCode)},
		"too large": {result: ended(137, work.ReasonOutOfMemory)},
		"cancelled": {before: cancel, result: ended(143, work.ReasonCancelledByRenter)},
	} {
		id, renter := c.queued(t)
		h := hire()
		c.change(t, id, h.lease)
		if x.before != nil {
			c.change(t, id, x.before)
		}
		c.change(t, id, h.ran(1, 1234, x.result))
		assert.Equal(t, ports.Ending{Renter: renter, Host: h.host, HostOwner: h.owner, Amount: 1234, Over: true}, c.of(t, id), name)
	}
}

func (c endingCases) unbilled(t *testing.T) {
	t.Parallel()
	byAdmin, renter := c.queued(t)
	h := hire()
	c.change(t, byAdmin, h.lease,
		func(j *work.Job) error { return j.Cancel(work.ReasonCancelledByAdmin, minute(1)) },
		h.ran(1, 1234, ended(143, work.ReasonCancelledByRenter)))
	assert.Equal(t, ports.Ending{Renter: renter, Host: h.host, HostOwner: h.owner, Over: true}, c.of(t, byAdmin))

	lost, renter := c.queued(t)
	for n := range work.MaxLosses {
		assert.False(t, c.of(t, lost).Over, "it is tried again")
		h = hire()
		c.change(t, lost, h.lease, h.ran(n+1, 1234, ended(1, work.ReasonHostError)))
	}
	assert.Equal(t, ports.Ending{Renter: renter, Host: h.host, HostOwner: h.owner, Over: true}, c.of(t, lost))
}

func (c endingCases) secondHost(t *testing.T) {
	t.Parallel()
	id, renter := c.queued(t)
	first, second := hire(), hire()
	c.change(t, id, first.lease, first.ran(1, 5000, ended(1, work.ReasonHostError)))
	assert.False(t, c.of(t, id).Over)
	c.change(t, id, second.lease)
	assert.Equal(t, ports.Ending{Renter: renter, Host: second.host, HostOwner: second.owner}, c.of(t, id))
	c.change(t, id, second.ran(2, 77, ended(0, "")))
	assert.Equal(t, ports.Ending{Renter: renter, Host: second.host, HostOwner: second.owner, Amount: 77, Over: true}, c.of(t, id))
}
