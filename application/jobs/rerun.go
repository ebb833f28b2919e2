package jobs

import (
	"context"
	"fmt"
	"slices"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// Revision is what a renter changes about a job to run it again: everything but the
// source, which stays that of the old job.
type Revision struct {
	Spec jobs.Spec
	Env  []RevisedEnv
}

// RevisedEnv is a variable of a revision. Without a value it keeps the old job's, and
// stays a secret if it was one.
type RevisedEnv struct {
	Name   string
	Value  *string
	Secret bool
}

// Rerun submits a job again: the same one, or with a revision what that says. Its
// bundle is used again, and the versions are linked.
func (s *Service) Rerun(ctx context.Context, who domain.Actor, id domain.ID, r *Revision, idem jobs.Idempotency) (Submitted, error) {
	if err := who.Require(domain.RoleRenter, domain.ScopeJobsWrite); err != nil {
		return Submitted{}, err
	}
	if known, err := s.repeated(ctx, who, idem); err != nil || known != nil {
		return s.again(ctx, known, err)
	}
	old, err := s.Jobs.Get(ctx, id, who.User)
	if err != nil {
		return Submitted{}, err
	}
	if old.Spec.Source.Kind == jobs.SourceBundle {
		// A job that waits for its bundle has the key already, and what was uploaded there
		// is checked when it is queued.
		if !old.Queued() {
			return Submitted{}, domain.Conflict("no_bundle", "that job never had its bundle: submit it again, with the ZIP")
		}
		_, err := s.Blobs.Stat(ctx, old.Bundle.Key)
		if domain.KindOf(err) == domain.KindNotFound || old.Bundle.Key == "" {
			return Submitted{}, domain.Conflict("no_bundle", "the bundle of that job is gone")
		}
		if err != nil {
			return Submitted{}, err
		}
	}
	env, err := s.unseal(old)
	if err != nil {
		return Submitted{}, err
	}
	sub := Submission{Spec: old.Spec, Env: env, Idempotency: idem}
	if r != nil {
		sub.Spec = r.Spec
		sub.Spec.Source = old.Spec.Source
		if sub.Env, err = r.env(env); err != nil {
			return Submitted{}, err
		}
		sub.Spec.Env = nil
		for _, e := range sub.Env {
			sub.Spec.Env = append(sub.Spec.Env, jobs.EnvVar{Name: e.Name, Secret: e.Secret})
		}
	}
	return s.create(ctx, who, sub, &old)
}

// env takes over the values that the revision leaves out.
func (r *Revision) env(old []EnvValue) ([]EnvValue, error) {
	var env []EnvValue
	var wrong domain.Problems
	for i, e := range r.Env {
		next := EnvValue{Name: e.Name, Secret: e.Secret}
		before := slices.IndexFunc(old, func(o EnvValue) bool { return o.Name == e.Name })
		switch {
		case e.Value != nil:
			next.Value = *e.Value
		case before < 0:
			wrong.Add(fmt.Sprintf("/env/%d/value", i), "required", "the job has no variable %s whose value could be kept: give one", e.Name)
		default:
			next.Value, next.Secret = old[before].Value, e.Secret || old[before].Secret
		}
		env = append(env, next)
	}
	return env, wrong.Err("invalid_job", "the job cannot run as described")
}
