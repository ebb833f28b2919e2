package contract

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Jobs is the contract of ports.Jobs.
func Jobs(t *testing.T, open func(*testing.T) Storage) {
	c := jobCases{open(t).Jobs()}
	t.Run("what is not there is not found", c.notFound)
	t.Run("another renter's job is not found", c.foreign)
	t.Run("every field comes back as it was added", c.added)
	t.Run("every field comes back as it was changed", c.changed)
	t.Run("a job without anything comes back without anything", c.bare)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("an id is added once", c.once)
	t.Run("a failed change stores nothing, not even its events", c.failedChange)
	t.Run("concurrent changes of one job lose nothing", c.concurrentChanges)
	t.Run("the events of a job are its timeline", c.timeline)
	t.Run("a request of a renter makes one job", c.duplicateRequest)
	t.Run("of those who run a job again at once, each gets a number of its own", c.versionRace)
	t.Run("of those who lease one device, one gets it", c.deviceRace)
	t.Run("of those who lease the same devices in another order, one gets them", c.devicesRace)
	t.Run("a device is free again when its attempt ends", c.deviceFreed)
	t.Run("a job has one active attempt at most", c.oneAttempt)
	t.Run("every filter gives what a look at every job gives", c.filters)
	t.Run("pages go on where they ended, whatever was added", c.pages)
	t.Run("those queued longest come first", c.longestQueued)
	calls := c.calls()
	t.Run("a cancelled context ends a call with its error", calls.cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
	t.Run("a call from within a change fails at once", calls.nested(func(ctx context.Context, change func()) error {
		id := c.add(t, draft(ids.New()))
		_, err := c.Update(ctx, id, func(*work.Job) error { change(); return nil })
		return err
	}))
}

type jobCases struct{ ports.Jobs }

// draft begins a job that needs no bundle.
func draft(renter domain.ID) *work.Job {
	j, err := work.New(work.Draft{
		ID: ids.New(), Renter: renter, Spec: work.Spec{Command: []string{"echo", "hello"}}, Currency: "EUR",
	}, now())
	if err != nil {
		panic(err)
	}
	return j
}

// waiting is a job in the queue.
func waiting(renter domain.ID) *work.Job {
	j := draft(renter)
	if err := j.Enqueue(1_000_000, now()); err != nil {
		panic(err)
	}
	return j
}

// lease gives a job some devices of a host of their own.
func lease(j *work.Job, devices ...domain.ID) error {
	l := work.Lease{Host: ids.New(), HostName: "host", HostOwner: ids.New(), HourlyPrice: 1000}
	for _, d := range devices {
		l.Devices = append(l.Devices, work.Device{ID: d, UUID: "GPU-" + d.String(), Model: "RTX 4090"})
	}
	return j.Lease(l, now())
}

func (c jobCases) add(t *testing.T, j *work.Job) domain.ID {
	t.Helper()
	require.NoError(t, c.Add(t.Context(), j))
	return j.Snapshot().ID
}

func (c jobCases) get(t *testing.T, id domain.ID) work.Snapshot {
	t.Helper()
	s, err := c.Get(t.Context(), id, domain.ID{})
	require.NoError(t, err)
	return s
}

func (c jobCases) events(t *testing.T, id domain.ID) []domain.Event {
	t.Helper()
	events, err := c.Events(t.Context(), id, 0, 10_000)
	require.NoError(t, err)
	return events
}

func (c jobCases) notFound(t *testing.T) {
	t.Parallel()
	missing := ids.New()
	_, err := c.Get(t.Context(), missing, domain.ID{})
	assert.ErrorIs(t, err, domain.NotFound(""))
	_, err = c.Update(t.Context(), missing, func(*work.Job) error { t.Error("there is nothing to change"); return nil })
	assert.ErrorIs(t, err, domain.NotFound(""))
	list, err := c.List(t.Context(), ports.JobFilter{Renter: missing}, ports.Page{Limit: 10})
	require.NoError(t, err)
	assert.Empty(t, list)
	assert.Empty(t, c.events(t, missing))
}

func (c jobCases) foreign(t *testing.T) {
	t.Parallel()
	renter := ids.New()
	id := c.add(t, draft(renter))
	own, err := c.Get(t.Context(), id, renter)
	require.NoError(t, err)
	assert.Equal(t, id, own.ID)
	_, err = c.Get(t.Context(), id, ids.New())
	assert.ErrorIs(t, err, domain.NotFound(""))
}

// complete is a job with something in every field. Its last attempt holds devices.
func complete() work.Snapshot {
	s := filled[work.Snapshot]()
	s.Version, s.State = 1, work.Running
	for i := range s.Attempts {
		s.Attempts[i].Number = i + 1
	}
	s.Attempts[1].Outcome = work.OutcomeActive
	return s
}

func (c jobCases) added(t *testing.T) {
	t.Parallel()
	want := complete()
	id := c.add(t, work.Restore(want))
	same(t, want, c.get(t, id))
	list, err := c.List(t.Context(), ports.JobFilter{Renter: want.Renter}, ports.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 1)
	same(t, want, list[0])
}

func (c jobCases) changed(t *testing.T) {
	t.Parallel()
	first, want := complete(), complete()
	id := c.add(t, work.Restore(first))
	// What a job is never changes; what becomes of it does. The first attempt is closed
	// already, the second is closed now, and a third begins.
	want.ID, want.Renter, want.Spec, want.SealedEnv, want.Currency = first.ID, first.Renter, first.Spec, first.SealedEnv, first.Currency
	want.RerunOf, want.Origin, want.RunVersion = first.RerunOf, first.Origin, first.RunVersion
	want.CreatedAt, want.Idempotency = first.CreatedAt, first.Idempotency
	third := want.Attempts[1]
	third.Number, third.Devices = 3, filled[[]work.Device]()
	want.Attempts = []work.Attempt{first.Attempts[0], want.Attempts[0], third}
	want.Attempts[1].Number, want.Attempts[1].Devices = 2, first.Attempts[1].Devices
	returned, err := c.Update(t.Context(), id, func(j *work.Job) error {
		*j = *work.Restore(want)
		return nil
	})
	require.NoError(t, err)
	want.Version = 2
	same(t, want, returned)
	same(t, want, c.get(t, id))
}

func (c jobCases) bare(t *testing.T) {
	t.Parallel()
	j := draft(ids.New())
	want := j.Snapshot()
	want.Version = 1
	same(t, want, c.get(t, c.add(t, j)))
}

func (c jobCases) copies(t *testing.T) {
	t.Parallel()
	given := complete()
	id := c.add(t, work.Restore(given))
	for name, returned := range map[string]func() work.Snapshot{
		"what was added": func() work.Snapshot { return given },
		"Get":            func() work.Snapshot { return c.get(t, id) },
		"List": func() work.Snapshot {
			list, err := c.List(t.Context(), ports.JobFilter{Renter: given.Renter}, ports.Page{Limit: 1})
			require.NoError(t, err)
			return list[0]
		},
		"Update": func() work.Snapshot {
			s, err := c.Update(t.Context(), id, func(j *work.Job) error { j.Measure([]byte("{}")); return nil })
			require.NoError(t, err)
			return s
		},
	} {
		s := returned()
		was := frozen(c.get(t, id))
		scribble(&s)
		require.Equal(t, was, frozen(c.get(t, id)), name)
	}
}

func (c jobCases) once(t *testing.T) {
	t.Parallel()
	j := draft(ids.New())
	id := c.add(t, j)
	again := complete()
	again.ID = id
	require.Error(t, c.Add(t.Context(), work.Restore(again)))
	assert.Equal(t, j.Snapshot().Renter, c.get(t, id).Renter)
}

func (c jobCases) failedChange(t *testing.T) {
	t.Parallel()
	id := c.add(t, waiting(ids.New()))
	before, events := c.get(t, id), c.events(t, id)
	refused := errors.New("refused")
	_, err := c.Update(t.Context(), id, func(j *work.Job) error {
		require.NoError(t, j.Cancel(work.ReasonCancelledByRenter, now()))
		return refused
	})
	require.ErrorIs(t, err, refused)
	assert.Equal(t, before, c.get(t, id))
	assert.Equal(t, events, c.events(t, id))
}

func (c jobCases) concurrentChanges(t *testing.T) {
	t.Parallel()
	const times = 5
	id := c.add(t, draft(ids.New()))
	for _, err := range race(racers, func(int) error {
		for range times {
			if _, err := c.Update(t.Context(), id, func(j *work.Job) error {
				s := j.Snapshot()
				s.Losses++
				*j = *work.Restore(s)
				j.Record("jobs.counted", id, now(), s.Losses)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	s := c.get(t, id)
	assert.Equal(t, racers*times, s.Losses)
	assert.Equal(t, int64(1+racers*times), s.Version, "storage counts the changes")
	events := c.events(t, id)
	require.Len(t, events, 1+racers*times)
	for i, e := range events[1:] {
		var n int
		require.NoError(t, json.Unmarshal(e.Data, &n))
		require.Equal(t, i+1, n, "events are in the order of the changes")
	}
}

func (c jobCases) timeline(t *testing.T) {
	t.Parallel()
	began := now()
	j := draft(ids.New())
	id := c.add(t, j)
	at := time.Date(2026, 5, 6, 7, 8, 9, 123_456_789, time.FixedZone("", -3600))
	_, err := c.Update(t.Context(), id, func(j *work.Job) error {
		if err := j.Enqueue(5, at); err != nil {
			return err
		}
		return j.Cancel(work.ReasonCancelledByRenter, at)
	})
	require.NoError(t, err)
	c.add(t, waiting(ids.New()))

	events := c.events(t, id)
	require.Len(t, events, 3, "its own events alone")
	seen := map[domain.ID]bool{}
	for i, typ := range []string{work.EventSubmitted, work.EventQueued, work.EventCancelled} {
		e := events[i]
		assert.Equal(t, typ, e.Type)
		assert.Equal(t, id, e.Key)
		assert.Equal(t, 1, e.V)
		assert.False(t, e.ID.IsZero() || seen[e.ID], "every event has an id of its own")
		seen[e.ID] = true
		var h work.Happening
		require.NoError(t, json.Unmarshal(e.Data, &h))
		assert.Equal(t, j.Snapshot().Renter, h.Renter)
		if i > 0 {
			assert.Greater(t, e.Seq, events[i-1].Seq)
			assert.Equal(t, domain.Time(at), e.Time)
		}
	}
	assert.Positive(t, events[0].Seq)
	assert.False(t, events[0].Time.Before(began.Truncate(time.Second)))

	rest, err := c.Events(t.Context(), id, events[0].Seq, 100)
	require.NoError(t, err)
	assert.Equal(t, events[1:], rest, "after a Seq")
	one, err := c.Events(t.Context(), id, events[0].Seq, 1)
	require.NoError(t, err)
	assert.Equal(t, events[1:2], one, "up to a limit")
	was := frozen(events)
	copy(one[0].Data, `{"renter":"spoilt"}`)
	assert.Equal(t, was, frozen(c.events(t, id)), "what is returned is a copy")
}

func (c jobCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stored := c.add(t, waiting(ids.New()))
	before, events := c.get(t, stored), c.events(t, stored)
	j := draft(ids.New())
	require.ErrorIs(t, c.Add(ctx, j), context.Canceled)
	_, err := c.Update(ctx, stored, func(j *work.Job) error { return j.Cancel(work.ReasonCancelledByRenter, now()) })
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Get(t.Context(), j.Snapshot().ID, domain.ID{})
	assert.ErrorIs(t, err, domain.NotFound(""))
	assert.Empty(t, c.events(t, j.Snapshot().ID))
	assert.Equal(t, before, c.get(t, stored))
	assert.Equal(t, events, c.events(t, stored))
}

func (c jobCases) calls() calls {
	return calls{
		"Add": func(ctx context.Context) error { return c.Add(ctx, draft(ids.New())) },
		"Update": func(ctx context.Context) error {
			_, err := c.Update(ctx, ids.New(), func(*work.Job) error { return nil })
			return err
		},
		"Get": func(ctx context.Context) error { _, err := c.Get(ctx, ids.New(), domain.ID{}); return err },
		"Count": func(ctx context.Context) error {
			_, err := c.Count(ctx, ports.JobFilter{Renter: ids.New()})
			return err
		},
		"List": func(ctx context.Context) error {
			_, err := c.List(ctx, ports.JobFilter{Renter: ids.New()}, ports.Page{Limit: 1})
			return err
		},
		"Events": func(ctx context.Context) error { _, err := c.Events(ctx, ids.New(), 0, 1); return err },
	}
}
