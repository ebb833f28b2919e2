package httpapi

import (
	"context"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

// afterAttempt is a place in a list of attempts: behind all of the job Done, and in the
// one after it before the attempt Below, which is 0 for all of them.
type afterAttempt struct {
	Done  domain.ID `json:"done"`
	Below int       `json:"below"`
}

// ListHostJobs lists the attempts that a host was given, newest first.
func (s *server) ListHostJobs(ctx context.Context, r api.ListHostJobsRequestObject) (api.ListHostJobsResponseObject, error) {
	host, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	var at afterAttempt
	if err := s.seek("host-jobs", r.Params.After, &at); err != nil {
		return nil, err
	}
	if _, err := s.Hosts.Get(ctx, actorOf(ctx), host); err != nil {
		return nil, err
	}
	limit, now := size(r.Params.Limit), s.Clock.Now()
	list, err := s.Jobs.OnHost(ctx, host, ports.Page{After: at.Done, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	answer := api.ListHostJobs200JSONResponse{Items: []api.HostJob{}}
	for _, j := range list {
		for _, a := range slices.Backward(j.Attempts) {
			if a.Host != host || (at.Below > 0 && a.Number >= at.Below) {
				continue
			}
			if len(answer.Items) == limit {
				answer.Next = s.cursor("host-jobs", at)
				return answer, nil
			}
			answer.Items = append(answer.Items, s.hostJobJSON(j, a, now))
			at.Below = a.Number
		}
		at = afterAttempt{Done: j.ID}
	}
	if len(list) > limit { // the rest of the page held attempts of other hosts
		answer.Next = s.cursor("host-jobs", at)
	}
	return answer, nil
}

// hostJobJSON shows an attempt to the owner of its host: nothing of what the renter
// runs.
func (s *server) hostJobJSON(j domainjobs.Snapshot, a domainjobs.Attempt, now time.Time) api.HostJob {
	ran, gross := a.SoFar(now)
	fee, net := s.Billing.Settings().Fee.Split(gross)
	return api.HostJob{
		JobID: j.ID.Prefixed("job"), Attempt: a.Number, Outcome: outcomeJSON(a), Reason: string(a.Reason), GPUs: len(a.Devices),
		Devices:           mapped(a.Devices, func(d domainjobs.Device) api.DeviceID { return d.ID.Prefixed("dev") }),
		HourlyPriceMicros: int64(a.HourlyPrice), BillableMS: ran.Milliseconds(), Currency: j.Currency,
		GrossMicros: int64(gross), FeeMicros: int64(fee), NetMicros: int64(net),
		LeasedAt: a.LeasedAt, StartedAt: a.StartedAt, EndedAt: a.EndedAt,
	}
}

func outcomeJSON(a domainjobs.Attempt) api.AttemptOutcome {
	if a.Active() {
		return api.AttemptOutcomeActive
	}
	return api.AttemptOutcome(a.Outcome)
}
