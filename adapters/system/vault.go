package system

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/peergpu/peergpu/domain"
)

const (
	vaultVersion = 1
	keyIDSize    = 4
	vaultHeader  = 1 + keyIDSize
)

// Vault seals with AES-256-GCM. What it makes begins with a version and the id of the
// key, so that keys can be replaced while older ones are kept for reading:
//
//	version (1) · key id (4) · nonce (12) · ciphertext and tag
//
// Header and context are authenticated with the text.
type Vault struct {
	current keyID
	keys    map[keyID]cipher.AEAD
}

type keyID [keyIDSize]byte

// NewVault seals with the current key and unseals with the older ones too. Keys have
// 32 bytes.
func NewVault(current []byte, older ...[]byte) (*Vault, error) {
	v := &Vault{current: idOf(current), keys: map[keyID]cipher.AEAD{}}
	for _, key := range append([][]byte{current}, older...) {
		if len(key) != KeySize {
			return nil, fmt.Errorf("a key of the vault has %d bytes, not %d", len(key), KeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		// The nonce is random and part of what Seal gives. 96 random bits are good for
		// 2³² texts with one key.
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		if _, twice := v.keys[idOf(key)]; twice {
			return nil, fmt.Errorf("two keys of the vault have the same id")
		}
		v.keys[idOf(key)] = aead
	}
	return v, nil
}

// idOf names a key without giving it away: 32 bits of a hash of 256 random ones.
func idOf(key []byte) (id keyID) {
	h := sha256.New()
	h.Write([]byte("peergpu-vault-key-id\n"))
	h.Write(key)
	copy(id[:], h.Sum(nil))
	return id
}

// Seal implements ports.Vault.
func (v *Vault) Seal(plain []byte, context string) ([]byte, error) {
	sealed := append([]byte{vaultVersion}, v.current[:]...)
	return v.keys[v.current].Seal(sealed, nil, plain, bound(sealed, context)), nil //nolint:gosec // this AEAD makes its nonces itself
}

// Unseal implements ports.Vault.
func (v *Vault) Unseal(sealed []byte, context string) ([]byte, error) {
	if len(sealed) < vaultHeader || sealed[0] != vaultVersion {
		return nil, domain.NewError(domain.KindInternal, "not_sealed", "this was not sealed by us")
	}
	header := sealed[:vaultHeader]
	aead, ok := v.keys[keyID(header[1:])]
	if !ok {
		return nil, domain.NewError(domain.KindInternal, "unknown_vault_key", "the key %x that sealed this is gone", header[1:])
	}
	plain, err := aead.Open([]byte{}, nil, sealed[vaultHeader:], bound(header, context))
	if err != nil {
		return nil, domain.NewError(domain.KindInternal, "not_sealed", "this was not sealed by us for this purpose").With(err)
	}
	return plain, nil
}

func bound(header []byte, context string) []byte {
	return append(append([]byte{}, header...), context...)
}

// newSecret makes a key.
func newSecret() []byte {
	key := make([]byte, KeySize)
	rand.Read(key) // it never fails: the process would end
	return key
}
