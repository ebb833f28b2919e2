package bunstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Pins is what the installation's own images are.
func (s *Store) Pins() ports.Pins { return pins{s} }

type pins struct{ s *Store }

type pinRow struct {
	bun.BaseModel `bun:"table:image_pins"`

	Image    string `bun:",pk"`
	Ref      string
	Digest   string
	PinnedAt stamp
}

// pinKey makes one lane do what is written here: it is little.
var pinKey = domain.ID{15: 2}

func (p pins) Pinned(ctx context.Context, image string) (jobs.PinnedImage, error) {
	db, err := p.s.reader()
	if err != nil {
		return jobs.PinnedImage{}, err
	}
	var row pinRow
	err = db.NewSelect().Model(&row).Where("image = ?", image).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return jobs.PinnedImage{}, domain.NotFound("pin")
	}
	if err != nil {
		return jobs.PinnedImage{}, p.s.failed(ctx, err)
	}
	return jobs.PinnedImage{Ref: row.Ref, Digest: row.Digest}, nil
}

func (p pins) Pin(ctx context.Context, image string, to jobs.PinnedImage) (jobs.PinnedImage, error) {
	row := pinRow{Image: image, Ref: to.Ref, Digest: to.Digest, PinnedAt: stamp(p.s.Clock.Now())}
	err := p.s.commit(ctx, pinKey, func(t *tx) error {
		return t.later(t.store.write.NewInsert().Model(&row).On("CONFLICT (image) DO NOTHING"))
	})
	if err != nil {
		return jobs.PinnedImage{}, err
	}
	return p.Pinned(ctx, image)
}
