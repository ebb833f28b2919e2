package stripepay

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Gateway = (*Sandbox)(nil)

func charge(key string, amount domain.Micros) ports.Charge {
	return ports.Charge{Key: key, User: domain.ID{1}, Amount: amount, Currency: "USD"}
}

func TestAKeyIsChargedOnceAndKeepsItsReference(t *testing.T) {
	t.Parallel()
	s := NewSandbox()
	var (
		wg         sync.WaitGroup
		references [16]string
	)
	for i := range references {
		wg.Go(func() {
			var err error
			references[i], err = s.Charge(t.Context(), charge("topup:1", 10*hundred))
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	for _, r := range references {
		assert.Equal(t, references[0], r)
	}
	other, err := s.Charge(t.Context(), charge("topup:2", 10*hundred))
	require.NoError(t, err)
	assert.NotEqual(t, references[0], other)
	restarted, err := NewSandbox().Charge(t.Context(), charge("topup:1", 10*hundred))
	require.NoError(t, err)
	assert.Equal(t, references[0], restarted)
}

func TestAKeyWithAnotherChargeIsAConflict(t *testing.T) {
	t.Parallel()
	s := NewSandbox()
	_, err := s.Charge(t.Context(), charge("k", 10*hundred))
	require.NoError(t, err)
	amount, user, currency := charge("k", 20*hundred), charge("k", 10*hundred), charge("k", 10*hundred)
	user.User, currency.Currency = domain.ID{2}, "EUR"
	for _, c := range []ports.Charge{amount, user, currency, charge("k", 10*hundred+2*cent)} {
		_, err := s.Charge(t.Context(), c)
		assert.Equal(t, "key_reused", domain.CodeOf(err))
		assert.Equal(t, domain.KindConflict, domain.KindOf(err))
	}
}

func TestAnAmountThatEndsInTwoCentsIsDeclinedEveryTime(t *testing.T) {
	t.Parallel()
	s := NewSandbox()
	for range 2 {
		_, err := s.Charge(t.Context(), charge("k", 10*hundred+2*cent))
		assert.Equal(t, "declined", domain.CodeOf(err))
		assert.Equal(t, domain.KindPaymentRequired, domain.KindOf(err))
	}
	for _, amount := range []domain.Micros{cent, 3 * cent, 20 * cent, hundred, 2 * hundred, 12 * cent} {
		_, err := s.Charge(t.Context(), charge(amount.String(), amount))
		require.NoError(t, err, "%s", amount)
	}
}

func TestAChargeThatCannotBeIsInvalidAndACancelledOneTakesNothing(t *testing.T) {
	t.Parallel()
	s := NewSandbox()
	nobody, money := charge("k", hundred), charge("k", hundred)
	nobody.User, money.Currency = domain.ID{}, ""
	for _, c := range []ports.Charge{charge("", hundred), charge("k", 0), charge("k", -hundred), charge("k", hundred+1), nobody, money} {
		_, err := s.Charge(t.Context(), c)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Charge(ctx, charge("k", hundred))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Charge(t.Context(), charge("k", 5*hundred))
	require.NoError(t, err, "the key is still free")
}
