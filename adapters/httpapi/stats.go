package httpapi

import (
	"context"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/openapi/api"
)

// GetMarketStats shows the market in numbers.
func (s *server) GetMarketStats(ctx context.Context, _ api.GetMarketStatsRequestObject) (api.GetMarketStatsResponseObject, error) {
	stats, err := s.Hosts.Stats(ctx)
	if err != nil {
		return nil, err
	}
	jobs, err := s.Jobs.Tally(ctx)
	if err != nil {
		return nil, err
	}
	return api.GetMarketStats200JSONResponse{
		HostsOnline: stats.Hosts, GPUsOnline: stats.GPUs, GPUsFree: stats.Free, Currency: s.Hosts.Settings().Currency,
		JobsSucceeded: jobs.Ever, JobsSucceeded24H: jobs.LastDay,
		Cheapest: mapped(stats.Cheapest, func(o hosts.Offer) api.CheapestOffer {
			return api.CheapestOffer{
				Host: api.HostRef{ID: o.Host.ID.Prefixed("hst"), Name: o.Host.Name}, GPUModel: o.Model, VRAMMB: o.VRAMMB,
				GPUsFree: o.Free, PriceMicros: int64(o.Price),
			}
		}),
	}, nil
}
