package josetokens

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/peergpu/peergpu/ports"
)

const typKeySet = "peergpu-keys+jws"

// mostKeys is what a KeySet may hold.
const mostKeys = 8

// Rotation is what the key set says beside the key that signs now. Its zero value is
// right until keys are changed.
type Rotation struct {
	Version int64               // grows with each change; 0 is 1
	Others  []ed25519.PublicKey // the next one, a day before its use, and the previous one, a day after
	Revoked []string            // kids that count no more
	MinIat  time.Time           // what was signed before is refused
}

// Manifests signs what agents obey.
type Manifests struct {
	clock    ports.Clock
	signer   *signer
	rotation Rotation
}

// NewManifests signs with the key of a seed of 32 bytes.
func NewManifests(seed []byte, clock ports.Clock, r Rotation) (*Manifests, error) {
	s, err := newSigner(seed)
	if err != nil {
		return nil, err
	}
	if len(r.Others) >= mostKeys {
		return nil, fmt.Errorf("a key set holds at most %d keys", mostKeys)
	}
	seen := map[string]bool{s.kid: true}
	for _, key := range r.Others {
		if len(key) != ed25519.PublicKeySize || seen[thumbprint(key)] {
			return nil, fmt.Errorf("the other keys have to be Ed25519 keys, each there once")
		}
		seen[thumbprint(key)] = true
	}
	for _, kid := range r.Revoked {
		if kid == s.kid {
			return nil, fmt.Errorf("the key that signs manifests is revoked; configure another one")
		}
	}
	r.Version = max(r.Version, 1)
	return &Manifests{clock: clock, signer: s, rotation: r}, nil
}

// Sign implements ports.Manifests.
func (m *Manifests) Sign(typ string, payload []byte) (string, error) {
	if typ == "" {
		return "", fmt.Errorf("what is signed needs a typ: it is good for nothing else then")
	}
	return m.signer.sign(typ, payload)
}

// keySet is KeySet of openapi/agent.yaml.
type keySet struct {
	Issuer  string   `json:"iss"`
	Issued  int64    `json:"iat"`
	Version int64    `json:"ver"`
	MinIat  int64    `json:"min_iat"`
	Revoked []string `json:"revoked_kids"`
	Keys    []jwk    `json:"keys"`
}

// jwk is a public key in JSON (RFC 8037).
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Alg string `json:"alg"`
}

// KeySet implements ports.Manifests. The key that signs now comes first.
func (m *Manifests) KeySet() (signed string, plain []byte, err error) {
	set := keySet{
		Issuer: issuer, Issued: m.clock.Now().Unix(), Version: m.rotation.Version,
		Revoked: append([]string{}, m.rotation.Revoked...), Keys: []jwk{jwkOf(m.signer.public)},
	}
	if !m.rotation.MinIat.IsZero() {
		set.MinIat = m.rotation.MinIat.Unix()
	}
	for _, key := range m.rotation.Others {
		set.Keys = append(set.Keys, jwkOf(key))
	}
	if plain, err = json.Marshal(set); err != nil {
		return "", nil, err
	}
	signed, err = m.signer.sign(typKeySet, plain)
	return signed, plain, err
}

func jwkOf(key ed25519.PublicKey) jwk {
	return jwk{Kty: "OKP", Crv: "Ed25519", X: base64.RawURLEncoding.EncodeToString(key), Kid: thumbprint(key), Use: "sig", Alg: "EdDSA"}
}
