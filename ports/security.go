package ports

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Claims is what an access token says.
type Claims struct {
	Subject domain.ID // of the user, or of the host with AudienceAgent
	Session domain.ID // of the sign-in; zero for hosts
	Roles   []domain.Role
	Key     string // thumbprint (RFC 7638) of the key that the bearer has to prove; empty: none
	Expires time.Time

	// Of tickets alone.
	ID       string         // by which a use is remembered
	Resource string         // what it opens
	Scopes   []domain.Scope // nil means all, as in an Actor
}

// Audience separates the tokens of people, those of agents, and tickets: one is never
// good for the other.
type Audience string

// The audiences.
const (
	AudienceAPI   Audience = "peergpu-api"
	AudienceAgent Audience = "peergpu-agent"
	// AudienceTicket is of tickets for one WebSocket.
	AudienceTicket Audience = "peergpu-ticket"
)

// Tokens issues and verifies access tokens (JWT, EdDSA).
type Tokens interface {
	// Issue signs a token with the current key and its key id.
	Issue(audience Audience, c Claims) (string, error)
	// Verify accepts what Issue signed for this audience and is not expired. A token
	// without expiry, of another audience, algorithm or key, or changed in any byte is
	// Unauthenticated.
	Verify(audience Audience, token string) (Claims, error)
	// VerifyAssertion checks an agent's private_key_jwt (RFC 7523) against the host's
	// Ed25519 key: issuer and subject are the host, the audience is the fixed one, it
	// lives at most a minute. It returns the token's id, for replay checks.
	VerifyAssertion(assertion string, host domain.ID, publicKey []byte) (jti string, expires time.Time, err error)
}

// Manifests signs what agents obey.
type Manifests interface {
	// Sign makes a compact JWS of the payload with the media type in its header.
	Sign(typ string, payload []byte) (string, error)
	// KeySet is the document of public keys, itself signed as a compact JWS by the
	// current key, and plain as JSON.
	KeySet() (signed string, plain []byte, err error)
}

// Passwords hashes passwords (argon2id, PHC strings). It bounds how many run at once.
type Passwords interface {
	// Hash makes a PHC string with a salt of its own: two hashes of one password differ.
	Hash(ctx context.Context, password string) (string, error)
	// Verify compares in constant time. An empty hash costs the same time and is wrong,
	// so that an unknown account cannot be told from a wrong password. stale says that
	// the hash was made with weaker parameters than today's.
	Verify(ctx context.Context, hash, password string) (ok, stale bool, err error)
}

// Vault encrypts what the database keeps of renters' secrets (AES-GCM, server key).
type Vault interface {
	// Seal encrypts; sealing twice gives different bytes. The context string is bound
	// to the result and must be the same at Unseal.
	Seal(plain []byte, context string) ([]byte, error)
	// Unseal decrypts what Seal made; anything else is an Internal error.
	Unseal(sealed []byte, context string) ([]byte, error)
}
