package system

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
)

func TestAPasswordFitsItsHashAlone(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	hash, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$"), hash)
	again, err := p.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.NotEqual(t, hash, again)

	ok, stale, err := p.Verify(t.Context(), hash, "correct horse")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.False(t, stale)
	ok, _, err = p.Verify(t.Context(), hash, "correct horsf")
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestTheReferenceVectorOfArgon2idIsUnderstood(t *testing.T) {
	t.Parallel()
	// Made by the reference implementation: argon2 somesalt -id -t 2 -m 16 -p 1 -l 24.
	const vector = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	ok, _, err := NewPasswords().Verify(t.Context(), vector, "password")
	require.NoError(t, err)
	assert.True(t, ok)
}

func TestWeakerParametersAreStale(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	weaker := phc{memory: 64, time: 1, threads: 1, salt: make([]byte, argonSalt)}
	key, err := p.derive(t.Context(), weaker, "old", argonKey)
	require.NoError(t, err)
	weaker.key = key
	ok, stale, err := p.Verify(t.Context(), weaker.String(), "old")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.True(t, stale)
}

func TestAnUnknownAccountIsWrongAndWaitsLikeAnyOther(t *testing.T) {
	t.Parallel()
	p := &Passwords{turns: make(chan struct{}, 1)}
	ok, stale, err := p.Verify(t.Context(), "", "anything")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.False(t, stale)

	// It costs the same because it takes a turn and derives with today's parameters.
	assert.Equal(t, [3]int{argonMemory, argonTime, argonKey}, [3]int{int(nobody.memory), int(nobody.time), len(nobody.key)})
	p.turns <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = p.Verify(ctx, "", "anything")
	require.ErrorIs(t, err, context.Canceled)
}

func TestAHashThatWaitsForItsTurnEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &Passwords{turns: make(chan struct{}, 1)}
		p.turns <- struct{}{} // somebody else's
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := p.Hash(ctx, "password")
			ended <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		<-p.turns
		_, err := p.Hash(t.Context(), "password")
		require.NoError(t, err)
		assert.Empty(t, p.turns, "the turn is given back")
	})
}

func TestAHashThatNobodyCouldHaveMadeIsAnInternalError(t *testing.T) {
	t.Parallel()
	p := NewPasswords()
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, hash := range []string{
		"x", "$argon2id$v=19$m=65536,t=2,p=1$" + salt, "$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + key, "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + key, "$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=0$" + salt + "$" + key, "$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1x$" + salt + "$" + key, "$argon2id$v=19$m=65536,t=2,p=1$!$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "\n",
	} {
		ok, _, err := p.Verify(t.Context(), hash, "password")
		require.Error(t, err, hash)
		assert.False(t, ok)
		assert.Equal(t, domain.KindInternal, domain.KindOf(err))
		assert.NotContains(t, err.Error(), key)
	}
}
