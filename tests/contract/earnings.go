package contract

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Earnings is the contract of ports.Earnings.
func Earnings(t *testing.T, open func(*testing.T) Storage) {
	s := open(t)
	c := earningCases{s.Earnings(), ledgerCases{s.Ledger()}}
	t.Run("settlements are added up by day, owner and host", c.byDay)
	t.Run("a cancelled context ends a call with its error", calls{
		"ByDay": func(ctx context.Context) error {
			_, err := c.ByDay(ctx, ports.EarningsFilter{Owner: ids.New()})
			return err
		},
	}.cancelled)
}

type earningCases struct {
	ports.Earnings
	ledger ledgerCases
}

func (c earningCases) byDay(t *testing.T) {
	t.Parallel()
	renter, owner, other, attic, barn := ids.New(), ids.New(), ids.New(), ids.New(), ids.New()
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	c.ledger.post(t, topUp(renter, 1000*unit))
	settle := func(owner, host domain.ID, at time.Time, amount domain.Micros) {
		t.Helper()
		hold := entered(billing.HoldFor(ids.New(), renter, 10*unit))
		tx := entered(billing.Settle(billing.Settlement{
			Job: hold.Job, Renter: renter, Host: host, HostOwner: owner, Held: 10 * unit, Amount: amount, Fee: 1000,
		}))
		tx.At = at
		c.ledger.post(t, hold, tx)
	}
	settle(owner, attic, midnight.Add(-2*time.Hour), 7)
	settle(owner, attic, midnight.Add(-time.Microsecond), 19)
	settle(owner, attic, midnight, 100)
	settle(owner, barn, midnight.Add(24*time.Hour-time.Microsecond), unit)
	settle(owner, barn, midnight.Add(24*time.Hour), 30)
	settle(other, ids.New(), midnight, 5*unit)
	released := entered(billing.HoldFor(ids.New(), renter, unit))
	c.ledger.post(t, released, entered(billing.Release(released.Job, renter, unit)))
	day := func(n int, jobs int64, net, fee domain.Micros) billing.Earnings {
		return billing.Earnings{Day: midnight.Add(time.Duration(n) * 24 * time.Hour), Jobs: jobs, Net: net, Fee: fee}
	}
	for name, x := range map[string]struct {
		filter ports.EarningsFilter
		want   []billing.Earnings
	}{
		"all":        {ports.EarningsFilter{Owner: owner}, []billing.Earnings{day(1, 1, 27, 3), day(0, 2, 900_090, 100_010), day(-1, 2, 7+18, 1)}},
		"a host":     {ports.EarningsFilter{Owner: owner, Host: attic}, []billing.Earnings{day(0, 1, 90, 10), day(-1, 2, 25, 1)}},
		"since":      {ports.EarningsFilter{Owner: owner, Host: attic, From: midnight}, []billing.Earnings{day(0, 1, 90, 10)}},
		"of another": {ports.EarningsFilter{Owner: other, Host: attic}, []billing.Earnings{}},
		"nobody":     {ports.EarningsFilter{Owner: ids.New()}, []billing.Earnings{}},
	} {
		got, err := c.ByDay(t.Context(), x.filter)
		require.NoError(t, err)
		assert.Equal(t, x.want, append([]billing.Earnings{}, got...), name)
	}
}
