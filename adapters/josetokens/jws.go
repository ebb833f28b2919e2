package josetokens

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// longestToken is what a token may have in characters. Ours have some 400.
const longestToken = 4096

var errMalformed = errors.New("it is no compact JWS in its one form")

// signer signs with one key and names it.
type signer struct {
	key    ed25519.PrivateKey
	public ed25519.PublicKey
	kid    string
}

func newSigner(seed []byte) (*signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("a signing key has a seed of %d bytes, not %d", len(seed), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // what ed25519 returns
	return &signer{key: key, public: public, kid: thumbprint(public)}, nil
}

// sign makes a compact JWS with exactly alg, kid and typ in its header.
func (s *signer) sign(typ string, payload []byte) (string, error) {
	key := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}
	by, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	jws, err := by.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func (s *signer) claims(typ string, claims any) (string, error) {
	payload, err := stdjson.Marshal(claims)
	if err != nil {
		return "", err
	}
	return s.sign(typ, payload)
}

// thumbprint names a public key: RFC 7638, SHA-256, base64url.
func thumbprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// header is all that a header may hold. Anything more (jwk, jku, x5c, crit, b64) has
// been a way in somewhere, and none of it is needed.
type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// open verifies a compact JWS and reads its payload, which nothing looks at before. It
// takes one spelling of each token only: base64 with stray bits or line breaks would
// verify too, and then two strings were the same token.
func open(token, typ string, key func(kid string) ed25519.PublicKey, claims any) error {
	parts := strings.Split(token, ".")
	if len(token) > longestToken || len(parts) != 3 {
		return errMalformed
	}
	for _, part := range parts {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != part {
			return errMalformed
		}
	}
	rawHeader, _ := base64.RawURLEncoding.DecodeString(parts[0]) // decoded above
	h, err := parseHeader(rawHeader)
	if err != nil {
		return err
	}
	if h.Alg != string(jose.EdDSA) || h.Typ != typ {
		return fmt.Errorf("it is %.32q signed by %.16q, not %q", h.Typ, h.Alg, typ)
	}
	public := key(h.Kid)
	if public == nil {
		return errors.New("its key is unknown")
	}
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return err
	}
	payload, err := jws.Verify(public)
	if err != nil {
		return err
	}
	// This JSON is exact about case and refuses a key that is there twice.
	return json.Unmarshal(payload, claims)
}

func parseHeader(raw []byte) (h header, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return h, err
	}
	for name := range fields {
		if name != "alg" && name != "kid" && name != "typ" {
			return h, fmt.Errorf("the header holds %.32q", name)
		}
	}
	return h, json.Unmarshal(raw, &h)
}
