package httpapi

import (
	"context"

	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

// ListJobs lists the account's jobs, or the versions of one.
func (s *server) ListJobs(ctx context.Context, r api.ListJobsRequestObject) (api.ListJobsResponseObject, error) {
	who, p := asking(ctx, r.Params.Mine), r.Params
	for name, given := range map[string]bool{"state": len(p.State) > 0, "q": p.Q != "", "host_id": p.HostID != ""} {
		if given && p.VersionsOf != "" {
			return nil, badParameter("/query/"+name, "not_together", "either versions_of or "+name)
		}
	}
	page, err := s.page("jobs", r.Params.After, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	var list []domainjobs.Snapshot
	if r.Params.VersionsOf != "" {
		origin, err := parseID("job", r.Params.VersionsOf)
		if err != nil {
			return nil, err
		}
		list, err = s.Jobs.Versions(ctx, who, origin, page)
		if domain.KindOf(err) == domain.KindNotFound {
			err = nil // somebody else's job has no versions here
		}
		if err != nil {
			return nil, err
		}
	} else {
		filter := ports.JobFilter{
			Text: p.Q, States: mapped(p.State, func(s api.JobState) domainjobs.State { return domainjobs.State(s) }),
		}
		if p.HostID != "" {
			if filter.Host, err = parseID("hst", p.HostID); err != nil {
				return nil, err
			}
		}
		if list, err = s.Jobs.List(ctx, who, filter, page); err != nil {
			return nil, err
		}
	}
	list, next := cut(s, "jobs", list, r.Params.Limit, func(j domainjobs.Snapshot) domain.ID { return j.ID })
	views, err := s.Jobs.ShowAll(ctx, list)
	if err != nil {
		return nil, err
	}
	return api.ListJobs200JSONResponse{Items: mapped(views, jobJSON), Next: next}, nil
}

// GetJob shows a job.
func (s *server) GetJob(ctx context.Context, r api.GetJobRequestObject) (api.GetJobResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.Jobs.Get(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	return api.GetJob200JSONResponse(jobJSON(v)), nil
}

// SubmitJob queues a job whose bundle was uploaded.
func (s *server) SubmitJob(ctx context.Context, r api.SubmitJobRequestObject) (api.SubmitJobResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	j, err := s.Jobs.SubmitUploaded(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	v, err := s.Jobs.Show(ctx, actorOf(ctx), j)
	if err != nil {
		return nil, err
	}
	return api.SubmitJob200JSONResponse(jobJSON(v)), nil
}

// CancelJob stops a job.
func (s *server) CancelJob(ctx context.Context, r api.CancelJobRequestObject) (api.CancelJobResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	j, err := s.Jobs.Cancel(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	v, err := s.Jobs.Show(ctx, actorOf(ctx), j)
	if err != nil {
		return nil, err
	}
	return api.CancelJob200JSONResponse(jobJSON(v)), nil
}

// EstimateJob plans a job.
func (s *server) EstimateJob(ctx context.Context, r api.EstimateJobRequestObject) (api.EstimateJobResponseObject, error) {
	// What runs does not matter yet, and may be half typed.
	request := api.JobRequest{
		Command: []string{"true"}, Source: r.Body.Source, Needs: r.Body.Needs, Network: api.JobNetwork{Mode: r.Body.Network.Mode},
		Image: r.Body.Image, HostID: r.Body.HostID, Limits: r.Body.Limits,
	}
	if request.Source.Kind == api.JobSourceKindImage && request.Source.Image == "" {
		request.Source.Image = "any"
	}
	if request.Network.Mode == api.NetworkModeProxy {
		request.Network.Allow = []string{"any"}
	}
	spec, _, err := specOf(request)
	if err != nil {
		return nil, err
	}
	e, err := s.Jobs.Estimate(ctx, actorOf(ctx), spec)
	if err != nil {
		return nil, err
	}
	plan := api.Estimate{
		Currency: s.Jobs.Settings().Currency, Hosts: e.Hosts, HostsFitting: e.Fits, Exclusions: exclusionsJSON(e.Exclusions),
		CreditMicros: pointTo(e.Credit),
	}
	if e.Fits > 0 {
		plan.MinPriceMicros, plan.MaxPriceMicros = pointTo(e.Cheapest), pointTo(e.Dearest)
	}
	if !e.NoPrice {
		plan.HoldMicros = pointTo(e.Hold)
	}
	if e.Choice != nil {
		plan.HostID, plan.Choice = e.Choice.HostID.Prefixed("hst"), choiceJSON(e.Choice.Sum)
		plan.ExpectedCostMicros, plan.ExpectedWaitS = pointTo(e.Expected), pointTo(0)
	}
	return api.EstimateJob200JSONResponse(plan), nil
}

// afterSeq is a place in a timeline.
type afterSeq struct {
	Seq int64 `json:"seq"`
}

// ListJobEvents shows a job's timeline.
func (s *server) ListJobEvents(ctx context.Context, r api.ListJobEventsRequestObject) (api.ListJobEventsResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	var at afterSeq
	if err := s.seek("events", r.Params.After, &at); err != nil {
		return nil, err
	}
	limit := size(r.Params.Limit)
	events, err := s.Jobs.Timeline(ctx, actorOf(ctx), id, at.Seq, limit+1)
	if err != nil {
		return nil, err
	}
	answer := api.ListJobEvents200JSONResponse{Items: []api.JobEvent{}}
	if len(events) > limit {
		events = events[:limit]
		answer.Next = s.cursor("events", afterSeq{events[limit-1].Seq})
	}
	for _, e := range events {
		shown, err := s.eventJSON(e)
		if err != nil {
			return nil, err
		}
		answer.Items = append(answer.Items, shown)
	}
	return answer, nil
}
