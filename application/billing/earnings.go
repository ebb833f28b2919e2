package billing

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Earned is what hosts earned, day by day and in all.
type Earned struct {
	Total    billing.Earnings
	Days     []billing.Earnings // without a gap, today first
	Currency string
}

// Earned adds up what the ledger credited an owner with on the last days, today
// included; with a host, for jobs on that one alone. The caller has checked that the
// owner's hosts are the actor's to see.
func (s *Service) Earned(ctx context.Context, owner, host domain.ID, days int) (Earned, error) {
	const day = 24 * time.Hour
	today := s.Clock.Now().Truncate(day)
	from := today.Add(-time.Duration(days-1) * day)
	found, err := s.Earnings.ByDay(ctx, ports.EarningsFilter{Owner: owner, Host: host, From: from})
	if err != nil {
		return Earned{}, err
	}
	e := Earned{Currency: s.settings.Currency, Days: make([]billing.Earnings, days)}
	for i := range e.Days {
		e.Days[i].Day = today.Add(-time.Duration(i) * day)
	}
	for _, f := range found {
		// Midnight may have passed since the clock was read.
		if i := int(today.Sub(f.Day) / day); i >= 0 {
			e.Days[i] = f
			e.Total = e.Total.Plus(f)
		}
	}
	e.Total.Day = time.Time{}
	return e, nil
}
