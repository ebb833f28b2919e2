package bunstore

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// APITokens is the personal access tokens.
func (s *Store) APITokens() ports.APITokens { return apiTokens{s} }

type apiTokens struct{ s *Store }

type apiTokenRow struct {
	bun.BaseModel `bun:"table:api_tokens,alias:t"`

	ID         key `bun:",pk"`
	UserID     key
	Name       text
	Hash       []byte
	Prefix     string
	Scopes     json.RawMessage
	CreatedAt  stamp
	ExpiresAt  stamp
	LastUsedAt stamp
	RevokedAt  stamp
}

func (r *apiTokenRow) token() (identity.APIToken, error) {
	t := identity.APIToken{
		ID: domain.ID(r.ID), User: domain.ID(r.UserID), Name: string(r.Name), Hash: r.Hash, Prefix: r.Prefix,
		CreatedAt: r.CreatedAt.cut(), ExpiresAt: r.ExpiresAt.cut(), LastUsedAt: r.LastUsedAt.cut(), RevokedAt: r.RevokedAt.cut(),
	}
	return t, parse(r.Scopes, &t.Scopes)
}

func (r apiTokens) Add(ctx context.Context, t identity.APIToken) error {
	row := apiTokenRow{
		ID: key(t.ID), UserID: key(t.User), Name: text(t.Name), Hash: t.Hash, Prefix: t.Prefix, Scopes: document(t.Scopes),
		CreatedAt: stamp(t.CreatedAt), ExpiresAt: stamp(t.ExpiresAt), LastUsedAt: stamp(t.LastUsedAt), RevokedAt: stamp(t.RevokedAt),
	}
	return r.s.commit(ctx, t.ID, func(t *tx) error { return t.later(r.s.write.NewInsert().Model(&row)) })
}

func (r apiTokens) ByHash(ctx context.Context, hash []byte) (identity.APIToken, error) {
	db, err := r.s.reader()
	if err != nil {
		return identity.APIToken{}, err
	}
	var row apiTokenRow
	if err := db.NewSelect().Model(&row).Where("hash = ?", hash).Scan(ctx); err != nil {
		return identity.APIToken{}, r.s.missing(ctx, "token", err)
	}
	return row.token()
}

func (r apiTokens) List(ctx context.Context, user domain.ID) ([]identity.APIToken, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []apiTokenRow
	err = db.NewSelect().Model(&rows).Where("user_id = ?", key(user)).Where("revoked_at IS NULL").Order("created_at", "id").Scan(ctx)
	if err != nil {
		return nil, r.s.failed(ctx, err)
	}
	list := make([]identity.APIToken, len(rows))
	for i := range rows {
		if list[i], err = rows[i].token(); err != nil {
			return nil, r.s.failed(ctx, err)
		}
	}
	return list, nil
}

func (r apiTokens) Revoke(ctx context.Context, user, id domain.ID, at time.Time) error {
	return r.s.commit(ctx, id, func(t *tx) error {
		n, err := t.exec(r.s.write.NewUpdate().Model((*apiTokenRow)(nil)).
			Set("revoked_at = COALESCE(revoked_at, ?)", stamp(at)).Where("id = ?", key(id)).Where("user_id = ?", key(user)))
		if err == nil && n == 0 {
			return domain.NotFound("token")
		}
		return err
	})
}

func (r apiTokens) Touch(ctx context.Context, id domain.ID, at time.Time) error {
	return r.s.commit(ctx, id, func(t *tx) error {
		return t.later(r.s.write.NewUpdate().Model((*apiTokenRow)(nil)).Set("last_used_at = ?", stamp(at)).
			Where("id = ?", key(id)).Where("(last_used_at IS NULL OR last_used_at < ?)", stamp(at)))
	})
}
