package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// EnvValue is an environment variable as the renter gives it. It is sealed before it
// is stored.
type EnvValue struct {
	Name, Value string
	Secret      bool
}

// Submission is what a renter submits.
type Submission struct {
	Spec jobs.Spec
	Env  []EnvValue
	// Bundle is the ZIP, when it comes with the request. Without it a bundle job waits
	// for the signed upload of Announced.
	Bundle      io.Reader
	Announced   jobs.Bundle // size and sha256 of a bundle that comes later
	Idempotency jobs.Idempotency
}

// Submitted is the answer to a submit.
type Submitted struct {
	Job    jobs.Snapshot
	Upload *ports.SignedRequest // where the bundle goes; nil when there is none to come
}

// Submit takes a job: it checks it, stores its bundle, holds the money, finds a host
// and stores everything in one transaction. The host is told at once.
func (s *Service) Submit(ctx context.Context, who domain.Actor, sub Submission) (Submitted, error) {
	if err := who.Require(domain.RoleRenter, domain.ScopeJobsWrite); err != nil {
		return Submitted{}, err
	}
	if known, err := s.repeated(ctx, who, sub.Idempotency); err != nil || known != nil {
		return s.again(ctx, known, err)
	}
	return s.create(ctx, who, sub, nil)
}

func (s *Service) create(ctx context.Context, who domain.Actor, sub Submission, rerun *jobs.Snapshot) (Submitted, error) {
	if err := s.check(sub.Spec.WithDefaults()); err != nil {
		return Submitted{}, err
	}
	if err := s.pin(ctx, &sub.Spec, rerun); err != nil {
		return Submitted{}, err
	}
	now := s.Clock.Now()
	draft := jobs.Draft{
		ID: s.IDs.New(), Renter: who.User, Spec: sub.Spec, Currency: s.settings.Currency,
		Rerun: rerun, Idempotency: sub.Idempotency, RunVersion: 1,
	}
	var err error
	if draft.SealedEnv, err = s.seal(draft.ID, sub.Env); err != nil {
		return Submitted{}, err
	}
	if rerun != nil {
		latest, err := s.Jobs.List(ctx, ports.JobFilter{Renter: who.User, Origin: rerun.Origin}, ports.Page{Limit: 1})
		if err != nil {
			return Submitted{}, err
		}
		for _, v := range latest {
			draft.RunVersion = v.RunVersion + 1
		}
	}
	j, err := jobs.New(draft, now)
	if err != nil {
		return Submitted{}, err
	}
	var bundle jobs.Bundle
	if sub.Spec.Source.Kind == jobs.SourceBundle && rerun == nil {
		if sub.Bundle == nil {
			pending, err := s.awaitBundle(ctx, j, sub.Announced)
			if errors.Is(err, ports.ErrDuplicateRequest) {
				known, err := s.repeated(ctx, who, sub.Idempotency)
				return s.again(ctx, known, err)
			}
			return pending, err
		}
		if bundle, err = s.storeBundle(ctx, draft.ID, sub.Bundle); err != nil {
			return Submitted{}, err
		}
		if err := j.Fill(bundle); err != nil {
			return Submitted{}, err
		}
	}
	stored, err := s.enqueue(ctx, j.Snapshot(), func(hold domain.Micros, lease *jobs.Lease) (jobs.Snapshot, error) {
		for {
			// Built anew for each try, because its events are handed over with it.
			j, err := jobs.New(draft, now)
			if err == nil && bundle.Key != "" {
				err = j.Fill(bundle)
			}
			if err == nil {
				err = start(j, hold, lease, now)
			}
			if err == nil {
				err = s.Jobs.Add(ctx, j)
			}
			if !errors.Is(err, ports.ErrVersionTaken) {
				return added(j), err
			}
			draft.RunVersion++ // the same job is being run again by another request
		}
	})
	if err == nil {
		return Submitted{Job: stored}, nil
	}
	if bundle.Key != "" {
		// Only what was certainly not stored needs its bundle no more.
		_, missing := s.Jobs.Get(context.WithoutCancel(ctx), draft.ID, domain.ID{})
		if domain.KindOf(missing) == domain.KindNotFound {
			s.forget(ctx, bundle.Key)
		}
	}
	// The same request may have been faster, and may be why there is no money or no host
	// left for this one.
	if known, again := s.repeated(ctx, who, sub.Idempotency); again == nil && known != nil {
		return Submitted{Job: *known}, nil
	}
	return Submitted{}, err
}

// check tells everything that is wrong with the meaning of a spec, and with where its
// images come from.
func (s *Service) check(spec jobs.Spec) error {
	err := spec.Check()
	if spec.Image == "" && spec.Source.Image == "" {
		return err
	}
	var wrong domain.Problems
	var known *domain.Error
	if errors.As(err, &known) {
		wrong = known.Fields
	}
	for _, at := range [][2]string{{"/source/image", spec.Source.Image}, {"/image", spec.Image}} {
		var refused *domain.Error
		image, _ := s.reference(at[1])
		if image != "" && errors.As(s.settings.CheckImage(image), &refused) {
			wrong.Add(at[0], refused.Code, refused.Detail)
		}
	}
	return wrong.Err("invalid_job", "the job cannot run as described")
}

// pin finds out what the image that a job names is now. A job that is run again with the
// same name has the image of the run before.
func (s *Service) pin(ctx context.Context, spec *jobs.Spec, rerun *jobs.Snapshot) error {
	spec.Pinned = jobs.PinnedImage{}
	named := spec.Named()
	if named == "" {
		return nil
	}
	if rerun != nil && rerun.Spec.Named() == named && rerun.Spec.Pinned.Digest != "" {
		spec.Pinned = rerun.Spec.Pinned
		return nil
	}
	pinned, err := s.resolve(ctx, named)
	var refused *domain.Error
	if errors.As(err, &refused) && refused.Kind == domain.KindInvalid {
		var wrong domain.Problems
		at := "/image"
		if spec.Source.Kind == jobs.SourceImage {
			at = "/source/image"
		}
		wrong.Add(at, refused.Code, refused.Detail)
		return wrong.Err("invalid_job", "the job cannot run as described")
	}
	spec.Pinned = pinned
	return err
}

// added is a job as Jobs.Add stored it.
func added(j *jobs.Job) jobs.Snapshot {
	s := j.Snapshot()
	s.Version = 1
	return s
}

// again answers a repeated request like the first one.
func (s *Service) again(ctx context.Context, known *jobs.Snapshot, err error) (Submitted, error) {
	if err != nil || known == nil {
		return Submitted{}, err
	}
	answer := Submitted{Job: *known}
	left := known.CreatedAt.Add(s.settings.UploadTTL).Sub(s.Clock.Now())
	if known.State != jobs.Pending || known.Bundle.Key == "" || left <= 0 {
		return answer, nil
	}
	upload, err := s.Blobs.SignPut(ctx, known.Bundle.Key, ports.PutOptions{
		Size: known.Bundle.Size, SHA256: known.Bundle.SHA256, Expires: left,
	})
	answer.Upload = &upload
	return answer, err
}

// start queues a job and, with a lease, assigns it.
func start(j *jobs.Job, hold domain.Micros, lease *jobs.Lease, now time.Time) error {
	if err := j.Enqueue(hold, now); err != nil || lease == nil {
		return err
	}
	return j.Lease(*lease, now)
}

// leaseTries is how often a submit tries another offer after losing a race for one.
const leaseTries = 5

// enqueue holds the money, matches, and stores by the given way. It is the hot path:
// two commits, and the host is told.
func (s *Service) enqueue(ctx context.Context, draft jobs.Snapshot, store func(domain.Micros, *jobs.Lease) (jobs.Snapshot, error)) (jobs.Snapshot, error) {
	request := s.request(ctx, draft)
	hold, err := s.holdFor(draft, request)
	if err != nil {
		return jobs.Snapshot{}, err
	}
	if hold, err = s.Funds.Hold(ctx, draft.ID, draft.Renter, hold); err != nil {
		return jobs.Snapshot{}, err
	}
	_ = faults.Point("submit.after_hold")
	var stored jobs.Snapshot
	var lease *jobs.Lease
	for try := 0; ; try++ {
		lease = nil
		if try < leaseTries {
			if l, ok := s.fleet.reserve(draft.ID, request); ok {
				lease = &l
				_ = faults.Point("sched.after_reserve")
			}
		}
		if stored, err = store(hold, lease); !errors.Is(err, ports.ErrDeviceTaken) {
			break
		}
		s.fleet.refused() // the devices stay occupied here until they are read again
	}
	if err == nil {
		err = faults.Point("submit.after_insert")
	}
	if err != nil {
		stored, err = s.outcome(ctx, draft, err)
	}
	if lease != nil && (err != nil || !leased(stored, *lease)) {
		s.fleet.free(lease.Host, deviceIDs(lease.Devices)...)
	}
	if err != nil {
		return jobs.Snapshot{}, err
	}
	switch stored.State { //nolint:exhaustive // others have nothing to wait for
	case jobs.Assigned:
		s.Channels.Wake(stored.Current().Host)
	case jobs.Queued:
		s.fleet.park(draft.ID, request, draft.CreatedAt)
	}
	s.announce(ctx, draft, stored)
	_ = faults.Point("submit.after_outbox")
	return stored, nil
}

// outcome is what became of a job whose store answered with an error. The request may
// be over, and what answered with an error may have stored all the same: the row
// decides. The hold of a job that is not stored is given back; one that is pending
// still keeps it until it is queued or ends.
func (s *Service) outcome(ctx context.Context, draft jobs.Snapshot, why error) (jobs.Snapshot, error) {
	ctx = context.WithoutCancel(ctx)
	now, err := s.Jobs.Get(ctx, draft.ID, domain.ID{})
	switch {
	case domain.KindOf(err) == domain.KindNotFound:
		return now, errors.Join(why, s.Funds.Release(ctx, draft.ID, draft.Renter))
	case err != nil:
		s.fleet.refused()
		return now, errors.Join(why, err)
	case now.State.Terminal() || now.State == jobs.Pending:
		return now, why
	}
	return now, nil
}

// holdFor is max_cost, or what the job costs at most at the price that is asked for,
// or at the dearest offer that fits now.
func (s *Service) holdFor(j jobs.Snapshot, r jobs.Request) (domain.Micros, error) {
	limits := j.Spec.Limits
	if limits.MaxCost > 0 {
		return limits.MaxCost, nil
	}
	price := j.Spec.Needs.MaxPrice
	if price == 0 {
		var err error
		if price, err = s.fleet.dearest(r); err != nil {
			return 0, err
		}
	}
	return domain.Cost(price, j.Spec.Needs.GPUs, limits.MaxRuntime.Milliseconds()), nil
}

// request is a job as the match sees it.
func (s *Service) request(ctx context.Context, j jobs.Snapshot) jobs.Request {
	return jobs.Request{
		Needs: j.Spec.Demands(), Renter: j.Renter, HostPin: j.Spec.HostPin,
		Avoid: j.Avoid, Declined: j.Declined(s.Clock.Now()),
		ExpectedRun: s.expectedRun(ctx, j), FetchBytes: j.Bundle.Size,
	}
}

// repeated finds the job that an earlier request with the same key made.
func (s *Service) repeated(ctx context.Context, who domain.Actor, idem jobs.Idempotency) (*jobs.Snapshot, error) {
	if idem.Key == "" {
		return nil, nil
	}
	found, err := s.Jobs.List(ctx, ports.JobFilter{Renter: who.User, Key: idem.Key}, ports.Page{Limit: 1})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if found[0].Idempotency.Request != idem.Request {
		return nil, domain.Conflict("key_reused", "the Idempotency-Key was used for another request")
	}
	return &found[0], nil
}

func deviceIDs(devices []jobs.Device) []domain.ID { return jobs.Attempt{Devices: devices}.DeviceIDs() }

// expectedRun is the median of what the versions of the job took, or the shorter of
// its limit and an hour.
func (s *Service) expectedRun(ctx context.Context, j jobs.Snapshot) time.Duration {
	guess := min(j.Spec.Limits.MaxRuntime, time.Hour)
	if j.RerunOf.IsZero() {
		return guess
	}
	versions, err := s.Jobs.List(ctx, ports.JobFilter{Origin: j.Origin, States: []jobs.State{jobs.Succeeded}}, ports.Page{Limit: 15})
	if err != nil {
		s.Log.WarnContext(ctx, "the runs of earlier versions cannot be read", "job", j.ID.Prefixed("job"), "error", err)
		return guess
	}
	var runs []time.Duration
	for _, v := range versions {
		runs = append(runs, v.Current().Billable)
	}
	if len(runs) == 0 {
		return guess
	}
	return max(median(runs), time.Second)
}

func (s *Service) seal(job domain.ID, env []EnvValue) ([]byte, error) {
	if len(env) == 0 {
		return nil, nil
	}
	plain, err := json.Marshal(env)
	if err != nil {
		return nil, domain.NewError(domain.KindInternal, "seal", "the environment cannot be encoded").With(err)
	}
	return s.Vault.Seal(plain, "job-env:"+job.String())
}

func (s *Service) unseal(j jobs.Snapshot) ([]EnvValue, error) {
	if len(j.SealedEnv) == 0 {
		return nil, nil
	}
	plain, err := s.Vault.Unseal(j.SealedEnv, "job-env:"+j.ID.String())
	if err != nil {
		return nil, err
	}
	var env []EnvValue
	if err := json.Unmarshal(plain, &env); err != nil {
		return nil, domain.NewError(domain.KindInternal, "unseal", "the environment cannot be decoded").With(err)
	}
	return env, nil
}
