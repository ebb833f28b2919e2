package httpapi

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
)

// GetHealth says that the process answers.
func (s *server) GetHealth(context.Context, api.GetHealthRequestObject) (api.GetHealthResponseObject, error) {
	return api.GetHealth200JSONResponse{Status: "ok", Version: s.version}, nil
}

// GetReadiness asks every part that we need.
func (s *server) GetReadiness(ctx context.Context, _ api.GetReadinessRequestObject) (api.GetReadinessResponseObject, error) {
	parts := s.Ready(ctx)
	answer := api.Readiness{Status: api.ReadinessStatusReady, Checks: []api.ReadinessCheck{}}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		check := api.ReadinessCheck{Name: name, Ok: parts[name] == nil}
		if err := parts[name]; err != nil {
			check.Detail = "does not answer"
			var ours *domain.Error
			if errors.As(err, &ours) && ours.Kind != domain.KindInternal {
				check.Detail = ours.Detail // of others' errors nothing is shown: they name addresses
			}
			if domain.CodeOf(err) == "stopping" {
				answer.Status = api.ReadinessStatusStopping
			} else if answer.Status == api.ReadinessStatusReady {
				answer.Status = api.ReadinessStatusUnready
			}
		}
		answer.Checks = append(answer.Checks, check)
	}
	if answer.Status == api.ReadinessStatusReady {
		return api.GetReadiness200JSONResponse(answer), nil
	}
	return api.GetReadiness503JSONResponse(answer), nil
}
