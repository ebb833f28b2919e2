package cloudblob

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// linkPath is where Handler is mounted.
const linkPath = "/blobs/"

// longestLink is what the text of a token may have. Ours have some 400.
const longestLink = 4096

// grant is what a signed link allows: one method on one object until a moment. An
// upload is bound to its bytes.
type grant struct {
	Method   string `json:"m"`
	Key      string `json:"k"`
	Expires  int64  `json:"e"` // microseconds since 1970
	Size     int64  `json:"s,omitempty"`
	SHA256   string `json:"h,omitempty"`
	Filename string `json:"f,omitempty"`
}

var (
	errBadLink     = domain.Forbidden("the link is not one of ours, or was changed")
	errExpiredLink = domain.NewError(domain.KindForbidden, "link_expired", "the link has expired; ask for a new one")
)

// links makes and reads signed links: base64url of the grant, a dot, base64url of an
// HMAC-SHA256 over it.
type links struct {
	key   []byte
	base  string
	clock ports.Clock
}

func newLinks(o Options) (*links, error) {
	if len(o.Key) < sha256.Size {
		return nil, errors.New("the key that signs links has to have at least 32 bytes")
	}
	if o.Clock == nil {
		return nil, errors.New("links need a clock")
	}
	return &links{key: bytes.Clone(o.Key), base: strings.TrimRight(o.PublicURL, "/"), clock: o.Clock}, nil
}

func (l *links) put(key string, o ports.PutOptions) (ports.SignedRequest, error) {
	request, err := l.request(grant{Method: http.MethodPut, Key: key, Size: o.Size, SHA256: o.SHA256}, o.Expires)
	request.Header = http.Header{"Content-Type": {octets}}
	return request, err
}

func (l *links) get(key string, o ports.GetOptions) (ports.SignedRequest, error) {
	return l.request(grant{Method: http.MethodGet, Key: key, Filename: o.Filename}, o.Expires)
}

func (l *links) request(g grant, good time.Duration) (ports.SignedRequest, error) {
	expires := domain.Time(l.clock.Now().Add(good))
	g.Expires = expires.UnixMicro()
	raw, err := json.Marshal(g)
	if err != nil {
		return ports.SignedRequest{}, err
	}
	text := base64.RawURLEncoding.EncodeToString(raw)
	link := l.base + linkPath + text + "." + base64.RawURLEncoding.EncodeToString(l.mac(text))
	return ports.SignedRequest{Method: g.Method, URL: link, Header: http.Header{}, Expires: expires}, nil
}

func (l *links) mac(text string) []byte {
	h := hmac.New(sha256.New, l.key)
	h.Write([]byte("peergpu-blob-link-v1\n" + text))
	return h.Sum(nil)
}

// parse reads the token of a link. Nothing of it is looked at before its MAC.
func (l *links) parse(token string) (g grant, err error) {
	text, mac, ok := strings.Cut(token, ".")
	if !ok || len(token) > longestLink {
		return g, errBadLink
	}
	// The MAC is compared as text: base64 with stray bits would decode to it too.
	want := base64.RawURLEncoding.EncodeToString(l.mac(text))
	if !hmac.Equal([]byte(mac), []byte(want)) {
		return g, errBadLink
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return g, errBadLink.With(err)
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return g, errBadLink.With(err)
	}
	if l.clock.Now().UnixMicro() >= g.Expires {
		return g, errExpiredLink
	}
	return g, nil
}

func isSHA256(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
