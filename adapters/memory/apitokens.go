package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// APITokens is the personal access tokens.
func (s *Store) APITokens() ports.APITokens { return apiTokens{s} }

type apiTokens struct{ s *Store }

func (r apiTokens) Add(ctx context.Context, t identity.APIToken) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	for id, other := range r.s.tokens {
		if id == t.ID || bytes.Equal(other.Hash, t.Hash) {
			return domain.Conflict("exists", "there is such a token already")
		}
	}
	r.s.tokens[t.ID] = kept(t)
	return nil
}

func (r apiTokens) ByHash(ctx context.Context, hash []byte) (identity.APIToken, error) {
	if err := r.s.enter(ctx); err != nil {
		return identity.APIToken{}, err
	}
	defer r.s.mu.Unlock()
	for _, t := range r.s.tokens {
		if bytes.Equal(t.Hash, hash) {
			return kept(t), nil
		}
	}
	return identity.APIToken{}, domain.NotFound("token")
}

func (r apiTokens) List(ctx context.Context, user domain.ID) ([]identity.APIToken, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	var list []identity.APIToken
	for _, t := range r.s.tokens {
		if t.User == user && t.RevokedAt.IsZero() {
			list = append(list, kept(t))
		}
	}
	slices.SortFunc(list, func(a, b identity.APIToken) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), compareIDs(a.ID, b.ID))
	})
	return list, nil
}

func (r apiTokens) Revoke(ctx context.Context, user, id domain.ID, at time.Time) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	t, found := r.s.tokens[id]
	if !found || t.User != user {
		return domain.NotFound("token")
	}
	if t.RevokedAt.IsZero() {
		t.RevokedAt = domain.Time(at)
		r.s.tokens[id] = t
	}
	return nil
}

func (r apiTokens) Touch(ctx context.Context, id domain.ID, at time.Time) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	if t, found := r.s.tokens[id]; found && at.After(t.LastUsedAt) {
		t.LastUsedAt = domain.Time(at)
		r.s.tokens[id] = t
	}
	return nil
}
