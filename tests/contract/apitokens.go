package contract

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// APITokens is the contract of ports.APITokens.
func APITokens(t *testing.T, open func(*testing.T) Storage) {
	c := tokenCases{open(t).APITokens()}
	t.Run("what is not there is not found", c.notFound)
	t.Run("every field comes back as it was added", c.added)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("a hash finds one token", c.oneHash)
	t.Run("revoked and expired tokens are found, and say so", c.spent)
	t.Run("a user's tokens are listed oldest first, without the revoked ones", c.list)
	t.Run("another's token cannot be revoked", c.foreign)
	t.Run("a later use never becomes an earlier one", c.touch)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

type tokenCases struct{ ports.APITokens }

func (c tokenCases) add(t *testing.T, change func(*identity.APIToken)) identity.APIToken {
	t.Helper()
	token := filled[identity.APIToken]()
	token.RevokedAt = time.Time{}
	change(&token)
	require.NoError(t, c.Add(t.Context(), token))
	return token
}

func (c tokenCases) find(t *testing.T, hash []byte) identity.APIToken {
	t.Helper()
	token, err := c.ByHash(t.Context(), hash)
	require.NoError(t, err)
	return token
}

func (c tokenCases) notFound(t *testing.T) {
	t.Parallel()
	for _, hash := range [][]byte{identity.HashToken("unknown"), nil} {
		_, err := c.ByHash(t.Context(), hash)
		assert.ErrorIs(t, err, domain.NotFound(""))
	}
	assert.ErrorIs(t, c.Revoke(t.Context(), ids.New(), ids.New(), now()), domain.NotFound(""))
	list, err := c.List(t.Context(), ids.New())
	require.NoError(t, err)
	assert.Empty(t, list)
}

func (c tokenCases) added(t *testing.T) {
	t.Parallel()
	want := filled[identity.APIToken]()
	require.NoError(t, c.Add(t.Context(), want))
	same(t, want, c.find(t, want.Hash))
	bare := identity.APIToken{ID: ids.New(), User: ids.New(), Hash: identity.HashToken(ids.New().String()), CreatedAt: now()}
	require.NoError(t, c.Add(t.Context(), bare))
	same(t, bare, c.find(t, bare.Hash))
	list, err := c.List(t.Context(), bare.User)
	require.NoError(t, err)
	require.Len(t, list, 1)
	same(t, bare, list[0])
}

func (c tokenCases) copies(t *testing.T) {
	t.Parallel()
	given := c.add(t, func(*identity.APIToken) {})
	hash := append([]byte(nil), given.Hash...)
	found := c.find(t, hash)
	was := frozen(found)
	list, err := c.List(t.Context(), given.User)
	require.NoError(t, err)
	for _, token := range []*identity.APIToken{&given, &found, &list[0]} {
		scribble(token)
	}
	assert.Equal(t, was, frozen(c.find(t, hash)))
}

func (c tokenCases) oneHash(t *testing.T) {
	t.Parallel()
	first := c.add(t, func(*identity.APIToken) {})
	second := filled[identity.APIToken]()
	second.Hash = first.Hash
	require.Error(t, c.Add(t.Context(), second))
	same(t, first, c.find(t, first.Hash))
}

func (c tokenCases) spent(t *testing.T) {
	t.Parallel()
	expired := c.add(t, func(token *identity.APIToken) { token.ExpiresAt = now().Add(-time.Hour) })
	assert.False(t, c.find(t, expired.Hash).Usable(now()))
	revoked, at := c.add(t, func(*identity.APIToken) {}), now()
	require.NoError(t, c.Revoke(t.Context(), revoked.User, revoked.ID, at))
	assert.Equal(t, at, c.find(t, revoked.Hash).RevokedAt)
}

func (c tokenCases) list(t *testing.T) {
	t.Parallel()
	user := ids.New()
	var want []domain.ID
	for i := range 4 {
		token := c.add(t, func(token *identity.APIToken) {
			token.User, token.CreatedAt = user, now().Add(-time.Duration(i)*time.Minute)
		})
		want = append([]domain.ID{token.ID}, want...)
	}
	c.add(t, func(*identity.APIToken) {})
	require.NoError(t, c.Revoke(t.Context(), user, want[1], now()))
	want = append(want[:1], want[2:]...)
	list, err := c.List(t.Context(), user)
	require.NoError(t, err)
	var got []domain.ID
	for _, token := range list {
		got = append(got, token.ID)
	}
	assert.Equal(t, want, got)
}

func (c tokenCases) foreign(t *testing.T) {
	t.Parallel()
	token := c.add(t, func(*identity.APIToken) {})
	assert.ErrorIs(t, c.Revoke(t.Context(), ids.New(), token.ID, now()), domain.NotFound(""))
	same(t, token, c.find(t, token.Hash))
}

func (c tokenCases) touch(t *testing.T) {
	t.Parallel()
	at := now()
	token := c.add(t, func(token *identity.APIToken) { token.LastUsedAt = time.Time{} })
	for _, use := range []struct{ at, want time.Time }{
		{at, at}, {at.Add(-time.Second), at}, {at.Add(time.Second), at.Add(time.Second)}, {at, at.Add(time.Second)},
	} {
		require.NoError(t, c.Touch(t.Context(), token.ID, use.at))
		assert.Equal(t, use.want, c.find(t, token.Hash).LastUsedAt)
	}
	for _, err := range race(racers, func(i int) error {
		return c.Touch(t.Context(), token.ID, at.Add(time.Duration(i)*time.Minute))
	}) {
		require.NoError(t, err)
	}
	assert.Equal(t, at.Add((racers-1)*time.Minute), c.find(t, token.Hash).LastUsedAt)
}

func (c tokenCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	token, fresh := c.add(t, func(*identity.APIToken) {}), filled[identity.APIToken]()
	require.ErrorIs(t, c.Add(ctx, fresh), context.Canceled)
	require.ErrorIs(t, c.Revoke(ctx, token.User, token.ID, now()), context.Canceled)
	require.ErrorIs(t, c.Touch(ctx, token.ID, now().Add(time.Hour)), context.Canceled)
	same(t, token, c.find(t, token.Hash))
	_, err := c.ByHash(t.Context(), fresh.Hash)
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c tokenCases) calls() calls {
	return calls{
		"Add":    func(ctx context.Context) error { return c.Add(ctx, filled[identity.APIToken]()) },
		"ByHash": func(ctx context.Context) error { _, err := c.ByHash(ctx, identity.HashToken("x")); return err },
		"List":   func(ctx context.Context) error { _, err := c.List(ctx, ids.New()); return err },
		"Revoke": func(ctx context.Context) error { return c.Revoke(ctx, ids.New(), ids.New(), now()) },
		"Touch":  func(ctx context.Context) error { return c.Touch(ctx, ids.New(), now()) },
	}
}
