package memory

import (
	"context"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Pins implements ports.Pins.
func (s *Store) Pins() ports.Pins { return pins{s} }

type pins struct{ s *Store }

func (p pins) Pinned(ctx context.Context, image string) (jobs.PinnedImage, error) {
	if err := p.s.enter(ctx); err != nil {
		return jobs.PinnedImage{}, err
	}
	defer p.s.mu.Unlock()
	known, ok := p.s.pinned[image]
	if !ok {
		return known, domain.NotFound("pin")
	}
	return known, nil
}

func (p pins) Pin(ctx context.Context, image string, to jobs.PinnedImage) (jobs.PinnedImage, error) {
	if err := p.s.enter(ctx); err != nil {
		return jobs.PinnedImage{}, err
	}
	defer p.s.mu.Unlock()
	if known, ok := p.s.pinned[image]; ok {
		return known, nil
	}
	p.s.pinned[image] = to
	return to, nil
}
