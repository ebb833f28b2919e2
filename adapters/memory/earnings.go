package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Earnings is the ledger as owners of hosts see it.
func (s *Store) Earnings() ports.Earnings { return earnings{s} }

type earnings struct{ s *Store }

func (e earnings) ByDay(ctx context.Context, f ports.EarningsFilter) ([]billing.Earnings, error) {
	if err := e.s.enter(ctx); err != nil {
		return nil, err
	}
	defer e.s.mu.Unlock()
	days := map[time.Time]billing.Earnings{}
	for _, t := range e.s.posted {
		of := func(a billing.Account) (sum domain.Micros) {
			for _, leg := range t.Entries {
				if leg.Account == a {
					sum += leg.Amount
				}
			}
			return sum
		}
		net := of(billing.HostPending(f.Owner))
		if t.Kind != billing.KindSettle || net == 0 || t.At.Before(domain.Time(f.From)) || (!f.Host.IsZero() && t.Host != f.Host) {
			continue
		}
		day := t.At.Truncate(24 * time.Hour)
		days[day] = days[day].Plus(billing.Earnings{Day: day, Jobs: 1, Net: net, Fee: of(billing.PlatformFee)})
	}
	list := slices.Collect(maps.Values(days))
	slices.SortFunc(list, func(a, b billing.Earnings) int { return b.Day.Compare(a.Day) })
	return list, nil
}
