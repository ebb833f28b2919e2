package jobs

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// Upload is where an announced file goes. Put is nil when its bytes are there already.
type Upload struct {
	Path string
	Put  *ports.SignedRequest
}

// uploadTTL is how long a signed upload or download for an agent is good.
const uploadTTL = 15 * time.Minute

// AuthorizeUploads lets the host of an attempt upload its results: within the job's
// limits, to keys of our choice, exactly the announced bytes.
func (s *Service) AuthorizeUploads(ctx context.Context, who domain.Actor, ref Ref, files []jobs.File) ([]Upload, error) {
	if err := s.mayDeliver(ctx, who, ref); err != nil {
		return nil, err
	}
	if err := s.checkFiles(ctx, ref, files); err != nil {
		return nil, err
	}
	plan := make([]ports.Artifact, len(files))
	for i, f := range files {
		plan[i] = ports.Artifact{
			ID: s.IDs.New(), Job: ref.Job, Attempt: ref.Attempt, Path: f.Path, Size: f.Size, SHA256: f.SHA256,
			BlobKey: fmt.Sprintf(resultsPrefix+"%s/%d/%s", ref.Job, ref.Attempt, f.SHA256), CreatedAt: s.Clock.Now(),
		}
	}
	stored, err := s.Artifacts.Plan(ctx, plan)
	if err != nil {
		return nil, err
	}
	uploads := make([]Upload, len(stored))
	for i, a := range stored {
		uploads[i].Path = a.Path
		if info, err := s.Blobs.Stat(ctx, a.BlobKey); err == nil && info.Size == a.Size && info.SHA256 == a.SHA256 {
			continue
		}
		put, err := s.Blobs.SignPut(ctx, a.BlobKey, ports.PutOptions{Size: a.Size, SHA256: a.SHA256, Expires: uploadTTL})
		if err != nil {
			return nil, err
		}
		uploads[i].Put = &put
	}
	return uploads, nil
}

func (s *Service) checkFiles(ctx context.Context, ref Ref, files []jobs.File) error {
	planned, err := s.Artifacts.List(ctx, ref.Job, ref.Attempt, true)
	if err != nil {
		return err
	}
	sizes := map[string]int64{}
	for _, a := range planned {
		sizes[a.Path] = a.Size
	}
	seen := map[string]bool{}
	for _, f := range files {
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !jobs.LocalPath(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "." || len(f.Path) > 1024:
			return domain.Invalid("invalid_path", "%q is no path below the working folder", f.Path)
		case seen[f.Path]:
			return domain.Invalid("duplicate_path", "%q is announced twice", f.Path)
		case err != nil || len(sum) != 32:
			return domain.Invalid("invalid_sha256", "the sha256 of %q is no sha256", f.Path)
		case f.Size < 0:
			return domain.Invalid("invalid_size", "the size of %q is negative", f.Path)
		case s.settings.FileBytes > 0 && f.Size > s.settings.FileBytes:
			return domain.NewError(domain.KindExhausted, "artifact_limit", "%q is larger than a result file may be: %d bytes", f.Path, s.settings.FileBytes)
		}
		seen[f.Path] = true
		sizes[f.Path] = f.Size
	}
	var total int64
	for _, size := range sizes {
		total += size
	}
	if len(sizes) > s.settings.ArtifactFiles || total > s.settings.ArtifactBytes {
		return domain.NewError(domain.KindExhausted, "artifact_limit",
			"a job has at most %d result files of %d bytes together", s.settings.ArtifactFiles, s.settings.ArtifactBytes)
	}
	return nil
}

// ConfirmUploads makes uploaded files visible, after comparing size and sha256 of what
// is stored with what was announced. Every file has to be announced before.
func (s *Service) ConfirmUploads(ctx context.Context, who domain.Actor, ref Ref, files []jobs.File) error {
	if err := s.mayDeliver(ctx, who, ref); err != nil {
		return err
	}
	planned, err := s.Artifacts.List(ctx, ref.Job, ref.Attempt, true)
	if err != nil {
		return err
	}
	byPath := map[string]ports.Artifact{}
	for _, a := range planned {
		byPath[a.Path] = a
	}
	var ids []domain.ID
	for _, f := range files {
		p := f.Path
		a, ok := byPath[p]
		if !ok {
			return domain.Invalid("not_announced", "%q was not announced", p)
		}
		if f.Size != a.Size || f.SHA256 != a.SHA256 {
			return domain.Conflict("upload_mismatch", "%q was announced with another size or sum", p)
		}
		info, err := s.Blobs.Stat(ctx, a.BlobKey)
		if domain.KindOf(err) == domain.KindNotFound {
			return domain.Conflict("upload_mismatch", "%q was not uploaded", p)
		}
		if err != nil {
			return err
		}
		if info.Size != a.Size || info.SHA256 != a.SHA256 {
			s.forget(ctx, a.BlobKey)
			return domain.Conflict("upload_mismatch", "what was uploaded for %q is not what was announced", p)
		}
		ids = append(ids, a.ID)
	}
	if err := faults.Point("artifact.after_put_before_confirm"); err != nil {
		return err
	}
	return s.Artifacts.Confirm(ctx, ids...)
}

// mayDeliver checks that the agent's host holds the attempt now, and that its results are
// still wanted. A link that was signed before a cancel is good until it expires: what comes
// by it is never visible, and is removed with the orphans.
func (s *Service) mayDeliver(ctx context.Context, who domain.Actor, ref Ref) error {
	j, err := s.heldBy(ctx, who, ref)
	if err == nil && j.State == jobs.Cancelling {
		// Not stale: the host has still to tell the end.
		return domain.Conflict("job_cancelled", "the job is being cancelled: its results are not taken any more")
	}
	return err
}

// heldBy gives the job of an attempt that the agent's host holds now.
func (s *Service) heldBy(ctx context.Context, who domain.Actor, ref Ref) (jobs.Snapshot, error) {
	if who.Host.IsZero() {
		return jobs.Snapshot{}, domain.Unauthenticated("only agents report")
	}
	j, err := s.Jobs.Get(ctx, ref.Job, domain.ID{})
	if domain.KindOf(err) == domain.KindNotFound {
		return j, jobs.ErrStale
	}
	if err != nil {
		return j, err
	}
	a := j.Current()
	if a == nil || a.Number != ref.Attempt || a.Host != who.Host || !a.Active() {
		return j, jobs.ErrStale
	}
	return j, nil
}
