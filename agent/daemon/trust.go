package daemon

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/peergpu/peergpu/openapi/wire"
)

// leeway is how far the server's clock may be off between signing and arriving.
const leeway = 60 * time.Second

// longestLife is how long anything signed may be good for.
const longestLife = 10 * time.Minute

// rejection is why something signed is not obeyed.
type rejection struct {
	Reason wire.RejectReason
	Detail string
}

// Error gives reason and detail in one line.
func (r *rejection) Error() string { return string(r.Reason) + ": " + r.Detail }

// reject makes a rejection. What comes from outside is quoted and cut in its detail.
func reject(reason wire.RejectReason, format string, args ...any) *rejection {
	return &rejection{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// trust is the set of keys that this agent obeys: those of the document pinned at
// enrolment and of its successors. It is safe for concurrent use.
type trust struct {
	mu   sync.RWMutex
	jws  string // the document as it was signed, for storing
	set  wire.KeySet
	keys map[string]ed25519.PublicKey // by kid; revoked ones are not in it
}

// pin begins trust with the document of the enrolment. It has to be signed by one of its
// own keys: that much can be checked.
func pin(signed string) (*trust, error) {
	t, err := pinned(signed)
	if err != nil {
		return nil, err
	}
	if _, bad := t.verify(wire.TypKeys, signed); bad != nil {
		return nil, fmt.Errorf("the server's key set is not signed by one of its keys: %w", bad)
	}
	return t, nil
}

// pinned is trust in the document of the agent's own file. A key that was trusted when it
// arrived signed it; that key may be gone from it.
func pinned(signed string) (*trust, error) {
	body, err := unverified(signed)
	if err != nil {
		return nil, err
	}
	var set wire.KeySet
	if err := wire.ParseClaims(body, &set); err != nil {
		return nil, fmt.Errorf("the server's key set: %w", err)
	}
	t := &trust{jws: signed, set: set}
	t.keys, err = keysOf(set)
	return t, err
}

// renew takes over a newer document, if a key that is trusted now has signed it. A
// stolen TLS certificate alone thus changes nothing. It says whether it is news.
func (t *trust) renew(signed string) (bool, error) {
	payload, bad := t.verify(wire.TypKeys, signed)
	if bad != nil {
		return false, bad
	}
	var set wire.KeySet
	if err := wire.ParseClaims(payload, &set); err != nil {
		return false, err
	}
	keys, err := keysOf(set)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case set.Ver == t.set.Ver:
		return false, nil
	case set.Ver < t.set.Ver:
		return false, fmt.Errorf("version %d of the key set is older than %d", set.Ver, t.set.Ver)
	case set.MinIat < t.set.MinIat:
		return false, fmt.Errorf("the key set would allow what was signed before %d again", t.set.MinIat)
	}
	t.jws, t.set, t.keys = signed, set, keys
	return true, nil
}

// document is the present key set as it was signed.
func (t *trust) document() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.jws
}

// verify checks the signature of a compact JWS and answers its payload. Nothing of the
// payload is looked at before.
func (t *trust) verify(typ, signed string) ([]byte, *rejection) {
	header, err := headerOf(signed)
	if err != nil {
		return nil, reject(wire.RejectReasonBadSignature, "%v", err)
	}
	t.mu.RLock()
	key, trusted := t.keys[header.Kid]
	t.mu.RUnlock()
	if !trusted {
		return nil, reject(wire.RejectReasonBadSignature, "the key %.64q is not trusted or was revoked", header.Kid)
	}
	jws, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, reject(wire.RejectReasonBadSignature, "no EdDSA signature")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, reject(wire.RejectReasonBadSignature, "the signature does not fit the bytes")
	}
	if header.Typ != typ {
		return nil, reject(wire.RejectReasonWrongType, "typ is %.64q, not %q", header.Typ, typ)
	}
	return payload, nil
}

// stamp is what all commands carry.
type stamp struct {
	iss, aud, jti string
	iat, nbf, exp int64
}

// check judges a verified command by the server's clock. Commands are short-lived, so
// one without a sensible life is malformed, whoever signed it.
func (t *trust) check(s stamp, host string, now time.Time) *rejection {
	t.mu.RLock()
	oldest := t.set.MinIat
	t.mu.RUnlock()
	switch {
	case s.iss != wire.Issuer:
		return reject(wire.RejectReasonWrongIssuer, "iss is %.64q", s.iss)
	case s.aud != host:
		return reject(wire.RejectReasonWrongAudience, "it is for %.64q, not for this host", s.aud)
	case len(s.jti) < 16 || len(s.jti) > 64:
		return reject(wire.RejectReasonMalformed, "jti has 16 to 64 characters")
	case s.exp <= s.iat || s.exp-s.iat > int64(longestLife.Seconds()) || s.nbf > s.exp:
		return reject(wire.RejectReasonMalformed, "it is to be good for at most %s", longestLife)
	case s.iat < oldest:
		return reject(wire.RejectReasonBadSignature, "it was signed before the keys were renewed")
	case time.Unix(s.exp, 0).Add(leeway).Before(now):
		return reject(wire.RejectReasonExpired, "it expired %s ago", now.Sub(time.Unix(s.exp, 0)).Round(time.Second))
	case time.Unix(max(s.nbf, s.iat), 0).Add(-leeway).After(now):
		return reject(wire.RejectReasonNotYetValid, "it is good in %s only", time.Unix(max(s.nbf, s.iat), 0).Sub(now).Round(time.Second))
	}
	return nil
}

// protectedHeader is the whole header that is accepted. Anything more (crit, jwk, x5c,
// b64) is refused: none of it is needed, and each has been a way in somewhere.
type protectedHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// headerOf reads the header with the strictness of claims: it decides how the rest is
// judged.
func headerOf(signed string) (h protectedHeader, err error) {
	if len(signed) > wire.MaxText {
		return h, fmt.Errorf("it is over %d bytes", wire.MaxText)
	}
	raw, err := segment(signed, 0)
	if err != nil {
		return h, err
	}
	if err := wire.ParseClaims(raw, &h); err != nil {
		return h, fmt.Errorf("the header: %w", err)
	}
	if h.Alg != string(jose.EdDSA) {
		return h, fmt.Errorf("alg is %.16q, not EdDSA", h.Alg)
	}
	return h, nil
}

// unverified is the payload of a JWS whose key is inside it. Pinning alone may use it.
func unverified(signed string) ([]byte, error) { return segment(signed, 1) }

// segment decodes one of the three parts of a compact JWS. Strict base64 leaves each
// signature one form only.
func segment(signed string, i int) ([]byte, error) {
	parts := bytes.Split([]byte(signed), []byte("."))
	if len(parts) != 3 {
		return nil, fmt.Errorf("it is no compact JWS")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(parts[i]))
	if err != nil {
		return nil, fmt.Errorf("it is no compact JWS")
	}
	return raw, nil
}

// keysOf reads the usable keys of a document.
func keysOf(set wire.KeySet) (map[string]ed25519.PublicKey, error) {
	keys := map[string]ed25519.PublicKey{}
	if set.Iss != wire.Issuer {
		return nil, fmt.Errorf("the key set is by %.64q, not by %q", set.Iss, wire.Issuer)
	}
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize || k.Kty != wire.JWKKtyOKP || k.Crv != wire.JWKCrvEd25519 {
			return nil, fmt.Errorf("the key set holds a key that is no Ed25519 key")
		}
		if k.Kid == "" || keys[k.Kid] != nil {
			return nil, fmt.Errorf("the key set holds two keys with one kid, or one without")
		}
		if !slices.Contains(set.RevokedKids, k.Kid) {
			keys[k.Kid] = x
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the key set holds no key that is not revoked")
	}
	return keys, nil
}
