package jobs_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestAnImageComesFromARegistryThatIsAllowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		spec := patient()
		spec.Source = domainjobs.Source{Kind: domainjobs.SourceImage, Image: "192.168.1.1:5000/x"}
		spec.Image, spec.Limits.MaxRuntime = "Not an image", -1
		_, submitted := m.Jobs.Submit(t.Context(), ada, submission(spec))
		_, estimated := m.Jobs.Estimate(t.Context(), ada, spec)
		for _, err := range []error{submitted, estimated} {
			var refused *domain.Error
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, "invalid_job", refused.Code)
			var got []string
			for _, f := range refused.Fields {
				got = append(got, f.Pointer+" "+f.Code)
			}
			assert.Equal(t, []string{"/limits/max_runtime_s out_of_range", "/source/image registry_not_allowed", "/image invalid_image"}, got)
		}
	})
}

func TestAnImageIsPinnedWhenItIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		first := m.Images.Push("ghcr.io/ada/train:1", []byte("first"))
		spec := patient()
		spec.Source = domainjobs.Source{Kind: domainjobs.SourceImage, Image: "ghcr.io/ada/train:1"}
		s, err := m.Jobs.Submit(t.Context(), ada, submission(spec))
		require.NoError(t, err)
		assert.Equal(t, domainjobs.PinnedImage{Ref: "ghcr.io/ada/train:1", Digest: first}, m.Job(s.Job.ID).Spec.Pinned)

		second := m.Images.Push("ghcr.io/ada/train:1", []byte("second"))
		again, err := m.Jobs.Rerun(t.Context(), ada, s.Job.ID, nil, domainjobs.Idempotency{})
		require.NoError(t, err)
		assert.Equal(t, first, again.Job.Spec.Pinned.Digest, "a job that is run again is the same job")
		anew, err := m.Jobs.Submit(t.Context(), ada, submission(spec))
		require.NoError(t, err)
		assert.Equal(t, second, anew.Job.Spec.Pinned.Digest)

		revised := patient()
		revised.Image = "ghcr.io/ada/train:2"
		for pointer, image := range map[string]domainjobs.Spec{"/source/image": spec, "/image": revised} {
			image.Source.Image = strings.Replace(image.Source.Image, ":1", ":2", 1)
			_, err = m.Jobs.Submit(t.Context(), ada, submission(image))
			var refused *domain.Error
			require.ErrorAs(t, err, &refused)
			require.Len(t, refused.Fields, 1)
			assert.Equal(t, pointer+" image_not_found", refused.Fields[0].Pointer+" "+refused.Fields[0].Code)
		}
		assert.Equal(t, 3*s.Job.Hold, m.Balance(ada).Held, "what is refused holds nothing")
	})
}

func TestAnImageOfTheOperatorsIsPinnedOnceForAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{Jobs: func(s *jobs.Settings) { s.Named = map[string]string{"python": "ghcr.io/op/python:3"} }})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 100*market.Dollar)
		spec := patient()
		spec.Image = "python"
		_, err := m.Jobs.Submit(t.Context(), ada, submission(spec))
		require.Equal(t, "invalid_job", domain.CodeOf(err), "it does not exist yet, and that is not remembered")
		first := m.Images.Push("ghcr.io/op/python:3", []byte("first"))
		want := domainjobs.PinnedImage{Ref: "ghcr.io/op/python:3", Digest: first}
		s, err := m.Jobs.Submit(t.Context(), ada, submission(spec))
		require.NoError(t, err)
		assert.Equal(t, want, s.Job.Spec.Pinned)
		assert.Equal(t, "python", s.Job.Spec.Image, "what it says is what it said")
		second := m.Images.Push("ghcr.io/op/python:3", []byte("second"))
		s, err = m.Jobs.Submit(t.Context(), bob, submission(spec))
		require.NoError(t, err)
		assert.Equal(t, want, s.Job.Spec.Pinned)
		m.Restart()
		s, err = m.Jobs.Submit(t.Context(), ada, submission(spec))
		require.NoError(t, err)
		assert.Equal(t, want, s.Job.Spec.Pinned, "nor does another process see it otherwise")
		spec.Image = "ghcr.io/op/python:3"
		s, err = m.Jobs.Submit(t.Context(), ada, submission(spec))
		require.NoError(t, err)
		assert.Equal(t, second, s.Job.Spec.Pinned.Digest, "by its reference it is what it is now")
	})
}
