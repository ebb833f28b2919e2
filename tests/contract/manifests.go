package contract

import (
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/ports"
)

// Manifests is the contract of ports.Manifests.
func Manifests(t *testing.T, open func(*testing.T) ports.Manifests) {
	c := manifestCases{open(t)}
	t.Run("what is signed is a compact JWS of the very bytes", c.signed)
	t.Run("the key set names the key that signs, and is signed by it", c.keySet)
	t.Run("what was signed by others has other keys", func(t *testing.T) {
		t.Parallel()
		token, err := manifestCases{open(t)}.Sign("tests+jws", []byte("{}"))
		require.NoError(t, err)
		_, found := c.keys(t)[signatureOf(t, token).Kid]
		assert.False(t, found)
	})
}

type manifestCases struct{ ports.Manifests }

// signature is a compact JWS, taken apart.
type signature struct {
	Alg, Typ, Kid string
	payload       []byte
	signed        string
	bytes         []byte
}

func signatureOf(t *testing.T, token string) (s signature) {
	t.Helper()
	part := strings.Split(token, ".")
	require.Len(t, part, 3)
	header, err := b64.DecodeString(part[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(header, &s))
	s.payload, err = b64.DecodeString(part[1])
	require.NoError(t, err)
	s.bytes, err = b64.DecodeString(part[2])
	require.NoError(t, err)
	s.signed = part[0] + "." + part[1]
	return s
}

// keys reads the public keys of the key set, by kid.
func (c manifestCases) keys(t *testing.T) map[string]ed25519.PublicKey {
	t.Helper()
	_, plain, err := c.KeySet()
	require.NoError(t, err)
	var set struct {
		Keys []struct{ Kty, Crv, X, Kid string }
	}
	require.NoError(t, json.Unmarshal(plain, &set))
	keys := map[string]ed25519.PublicKey{}
	for _, k := range set.Keys {
		assert.Equal(t, "OKP", k.Kty)
		assert.Equal(t, "Ed25519", k.Crv)
		x, err := b64.DecodeString(k.X)
		require.NoError(t, err)
		require.Len(t, x, ed25519.PublicKeySize)
		keys[k.Kid] = x
	}
	return keys
}

func (c manifestCases) verified(t *testing.T, token, typ string) []byte {
	t.Helper()
	s := signatureOf(t, token)
	assert.Equal(t, typ, s.Typ)
	assert.Equal(t, "EdDSA", s.Alg)
	key, known := c.keys(t)[s.Kid]
	require.True(t, known, "the key set has the key")
	assert.True(t, ed25519.Verify(key, []byte(s.signed), s.bytes))
	return s.payload
}

func (c manifestCases) signed(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`{"a": 1,  "b":"é 漢 <&>"}`, "{}", "no JSON \x00\xff"} {
		for _, typ := range []string{"peergpu-manifest+jws", "tests+jws"} {
			token, err := c.Sign(typ, []byte(payload))
			require.NoError(t, err)
			assert.Equal(t, payload, string(c.verified(t, token, typ)))
		}
	}
}

func (c manifestCases) keySet(t *testing.T) {
	t.Parallel()
	signed, plain, err := c.KeySet()
	require.NoError(t, err)
	s := signatureOf(t, signed)
	assert.JSONEq(t, string(plain), string(c.verified(t, signed, s.Typ)))
	token, err := c.Sign("tests+jws", []byte("{}"))
	require.NoError(t, err)
	assert.Equal(t, signatureOf(t, token).Kid, s.Kid, "the current key")
	assert.NotContains(t, string(plain), `"d"`, "no private key")
}
