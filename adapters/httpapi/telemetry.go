package httpapi

import (
	"context"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/openapi/api"
)

// GetHostTelemetry shows the load of a host's GPUs.
func (s *server) GetHostTelemetry(ctx context.Context, r api.GetHostTelemetryRequestObject) (api.GetHostTelemetryResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	list, err := s.Hosts.Telemetry(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	return api.GetHostTelemetry200JSONResponse{Items: mapped(list, func(d hosts.DeviceTelemetry) api.DeviceTelemetry {
		return api.DeviceTelemetry{DeviceID: d.Device.Prefixed("dev"), Samples: mapped(d.Samples, sampleJSON)}
	})}, nil
}

func sampleJSON(s hosts.Sample) api.LoadSample {
	return api.LoadSample{
		Time: s.At, UtilizationPercent: s.Utilization, MemoryUsedMB: s.MemoryUsedMB, TemperatureC: s.TemperatureC, PowerW: s.PowerW,
	}
}
