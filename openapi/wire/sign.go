package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// The typ of each signed thing. A signature counts for its own typ alone.
const (
	TypManifest  = "peergpu-manifest+jws"
	TypCancel    = "peergpu-cancel+jws"
	TypPolicy    = "peergpu-policy+jws"
	TypKeys      = "peergpu-keys+jws"
	TypAssertion = "peergpu-assertion+jwt"
)

const (
	// Issuer is the iss of everything that the server signs for agents.
	Issuer = "peergpu"
	// AssertionAudience is the aud of an agent's assertion: a fixed string, because the
	// server may be reached by several URLs.
	AssertionAudience = "peergpu-agent-token"
	// AssertionType is the client_assertion_type of RFC 7523.
	AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Thumbprint is the RFC 7638 thumbprint of an Ed25519 public key: SHA-256, base64url.
func Thumbprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// PublicKeyOf is the JSON form of an Ed25519 public key.
func PublicKeyOf(key ed25519.PublicKey) PublicKey {
	return PublicKey{Kty: PublicKeyKtyOKP, Crv: PublicKeyCrvEd25519, X: base64.RawURLEncoding.EncodeToString(key)}
}

// JWKOf is the form in which a signing key appears in a KeySet.
func JWKOf(key ed25519.PublicKey) JWK {
	return JWK{
		Kty: JWKKtyOKP, Crv: JWKCrvEd25519, X: base64.RawURLEncoding.EncodeToString(key),
		Kid: Thumbprint(key), Use: JWKUseSig, Alg: JWKAlgEdDSA,
	}
}

// HelloPayload is what a host's key signs in hello.
func HelloPayload(nonce string, host HostID, h Hello) []byte {
	return lines("peergpu-hello-v1", nonce, host, h.AgentVersion, h.MachineID, h.InventoryHash)
}

// EnrolPayload is what a host's key signs at enrolment. The token, good once, is the
// nonce; it is hashed, so that a signature in a log gives nothing away.
func EnrolPayload(token string, key ed25519.PublicKey) []byte {
	sum := sha256.Sum256([]byte(token))
	return lines("peergpu-enrol-v1", hex.EncodeToString(sum[:]), Thumbprint(key))
}

// lines joins with line feeds, which no part may contain: with one, the same bytes
// could be read as other parts.
func lines(parts ...string) []byte {
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, "\n", " ")
	}
	return []byte(strings.Join(parts, "\n"))
}
