package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// Sessions is the sign-ins.
func (s *Store) Sessions() ports.Sessions { return sessions{s} }

type sessions struct{ s *Store }

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`

	ID          key `bun:",pk"`
	UserID      key
	Version     int64
	TokenHash   []byte
	PrevHash    []byte
	CreatedAt   stamp
	RefreshedAt stamp
	RevokedAt   stamp
	UserAgent   text
}

func toSessionRow(s identity.Session) sessionRow {
	return sessionRow{
		ID: key(s.ID), UserID: key(s.User), Version: s.Version,
		TokenHash: slices.Clone(s.TokenHash), PrevHash: slices.Clone(s.PrevHash),
		CreatedAt: stamp(s.CreatedAt), RefreshedAt: stamp(s.RefreshedAt), RevokedAt: stamp(s.RevokedAt), UserAgent: text(s.UserAgent),
	}
}

func (r *sessionRow) session() identity.Session {
	return identity.Session{
		ID: domain.ID(r.ID), User: domain.ID(r.UserID), Version: r.Version,
		TokenHash: slices.Clone(r.TokenHash), PrevHash: slices.Clone(r.PrevHash),
		CreatedAt: r.CreatedAt.cut(), RefreshedAt: r.RefreshedAt.cut(), RevokedAt: r.RevokedAt.cut(), UserAgent: string(r.UserAgent),
	}
}

var errNoSession = domain.Unauthenticated("the session is unknown; sign in again")

func (r sessions) Add(ctx context.Context, s identity.Session) error {
	s.Version = 1
	row := toSessionRow(s)
	return r.s.commit(ctx, s.ID, func(t *tx) error { return t.later(r.s.write.NewInsert().Model(&row)) })
}

// Update works like that of an aggregate, except that a change which fails is stored
// nevertheless.
func (r sessions) Update(ctx context.Context, tokenHash []byte, change func(*identity.Session) error) (identity.Session, error) {
	db, err := r.s.reader()
	if err != nil {
		return identity.Session{}, err
	}
	first, err := findSession(ctx, db, tokenHash, "")
	if err != nil {
		return identity.Session{}, r.s.failed(ctx, err)
	}
	ahead, refusedAhead := r.apply(first, change)
	var stored sessionRow
	var refused error
	err = r.s.commit(ctx, domain.ID(first.ID), func(t *tx) error {
		stored, refused = ahead, refusedAhead
		found, err := replaceSession(t, first, &stored)
		if err != nil || found {
			return err
		}
		conn, err := t.rows()
		if err != nil {
			return err
		}
		old, err := findSession(t.ctx, conn, tokenHash, r.s.dialect.lock)
		if err != nil {
			return err
		}
		stored, refused = r.apply(old, change)
		_, err = replaceSession(t, old, &stored)
		return err
	})
	if err != nil {
		return identity.Session{}, err
	}
	return stored.session(), refused
}

func (r sessions) apply(row sessionRow, change func(*identity.Session) error) (sessionRow, error) {
	s := row.session()
	err := r.s.nested.change(func() error { return change(&s) })
	return toSessionRow(s), err
}

func replaceSession(t *tx, old sessionRow, next *sessionRow) (found bool, err error) {
	next.ID, next.Version = old.ID, old.Version+1
	n, err := t.exec(t.store.write.NewUpdate().Model(next).WherePK().Where("version = ?", old.Version))
	return n > 0, err
}

// findSession finds the session that a refresh token belongs or belonged to.
func findSession(ctx context.Context, db bun.IDB, hash []byte, lock string) (sessionRow, error) {
	var row sessionRow
	if len(hash) == 0 {
		return row, errNoSession
	}
	err := db.NewRaw("SELECT * FROM sessions WHERE token_hash = ? OR prev_hash = ? ORDER BY (token_hash = ?) DESC LIMIT 1 "+lock,
		hash, hash, hash).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return row, errNoSession
	}
	return row, err
}

func (r sessions) Revoke(ctx context.Context, id domain.ID, at time.Time) error {
	return r.s.commit(ctx, id, func(t *tx) error {
		return t.later(r.s.write.NewUpdate().Model((*sessionRow)(nil)).Set("revoked_at = ?", stamp(at)).Set("version = version + 1").
			Where("id = ?", key(id)).Where("revoked_at IS NULL"))
	})
}

func (r sessions) RevokedSince(ctx context.Context, since time.Time) ([]domain.ID, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []sessionRow
	if err := db.NewSelect().Model(&rows).Column("id").Where("revoked_at >= ?", stamp(since)).Scan(ctx); err != nil {
		return nil, r.s.failed(ctx, err)
	}
	ids := make([]domain.ID, len(rows))
	for i, row := range rows {
		ids[i] = domain.ID(row.ID)
	}
	return ids, nil
}
