package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"

	"github.com/peergpu/peergpu/application/jobs"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
)

// RerunJob runs a job again: as it was, or as the body says.
func (s *server) RerunJob(ctx context.Context, r api.RerunJobRequestObject) (api.RerunJobResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	text := []byte("rerun " + r.ID)
	var revision *jobs.Revision
	if !reflect.ValueOf(*r.Body).IsZero() { // of no body the server interface makes an empty one
		body, err := json.Marshal(r.Body)
		if err != nil {
			return nil, err
		}
		text = append(text, body...)
		if revision, err = revisionOf(*r.Body); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(text)
	submitted, err := s.Jobs.Rerun(ctx, actorOf(ctx), id, revision, domainjobs.Idempotency{
		Key: r.Params.IdempotencyKey, Request: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return nil, err
	}
	v, err := s.Jobs.Show(ctx, actorOf(ctx), submitted.Job)
	if err != nil {
		return nil, err
	}
	return api.RerunJob201JSONResponse(jobJSON(v)), nil
}

// revisionOf reads what a renter wants in place of an earlier job.
func revisionOf(r api.JobRerun) (*jobs.Revision, error) {
	spec, _, err := specOf(api.JobRequest{
		Name: r.Name, Command: r.Command, Image: r.Image, Inputs: r.Inputs, Needs: r.Needs, Network: r.Network, HostID: r.HostID,
		Limits: r.Limits, Outputs: r.Outputs, Checkpoint: r.Checkpoint, Funding: r.Funding, Public: r.Public,
	})
	return &jobs.Revision{Spec: spec, Env: mapped(r.Env, func(e api.RerunEnvVar) jobs.RevisedEnv {
		return jobs.RevisedEnv{Name: e.Name, Value: e.Value, Secret: e.Secret}
	})}, err
}
