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
)

// File is a result file as the agent announces it.
type File struct {
	Path   string
	Size   int64
	SHA256 string
}

// Upload is where an announced file goes. Put is nil when its bytes are there already.
type Upload struct {
	Path string
	Put  *ports.SignedRequest
}

// uploadTTL is how long a signed upload or download for an agent is good.
const uploadTTL = 15 * time.Minute

// AuthorizeUploads lets the host of an attempt upload its results: within the job's
// limits, to keys of our choice, exactly the announced bytes.
func (s *Service) AuthorizeUploads(ctx context.Context, who domain.Actor, ref Ref, files []File) ([]Upload, error) {
	if err := s.holds(ctx, who, ref); err != nil {
		return nil, err
	}
	if err := s.checkFiles(ctx, ref, files); err != nil {
		return nil, err
	}
	plan := make([]ports.Artifact, len(files))
	for i, f := range files {
		plan[i] = ports.Artifact{
			ID: s.IDs.New(), Job: ref.Job, Attempt: ref.Attempt, Path: f.Path, Size: f.Size, SHA256: f.SHA256,
			BlobKey: fmt.Sprintf("jobs/%s/%d/%s", ref.Job, ref.Attempt, f.SHA256), CreatedAt: s.Clock.Now(),
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

func (s *Service) checkFiles(ctx context.Context, ref Ref, files []File) error {
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
// is stored with what was announced. Every path has to be announced before.
func (s *Service) ConfirmUploads(ctx context.Context, who domain.Actor, ref Ref, paths []string) error {
	if err := s.holds(ctx, who, ref); err != nil {
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
	for _, p := range paths {
		a, ok := byPath[p]
		if !ok {
			return domain.Invalid("not_announced", "%q was not announced", p)
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
	return s.Artifacts.Confirm(ctx, ids...)
}

// holds checks that the agent's host holds the attempt now.
func (s *Service) holds(ctx context.Context, who domain.Actor, ref Ref) error {
	if who.Host.IsZero() {
		return domain.Unauthenticated("only agents report")
	}
	j, err := s.Jobs.Get(ctx, ref.Job, domain.ID{})
	if domain.KindOf(err) == domain.KindNotFound {
		return jobs.ErrStale
	}
	if err != nil {
		return err
	}
	a := j.Current()
	if a == nil || a.Number != ref.Attempt || a.Host != who.Host || !a.Active() {
		return jobs.ErrStale
	}
	return nil
}
