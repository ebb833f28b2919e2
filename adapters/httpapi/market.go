package httpapi

import (
	"context"
	"strings"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/openapi/api"
)

// ListOffers searches the GPUs on offer.
func (s *server) ListOffers(ctx context.Context, r api.ListOffersRequestObject) (api.ListOffersResponseObject, error) {
	p := r.Params
	list := "offers:" + string(p.Sort) // a position means nothing in another order
	var at hosts.Position
	if err := s.seek(list, p.After, &at); err != nil {
		return nil, err
	}
	found, err := s.Hosts.Market(ctx, hosts.Search{
		Words: strings.Fields(p.Q), Models: p.GPUModel, Regions: p.Region, Tags: p.Tags, MinGPUs: p.MinGPUs, MinVRAMMB: p.MinVRAMMB,
		MinPrice: domain.Micros(p.MinPriceMicros), MaxPrice: toMicros(p.MaxPriceMicros), Verified: p.Verified,
		Isolation: domainhosts.Isolation(p.Isolation), MinUptime: p.MinUptime, Sort: hosts.Sort(p.Sort), After: at, Limit: size(p.Limit),
	})
	if err != nil {
		return nil, err
	}
	answer := api.ListOffers200JSONResponse{
		Items: mapped(found.Offers, s.offerJSON), Total: found.Total, Facets: api.Facets{
			GPUModel: countsJSON(found.Facets.Models), Region: countsJSON(found.Facets.Regions), Tags: countsJSON(found.Facets.Tags),
			Isolation: countsJSON(found.Facets.Isolations), VRAMMB: countsJSON(found.Facets.VRAM), Verified: countsJSON(found.Facets.Verified),
			Currency: s.Hosts.Settings().Currency, MinPriceMicros: orNil(found.Facets.MinPrice), MaxPriceMicros: orNil(found.Facets.MaxPrice),
		},
	}
	if found.Next.Key != "" {
		answer.Next = s.cursor(list, found.Next)
	}
	return answer, nil
}

func countsJSON(counts []hosts.Count) []api.FacetCount {
	return mapped(counts, func(c hosts.Count) api.FacetCount { return api.FacetCount{Value: c.Value, Count: c.Count} })
}

func (s *server) offerJSON(o hosts.Offer) api.Offer {
	return api.Offer{
		Host: api.HostRef{ID: o.Host.ID.Prefixed("hst"), Name: o.Host.Name}, GPUModel: o.Model, VRAMMB: o.VRAMMB,
		GPUs: o.GPUs, GPUsFree: o.Free, PriceMicros: int64(o.Price), Currency: s.Hosts.Settings().Currency,
		Region: o.Host.Region, Tags: orEmpty(o.Host.Tags), Verified: o.Host.Verified, Isolation: isolationJSON(o.Host.Facts.Isolation), OwnerOnly: o.Host.Facts.OwnerOnly(),
		CPUsPerGPU: float64(o.CPUMilliPerGPU) / 1000, MemoryMBPerGPU: o.MemoryMBPerGPU, DiskMBPerGPU: o.DiskMBPerGPU, Driver: o.Driver,
		Performance: performanceJSON(o.TFLOPS), PerformancePerDollar: o.PerDollar, Reliability: o.Reliability, Uptime: o.Uptime,
	}
}

// performanceJSON is absent where nothing is known.
func performanceJSON(tflops float64) api.Performance {
	if tflops == 0 {
		return api.Performance{}
	}
	return api.Performance{Tflops: tflops, Source: api.PerformanceSourceDataSheet}
}

func isolationJSON(i domainhosts.Isolation) api.Isolation {
	if i == "" {
		i = hosts.Isolations[0] // not reported yet
	}
	return api.Isolation(i)
}

// GetMarketHost shows a host to everybody.
func (s *server) GetMarketHost(ctx context.Context, r api.GetMarketHostRequestObject) (api.GetMarketHostResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	h, err := s.Hosts.MarketHost(ctx, id)
	if err != nil {
		return nil, err
	}
	shown := api.MarketHost{
		ID: h.ID.Prefixed("hst"), Name: h.Name, Owner: api.UserRef{ID: h.Owner.Prefixed("usr"), Handle: h.OwnerHandle},
		Online: h.Online, SeenAt: h.Presence.LastBeat, Verified: h.Verified, Region: h.Region, Tags: orEmpty(h.Tags),
		Currency: s.Hosts.Settings().Currency, Machine: machineJSON(h.Facts), Devices: []api.MarketDevice{},
		Uptime:      api.Uptime{Ratio: hosts.Share(h.Days), Days: mapped(h.Days, dayJSON)},
		Reliability: api.Reliability{Runs: h.Runs, RunsOk: h.Succeeded, Rate: hosts.Rate(h.Snapshot)},
		CreatedAt:   h.CreatedAt, BandwidthMbps: h.BandwidthMbps,
	}
	for _, d := range h.Devices {
		if !d.Listed {
			continue
		}
		market := api.MarketDevice{
			ID: d.ID.Prefixed("dev"), Model: d.Model, VRAMMB: d.VRAMMB, Driver: d.Driver, CUDA: d.CUDA,
			PriceMicros: int64(d.Price), Status: statusJSON(h.View, d),
		}
		if m, ok := domainhosts.Lookup(d.Model); ok {
			market.Performance = performanceJSON(float64(m.TensorTFLOPS10) / 10)
		}
		shown.Devices = append(shown.Devices, market)
	}
	return api.GetMarketHost200JSONResponse(shown), nil
}

func dayJSON(d domainhosts.Day) api.UptimeDay {
	return api.UptimeDay{Date: openapi_types.Date{Time: d.Date}, OnlineS: seconds(d.Online), OfS: seconds(d.Of)}
}

// HostJSON is how a host looks to its owner, in answers and on WebSockets.
func HostJSON(v hosts.View, owner, currency string) any {
	return hostJSON(v, api.UserRef{ID: v.Owner.Prefixed("usr"), Handle: owner}, currency)
}

// LoadJSON is how the load of a host's devices looks on WebSockets.
func LoadJSON(devices []hosts.DeviceLoad) any {
	return mapped(devices, func(d hosts.DeviceLoad) api.DeviceLoad {
		return api.DeviceLoad{
			DeviceID: d.Device.Prefixed("dev"), UtilizationPercent: d.Utilization, MemoryUsedMB: d.MemoryUsedMB,
			TemperatureC: d.TemperatureC, PowerW: d.PowerW,
		}
	})
}

func hostJSON(v hosts.View, owner api.UserRef, currency string) api.Host {
	h := api.Host{
		ID: v.ID.Prefixed("hst"), Name: v.Name, Owner: owner, Standing: api.HostStanding(v.Standing), Online: v.Online,
		SeenAt: v.Presence.LastBeat, Verified: v.Verified, Region: v.Region, Tags: orEmpty(v.Tags), Currency: currency,
		Machine: machineJSON(v.Facts), Devices: mapped(v.Devices, func(d domainhosts.Device) api.Device { return deviceJSON(v, d) }),
		Runs: v.Runs, RunsOk: v.Succeeded, BandwidthMbps: v.BandwidthMbps, CreatedAt: v.CreatedAt,
	}
	if v.Online {
		h.OnlineSince = v.Presence.Since
	}
	return h
}

func machineJSON(f domainhosts.Facts) api.Machine {
	return api.Machine{
		AgentVersion: f.AgentVersion, Os: f.OS, Arch: f.Arch, CPUs: f.CPUs, MemoryMB: f.MemoryMB, DiskMB: f.DiskMB,
		Runtime: f.Runtime, Isolation: isolationJSON(f.Isolation), Limits: f.Limits, Trusted: f.Trusted, OwnerOnly: f.OwnerOnly(),
	}
}

func deviceJSON(v hosts.View, d domainhosts.Device) api.Device {
	job, occupied := v.Busy[d.ID]
	return api.Device{
		ID: d.ID.Prefixed("dev"), UUID: d.UUID, Model: d.Model, VRAMMB: d.VRAMMB, Driver: d.Driver, CUDA: d.CUDA,
		PriceMicros: int64(d.Price), Listed: d.Listed, Present: d.Present, Occupied: occupied,
		Status: statusJSON(v, d), JobID: job.Prefixed("job"),
	}
}

// statusJSON derives the one status of a device from the facts about it.
func statusJSON(v hosts.View, d domainhosts.Device) api.DeviceStatus {
	_, occupied := v.Busy[d.ID]
	switch {
	case !v.Online || !d.Present:
		return api.DeviceStatusOffline
	case occupied:
		return api.DeviceStatusBusy
	case !d.Listed || v.Standing != domainhosts.Active:
		return api.DeviceStatusUnlisted
	}
	return api.DeviceStatusAvailable
}

// ListGPUModels lists the catalogue.
func (s *server) ListGPUModels(context.Context, api.ListGPUModelsRequestObject) (api.ListGPUModelsResponseObject, error) {
	return api.ListGPUModels200JSONResponse{Items: mapped(domainhosts.Catalogue(), func(m domainhosts.Model) api.GPUModel {
		return api.GPUModel{
			Name: m.Name, Aliases: orEmpty(m.Aliases), Year: m.Year, Architecture: m.Architecture, VRAMMB: m.VRAMMB,
			Tflops: float64(m.TensorTFLOPS10) / 10, TflopsFp32: float64(m.FP32TFLOPS10) / 10,
			BandwidthGbps: float64(m.BandwidthGBs), PowerW: int(m.PowerW), Source: m.Source,
		}
	})}, nil
}
