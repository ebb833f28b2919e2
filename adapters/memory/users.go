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

// Users is the accounts.
func (s *Store) Users() ports.Users { return userStore{s.users} }

type userStore struct {
	*shelf[*identity.User, identity.Snapshot]
}

func newUsers(s *Store) *shelf[*identity.User, identity.Snapshot] {
	return &shelf[*identity.User, identity.Snapshot]{
		store: s, name: "account", restore: identity.Restore, snapshot: (*identity.User).Snapshot,
		row: func(u *identity.Snapshot) (domain.ID, *int64) { return u.ID, &u.Version },
		admit: func(_, next *identity.Snapshot) error {
			for id, other := range s.users.rows {
				switch {
				case id == next.ID:
				case other.Email == next.Email:
					return domain.Conflict("email_taken", "there is an account with this e-mail address")
				case other.Handle == next.Handle:
					return domain.Conflict("handle_taken", "the handle belongs to another account")
				}
			}
			return nil
		},
		rows: map[domain.ID]identity.Snapshot{},
	}
}

func (r userStore) Add(ctx context.Context, u *identity.User) error { return r.add(ctx, u) }

func (r userStore) Update(ctx context.Context, id domain.ID, change func(*identity.User) error) (identity.Snapshot, error) {
	return r.update(ctx, id, change)
}

func (r userStore) Get(ctx context.Context, id domain.ID) (identity.Snapshot, error) {
	return r.get(ctx, id)
}

func (r userStore) ByEmail(ctx context.Context, email string) (identity.Snapshot, error) {
	match := func(u *identity.Snapshot) bool { return u.Email == email }
	found, err := r.list(ctx, match, func(_, _ *identity.Snapshot) int { return 0 }, 1)
	if err == nil && len(found) == 0 {
		err = domain.NotFound(r.name)
	}
	if err != nil {
		return identity.Snapshot{}, err
	}
	return found[0], nil
}

// Sessions is the sign-ins.
func (s *Store) Sessions() ports.Sessions { return sessions{s} }

type sessions struct{ s *Store }

func (r sessions) Add(ctx context.Context, n identity.Session) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	if _, exists := r.s.sessions[n.ID]; exists {
		return domain.Conflict("exists", "there is such a session already")
	}
	n.Version = 1
	r.s.sessions[n.ID] = kept(n)
	return nil
}

func (r sessions) Update(ctx context.Context, hash []byte, change func(*identity.Session) error) (identity.Session, error) {
	for {
		old, err := r.find(ctx, hash)
		if err != nil {
			return identity.Session{}, err
		}
		changed := kept(old)
		failed := r.s.nested.change(func() error { return change(&changed) })
		next := kept(changed)
		next.Version = old.Version + 1
		if stored, err := r.replace(ctx, old.Version, next); stored || err != nil {
			return kept(next), cmp.Or(err, failed)
		}
	}
}

func (r sessions) find(ctx context.Context, hash []byte) (identity.Session, error) {
	if err := r.s.enter(ctx); err != nil {
		return identity.Session{}, err
	}
	defer r.s.mu.Unlock()
	for _, s := range r.s.sessions {
		if len(hash) > 0 && (bytes.Equal(s.TokenHash, hash) || bytes.Equal(s.PrevHash, hash)) {
			return kept(s), nil
		}
	}
	return identity.Session{}, domain.Unauthenticated("sign in again")
}

func (r sessions) replace(ctx context.Context, version int64, next identity.Session) (bool, error) {
	if err := r.s.enter(ctx); err != nil {
		return false, err
	}
	defer r.s.mu.Unlock()
	if r.s.sessions[next.ID].Version != version {
		return false, nil
	}
	r.s.sessions[next.ID] = next
	return true, nil
}

func (r sessions) Revoke(ctx context.Context, id domain.ID, at time.Time) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	if s, found := r.s.sessions[id]; found && s.RevokedAt.IsZero() {
		s.RevokedAt = domain.Time(at)
		s.Version++
		r.s.sessions[id] = s
	}
	return nil
}

func (r sessions) RevokedSince(ctx context.Context, since time.Time) ([]domain.ID, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	var ids []domain.ID
	for id, s := range r.s.sessions {
		if !s.RevokedAt.IsZero() && !s.RevokedAt.Before(domain.Time(since)) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids, nil
}
