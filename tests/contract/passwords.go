package contract

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Passwords is the contract of ports.Passwords.
func Passwords(t *testing.T, open func(*testing.T) ports.Passwords) {
	c := passwordCases{open(t)}
	t.Run("a password is verified with its hash alone", c.verify)
	t.Run("two hashes of one password differ", c.salted)
	t.Run("a hash with weaker parameters is stale", c.stale)
	t.Run("an empty hash is wrong, and costs the same time", c.empty)
	t.Run("many at once wait for their turn", c.many)
	t.Run("a cancelled context ends a call with its error", calls{
		"Hash":   func(ctx context.Context) error { _, err := c.Hash(ctx, "x"); return err },
		"Verify": func(ctx context.Context) error { _, _, err := c.Verify(ctx, weak, "x"); return err },
	}.cancelled)
}

type passwordCases struct{ ports.Passwords }

// weak is a hash of "correct horse" with 8 MiB and one pass.
const weak = "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$ulKcj6VJ78RNwnS/MJMzy87l8JYJKGxNMZ6yzgcex6M"

func (c passwordCases) hash(t *testing.T, password string) string {
	t.Helper()
	hash, err := c.Hash(t.Context(), password)
	require.NoError(t, err)
	return hash
}

func (c passwordCases) check(t *testing.T, hash, password string) (ok, stale bool) {
	t.Helper()
	ok, stale, err := c.Verify(t.Context(), hash, password)
	require.NoError(t, err)
	return ok, stale
}

func (c passwordCases) verify(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 25)
	for _, password := range []string{"correct horse", "é 漢 🙂", long, " spaces ", "nul\x00byte"} {
		hash := c.hash(t, password)
		assert.True(t, strings.HasPrefix(hash, "$argon2id$v=19$"), "a PHC string")
		assert.NotContains(t, hash, password)
		ok, stale := c.check(t, hash, password)
		assert.True(t, ok)
		assert.False(t, stale)
		for _, wrong := range []string{"", password + "x", password[:len(password)-1], strings.ToUpper(password) + "!"} {
			ok, _ := c.check(t, hash, wrong)
			assert.False(t, ok, "%q instead of %q", wrong, password)
		}
	}
}

func (c passwordCases) salted(t *testing.T) {
	t.Parallel()
	first, second := c.hash(t, "correct horse"), c.hash(t, "correct horse")
	assert.NotEqual(t, first, second)
}

func (c passwordCases) stale(t *testing.T) {
	t.Parallel()
	ok, stale := c.check(t, weak, "correct horse")
	assert.True(t, ok)
	assert.True(t, stale)
	ok, _ = c.check(t, weak, "wrong horse")
	assert.False(t, ok)
	ok, _, err := c.Verify(t.Context(), "no hash", "correct horse")
	assert.Equal(t, domain.KindInternal, domain.KindOf(err))
	assert.Error(t, err)
	assert.False(t, ok)
}

func (c passwordCases) empty(t *testing.T) {
	t.Parallel()
	hash := c.hash(t, "correct horse")
	// The quickest of some, because other tests run beside.
	quickest := func(hash string) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			ok, _ := c.check(t, hash, "wrong horse")
			assert.False(t, ok)
			best = min(best, time.Since(began))
		}
		return best
	}
	some, none := quickest(hash), quickest("")
	// Without the work it would be a ten-thousandth; a busy machine is not so unfair.
	assert.True(t, none > some/50 && none < some*50, "%s without a hash, %s with one", none, some)
	ok, _ := c.check(t, "", "")
	assert.False(t, ok)
}

func (c passwordCases) many(t *testing.T) {
	t.Parallel()
	hash := c.hash(t, "correct horse")
	for _, err := range race(2*racers, func(int) error {
		ok, _, err := c.Verify(t.Context(), hash, "correct horse")
		if err == nil && !ok {
			err = domain.Conflict("wrong", "it was wrong")
		}
		return err
	}) {
		require.NoError(t, err)
	}
}
