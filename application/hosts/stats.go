package hosts

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain"
)

// Stats is the market in numbers.
type Stats struct {
	Hosts, GPUs, Free int // that are offered to everybody, by connected hosts
	// Cheapest is of each model the cheapest offer with a free GPU; its Free counts those
	// of the model on all hosts.
	Cheapest []Offer
}

// mostModels is how many models Stats names: those with the most free GPUs.
const mostModels = 6

// Stats counts what is on offer now. It is asked often, and reads nothing that a search
// has not read a moment ago.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	all, err := s.offers(ctx)
	if err != nil {
		return Stats{}, err
	}
	var stats Stats
	hosts, models := map[domain.ID]bool{}, map[string]Offer{}
	for _, o := range all {
		if o.Host.Facts.OwnerOnly() {
			continue
		}
		hosts[o.Host.ID] = true
		free := o.GPUs - len(s.Occupancy.Busy(o.devices...))
		stats.GPUs += o.GPUs
		stats.Free += free
		if free == 0 {
			continue
		}
		best, known := models[o.Model]
		total := best.Free + free
		if !known || o.Price < best.Price || o.Price == best.Price && o.Key() < best.Key() {
			best = o
		}
		best.Free = total
		models[o.Model] = best
	}
	stats.Hosts = len(hosts)
	for _, o := range models {
		stats.Cheapest = append(stats.Cheapest, o)
	}
	slices.SortFunc(stats.Cheapest, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(b.Free, a.Free), cmp.Compare(a.Price, b.Price), strings.Compare(a.Model, b.Model))
	})
	stats.Cheapest = stats.Cheapest[:min(len(stats.Cheapest), mostModels)]
	slices.SortStableFunc(stats.Cheapest, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(a.Price, b.Price), strings.Compare(a.Model, b.Model))
	})
	return stats, nil
}
