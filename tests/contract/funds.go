package contract

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Funds is the contract of ports.Funds. open also gives a way to buy credit.
func Funds(t *testing.T, open func(*testing.T) (f ports.Funds, buy func(renter domain.ID, amount domain.Micros) error)) {
	funds, buy := open(t)
	c := fundCases{funds, buy}
	t.Run("credit is what can still be held", c.credit)
	t.Run("a hold sets the amount aside and gives what is held", c.hold)
	t.Run("too little credit needs a payment and holds nothing", c.insufficient)
	t.Run("holding again for one job changes nothing, whatever the amount", c.again)
	t.Run("of those who hold for one job at once, all are given the same", c.againRace)
	t.Run("of holds that race for the same credit, no more succeed than it covers", c.race)
	t.Run("a release gives the whole hold back", c.release)
	t.Run("releasing twice changes nothing", c.releaseTwice)
	t.Run("releasing what was never held changes nothing", c.releaseNothing)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

type fundCases struct {
	ports.Funds
	buy func(domain.ID, domain.Micros) error
}

// renter is somebody with credit.
func (c fundCases) renter(t *testing.T, credit domain.Micros) domain.ID {
	t.Helper()
	renter := ids.New()
	require.NoError(t, c.buy(renter, credit))
	return renter
}

func (c fundCases) holds(t *testing.T, job, renter domain.ID, amount, want domain.Micros) {
	t.Helper()
	held, err := c.Hold(t.Context(), job, renter, amount)
	require.NoError(t, err)
	assert.Equal(t, want, held)
}

func (c fundCases) has(t *testing.T, renter domain.ID, want domain.Micros) {
	t.Helper()
	credit, err := c.Credit(t.Context(), renter)
	require.NoError(t, err)
	assert.Equal(t, want, credit)
}

func (c fundCases) credit(t *testing.T) {
	t.Parallel()
	c.has(t, ids.New(), 0)
	renter, other := c.renter(t, 3*unit), c.renter(t, unit)
	require.NoError(t, c.buy(renter, 2*unit))
	c.has(t, renter, 5*unit)
	c.holds(t, ids.New(), renter, 4*unit, 4*unit)
	c.has(t, renter, unit)
	c.has(t, other, unit)
}

func (c fundCases) hold(t *testing.T) {
	t.Parallel()
	renter := c.renter(t, 10)
	c.holds(t, ids.New(), renter, 3, 3)
	c.holds(t, ids.New(), renter, 0, 0)
	c.holds(t, ids.New(), renter, 7, 7)
	c.has(t, renter, 0)
	c.holds(t, ids.New(), renter, 0, 0)
}

func (c fundCases) insufficient(t *testing.T) {
	t.Parallel()
	renter, job := c.renter(t, 10), ids.New()
	for _, amount := range []domain.Micros{11, 1 << 62} {
		_, err := c.Hold(t.Context(), job, renter, amount)
		assert.ErrorIs(t, err, errInsufficient)
	}
	c.has(t, renter, 10)
	require.NoError(t, c.Release(t.Context(), job, renter))
	c.has(t, renter, 10)
	c.holds(t, job, renter, 10, 10)
	_, err := c.Hold(t.Context(), ids.New(), ids.New(), 1)
	assert.ErrorIs(t, err, errInsufficient, "of somebody who never paid")
}

func (c fundCases) again(t *testing.T) {
	t.Parallel()
	renter, job := c.renter(t, 10), ids.New()
	c.holds(t, job, renter, 6, 6)
	for _, amount := range []domain.Micros{6, 0, 1, 7, 1 << 62} {
		c.holds(t, job, renter, amount, 6)
		c.has(t, renter, 4)
	}
	free := ids.New()
	c.holds(t, free, renter, 0, 0)
	c.holds(t, free, renter, 3, 0)
	c.has(t, renter, 4)
}

func (c fundCases) againRace(t *testing.T) {
	t.Parallel()
	renter, job, held := c.renter(t, 100), ids.New(), make([]domain.Micros, racers)
	for _, err := range race(racers, func(i int) (err error) {
		held[i], err = c.Hold(t.Context(), job, renter, domain.Micros(20+i%3))
		return err
	}) {
		require.NoError(t, err)
	}
	for _, h := range held {
		assert.Equal(t, held[0], h)
	}
	c.has(t, renter, 100-held[0])
}

func (c fundCases) race(t *testing.T) {
	t.Parallel()
	renter := c.renter(t, 10)
	errs := race(2*racers, func(int) error {
		_, err := c.Hold(t.Context(), ids.New(), renter, 3)
		return err
	})
	assert.Equal(t, 3, winners(t, errs, errInsufficient))
	c.has(t, renter, 1)
}

func (c fundCases) release(t *testing.T) {
	t.Parallel()
	renter, job, other := c.renter(t, 10), ids.New(), ids.New()
	c.holds(t, job, renter, 6, 6)
	c.holds(t, job, renter, 2, 6)
	c.holds(t, other, renter, 3, 3)
	require.NoError(t, c.Release(t.Context(), job, renter))
	c.has(t, renter, 7)
	require.NoError(t, c.Release(t.Context(), other, renter))
	c.has(t, renter, 10)
}

func (c fundCases) releaseTwice(t *testing.T) {
	t.Parallel()
	renter, job := c.renter(t, 10), ids.New()
	c.holds(t, job, renter, 6, 6)
	c.holds(t, ids.New(), renter, 4, 4)
	for _, err := range race(racers, func(int) error { return c.Release(t.Context(), job, renter) }) {
		require.NoError(t, err)
	}
	require.NoError(t, c.Release(t.Context(), job, renter))
	c.has(t, renter, 6)
}

func (c fundCases) releaseNothing(t *testing.T) {
	t.Parallel()
	renter, job := c.renter(t, 10), ids.New()
	c.holds(t, ids.New(), renter, 4, 4)
	require.NoError(t, c.Release(t.Context(), job, renter))
	c.has(t, renter, 6)
	c.holds(t, job, renter, 6, 6)
	c.has(t, renter, 0)
	require.NoError(t, c.Release(t.Context(), job, renter))
	c.has(t, renter, 6)
}

func (c fundCases) calls() calls {
	return calls{
		"Hold":    func(ctx context.Context) error { _, err := c.Hold(ctx, ids.New(), ids.New(), 0); return err },
		"Release": func(ctx context.Context) error { return c.Release(ctx, ids.New(), ids.New()) },
		"Credit":  func(ctx context.Context) error { _, err := c.Credit(ctx, ids.New()); return err },
	}
}

func (c fundCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	renter, held, free := c.renter(t, 10), ids.New(), ids.New()
	c.holds(t, held, renter, 6, 6)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Hold(ctx, free, renter, 4)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, c.Release(ctx, held, renter), context.Canceled)
	c.has(t, renter, 4)
}
