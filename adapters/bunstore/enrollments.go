package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Enrollments is the permissions to add a host.
func (s *Store) Enrollments() ports.Enrollments { return enrollments{s} }

type enrollments struct{ s *Store }

type enrollmentRow struct {
	bun.BaseModel `bun:"table:enrollments,alias:e"`

	ID        key `bun:",pk"`
	Owner     key
	TokenHash []byte
	CreatedAt stamp
	ExpiresAt stamp
	UsedBy    key
}

func (r enrollments) Add(ctx context.Context, e hosts.Enrollment) error {
	row := enrollmentRow{
		ID: key(e.ID), Owner: key(e.Owner), TokenHash: e.TokenHash,
		CreatedAt: stamp(e.CreatedAt), ExpiresAt: stamp(e.ExpiresAt), UsedBy: key(e.UsedBy),
	}
	return r.s.commit(ctx, e.ID, func(t *tx) error { return t.later(r.s.write.NewInsert().Model(&row)) })
}

func (r enrollments) Use(ctx context.Context, tokenHash []byte, host domain.ID, now time.Time) (hosts.Enrollment, error) {
	var row enrollmentRow
	err := r.s.commit(ctx, host, func(t *tx) error {
		db, err := t.rows()
		if err != nil {
			return err
		}
		err = db.NewRaw("UPDATE enrollments SET used_by = ? WHERE token_hash = ? AND used_by IS NULL AND expires_at > ? RETURNING *",
			key(host), tokenHash, stamp(now)).Scan(t.ctx, &row)
		if errors.Is(err, sql.ErrNoRows) {
			return domain.Unauthenticated("the enrolment token is unknown, used or expired")
		}
		return err
	})
	if err != nil {
		return hosts.Enrollment{}, err
	}
	return hosts.Enrollment{
		ID: domain.ID(row.ID), Owner: domain.ID(row.Owner), TokenHash: row.TokenHash,
		CreatedAt: row.CreatedAt.cut(), ExpiresAt: row.ExpiresAt.cut(), UsedBy: domain.ID(row.UsedBy),
	}, nil
}
