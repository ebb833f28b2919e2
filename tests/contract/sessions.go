package contract

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// Sessions is the contract of ports.Sessions.
func Sessions(t *testing.T, open func(*testing.T) Storage) {
	c := sessionCases{open(t).Sessions()}
	t.Run("a hash that nobody has is unauthenticated", c.unknown)
	t.Run("every field comes back as it was added", c.added)
	t.Run("every field comes back as it was changed", c.changed)
	t.Run("the previous token finds the session too", c.previous)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("what a failed change did is stored, and its error returned", c.failedChange)
	t.Run("of those who exchange one token, one does and the others keep the newer one", c.rotationRace)
	t.Run("revoking ends a session, and a missing or ended one is no error", c.revoke)
	t.Run("sessions that ended at or after a time are listed", c.revokedSince)
	calls := c.calls()
	t.Run("a cancelled context ends a call with its error", calls.cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
	t.Run("a call from within a change fails at once", calls.nested(func(ctx context.Context, change func()) error {
		s := c.add(t)
		_, err := c.Update(ctx, s.TokenHash, func(*identity.Session) error { change(); return nil })
		return err
	}))
}

type sessionCases struct{ ports.Sessions }

// signIn is a session that is alive.
func signIn() identity.Session {
	s := filled[identity.Session]()
	s.Version, s.TokenHash, s.PrevHash = 1, identity.HashToken(ids.New().String()), identity.HashToken(ids.New().String())
	s.CreatedAt, s.RefreshedAt, s.RevokedAt = now(), now(), time.Time{}
	return s
}

func (c sessionCases) add(t *testing.T) identity.Session {
	t.Helper()
	s := signIn()
	require.NoError(t, c.Add(t.Context(), s))
	return s
}

// look reads a session, for which there is no other way than a change of nothing.
func (c sessionCases) look(t *testing.T, hash []byte) identity.Session {
	t.Helper()
	s, err := c.Update(t.Context(), hash, func(*identity.Session) error { return nil })
	require.NoError(t, err)
	s.Version = 1
	return s
}

func (c sessionCases) unknown(t *testing.T) {
	t.Parallel()
	s := signIn()
	s.PrevHash = nil
	require.NoError(t, c.Add(t.Context(), s))
	for name, hash := range map[string][]byte{
		"another": identity.HashToken("unknown"), "none": nil, "empty": {}, "the beginning": s.TokenHash[:16],
	} {
		_, err := c.Update(t.Context(), hash, func(*identity.Session) error { t.Error("there is nothing to change"); return nil })
		assert.ErrorIs(t, err, domain.Unauthenticated(""), name)
	}
}

func (c sessionCases) added(t *testing.T) {
	t.Parallel()
	want := filled[identity.Session]()
	want.Version = 1
	require.NoError(t, c.Add(t.Context(), want))
	same(t, want, c.look(t, want.TokenHash))

	bare := identity.Session{ID: ids.New(), Version: 1, TokenHash: identity.HashToken(ids.New().String())}
	require.NoError(t, c.Add(t.Context(), bare))
	same(t, bare, c.look(t, bare.TokenHash))
}

func (c sessionCases) changed(t *testing.T) {
	t.Parallel()
	first, want := c.add(t), filled[identity.Session]()
	want.ID, want.User, want.CreatedAt = first.ID, first.User, first.CreatedAt
	returned, err := c.Update(t.Context(), first.TokenHash, func(s *identity.Session) error {
		version := s.Version
		*s = want
		s.Version = version
		return nil
	})
	require.NoError(t, err)
	want.Version, returned.Version = 1, 1
	same(t, want, returned)
	same(t, want, c.look(t, want.TokenHash))
	_, err = c.Update(t.Context(), first.TokenHash, func(*identity.Session) error { return nil })
	assert.ErrorIs(t, err, domain.Unauthenticated(""), "the old token is worth nothing")
}

func (c sessionCases) previous(t *testing.T) {
	t.Parallel()
	s := c.add(t)
	same(t, s, c.look(t, s.PrevHash))
	next := identity.HashToken(ids.New().String())
	_, err := c.Update(t.Context(), s.TokenHash, func(s *identity.Session) error {
		_, err := s.Rotate(s.TokenHash, next, now())
		return err
	})
	require.NoError(t, err)
	assert.Equal(t, s.ID, c.look(t, s.TokenHash).ID)
	assert.Equal(t, s.ID, c.look(t, next).ID)
}

func (c sessionCases) copies(t *testing.T) {
	t.Parallel()
	given := signIn()
	require.NoError(t, c.Add(t.Context(), given))
	token := append([]byte(nil), given.TokenHash...)
	scribble(&given)
	returned := c.look(t, token)
	was := frozen(returned)
	scribble(&returned)
	assert.Equal(t, was, frozen(c.look(t, token)))
	// A change may keep what it was given; writing to that later reaches nobody.
	var leaked *identity.Session
	_, err := c.Update(t.Context(), token, func(s *identity.Session) error { leaked = s; return nil })
	require.NoError(t, err)
	scribble(leaked)
	assert.Equal(t, was, frozen(c.look(t, token)))
}

func (c sessionCases) failedChange(t *testing.T) {
	t.Parallel()
	s, at, stolen := c.add(t), now(), errors.New("stolen")
	returned, err := c.Update(t.Context(), s.TokenHash, func(s *identity.Session) error {
		s.RevokedAt = at
		return stolen
	})
	require.ErrorIs(t, err, stolen)
	assert.Equal(t, at, returned.RevokedAt)
	assert.Equal(t, at, c.look(t, s.TokenHash).RevokedAt)
}

func (c sessionCases) rotationRace(t *testing.T) {
	t.Parallel()
	s, at := c.add(t), now()
	exchanged, left := make([]bool, racers), make([]identity.Session, racers)
	for _, err := range race(racers, func(i int) (err error) {
		next := identity.HashToken(ids.New().String())
		left[i], err = c.Update(t.Context(), s.TokenHash, func(s2 *identity.Session) error {
			kept, err := s2.Rotate(s.TokenHash, next, at)
			exchanged[i] = !kept
			return err
		})
		return err
	}) {
		require.NoError(t, err)
	}
	n := 0
	for i := range racers {
		if exchanged[i] {
			n++
		}
		assert.Equal(t, left[0].TokenHash, left[i].TokenHash, "all end up with one token")
	}
	assert.Equal(t, 1, n)
}

func (c sessionCases) revoke(t *testing.T) {
	t.Parallel()
	s, at := c.add(t), now()
	require.NoError(t, c.Revoke(t.Context(), s.ID, at))
	assert.Equal(t, at, c.look(t, s.TokenHash).RevokedAt)
	require.NoError(t, c.Revoke(t.Context(), s.ID, at.Add(time.Hour)))
	assert.Equal(t, at, c.look(t, s.TokenHash).RevokedAt, "it has ended already")
	require.NoError(t, c.Revoke(t.Context(), ids.New(), at))
}

func (c sessionCases) revokedSince(t *testing.T) {
	t.Parallel()
	at := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC) // later than any other case
	var all []domain.ID
	for i := range 3 {
		s := c.add(t)
		require.NoError(t, c.Revoke(t.Context(), s.ID, at.Add(time.Duration(i)*time.Microsecond)))
		all = append(all, s.ID)
	}
	c.add(t)
	for i, want := range [][]domain.ID{all, all[1:], all[2:], nil} {
		got, err := c.RevokedSince(t.Context(), at.Add(time.Duration(i)*time.Microsecond))
		require.NoError(t, err)
		assert.ElementsMatch(t, want, got)
	}
}

func (c sessionCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := c.add(t)
	_, err := c.Update(ctx, s.TokenHash, func(s *identity.Session) error { s.UserAgent = "changed"; return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, c.Revoke(ctx, s.ID, now()), context.Canceled)
	same(t, s, c.look(t, s.TokenHash))
	fresh := signIn()
	require.ErrorIs(t, c.Add(ctx, fresh), context.Canceled)
	_, err = c.Update(t.Context(), fresh.TokenHash, func(*identity.Session) error { return nil })
	assert.ErrorIs(t, err, domain.Unauthenticated(""))
}

func (c sessionCases) calls() calls {
	return calls{
		"Add": func(ctx context.Context) error { return c.Add(ctx, signIn()) },
		"Update": func(ctx context.Context) error {
			_, err := c.Update(ctx, identity.HashToken("unknown"), func(*identity.Session) error { return nil })
			return err
		},
		"Revoke":       func(ctx context.Context) error { return c.Revoke(ctx, ids.New(), now()) },
		"RevokedSince": func(ctx context.Context) error { _, err := c.RevokedSince(ctx, now()); return err },
	}
}
