package jobs

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// storeBundle keeps the ZIP that comes with its request, and checks it. One that breaks
// a rule is gone before the error is told.
func (s *Service) storeBundle(ctx context.Context, job domain.ID, r io.Reader) (jobs.Bundle, error) {
	key := bundleKey(job)
	limited := &io.LimitedReader{R: r, N: s.settings.BundleBytes + 1}
	info, err := s.Blobs.Put(ctx, key, limited)
	if err == nil && limited.N <= 0 {
		err = domain.NewError(domain.KindExhausted, "bundle_too_large", "a bundle has at most %d bytes", s.settings.BundleBytes)
	}
	if err == nil {
		err = s.Bundles.Check(ctx, key)
	}
	if err != nil {
		s.forget(ctx, key)
		return jobs.Bundle{}, err
	}
	return jobs.Bundle{Key: key, Size: info.Size, SHA256: info.SHA256}, nil
}

// mostPending is how many jobs of one renter may wait for their bundles: each may fill
// some of our disk before any money is held.
const mostPending = 10

// awaitBundle stores a job whose bundle comes by a signed upload.
func (s *Service) awaitBundle(ctx context.Context, j *jobs.Job, announced jobs.Bundle) (Submitted, error) {
	sum, err := hex.DecodeString(announced.SHA256)
	if err != nil || len(sum) != 32 || announced.Size < 1 {
		return Submitted{}, &domain.Error{
			Kind: domain.KindInvalid, Code: "invalid_job", Detail: "announce size and sha256 of the bundle that you will upload",
			Fields: []domain.Field{{Pointer: "/source", Code: "required", Detail: "source.size in bytes and source.sha256 in hexadecimal"}},
		}
	}
	if announced.Size > s.settings.BundleBytes {
		return Submitted{}, domain.NewError(domain.KindExhausted, "bundle_too_large", "a bundle has at most %d bytes", s.settings.BundleBytes)
	}
	draft := j.Snapshot()
	waiting, err := s.Jobs.List(ctx, ports.JobFilter{Renter: draft.Renter, States: []jobs.State{jobs.Pending}}, ports.Page{Limit: mostPending})
	if err != nil {
		return Submitted{}, err
	}
	if len(waiting) == mostPending {
		return Submitted{}, domain.NewError(domain.KindExhausted, "too_many_pending", "%d jobs wait for their bundles already: upload, submit or cancel those first", mostPending)
	}
	if credit, err := s.Funds.Credit(ctx, draft.Renter); err != nil || credit <= 0 {
		return Submitted{}, errors.Join(domain.NewError(domain.KindPaymentRequired, "insufficient_funds", "there is no credit: buy some before you upload"), err)
	}
	announced.Key = bundleKey(draft.ID)
	if err := j.Fill(announced); err != nil {
		return Submitted{}, err
	}
	upload, err := s.Blobs.SignPut(ctx, announced.Key, ports.PutOptions{
		Size: announced.Size, SHA256: announced.SHA256, Expires: s.settings.UploadTTL,
	})
	if err != nil {
		return Submitted{}, err
	}
	if err := s.Jobs.Add(ctx, j); err != nil {
		return Submitted{}, err
	}
	pending := added(j)
	s.announce(ctx, jobs.Snapshot{}, pending)
	return Submitted{Job: pending, Upload: &upload}, nil
}

// SubmitUploaded queues a pending job whose bundle was uploaded. Repeating it changes
// nothing.
func (s *Service) SubmitUploaded(ctx context.Context, who domain.Actor, id domain.ID) (jobs.Snapshot, error) {
	if err := who.Require(domain.RoleRenter, domain.ScopeJobsWrite); err != nil {
		return jobs.Snapshot{}, err
	}
	pending, err := s.Jobs.Get(ctx, id, who.User)
	if err != nil {
		return pending, err
	}
	if pending.State.Terminal() && !pending.Queued() {
		return pending, domain.Conflict("already_finished", "the job is %s already, without its bundle: submit it again", pending.State)
	}
	if pending.State != jobs.Pending {
		return pending, nil
	}
	info, err := s.Blobs.Stat(ctx, pending.Bundle.Key)
	if domain.KindOf(err) == domain.KindNotFound {
		return pending, domain.Conflict("no_bundle", "the bundle is not uploaded yet")
	}
	if err != nil {
		return pending, err
	}
	if info.Size != pending.Bundle.Size || info.SHA256 != pending.Bundle.SHA256 {
		return pending, domain.Conflict("bundle_mismatch", "what was uploaded is not what was announced")
	}
	if err := s.Bundles.Check(ctx, pending.Bundle.Key); err != nil {
		if domain.KindOf(err) == domain.KindInvalid {
			s.failPending(ctx, pending, err)
		}
		return pending, err
	}
	return s.enqueue(ctx, pending, func(hold domain.Micros, lease *jobs.Lease) (jobs.Snapshot, error) {
		return s.Jobs.Update(ctx, id, func(j *jobs.Job) error { return start(j, hold, lease, s.Clock.Now()) })
	})
}

// failPending ends a job whose uploaded ZIP breaks a rule.
func (s *Service) failPending(ctx context.Context, j jobs.Snapshot, why error) {
	_, err := s.update(ctx, j.ID, func(j *jobs.Job) error {
		return j.Fail(jobs.ReasonBadBundle, why.Error(), s.Clock.Now())
	})
	if err != nil {
		s.Log.WarnContext(ctx, "a job with a bad bundle cannot be ended", "job", j.ID.Prefixed("job"), "error", err)
	}
	s.forget(ctx, j.Bundle.Key)
}

func (s *Service) forget(ctx context.Context, key string) {
	if err := s.Blobs.Delete(context.WithoutCancel(ctx), key); err != nil {
		s.Log.WarnContext(ctx, "an object cannot be removed", "key", key, "error", err)
	}
}

func bundleKey(job domain.ID) string { return bundlesPrefix + job.String() + ".zip" }

func median(runs []time.Duration) time.Duration {
	slices.Sort(runs)
	return runs[len(runs)/2]
}
