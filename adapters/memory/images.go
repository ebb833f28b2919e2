package memory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Images = (*Images)(nil)

// Images is the images of one process. Its zero value has none.
type Images struct {
	mu      sync.Mutex
	tags    map[string]string // reference with tag → digest
	digests map[string]bool   // repository@digest
}

// Push stores an image under registry/repository:tag, and gives its digest.
func (i *Images) Push(ref string, manifest []byte) string {
	sum := sha256.Sum256(manifest)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tags == nil {
		i.tags, i.digests = map[string]string{}, map[string]bool{}
	}
	i.tags[ref] = digest
	i.digests[repository(ref)+"@"+digest] = true
	return digest
}

// Resolve pins an image, see ports.Images.
func (i *Images) Resolve(ctx context.Context, image string) (jobs.PinnedImage, error) {
	if err := ctx.Err(); err != nil {
		return jobs.PinnedImage{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	ref, digest, pinned := strings.Cut(image, "@")
	if repository(ref) == ref && !pinned {
		ref += ":latest"
	}
	if !pinned {
		digest = i.tags[ref]
	}
	if !i.digests[repository(ref)+"@"+digest] {
		return jobs.PinnedImage{}, domain.Invalid("image_not_found", "there is no public image %s", image)
	}
	return jobs.PinnedImage{Ref: ref, Digest: digest}, nil
}

// repository is a reference without its tag, whose colon comes behind the last slash.
func repository(ref string) string {
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		return ref[:colon]
	}
	return ref
}
