package hosts

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

// Stats is the market in numbers.
type Stats struct {
	Hosts, GPUs, Free int // that are offered to everybody, by connected hosts
	// Cheapest is of each model the cheapest offer with a free GPU; its Free counts those
	// of the model on all hosts.
	Cheapest []Offer
}

// Census counts the hosts that are not retired: online, offline and suspended ones.
func (s *Service) Census(ctx context.Context) (map[string]int, error) {
	census := map[string]int{"online": 0, "offline": 0, "suspended": 0}
	err := s.eachHost(ctx, func(h hosts.Snapshot, p hosts.Presence) error {
		switch {
		case h.Standing == hosts.Retired:
		case h.Standing != hosts.Active:
			census["suspended"]++
		case s.online(p):
			census["online"]++
		default:
			census["offline"]++
		}
		return nil
	})
	return census, err
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
	offering, models := map[domain.ID]bool{}, map[string]Offer{}
	for _, o := range all {
		if o.Host.Facts.OwnerOnly() {
			continue
		}
		offering[o.Host.ID] = true
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
	stats.Hosts = len(offering)
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
