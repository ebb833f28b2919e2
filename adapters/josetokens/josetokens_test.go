package josetokens

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var (
	_ ports.Tokens    = (*Tokens)(nil)
	_ ports.Manifests = (*Manifests)(nil)
)

// clock stands still until it is moved.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

var (
	seed    = bytes.Repeat([]byte{7}, 32)
	other   = bytes.Repeat([]byte{8}, 32)
	user    = domain.ID{6: 0x70, 8: 0x80, 15: 1}
	session = domain.ID{6: 0x70, 8: 0x80, 15: 2}
	host    = domain.ID{6: 0x70, 8: 0x80, 15: 3}
)

func newTokens(t testing.TB) (*Tokens, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	tokens, err := NewTokens(seed, c)
	require.NoError(t, err)
	return tokens, c
}

func publicOf(seed []byte) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func encode(v any) string {
	raw, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// forge signs any header and any claims with a seed.
func forge(seed []byte, header, claims any) string {
	text := encode(header) + "." + encode(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(text)))
}

// with is a copy of m with some fields set, or removed where they are nil.
func with(m map[string]any, changes map[string]any) map[string]any {
	m = maps.Clone(m)
	for k, v := range changes {
		m[k] = v
		if v == nil {
			delete(m, k)
		}
	}
	return m
}

func refused(t *testing.T, err error, name string) {
	t.Helper()
	require.Error(t, err, name)
	assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err), name)
}

func TestATokenSaysWhatWasIssued(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	for _, want := range []ports.Claims{
		{Subject: user, Session: session, Roles: []domain.Role{domain.RoleRenter, domain.RoleAdmin}, Expires: c.now.Add(15 * time.Minute)},
		{Subject: host, Expires: c.now.Add(10 * time.Minute)},
	} {
		token, err := tokens.Issue(ports.AudienceAPI, want)
		require.NoError(t, err)
		got, err := tokens.Verify(ports.AudienceAPI, token)
		require.NoError(t, err)
		assert.Equal(t, want, got)

		head, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
		require.NoError(t, err)
		assert.JSONEq(t, `{"alg":"EdDSA","typ":"at+jwt","kid":"`+thumbprint(publicOf(seed))+`"}`, string(head))
	}
}

func TestATokenEndsWithItsExpiry(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	token, err := tokens.Issue(ports.AudienceAPI, ports.Claims{Subject: user, Expires: c.now.Add(time.Minute)})
	require.NoError(t, err)
	c.now = c.now.Add(time.Minute - time.Microsecond)
	_, err = tokens.Verify(ports.AudienceAPI, token)
	require.NoError(t, err)
	c.now = c.now.Add(time.Microsecond)
	_, err = tokens.Verify(ports.AudienceAPI, token)
	refused(t, err, "no leeway: it is our own clock")
}

func TestATokenIsNeverIssuedWithoutSubjectOrExpiry(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	_, err := tokens.Issue(ports.AudienceAPI, ports.Claims{Subject: user})
	require.Error(t, err)
	_, err = tokens.Issue(ports.AudienceAPI, ports.Claims{Expires: c.now})
	require.Error(t, err)
}

func TestATokenIsGoodForItsAudienceAlone(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	claims := ports.Claims{Subject: user, Expires: c.now.Add(time.Minute)}
	for issued, asked := range map[ports.Audience]ports.Audience{
		ports.AudienceAPI: ports.AudienceAgent, ports.AudienceAgent: ports.AudienceAPI,
	} {
		token, err := tokens.Issue(issued, claims)
		require.NoError(t, err)
		_, err = tokens.Verify(asked, token)
		refused(t, err, string(asked))
		_, err = tokens.Verify("", token)
		refused(t, err, "no audience")
	}
}

func TestATokenWithAnyCharacterChangedIsRefused(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	token, err := tokens.Issue(ports.AudienceAPI, ports.Claims{Subject: user, Session: session, Expires: c.now.Add(time.Minute)})
	require.NoError(t, err)
	for i := range token {
		for _, b := range []byte("AB-_.=\n") {
			if token[i] == b {
				continue
			}
			changed := token[:i] + string(b) + token[i+1:]
			_, err := tokens.Verify(ports.AudienceAPI, changed)
			refused(t, err, changed)
		}
	}
	// The last character has spare bits: other characters decode to the same signature.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, b := range alphabet {
		if changed := token[:len(token)-1] + string(b); changed != token {
			_, err := tokens.Verify(ports.AudienceAPI, changed)
			refused(t, err, changed)
		}
	}
	for _, changed := range []string{"", ".", "..", token + "\n", token + "=", token + ".x", " " + token, strings.Repeat("A", 1<<20)} {
		_, err := tokens.Verify(ports.AudienceAPI, changed)
		refused(t, err, "framing")
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	public := publicOf(seed)
	head := map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": thumbprint(public)}
	claims := map[string]any{
		"iss": "peergpu", "sub": user.String(), "aud": "peergpu-api", "iat": c.now.Unix(), "exp": c.now.Add(time.Minute).Unix(),
	}
	_, err := tokens.Verify(ports.AudienceAPI, forge(seed, head, claims))
	require.NoError(t, err, "the forger knows the form")

	h256 := encode(with(head, map[string]any{"alg": "HS256"})) + "." + encode(claims)
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(h256))
	strangers := publicOf(other)
	forged := map[string]string{
		"alg none":             encode(with(head, map[string]any{"alg": "none"})) + "." + encode(claims) + ".",
		"HS256 by public key":  h256 + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"alg in another case":  forge(seed, with(head, map[string]any{"alg": "eddsa"}), claims),
		"another's key":        forge(other, head, claims),
		"another's kid":        forge(other, with(head, map[string]any{"kid": thumbprint(strangers)}), claims),
		"kid traversal":        forge(seed, with(head, map[string]any{"kid": "../../../../dev/null"}), claims),
		"no kid":               forge(seed, with(head, map[string]any{"kid": nil}), claims),
		"a key of its own":     forge(other, with(head, map[string]any{"jwk": jwkOf(strangers)}), claims),
		"rightly, with more":   forge(seed, with(head, map[string]any{"jku": "https://example.org/keys"}), claims),
		"crit":                 forge(seed, with(head, map[string]any{"crit": []string{"x"}, "x": 1}), claims),
		"typ JWT":              forge(seed, with(head, map[string]any{"typ": "JWT"}), claims),
		"typ of a manifest":    forge(seed, with(head, map[string]any{"typ": "peergpu-manifest+jws"}), claims),
		"no typ":               forge(seed, with(head, map[string]any{"typ": nil}), claims),
		"no exp":               forge(seed, head, with(claims, map[string]any{"exp": nil})),
		"exp null":             forge(seed, head, map[string]any{"iss": "peergpu", "sub": user.String(), "aud": "peergpu-api", "exp": nil}),
		"exp as text":          forge(seed, head, with(claims, map[string]any{"exp": "9999999999"})),
		"exp in another case":  forge(seed, head, with(claims, map[string]any{"exp": nil, "EXP": c.now.Add(time.Hour).Unix()})),
		"expired":              forge(seed, head, with(claims, map[string]any{"exp": c.now.Unix()})),
		"aud of agents":        forge(seed, head, with(claims, map[string]any{"aud": "peergpu-agent"})),
		"several audiences":    forge(seed, head, with(claims, map[string]any{"aud": []string{"peergpu-api", "peergpu-agent"}})),
		"no aud":               forge(seed, head, with(claims, map[string]any{"aud": nil})),
		"another issuer":       forge(seed, head, with(claims, map[string]any{"iss": "somebody"})),
		"no sub":               forge(seed, head, with(claims, map[string]any{"sub": nil})),
		"sub that is no id":    forge(seed, head, with(claims, map[string]any{"sub": "admin"})),
		"payload that is null": forge(seed, head, nil),
	}
	twice := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"peergpu","sub":"` + user.String() + `","aud":"peergpu-agent","aud":"peergpu-api","exp":9999999999}`))
	text := encode(head) + "." + twice
	forged["a claim twice"] = text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(text)))
	for name, token := range forged {
		_, err := tokens.Verify(ports.AudienceAPI, token)
		refused(t, err, name)
	}
}

func TestATokenOfAnOlderKeyIsGoodWhileTheKeyIsKnown(t *testing.T) {
	t.Parallel()
	before, c := newTokens(t)
	token, err := before.Issue(ports.AudienceAPI, ports.Claims{Subject: user, Expires: c.now.Add(time.Minute)})
	require.NoError(t, err)
	after, err := NewTokens(other, c, publicOf(seed))
	require.NoError(t, err)
	_, err = after.Verify(ports.AudienceAPI, token)
	require.NoError(t, err)
	alone, err := NewTokens(other, c)
	require.NoError(t, err)
	_, err = alone.Verify(ports.AudienceAPI, token)
	refused(t, err, "the key is gone")
}

func TestAManifestKeyNeverMakesAToken(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	m, err := NewManifests(other, c, Rotation{})
	require.NoError(t, err)
	payload, err := json.Marshal(map[string]any{
		"iss": "peergpu", "sub": user.String(), "aud": "peergpu-api", "exp": c.now.Add(time.Minute).Unix(),
	})
	require.NoError(t, err)
	token, err := m.Sign("at+jwt", payload)
	require.NoError(t, err)
	_, err = tokens.Verify(ports.AudienceAPI, token)
	refused(t, err, "another key")
}

func TestAnAssertionOfTheHostIsAccepted(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	head, claims := assertionOf(c)
	jti, expires, err := tokens.VerifyAssertion(forge(other, head, claims), host, publicOf(other))
	require.NoError(t, err)
	assert.Equal(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", jti)
	assert.Equal(t, c.now.Add(time.Minute), expires)
	_, _, err = tokens.VerifyAssertion(forge(other, with(head, map[string]any{"kid": nil}), claims), host, publicOf(other))
	require.NoError(t, err, "the server knows the key anyway")
}

func assertionOf(c *clock) (head, claims map[string]any) {
	head = map[string]any{"alg": "EdDSA", "typ": "peergpu-assertion+jwt", "kid": thumbprint(publicOf(other))}
	return head, map[string]any{
		"iss": host.Prefixed("hst"), "sub": host.Prefixed("hst"), "aud": "peergpu-agent-token",
		"jti": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "iat": c.now.Unix(), "exp": c.now.Add(time.Minute).Unix(),
	}
}

func TestBadAssertionsAreRefused(t *testing.T) {
	t.Parallel()
	tokens, c := newTokens(t)
	head, claims := assertionOf(c)
	now := c.now.Unix()
	for name, assertion := range map[string]string{
		"another's key":     forge(seed, head, claims),
		"alg none":          encode(with(head, map[string]any{"alg": "none"})) + "." + encode(claims) + ".",
		"typ of a token":    forge(other, with(head, map[string]any{"typ": "at+jwt"}), claims),
		"a key of its own":  forge(seed, with(head, map[string]any{"jwk": jwkOf(publicOf(seed))}), claims),
		"another issuer":    forge(other, head, with(claims, map[string]any{"iss": user.Prefixed("hst")})),
		"another subject":   forge(other, head, with(claims, map[string]any{"sub": user.Prefixed("hst")})),
		"the API's aud":     forge(other, head, with(claims, map[string]any{"aud": "peergpu-api"})),
		"a URL as aud":      forge(other, head, with(claims, map[string]any{"aud": "https://peergpu.test/api/agent/token"})),
		"no jti":            forge(other, head, with(claims, map[string]any{"jti": nil})),
		"short jti":         forge(other, head, with(claims, map[string]any{"jti": "1"})),
		"long jti":          forge(other, head, with(claims, map[string]any{"jti": strings.Repeat("x", 65)})),
		"no exp":            forge(other, head, with(claims, map[string]any{"exp": nil})),
		"no iat":            forge(other, head, with(claims, map[string]any{"iat": nil})),
		"a long life":       forge(other, head, with(claims, map[string]any{"exp": now + 61})),
		"expired":           forge(other, head, with(claims, map[string]any{"iat": now - 60, "exp": now})),
		"from the future":   forge(other, head, with(claims, map[string]any{"iat": now + 31, "exp": now + 60})),
		"over before begun": forge(other, head, with(claims, map[string]any{"iat": now + 10, "exp": now + 10})),
	} {
		_, _, err := tokens.VerifyAssertion(assertion, host, publicOf(other))
		refused(t, err, name)
	}
	good := forge(other, head, claims)
	for name, key := range map[string][]byte{"no key": nil, "half a key": publicOf(other)[:16]} {
		_, _, err := tokens.VerifyAssertion(good, host, key)
		refused(t, err, name)
	}
	_, _, err := tokens.VerifyAssertion(good, domain.ID{}, publicOf(other))
	refused(t, err, "no host")
}

func TestAManifestIsTheVeryBytesUnderTheirType(t *testing.T) {
	t.Parallel()
	m, err := NewManifests(seed, &clock{}, Rotation{})
	require.NoError(t, err)
	payload := []byte(` {"any":  "bytes"} `)
	signed, err := m.Sign("peergpu-manifest+jws", payload)
	require.NoError(t, err)
	jws, err := jose.ParseSignedCompact(signed, algorithms)
	require.NoError(t, err)
	got, err := jws.Verify(publicOf(seed))
	require.NoError(t, err)
	assert.Equal(t, payload, got)
	assert.Equal(t, "peergpu-manifest+jws", jws.Signatures[0].Protected.ExtraHeaders["typ"])
	assert.Equal(t, thumbprint(publicOf(seed)), jws.Signatures[0].Protected.KeyID)
	_, err = m.Sign("", payload)
	require.Error(t, err)
}

func TestTheKeySetIsSignedByTheKeyThatSignsNow(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Unix(1_800_000_000, 0).UTC()}
	next := publicOf(other)
	m, err := NewManifests(seed, c, Rotation{Version: 3, Others: []ed25519.PublicKey{next}, Revoked: []string{"gone"}, MinIat: c.now.Add(-time.Hour)})
	require.NoError(t, err)
	signed, plain, err := m.KeySet()
	require.NoError(t, err)

	jws, err := jose.ParseSignedCompact(signed, algorithms)
	require.NoError(t, err)
	payload, err := jws.Verify(publicOf(seed))
	require.NoError(t, err)
	assert.Equal(t, plain, payload)
	assert.Equal(t, "peergpu-keys+jws", jws.Signatures[0].Protected.ExtraHeaders["typ"])
	x := func(k ed25519.PublicKey) string { return base64.RawURLEncoding.EncodeToString(k) }
	assert.JSONEq(t, `{"iss":"peergpu","iat":1800000000,"ver":3,"min_iat":1799996400,"revoked_kids":["gone"],"keys":[
		{"kty":"OKP","crv":"Ed25519","x":"`+x(publicOf(seed))+`","kid":"`+thumbprint(publicOf(seed))+`","use":"sig","alg":"EdDSA"},
		{"kty":"OKP","crv":"Ed25519","x":"`+x(next)+`","kid":"`+thumbprint(next)+`","use":"sig","alg":"EdDSA"}]}`, string(plain))
}

func TestAKeySetThatMakesNoSenseIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	own := publicOf(seed)
	for name, r := range map[string]Rotation{
		"the signing key revoked": {Revoked: []string{thumbprint(own)}},
		"a key twice":             {Others: []ed25519.PublicKey{own}},
		"half a key":              {Others: []ed25519.PublicKey{own[:16]}},
		"nine keys":               {Others: make([]ed25519.PublicKey, 8)},
	} {
		_, err := NewManifests(seed, &clock{}, r)
		require.Error(t, err, name)
	}
	_, err := NewManifests(seed[:16], &clock{}, Rotation{})
	require.Error(t, err)
	_, err = NewTokens(seed[:16], &clock{})
	require.Error(t, err)
}

// FuzzVerify looks for a token that is accepted and was not issued.
func FuzzVerify(f *testing.F) {
	tokens, c := newTokens(f)
	issued := map[string]bool{}
	for _, claims := range []ports.Claims{
		{Subject: user, Session: session, Roles: []domain.Role{domain.RoleAdmin}, Expires: c.now.Add(time.Minute)},
		{Subject: host, Expires: c.now.Add(time.Hour)},
	} {
		token, err := tokens.Issue(ports.AudienceAPI, claims)
		require.NoError(f, err)
		issued[token] = true
		f.Add(token)
		f.Add(token + "\n")
		f.Add(strings.Replace(token, ".", "..", 1))
	}
	head, claims := assertionOf(c)
	f.Add(forge(other, head, claims))
	f.Add(encode(map[string]string{"alg": "none"}) + ".e30.")
	f.Fuzz(func(t *testing.T, token string) {
		_, err := tokens.Verify(ports.AudienceAPI, token)
		if err == nil && !issued[token] {
			t.Fatalf("accepted %q", token)
		}
		if err != nil && domain.KindOf(err) != domain.KindUnauthenticated {
			t.Fatalf("%v", err)
		}
		if _, _, err := tokens.VerifyAssertion(token, host, publicOf(seed)); err == nil {
			t.Fatalf("accepted the assertion %q of a host whose key signed none", token)
		}
	})
}
