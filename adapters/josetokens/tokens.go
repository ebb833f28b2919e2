// Package josetokens is for everything that the server signs or verifies with
// Ed25519 as JOSE: access tokens, agents' assertions, and the manifests and key set
// that agents obey. Tokens and manifests have separate keys.
package josetokens

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

const (
	issuer          = "peergpu"
	typAccess       = "at+jwt" // RFC 9068
	typAssertion    = "peergpu-assertion+jwt"
	assertionAud    = "peergpu-agent-token"
	assertionLife   = time.Minute
	assertionLeeway = 30 * time.Second // an agent's clock may be this far ahead
)

// Tokens issues access tokens with one key, and accepts those of older keys until
// they expire.
type Tokens struct {
	clock  ports.Clock
	signer *signer
	keys   map[string]ed25519.PublicKey // by kid
}

// NewTokens signs with the key of a seed of 32 bytes. Tokens by an older key are still
// good.
func NewTokens(seed []byte, clock ports.Clock, older ...ed25519.PublicKey) (*Tokens, error) {
	s, err := newSigner(seed)
	if err != nil {
		return nil, err
	}
	t := &Tokens{clock: clock, signer: s, keys: map[string]ed25519.PublicKey{s.kid: s.public}}
	for _, key := range older {
		if len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an older public key has %d bytes, not %d", len(key), ed25519.PublicKeySize)
		}
		t.keys[thumbprint(key)] = key
	}
	return t, nil
}

// accessClaims is the payload of an access token. Pointers tell what is missing from
// what is zero.
type accessClaims struct {
	Issuer  string        `json:"iss"`
	Subject string        `json:"sub"`
	Aud     string        `json:"aud"`
	Issued  int64         `json:"iat"`
	Expires *int64        `json:"exp"`
	Session string        `json:"sid,omitempty"`
	Roles   []domain.Role `json:"roles,omitempty"`
	Confirm *confirmation `json:"cnf,omitempty"`

	ID       string  `json:"jti,omitempty"`
	Resource string  `json:"resource,omitempty"`
	Scope    *string `json:"scope,omitempty"` // separated by spaces (RFC 9068, 2.2.3)
}

// confirmation is the key that whoever presents the token has to prove (RFC 7800).
type confirmation struct {
	Thumbprint string `json:"jkt"` // RFC 9449
}

// Issue implements ports.Tokens. A JWT counts in whole seconds, so the token ends up
// to one second before c.Expires.
func (t *Tokens) Issue(audience ports.Audience, c ports.Claims) (string, error) {
	if audience == "" || c.Subject.IsZero() || c.Expires.IsZero() {
		return "", domain.NewError(domain.KindInternal, "bad_claims", "a token needs an audience, a subject and an expiry")
	}
	expires := c.Expires.Unix()
	claims := accessClaims{
		Issuer: issuer, Subject: c.Subject.String(), Aud: string(audience),
		Issued: t.clock.Now().Unix(), Expires: &expires, Roles: c.Roles,
		ID: c.ID, Resource: c.Resource,
	}
	if c.Scopes != nil {
		scopes := make([]string, len(c.Scopes))
		for i, s := range c.Scopes {
			scopes[i] = string(s)
		}
		scope := strings.Join(scopes, " ")
		claims.Scope = &scope
	}
	if !c.Session.IsZero() {
		claims.Session = c.Session.String()
	}
	if c.Key != "" {
		claims.Confirm = &confirmation{c.Key}
	}
	return t.signer.claims(typAccess, claims)
}

// Verify implements ports.Tokens.
func (t *Tokens) Verify(audience ports.Audience, token string) (ports.Claims, error) {
	c, err := t.verify(audience, token)
	if err != nil {
		// The cause is for the log: whoever sends a bad token learns nothing from it.
		return ports.Claims{}, domain.Unauthenticated("the access token is not valid, or no longer").With(err)
	}
	return c, nil
}

func (t *Tokens) verify(audience ports.Audience, token string) (ports.Claims, error) {
	var c accessClaims
	err := open(token, typAccess, func(kid string) ed25519.PublicKey { return t.keys[kid] }, &c)
	if err != nil {
		return ports.Claims{}, err
	}
	switch {
	case c.Issuer != issuer:
		return ports.Claims{}, fmt.Errorf("iss is not ours")
	case audience == "" || c.Aud != string(audience):
		return ports.Claims{}, fmt.Errorf("aud is not %q", audience)
	case c.Expires == nil:
		return ports.Claims{}, fmt.Errorf("exp is missing")
	case t.clock.Now().Unix() >= *c.Expires:
		return ports.Claims{}, fmt.Errorf("it expired")
	}
	claims := ports.Claims{Roles: c.Roles, Expires: time.Unix(*c.Expires, 0).UTC(), ID: c.ID, Resource: c.Resource}
	if c.Scope != nil {
		claims.Scopes = []domain.Scope{}
		for _, s := range strings.Fields(*c.Scope) {
			claims.Scopes = append(claims.Scopes, domain.Scope(s))
		}
	}
	if claims.Subject, err = domain.ParseID(c.Subject); err != nil {
		return ports.Claims{}, fmt.Errorf("sub: %w", err)
	}
	if c.Confirm != nil {
		claims.Key = c.Confirm.Thumbprint
	}
	if c.Session != "" {
		if claims.Session, err = domain.ParseID(c.Session); err != nil {
			return ports.Claims{}, fmt.Errorf("sid: %w", err)
		}
	}
	return claims, nil
}

// assertionClaims is AssertionClaims of openapi/agent.yaml.
type assertionClaims struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	Aud     string `json:"aud"`
	ID      string `json:"jti"`
	Issued  *int64 `json:"iat"`
	Expires *int64 `json:"exp"`
}

// VerifyAssertion implements ports.Tokens.
func (t *Tokens) VerifyAssertion(assertion string, host domain.ID, publicKey []byte) (string, time.Time, error) {
	c, err := t.assertion(assertion, host, publicKey)
	if err != nil {
		return "", time.Time{}, domain.Unauthenticated("the assertion is not by this host, or not valid now").With(err)
	}
	return c.ID, time.Unix(*c.Expires, 0).UTC(), nil
}

func (t *Tokens) assertion(assertion string, host domain.ID, publicKey []byte) (c assertionClaims, err error) {
	if host.IsZero() || len(publicKey) != ed25519.PublicKeySize {
		return c, fmt.Errorf("there is no host or no key to check it against")
	}
	// The host's key is the only one that counts, whatever kid names.
	err = open(assertion, typAssertion, func(string) ed25519.PublicKey { return publicKey }, &c)
	if err != nil {
		return c, err
	}
	now, name := t.clock.Now(), host.Prefixed("hst")
	switch {
	case c.Issuer != name || c.Subject != name:
		return c, fmt.Errorf("iss and sub are not both the host")
	case c.Aud != assertionAud:
		return c, fmt.Errorf("aud is not %q", assertionAud)
	case len(c.ID) < 16 || len(c.ID) > 64 || strings.ContainsFunc(c.ID, unprintable):
		return c, fmt.Errorf("jti has to be 16 to 64 printable characters")
	case c.Issued == nil || c.Expires == nil:
		return c, fmt.Errorf("iat or exp is missing")
	case *c.Expires <= *c.Issued || *c.Expires-*c.Issued > int64(assertionLife.Seconds()):
		return c, fmt.Errorf("it has to live at most %s", assertionLife)
	case now.Unix() >= *c.Expires:
		return c, fmt.Errorf("it expired")
	case *c.Issued > now.Add(assertionLeeway).Unix():
		return c, fmt.Errorf("it was issued in the future")
	}
	return c, nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// algorithms is all that is ever accepted.
var algorithms = []jose.SignatureAlgorithm{jose.EdDSA}
