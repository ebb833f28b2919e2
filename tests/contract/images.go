package contract

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// ImageStore is a source of images, and a way to push one into it.
type ImageStore interface {
	ports.Images
	// Push stores an image under a reference with a tag, and gives its digest. Different
	// content makes different images.
	Push(t *testing.T, ref, content string) (digest string)
	// Registry is where references begin.
	Registry() string
}

// Images is the suite of ports.Images.
func Images(t *testing.T, open func(*testing.T) ImageStore) {
	s := open(t)
	name := s.Registry() + "/ada/train"
	one := s.Push(t, name+":1", "one")
	resolve := func(image string) domainjobs.PinnedImage {
		t.Helper()
		p, err := s.Resolve(t.Context(), image)
		require.NoError(t, err, image)
		return p
	}

	t.Run("a tag is pinned to what it means", func(t *testing.T) {
		assert.Regexp(t, "^sha256:[0-9a-f]{64}$", one)
		assert.Equal(t, domainjobs.PinnedImage{Ref: name + ":1", Digest: one}, resolve(name+":1"))
	})
	t.Run("a tag that is pushed again means the new image, and the old one stays what it is", func(t *testing.T) {
		before := s.Push(t, name+":moving", "before")
		after := s.Push(t, name+":moving", "after")
		require.NotEqual(t, before, after)
		assert.Equal(t, after, resolve(name+":moving").Digest)
		assert.Equal(t, before, resolve(name+"@"+before).Digest)
	})
	t.Run("without a tag it is latest", func(t *testing.T) {
		latest := s.Push(t, name+":latest", "latest")
		assert.Equal(t, domainjobs.PinnedImage{Ref: name + ":latest", Digest: latest}, resolve(name))
	})
	t.Run("a digest wins over a tag", func(t *testing.T) {
		assert.Equal(t, domainjobs.PinnedImage{Ref: name + ":moving", Digest: one}, resolve(name+":moving@"+one))
		assert.Equal(t, domainjobs.PinnedImage{Ref: name, Digest: one}, resolve(name+"@"+one))
	})
	t.Run("what does not exist is said not to", func(t *testing.T) {
		for _, missing := range []string{name + ":2", s.Registry() + "/ada/other:1", name + "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"} {
			_, err := s.Resolve(t.Context(), missing)
			assert.Equal(t, domain.KindInvalid, domain.KindOf(err), missing)
			assert.Equal(t, "image_not_found", domain.CodeOf(err), missing)
			assert.ErrorContains(t, err, missing)
		}
	})
	t.Run("a cancelled context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Resolve(ctx, name+":1")
		assert.ErrorIs(t, err, context.Canceled)
	})
}
