package bunstore

import (
	"context"
	"encoding/json"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// Users is the accounts.
func (s *Store) Users() ports.Users { return users{s} }

type users struct{ s *Store }

type userRow struct {
	bun.BaseModel `bun:"table:users,alias:u"`

	ID           key `bun:",pk"`
	Version      int64
	Email        text
	Handle       text
	Name         text
	PasswordHash string
	Roles        json.RawMessage
	Disabled     bool
	CreatedAt    stamp
	AcceptedAt   stamp
}

func toUserRow(s identity.Snapshot) userRow {
	return userRow{
		ID: key(s.ID), Version: s.Version, Email: text(s.Email), Handle: text(s.Handle), Name: text(s.Name),
		PasswordHash: s.PasswordHash, Roles: document(s.Roles), Disabled: s.Disabled,
		CreatedAt: stamp(s.CreatedAt), AcceptedAt: stamp(s.AcceptedAt),
	}
}

func (r *userRow) snapshot() (identity.Snapshot, error) {
	s := identity.Snapshot{
		ID: domain.ID(r.ID), Version: r.Version, Email: string(r.Email), Handle: string(r.Handle), Name: string(r.Name),
		PasswordHash: r.PasswordHash, Disabled: r.Disabled, CreatedAt: r.CreatedAt.cut(), AcceptedAt: r.AcceptedAt.cut(),
	}
	return s, parse(r.Roles, &s.Roles)
}

var userKind = &kind[*identity.User, identity.Snapshot]{
	name: "account", table: "users", restore: identity.Restore, snapshot: (*identity.User).Snapshot,
	load: func(ctx context.Context, db bun.IDB, id domain.ID) (identity.Snapshot, error) {
		return readUser(ctx, db, "id = ?", key(id))
	},
	insert: func(t *tx, s identity.Snapshot) (identity.Snapshot, error) {
		s.Version = 1
		row := toUserRow(s)
		if err := t.later(t.store.write.NewInsert().Model(&row)); err != nil {
			return s, err
		}
		return row.snapshot()
	},
	replace: func(t *tx, old, next identity.Snapshot) (identity.Snapshot, bool, error) {
		next.Version = old.Version + 1
		row := toUserRow(next)
		n, err := t.exec(t.store.write.NewUpdate().Model(&row).WherePK().Where("version = ?", old.Version))
		if err != nil || n == 0 {
			return next, false, err
		}
		stored, err := row.snapshot()
		return stored, true, err
	},
}

func readUser(ctx context.Context, db bun.IDB, where string, arg any) (identity.Snapshot, error) {
	var row userRow
	if err := db.NewSelect().Model(&row).Where(where, arg).Scan(ctx); err != nil {
		return identity.Snapshot{}, err
	}
	return row.snapshot()
}

func (r users) Add(ctx context.Context, u *identity.User) error {
	return userKind.add(ctx, r.s, u.Snapshot().ID, u)
}

func (r users) Update(ctx context.Context, id domain.ID, change func(*identity.User) error) (identity.Snapshot, error) {
	return userKind.update(ctx, r.s, id, change)
}

func (r users) Get(ctx context.Context, id domain.ID) (identity.Snapshot, error) {
	return userKind.get(ctx, r.s, id)
}

func (r users) ByEmail(ctx context.Context, email string) (identity.Snapshot, error) {
	db, err := r.s.reader()
	if err != nil {
		return identity.Snapshot{}, err
	}
	s, err := readUser(ctx, db, "email = ?", text(email))
	return s, r.s.missing(ctx, userKind.name, err)
}
