package contract

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Gateway is the contract of ports.Gateway. open also gives an amount that this gateway
// declines, as test cards do.
func Gateway(t *testing.T, open func(*testing.T) (g ports.Gateway, declined domain.Micros)) {
	g, declined := open(t)
	c := gatewayCases{g, declined}
	t.Run("each key has a reference of its own", c.references)
	t.Run("the same key returns the same reference", c.again)
	t.Run("the same key with another amount is a conflict", c.keyReused)
	t.Run("what is declined needs another payment", c.decline)
	t.Run("a cancelled context ends a call with its error", calls{
		"Charge": func(ctx context.Context) error { _, err := c.Charge(ctx, charge(10_000)); return err },
	}.cancelled)
}

type gatewayCases struct {
	ports.Gateway
	declined domain.Micros
}

func charge(amount domain.Micros) ports.Charge {
	return ports.Charge{Key: "tests:" + ids.New().String(), User: ids.New(), Amount: amount, Currency: "EUR"}
}

func (c gatewayCases) pay(t *testing.T, what ports.Charge) string {
	t.Helper()
	reference, err := c.Charge(t.Context(), what)
	require.NoError(t, err)
	require.NotEmpty(t, reference)
	return reference
}

func (c gatewayCases) references(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, amount := range []domain.Micros{10_000, 25_000_000, 10_000} {
		seen[c.pay(t, charge(amount))] = true
	}
	assert.Len(t, seen, 3)
}

func (c gatewayCases) again(t *testing.T) {
	t.Parallel()
	what, references := charge(25_000_000), make([]string, racers)
	for _, err := range race(racers, func(i int) (err error) {
		references[i], err = c.Charge(t.Context(), what)
		return err
	}) {
		require.NoError(t, err)
	}
	for _, r := range references {
		assert.Equal(t, references[0], r)
	}
	assert.Equal(t, references[0], c.pay(t, what))
}

func (c gatewayCases) keyReused(t *testing.T) {
	t.Parallel()
	what := charge(10_000)
	reference := c.pay(t, what)
	other := what
	other.Amount = 20_000
	_, err := c.Charge(t.Context(), other)
	assert.ErrorIs(t, err, domain.Conflict("key_reused", ""))
	assert.Equal(t, reference, c.pay(t, what))
}

func (c gatewayCases) decline(t *testing.T) {
	t.Parallel()
	reference, err := c.Charge(t.Context(), charge(c.declined))
	assert.ErrorIs(t, err, domain.NewError(domain.KindPaymentRequired, "declined", ""))
	assert.Empty(t, reference)
}
