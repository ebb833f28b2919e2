package contract

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
)

// Tokens is the contract of ports.Tokens. Each call of open makes one with keys of its
// own and a real clock.
func Tokens(t *testing.T, open func(*testing.T) ports.Tokens) {
	c := tokenSigner{open(t), open(t)}
	t.Run("what was issued is verified, with every claim", c.issued)
	t.Run("a token is good for its audience alone", c.audiences)
	t.Run("an expired token is refused", c.expired)
	t.Run("a token without expiry is refused", c.endless)
	t.Run("a token by another key is refused", c.foreign)
	t.Run("a token that was changed in any byte is refused", c.changed)
	t.Run("a token of another algorithm is refused", c.algorithms)
	t.Run("what is no token is refused", c.garbage)
	t.Run("an assertion by the host's key is verified", c.assertion)
	t.Run("an assertion that breaks a rule is refused", c.badAssertion)
}

type tokenSigner struct {
	ports.Tokens
	other ports.Tokens
}

// claims are those of a token that is good for an hour. A JWT counts in seconds.
func claims() ports.Claims {
	c := filled[ports.Claims]()
	c.Roles = []domain.Role{domain.RoleRenter, domain.RoleAdmin}
	c.Scopes = []domain.Scope{domain.ScopeJobsRead, domain.ScopeHostsRead}
	c.Expires = now().Truncate(time.Second).Add(time.Hour)
	return c
}

func (c tokenSigner) issue(t *testing.T, audience ports.Audience, claims ports.Claims) string {
	t.Helper()
	token, err := c.Issue(audience, claims)
	require.NoError(t, err)
	return token
}

func (c tokenSigner) refused(t *testing.T, audience ports.Audience, token string, about ...any) {
	t.Helper()
	got, err := c.Verify(audience, token)
	assert.ErrorIs(t, err, domain.Unauthenticated(""), about...)
	assert.Zero(t, got)
}

func (c tokenSigner) issued(t *testing.T) {
	t.Parallel()
	person, host := claims(), ports.Claims{Subject: ids.New(), Expires: claims().Expires}
	powerless := claims()
	powerless.Scopes = []domain.Scope{} // which is not the same as all
	for audience, want := range map[ports.Audience]ports.Claims{ports.AudienceAPI: person, ports.AudienceAgent: host, ports.AudienceTicket: powerless} {
		got, err := c.Verify(audience, c.issue(t, audience, want))
		require.NoError(t, err)
		same(t, want, got)
	}
}

func (c tokenSigner) audiences(t *testing.T) {
	t.Parallel()
	api, agent := c.issue(t, ports.AudienceAPI, claims()), c.issue(t, ports.AudienceAgent, claims())
	c.refused(t, ports.AudienceAgent, api)
	c.refused(t, ports.AudienceAPI, agent)
	c.refused(t, "", api)
}

func (c tokenSigner) expired(t *testing.T) {
	t.Parallel()
	late := claims()
	late.Expires = now().Add(-2 * time.Second)
	if token, err := c.Issue(ports.AudienceAPI, late); err == nil {
		c.refused(t, ports.AudienceAPI, token)
	}
}

func (c tokenSigner) endless(t *testing.T) {
	t.Parallel()
	endless := claims()
	endless.Expires = time.Time{}
	if token, err := c.Issue(ports.AudienceAPI, endless); err == nil {
		c.refused(t, ports.AudienceAPI, token)
	}
}

func (c tokenSigner) foreign(t *testing.T) {
	t.Parallel()
	token, err := c.other.Issue(ports.AudienceAPI, claims())
	require.NoError(t, err)
	c.refused(t, ports.AudienceAPI, token)
}

func (c tokenSigner) changed(t *testing.T) {
	t.Parallel()
	token := c.issue(t, ports.AudienceAPI, claims())
	for i := range token {
		for _, b := range "AQgwZ9_." {
			if token[i] != byte(b) {
				c.refused(t, ports.AudienceAPI, token[:i]+string(b)+token[i+1:], "%q at %d", b, i)
			}
		}
		c.refused(t, ports.AudienceAPI, token[:i], "cut at %d", i)
	}
	// The last character of a signature has bits that decode to nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, b := range alphabet {
		if last := len(token) - 1; token[last] != byte(b) {
			c.refused(t, ports.AudienceAPI, token[:last]+string(b), "%q at the end", b)
		}
	}
	for _, more := range []string{"A", "=", ".", " ", "\n"} {
		c.refused(t, ports.AudienceAPI, token+more, "%q behind", more)
		c.refused(t, ports.AudienceAPI, more+token, "%q before", more)
	}
}

var b64 = base64.RawURLEncoding

func (c tokenSigner) algorithms(t *testing.T) {
	t.Parallel()
	token := c.issue(t, ports.AudienceAPI, claims())
	part := strings.Split(token, ".")
	require.Len(t, part, 3)
	raw, err := b64.DecodeString(part[0])
	require.NoError(t, err)
	for _, alg := range []string{"none", "None", "HS256", "RS256", "ES256", ""} {
		header := map[string]any{}
		require.NoError(t, json.Unmarshal(raw, &header))
		header["alg"] = alg
		changed, err := json.Marshal(header)
		require.NoError(t, err)
		signed := b64.EncodeToString(changed) + "." + part[1]
		mac := hmac.New(sha256.New, nil)
		mac.Write([]byte(signed))
		for name, signature := range map[string]string{"none": "", "the same": part[2], "a MAC": b64.EncodeToString(mac.Sum(nil))} {
			c.refused(t, ports.AudienceAPI, signed+"."+signature, "alg %q with %s as signature", alg, name)
		}
	}
	// A key that the token brings along is nobody's.
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	header := map[string]any{}
	require.NoError(t, json.Unmarshal(raw, &header))
	header["jwk"] = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(public)}
	payload, err := b64.DecodeString(part[1])
	require.NoError(t, err)
	c.refused(t, ports.AudienceAPI, jws(t, private, header, json.RawMessage(payload)))
}

func (c tokenSigner) garbage(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", ".", "..", "a.b.c", "é", strings.Repeat("a", 100_000), "{}", "Bearer x"} {
		c.refused(t, ports.AudienceAPI, token, "%.20q", token)
	}
}

// jws signs claims as anybody can, by hand.
func jws(t *testing.T, key ed25519.PrivateKey, header, claims any) string {
	t.Helper()
	h, err := json.Marshal(header)
	require.NoError(t, err)
	p, err := json.Marshal(claims)
	require.NoError(t, err)
	signed := b64.EncodeToString(h) + "." + b64.EncodeToString(p)
	return signed + "." + b64.EncodeToString(ed25519.Sign(key, []byte(signed)))
}

// testimony is an assertion of a host that keeps all rules.
func testimony(host domain.ID) (header, claims map[string]any) {
	name, at := host.Prefixed("hst"), time.Now().Unix()
	return map[string]any{"alg": "EdDSA", "typ": wire.TypAssertion}, map[string]any{
		"iss": name, "sub": name, "aud": wire.AssertionAudience, "jti": ids.New().String(), "iat": at, "exp": at + 50,
	}
}

func (c tokenSigner) assertion(t *testing.T) {
	t.Parallel()
	host := ids.New()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	header, claims := testimony(host)
	jti, expires, err := c.VerifyAssertion(jws(t, private, header, claims), host, public)
	require.NoError(t, err)
	assert.Equal(t, claims["jti"], jti)
	assert.Equal(t, time.Unix(claims["exp"].(int64), 0).UTC(), expires)
}

func (c tokenSigner) badAssertion(t *testing.T) {
	t.Parallel()
	host, other := ids.New(), ids.New().Prefixed("hst")
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	foreign, thief, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	at := time.Now().Unix()
	refused := func(name, assertion string, host domain.ID, key []byte) {
		t.Helper()
		_, _, err := c.VerifyAssertion(assertion, host, key)
		assert.ErrorIs(t, err, domain.Unauthenticated(""), name)
	}
	for name, change := range map[string]map[string]any{
		"another issuer":       {"iss": other},
		"another subject":      {"sub": other},
		"another host":         {"iss": other, "sub": other},
		"a person's audience":  {"aud": string(ports.AudienceAPI)},
		"an agent's audience":  {"aud": string(ports.AudienceAgent)},
		"no audience":          {"aud": nil},
		"no id":                {"jti": nil},
		"an empty id":          {"jti": ""},
		"no expiry":            {"exp": nil},
		"no time of issue":     {"iat": nil},
		"more than a minute":   {"exp": at + 61},
		"years":                {"exp": at + 1<<30},
		"expired":              {"iat": at - 60, "exp": at - 10},
		"issued in the future": {"iat": at + 3600, "exp": at + 3650},
	} {
		header, claims := testimony(host)
		maps.Copy(claims, change)
		maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
		refused(name, jws(t, private, header, claims), host, public)
	}
	header, claims := testimony(host)
	fine := jws(t, private, header, claims)
	refused("by another key", jws(t, thief, header, claims), host, public)
	refused("checked with another key", fine, host, foreign)
	refused("checked for another host", fine, ids.New(), public)
	refused("checked with no key", fine, host, nil)
	refused("no assertion", "", host, public)
	refused("an access token", c.issue(t, ports.AudienceAgent, ports.Claims{Subject: host, Expires: now().Add(time.Minute)}), host, public)
	for _, alg := range []string{"none", "HS256", "ES256"} {
		header, claims := testimony(host)
		header["alg"] = alg
		refused(alg, jws(t, private, header, claims), host, public)
	}
	for i := range fine {
		refused("changed", fine[:i]+swapped(fine[i])+fine[i+1:], host, public)
	}
}
