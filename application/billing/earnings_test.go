package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/domain"
	domainbilling "github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestEarningsAreWhatTheLedgerCredited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob, eve := m.Person("ada", 100*market.Dollar), m.Person("bob", 0), m.Person("eve", 0)
		attic := m.Host(bob, market.Machine{Name: "attic"})
		barn := m.Host(bob, market.Machine{Name: "barn"})
		other := m.Host(eve, market.Machine{Name: "other"})
		run := func(h *market.Host, d time.Duration) {
			t.Helper()
			spec := market.Spec()
			spec.HostPin = h.ID
			m.Submit(ada, spec)
			h.Take().Run(0, d)
			pass(0)
		}
		run(attic, 10*time.Second)
		run(attic, 20*time.Second)
		run(barn, 70*time.Millisecond) // 7 of which the fee is 0
		run(other, 10*time.Second)
		pass(48 * time.Hour)
		for _, h := range []*market.Host{attic, barn} {
			h.Connect()
		}
		run(barn, 30*time.Second)

		earned := func(owner, host domain.ID, days int) billing.Earned {
			t.Helper()
			e, err := m.Billing.Earned(t.Context(), owner, host, days)
			require.NoError(t, err)
			require.Len(t, e.Days, days)
			return e
		}
		today := m.Clock.Now().Truncate(24 * time.Hour)
		day := func(ago int, jobs int64, net, fee domain.Micros) domainbilling.Earnings {
			return domainbilling.Earnings{Day: today.Add(-time.Duration(ago) * 24 * time.Hour), Jobs: jobs, Net: net, Fee: fee}
		}
		all := earned(bob.User, domain.ID{}, 4)
		assert.Equal(t, []domainbilling.Earnings{day(0, 1, 2700, 300), day(1, 0, 0, 0), day(2, 3, 900+1800+7, 300), day(3, 0, 0, 0)}, all.Days)
		assert.Equal(t, domainbilling.Earnings{Jobs: 4, Net: 5407, Fee: 600}, all.Total)
		assert.Equal(t, domain.Micros(6007), all.Total.Gross())
		assert.Equal(t, m.Balance(bob).Pending, all.Total.Net, "to the last millionth")
		assert.Equal(t, "USD", all.Currency)
		assert.Equal(t, day(2, 2, 2700, 300), earned(bob.User, attic.ID, 3).Days[2])
		assert.Equal(t, domainbilling.Earnings{Jobs: 1, Net: 2700, Fee: 300}, earned(bob.User, barn.ID, 2).Total, "what is older does not count")
		assert.Zero(t, earned(eve.User, barn.ID, 30).Total, "a host earns for its owner alone")
	})
}
