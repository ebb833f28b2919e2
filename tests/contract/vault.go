package contract

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Vault is the contract of ports.Vault. Each call of open makes one with a key of its own.
func Vault(t *testing.T, open func(*testing.T) ports.Vault) {
	c := vaultCases{open(t)}
	t.Run("what was sealed is unsealed", c.roundTrip)
	t.Run("sealing twice gives different bytes", c.different)
	t.Run("another context does not unseal", c.context)
	t.Run("what was changed in any byte does not unseal", c.changed)
	t.Run("another key does not unseal", func(t *testing.T) {
		t.Parallel()
		c.refused(t, vaultCases{open(t)}.seal(t, "secret", "job"), "job")
	})
}

type vaultCases struct{ ports.Vault }

func (c vaultCases) seal(t *testing.T, plain, context string) []byte {
	t.Helper()
	sealed, err := c.Seal([]byte(plain), context)
	require.NoError(t, err)
	return sealed
}

func (c vaultCases) refused(t *testing.T, sealed []byte, context string) {
	t.Helper()
	plain, err := c.Unseal(sealed, context)
	require.Error(t, err)
	assert.Equal(t, domain.KindInternal, domain.KindOf(err))
	assert.Empty(t, plain)
}

func (c vaultCases) roundTrip(t *testing.T) {
	t.Parallel()
	for _, plain := range []string{"secret", "", "é\x00\xff", string(bytes.Repeat([]byte("a"), 1<<20))} {
		for _, context := range []string{"job", ""} {
			got, err := c.Unseal(c.seal(t, plain, context), context)
			require.NoError(t, err)
			assert.Equal(t, plain, string(got))
		}
	}
	given := []byte("secret")
	sealed, err := c.Seal(given, "job")
	require.NoError(t, err)
	assert.Equal(t, "secret", string(given))
	assert.NotContains(t, string(sealed), "secret")
}

func (c vaultCases) different(t *testing.T) {
	t.Parallel()
	first, second := c.seal(t, "secret", "job"), c.seal(t, "secret", "job")
	assert.NotEqual(t, first, second)
}

func (c vaultCases) context(t *testing.T) {
	t.Parallel()
	sealed := c.seal(t, "secret", "job 1")
	for _, context := range []string{"job 2", "job ", "job 11", ""} {
		c.refused(t, sealed, context)
	}
}

func (c vaultCases) changed(t *testing.T) {
	t.Parallel()
	sealed := c.seal(t, "secret", "job")
	for i := range sealed {
		for _, bit := range []byte{1, 128} {
			wrong := bytes.Clone(sealed)
			wrong[i] ^= bit
			c.refused(t, wrong, "job")
		}
		c.refused(t, sealed[:i], "job")
	}
	c.refused(t, append(bytes.Clone(sealed), 0), "job")
	c.refused(t, nil, "job")
}
