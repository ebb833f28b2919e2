package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// The cases of ports.Jobs in which many want what one can have.

func (c jobCases) duplicateRequest(t *testing.T) {
	t.Parallel()
	renter := ids.New()
	request := func(renter domain.ID, key string) *work.Job {
		j, err := work.New(work.Draft{
			ID: ids.New(), Renter: renter, Spec: work.Spec{Command: []string{"true"}}, Currency: "EUR",
			Idempotency: work.Idempotency{Key: key, Request: "abc"},
		}, now())
		require.NoError(t, err)
		return j
	}
	tried := make([]*work.Job, racers)
	errs := race(racers, func(i int) error {
		tried[i] = request(renter, "once")
		return c.Add(t.Context(), tried[i])
	})
	assert.Equal(t, 1, winners(t, errs, ports.ErrDuplicateRequest))
	for i, err := range errs {
		id := tried[i].Snapshot().ID
		if err != nil {
			_, missing := c.Get(t.Context(), id, domain.ID{})
			assert.ErrorIs(t, missing, domain.NotFound(""), "a loser stores nothing")
			assert.Empty(t, c.events(t, id), "not even its events")
		} else {
			assert.Equal(t, tried[i].Snapshot().Idempotency, c.get(t, id).Idempotency)
		}
	}
	found, err := c.List(t.Context(), ports.JobFilter{Renter: renter, Key: "once"}, ports.Page{Limit: 10})
	require.NoError(t, err)
	assert.Len(t, found, 1)

	c.add(t, request(renter, "twice"))
	c.add(t, request(ids.New(), "once"))
	c.add(t, request(renter, ""))
	c.add(t, request(renter, ""))
}

func (c jobCases) versionRace(t *testing.T) {
	t.Parallel()
	first := draft(ids.New()).Snapshot()
	again := func(version int) *work.Job {
		j, err := work.New(work.Draft{
			ID: ids.New(), Renter: first.Renter, Spec: first.Spec, Currency: "EUR", Rerun: &first, RunVersion: version,
		}, now())
		require.NoError(t, err)
		return j
	}
	tried := make([]*work.Job, racers)
	errs := race(racers, func(i int) error {
		tried[i] = again(2)
		return c.Add(t.Context(), tried[i])
	})
	assert.Equal(t, 1, winners(t, errs, ports.ErrVersionTaken))
	for i, err := range errs {
		if err != nil {
			assert.Empty(t, c.events(t, tried[i].Snapshot().ID), "a loser stores nothing")
		}
	}
	c.add(t, again(3))
}

func (c jobCases) deviceRace(t *testing.T) {
	t.Parallel()
	t.Run("by changing", func(t *testing.T) {
		t.Parallel()
		device, contenders := ids.New(), make([]domain.ID, racers)
		for i := range contenders {
			contenders[i] = c.add(t, waiting(ids.New()))
		}
		errs := race(racers, func(i int) error {
			_, err := c.Update(t.Context(), contenders[i], func(j *work.Job) error { return lease(j, device) })
			return err
		})
		assert.Equal(t, 1, winners(t, errs, ports.ErrDeviceTaken))
		for i, err := range errs {
			s, events := c.get(t, contenders[i]), c.events(t, contenders[i])
			if err == nil {
				assert.Equal(t, work.Assigned, s.State)
				assert.Len(t, events, 3)
			} else {
				assert.Equal(t, work.Queued, s.State, "a loser stores nothing")
				assert.Empty(t, s.Attempts)
				assert.Len(t, events, 2, "not even its events")
			}
		}
	})
	t.Run("by adding", func(t *testing.T) {
		t.Parallel()
		device, contenders := ids.New(), make([]*work.Job, racers)
		errs := race(racers, func(i int) error {
			contenders[i] = waiting(ids.New())
			if err := lease(contenders[i], device); err != nil {
				return err
			}
			return c.Add(t.Context(), contenders[i])
		})
		assert.Equal(t, 1, winners(t, errs, ports.ErrDeviceTaken))
		for i, err := range errs {
			id := contenders[i].Snapshot().ID
			if err != nil {
				_, missing := c.Get(t.Context(), id, domain.ID{})
				assert.ErrorIs(t, missing, domain.NotFound(""), "a loser stores nothing")
				assert.Empty(t, c.events(t, id), "not even its events")
			}
		}
	})
}

func (c jobCases) devicesRace(t *testing.T) {
	t.Parallel()
	a, b, contenders := ids.New(), ids.New(), make([]domain.ID, racers)
	for i := range contenders {
		contenders[i] = c.add(t, waiting(ids.New()))
	}
	errs := race(racers, func(i int) error {
		first, second := a, b
		if i%2 == 0 {
			first, second = b, a
		}
		_, err := c.Update(t.Context(), contenders[i], func(j *work.Job) error { return lease(j, first, second) })
		return err
	})
	assert.Equal(t, 1, winners(t, errs, ports.ErrDeviceTaken))
	for _, one := range []domain.ID{a, b} {
		_, err := c.Update(t.Context(), c.add(t, waiting(ids.New())), func(j *work.Job) error { return lease(j, ids.New(), one) })
		assert.ErrorIs(t, err, ports.ErrDeviceTaken, "one device of several is enough")
	}
}

func (c jobCases) deviceFreed(t *testing.T) {
	t.Parallel()
	device := ids.New()
	id, other := c.add(t, waiting(ids.New())), c.add(t, waiting(ids.New()))
	take := func(id domain.ID) error {
		_, err := c.Update(t.Context(), id, func(j *work.Job) error { return lease(j, device) })
		return err
	}
	lose := func(id domain.ID, attempt int) {
		_, err := c.Update(t.Context(), id, func(j *work.Job) error { return j.Lose(attempt, work.ReasonHostLost, "", now()) })
		require.NoError(t, err)
	}
	require.NoError(t, take(id))
	require.ErrorIs(t, take(other), ports.ErrDeviceTaken)
	lose(id, 1)
	require.NoError(t, take(other))
	require.ErrorIs(t, take(id), ports.ErrDeviceTaken)
	lose(other, 1)
	require.NoError(t, take(id), "the same job may have it again")
	assert.Len(t, c.get(t, id).Attempts, 2)

	// A change that ends one attempt and begins the next frees the device for itself.
	_, err := c.Update(t.Context(), id, func(j *work.Job) error {
		if err := j.Lose(2, work.ReasonHostLost, "", now()); err != nil {
			return err
		}
		return lease(j, device)
	})
	require.NoError(t, err)
	require.ErrorIs(t, take(other), ports.ErrDeviceTaken)
}

func (c jobCases) oneAttempt(t *testing.T) {
	t.Parallel()
	two := complete()
	two.Attempts[0].Outcome = work.OutcomeActive
	err := c.Add(t.Context(), work.Restore(two))
	assert.Equal(t, domain.KindConflict, domain.KindOf(err), "%v", err)

	one := complete()
	id := c.add(t, work.Restore(one))
	before := c.get(t, id)
	_, err = c.Update(t.Context(), id, func(j *work.Job) error {
		s := j.Snapshot()
		next := s.Attempts[1]
		next.Number, next.Devices = 3, filled[[]work.Device]()
		s.Attempts = append(s.Attempts, next)
		*j = *work.Restore(s)
		return nil
	})
	assert.Equal(t, domain.KindConflict, domain.KindOf(err), "%v", err)
	assert.Equal(t, before, c.get(t, id))
}
