package httpapi

import (
	"context"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/domain"
	domainbilling "github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/openapi/api"
)

// defaultDays is how many days of earnings are shown to who names no number.
const defaultDays = 30

func days(n api.Days) int {
	if n == 0 {
		return defaultDays
	}
	return n
}

// GetEarnings shows what all hosts of the account earned.
func (s *server) GetEarnings(ctx context.Context, r api.GetEarningsRequestObject) (api.GetEarningsResponseObject, error) {
	who := actorOf(ctx)
	if err := who.Allow(domain.ScopeHostsRead); err != nil {
		return nil, err
	}
	earned, err := s.Billing.Earned(ctx, who.User, domain.ID{}, days(r.Params.Days))
	if err != nil {
		return nil, err
	}
	return api.GetEarnings200JSONResponse(s.earningsJSON(earned)), nil
}

// GetHostEarnings shows what one host earned.
func (s *server) GetHostEarnings(ctx context.Context, r api.GetHostEarningsRequestObject) (api.GetHostEarningsResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	h, err := s.Hosts.Get(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	earned, err := s.Billing.Earned(ctx, h.Owner, id, days(r.Params.Days))
	if err != nil {
		return nil, err
	}
	return api.GetHostEarnings200JSONResponse(s.earningsJSON(earned)), nil
}

func (s *server) earningsJSON(e billing.Earned) api.Earnings {
	t := e.Total
	return api.Earnings{
		Currency: e.Currency,
		FeeBPS:   int(s.Billing.Settings().Fee),
		Total:    api.Earned{Jobs: t.Jobs, GrossMicros: int64(t.Gross()), FeeMicros: int64(t.Fee), NetMicros: int64(t.Net)},
		Days: mapped(e.Days, func(d domainbilling.Earnings) api.EarningsDay {
			return api.EarningsDay{
				Date: openapi_types.Date{Time: d.Day}, Jobs: d.Jobs,
				GrossMicros: int64(d.Gross()), FeeMicros: int64(d.Fee), NetMicros: int64(d.Net),
			}
		}),
	}
}
