package httpapi

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

// JobJSON is how a job looks in the API, in answers and on WebSockets.
func JobJSON(v jobs.View) any { return jobJSON(v) }

func jobJSON(v jobs.View) api.Job {
	spec := v.Spec
	job := api.Job{
		ID: v.ID.Prefixed("job"), Name: spec.Name, State: api.JobState(v.State), Reason: string(v.Reason), Detail: v.Detail,
		Attempt: v.Attempt(), Losses: v.Losses, Renter: api.UserRef{ID: v.Renter.Prefixed("usr"), Handle: v.RenterHandle},
		Devices:   []api.JobDevice{},
		CreatedAt: v.CreatedAt, AsOf: v.At, QueuedAt: v.QueuedAt, FinishedAt: v.FinishedAt,
		Currency: v.Currency, Payment: paymentJSON(v.Snapshot),
		Artifacts: api.JobArtifacts{Count: v.ArtifactCount, Bytes: v.ArtifactBytes}, Log: api.JobLog{Bytes: v.LogBytes},
		RerunOf: v.RerunOf.Prefixed("job"), Origin: v.Origin.Prefixed("job"), Version: v.RunVersion,
		Source: sourceJSON(v.Snapshot), Command: orEmpty(spec.Command), Image: spec.Image, ImageDigest: spec.Pinned.Digest,
		Env:    mapped(spec.Env, func(e domainjobs.EnvVar) api.ShownEnvVar { return envJSON(v, e) }),
		Inputs: mapped(spec.Inputs, func(i domainjobs.Input) api.JobInput { return api.JobInput{From: i.From, Path: i.Path} }),
		Needs:  needsJSON(spec.Needs), Network: api.JobNetwork{Mode: api.NetworkMode(spec.Network.Mode), Allow: spec.Network.Allow},
		HostID: spec.HostPin.Prefixed("hst"), Outputs: orEmpty(spec.Outputs), Checkpoint: api.JobCheckpoint{Path: spec.Checkpoint},
		Funding: api.Funding(spec.Funding), Limits: api.JobLimits{
			MaxRuntimeS: seconds(spec.Limits.MaxRuntime), MaxWaitS: seconds(spec.Limits.MaxWait), MaxCostMicros: int64(spec.Limits.MaxCost),
		},
	}
	if v.Reason != "" || v.State.Terminal() {
		job.Cause = api.Cause(domainjobs.Rulings[v.Reason].Cause)
	}
	if v.Phase.Name != "" {
		job.Phase = api.Phase{Name: string(v.Phase.Name), Done: v.Phase.Done, Total: v.Phase.Total}
	}
	if v.Queued() && v.Bundle.Key != "" {
		job.Bundle = api.JobBundle{Size: v.Bundle.Size, SHA256: v.Bundle.SHA256}
	}
	if !v.State.Terminal() {
		job.HoldMicros = int64(v.Hold)
	}
	if p := spec.Public; p != nil {
		job.Public = api.JobPublic{
			Name: p.Name, Description: p.Description, Tags: p.Tags, License: p.License,
			Citation: p.Citation, Files: p.Files, Thumbnail: p.Thumbnail,
		}
	}
	if v.Waiting != nil {
		job.Waiting = api.Waiting{Since: v.QueuedAt, Until: v.WaitUntil, Hosts: v.Waiting.Hosts, Exclusions: exclusionsJSON(*v.Waiting)}
	}
	if len(v.Metrics) > 0 && json.Unmarshal(v.Metrics, &job.Metrics) != nil {
		job.Metrics = nil // valid JSON, but no object
	}
	addAttempts(&job, v)
	return job
}

func envJSON(v jobs.View, e domainjobs.EnvVar) api.ShownEnvVar {
	shown := api.ShownEnvVar{Name: e.Name, Secret: e.Secret}
	if value, open := v.Env[e.Name]; open {
		shown.Value = &value
	}
	return shown
}

// addAttempts adds what all attempts cost, and what is known of the latest. A job that
// went back to the queue has no host any more.
func addAttempts(job *api.Job, v jobs.View) {
	job.Attempts = mapped(v.Attempts, func(a domainjobs.Attempt) api.JobAttempt { return jobAttemptJSON(a, v.At) })
	for _, a := range job.Attempts {
		job.BillableMS += a.BillableMS
		job.CostMicros += a.CostMicros
	}
	a := v.Current()
	if a == nil {
		return
	}
	job.Log.Lines, job.Log.SHA256 = a.LogLines, a.LogSHA256
	if v.State == domainjobs.Queued {
		return
	}
	latest := job.Attempts[len(job.Attempts)-1]
	job.Host, job.Devices = latest.Host, latest.Devices
	job.Choice, job.HourlyPriceMicros = choiceJSON(a.Why), int64(a.HourlyPrice)
	job.AssignedAt, job.StartedAt, job.ExitedAt, job.ExitCode = a.LeasedAt, a.StartedAt, a.ExitedAt, a.ExitCode
}

func jobAttemptJSON(a domainjobs.Attempt, now time.Time) api.JobAttempt {
	ran, amount := a.SoFar(now)
	return api.JobAttempt{
		Attempt: a.Number, Host: api.HostRef{ID: a.Host.Prefixed("hst"), Name: a.HostName}, Outcome: outcomeJSON(a),
		Reason: string(a.Reason), ExitCode: a.ExitCode, Devices: mapped(a.Devices, func(d domainjobs.Device) api.JobDevice {
			return api.JobDevice{ID: d.ID.Prefixed("dev"), Model: d.Model}
		}),
		HourlyPriceMicros: int64(a.HourlyPrice), BillableMS: ran.Milliseconds(), CostMicros: int64(amount), LogBytes: a.LogBytes,
		AssignedAt: a.LeasedAt, StartedAt: a.StartedAt, ExitedAt: a.ExitedAt, EndedAt: a.EndedAt,
	}
}

// paymentJSON derives where the money of a job stands from the job: the ledger follows
// its end by a moment.
func paymentJSON(j domainjobs.Snapshot) api.JobPayment {
	switch {
	case j.State.Terminal() && j.Cost() > 0:
		return api.JobPayment{State: api.PaymentStateCaptured}
	case j.State.Terminal() && !j.QueuedAt.IsZero():
		return api.JobPayment{State: api.PaymentStateVoided}
	case j.QueuedAt.IsZero():
		return api.JobPayment{State: api.PaymentStateCreated}
	}
	return api.JobPayment{State: api.PaymentStateAuthorized}
}

func sourceJSON(j domainjobs.Snapshot) api.JobSource {
	return api.JobSource{
		Kind: api.JobSourceKind(j.Spec.Source.Kind), Image: j.Spec.Source.Image, Size: j.Bundle.Size, SHA256: j.Bundle.SHA256,
	}
}

func needsJSON(n domainjobs.Needs) api.JobNeeds {
	return api.JobNeeds{
		GPUs: n.GPUs, GPUModel: n.GPUModel, MinVRAMMB: n.MinVRAMMB, CPUs: float64(n.CPUMilli) / 1000, MemoryMB: n.MemoryMB,
		DiskMB: n.DiskMB, Tags: n.Tags, Region: n.Region, Verified: n.Verified, Isolation: api.Isolation(n.Isolation),
		MaxPriceMicros: int64(n.MaxPrice),
	}
}

func choiceJSON(e domainjobs.Explanation) api.Choice {
	return api.Choice{
		OffersConsidered: e.Considered, HourlyPriceMicros: int64(e.PriceMicros), GPUs: e.GPUs, ExpectedRunMS: e.ExpectedRunMS,
		FetchMS: e.FetchMS, Runs: e.Runs, RunsOk: e.OK, SuccessRate: float64(e.OK+9) / float64(e.Runs+10),
		EffectiveCostMicros: int64(e.EffectiveMicros), NextHostID: e.NextHost.Prefixed("hst"), NextEffectiveCostMicros: int64(e.NextEffectiveMicros),
	}
}

func exclusionsJSON(e domainjobs.Exclusions) []api.Exclusion {
	list := []api.Exclusion{}
	for _, c := range domainjobs.Constraints {
		if n := e.By[c]; n > 0 {
			list = append(list, api.Exclusion{Constraint: string(c), Hosts: n})
		}
	}
	return list
}

func (s *server) eventJSON(e domain.Event) (api.JobEvent, error) {
	var h domainjobs.Happening
	if err := json.Unmarshal(e.Data, &h); err != nil {
		return api.JobEvent{}, err
	}
	shown := api.JobEvent{
		Seq: e.Seq, Type: e.Type, Time: e.Time, State: api.JobState(h.State), Reason: string(h.Reason), Cause: api.Cause(h.Cause),
		Detail: h.Detail, Attempt: h.Attempt, ExitCode: h.ExitCode, BillableMS: h.BillableMS, AmountMicros: int64(h.Amount), HoldMicros: int64(h.Hold),
	}
	if !h.Host.IsZero() {
		shown.Host = api.HostRef{ID: h.Host.Prefixed("hst"), Name: h.HostName}
	}
	if h.Why != nil {
		shown.Choice = choiceJSON(*h.Why)
	}
	return shown, nil
}

// uploadJSON is a signed upload, as a program can send it.
func uploadJSON(r ports.SignedRequest, url string) api.SignedUpload {
	headers := map[string]string{}
	for name, values := range r.Header {
		headers[name] = strings.Join(values, ", ")
	}
	return api.SignedUpload{Method: r.Method, URL: url, Headers: headers, ExpiresAt: r.Expires}
}

// specOf reads what a renter asks for.
func specOf(r api.JobRequest) (domainjobs.Spec, []jobs.EnvValue, error) {
	spec := domainjobs.Spec{
		Name: r.Name, Source: domainjobs.Source{Kind: domainjobs.SourceKind(r.Source.Kind), Image: r.Source.Image},
		Command: r.Command, Image: r.Image,
		Inputs: mapped(r.Inputs, func(i api.JobInput) domainjobs.Input { return domainjobs.Input{From: i.From, Path: i.Path} }),
		Needs: domainjobs.Needs{
			GPUs: r.Needs.GPUs, MinVRAMMB: r.Needs.MinVRAMMB, MemoryMB: r.Needs.MemoryMB, DiskMB: r.Needs.DiskMB,
			CPUMilli: int64(math.Ceil(r.Needs.CPUs*1000 - 1e-6)), Tags: r.Needs.Tags, Region: r.Needs.Region, Verified: r.Needs.Verified,
			Isolation: domainjobs.Isolation(r.Needs.Isolation), MaxPrice: domain.Micros(r.Needs.MaxPriceMicros),
		},
		Network: domainjobs.Network{Mode: domainjobs.NetworkMode(r.Network.Mode), Allow: r.Network.Allow},
		Limits: domainjobs.Limits{
			MaxRuntime: time.Duration(r.Limits.MaxRuntimeS) * time.Second, MaxWait: time.Duration(r.Limits.MaxWaitS) * time.Second,
			MaxCost: domain.Micros(r.Limits.MaxCostMicros),
		},
		Outputs: r.Outputs, Checkpoint: r.Checkpoint.Path, Funding: domainjobs.Funding(r.Funding),
	}
	if r.Needs.GPUModel != "" {
		spec.Needs.GPUModel = hosts.Canonical(r.Needs.GPUModel)
	}
	if r.HostID != "" {
		pin, err := parseID("hst", r.HostID)
		if err != nil {
			return spec, nil, err
		}
		spec.HostPin = pin
	}
	if p := r.Public; p.Name != "" {
		spec.Public = &domainjobs.Public{
			Name: p.Name, Description: p.Description, License: p.License, Citation: p.Citation,
			Thumbnail: p.Thumbnail, Tags: p.Tags, Files: p.Files,
		}
	}
	var env []jobs.EnvValue
	for _, e := range r.Env {
		spec.Env = append(spec.Env, domainjobs.EnvVar{Name: e.Name, Secret: e.Secret})
		env = append(env, jobs.EnvValue{Name: e.Name, Value: e.Value, Secret: e.Secret})
	}
	return spec, env, nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
