package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// DefaultImage is the name among Settings.Named of what jobs run in that name no image.
const DefaultImage = "default"

// unresolved is how long a registry that did not answer is left alone.
const unresolved = time.Minute

// chosen is what is known here of the images of the operator's choice.
type chosen struct {
	mu     sync.Mutex
	images map[string]jobs.PinnedImage // by reference
	failed time.Time                   // when the default could not be found out
}

// reference is what a job means by an image: one of the operator's choice by its short
// name, or whatever it says.
func (s *Service) reference(image string) (ref string, ours bool) {
	if ref, ours = s.settings.Named[image]; ours {
		return ref, true
	}
	return image, false
}

// resolve finds out what an image is. One of the operator's choice is what it was when it
// was needed first.
func (s *Service) resolve(ctx context.Context, image string) (jobs.PinnedImage, error) {
	ref, ours := s.reference(image)
	if !ours {
		return s.Images.Resolve(ctx, ref)
	}
	s.chosen.mu.Lock()
	known, found := s.chosen.images[ref]
	s.chosen.mu.Unlock()
	if found {
		return known, nil
	}
	known, err := s.Pins.Pinned(ctx, ref)
	if domain.KindOf(err) == domain.KindNotFound {
		if known, err = s.Images.Resolve(ctx, ref); err == nil {
			known, err = s.Pins.Pin(ctx, ref, known)
		}
	}
	if err != nil {
		return jobs.PinnedImage{}, err
	}
	s.chosen.mu.Lock()
	defer s.chosen.mu.Unlock()
	if s.chosen.images == nil {
		s.chosen.images = map[string]jobs.PinnedImage{}
	}
	s.chosen.images[ref] = known
	return known, nil
}

// image is what an attempt runs in: what its job names, or on a host with containers the
// default. Nothing leaves it to the host, also where the default cannot be found out now.
func (s *Service) image(ctx context.Context, j jobs.Snapshot, a jobs.Attempt) jobs.PinnedImage {
	if j.Spec.Pinned.Digest != "" || s.settings.Named[DefaultImage] == "" {
		return j.Spec.Pinned
	}
	contained := false
	for _, slot := range s.fleet.slots(a.Devices) {
		contained = slot.Isolation.AtLeast(jobs.IsolationContainer)
	}
	if !contained {
		return jobs.PinnedImage{}
	}
	now := s.Clock.Now()
	s.chosen.mu.Lock()
	failed := s.chosen.failed
	s.chosen.mu.Unlock()
	if now.Sub(failed) < unresolved {
		return jobs.PinnedImage{}
	}
	found, err := s.resolve(ctx, DefaultImage)
	if err != nil {
		s.Log.WarnContext(ctx, "the default image cannot be found out; hosts use their own", "image", s.settings.Named[DefaultImage], "error", err)
		s.chosen.mu.Lock()
		defer s.chosen.mu.Unlock()
		s.chosen.failed = now
	}
	return found
}
