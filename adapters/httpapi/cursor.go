package httpapi

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

const defaultLimit = 20

// sign is an HMAC for one purpose.
func (s *server) sign(purpose, text string) []byte {
	h := hmac.New(sha256.New, s.LinkKey)
	h.Write([]byte(purpose + "\n" + text))
	return h.Sum(nil)
}

const macBytes = 8 // of a cursor: it guards no secret, it only keeps others' inventions out

// cursor makes an opaque `next` of where the list of a name goes on.
func (s *server) cursor(list string, at any) api.Next {
	text, err := json.Marshal(at)
	if err != nil {
		return "" // positions are plain structs
	}
	return base64.RawURLEncoding.EncodeToString(append(s.sign("cursor:"+list, string(text))[:macBytes:macBytes], text...))
}

// seek reads what cursor made. An empty one leaves at as it is.
func (s *server) seek(list string, after api.After, at any) error {
	if after == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(after)
	if err != nil || len(raw) < macBytes || !hmac.Equal(raw[:macBytes], s.sign("cursor:"+list, string(raw[macBytes:]))[:macBytes]) {
		return badParameter("/query/after", "invalid_cursor", "send `next` of the page before, unchanged")
	}
	return json.NewDecoder(bytes.NewReader(raw[macBytes:])).Decode(at)
}

// afterID is a place in a list that is ordered by ids.
type afterID struct {
	ID domain.ID `json:"id"`
}

// page asks for one item more than is shown: whether it comes tells whether there is
// another page.
func (s *server) page(list string, after api.After, limit api.Limit) (ports.Page, error) {
	var at afterID
	err := s.seek(list, after, &at)
	return ports.Page{After: at.ID, Limit: size(limit) + 1}, err
}

// cut takes the item that is too many off, and makes the cursor behind the last one.
func cut[T any](s *server, list string, items []T, limit api.Limit, id func(T) domain.ID) ([]T, api.Next) {
	n := size(limit)
	if len(items) <= n {
		return items, ""
	}
	items = items[:n]
	return items, s.cursor(list, afterID{id(items[n-1])})
}

func size(limit api.Limit) int {
	if limit < 1 {
		return defaultLimit
	}
	return limit
}

// link is what a signed link allows: to read the results of one job, as its renter.
type link struct {
	Job     domain.ID `json:"j"`
	Renter  domain.ID `json:"u"`
	Expires int64     `json:"e"` // microseconds since 1970
}

const linkTTL = time.Minute

func (s *server) makeLink(job, renter domain.ID) (token string, expires time.Time, err error) {
	expires = s.Clock.Now().Add(linkTTL)
	text, err := json.Marshal(link{job, renter, expires.UnixMicro()})
	if err != nil {
		return "", expires, err
	}
	encoded := base64.RawURLEncoding.EncodeToString(text)
	return encoded + "." + base64.RawURLEncoding.EncodeToString(s.sign("link", encoded)), expires, nil
}

// readLink tells as whom the holder of a link acts. It is good for the job of the path
// alone, and for reading.
func (s *server) readLink(token, job string) (domain.Actor, error) {
	refused := domain.Unauthenticated("the link is not one of ours, or has expired; ask for a new one")
	encoded, mac, _ := bytes.Cut([]byte(token), []byte("."))
	want := base64.RawURLEncoding.EncodeToString(s.sign("link", string(encoded)))
	if !hmac.Equal(mac, []byte(want)) {
		return domain.Actor{}, refused
	}
	var l link
	text, err := base64.RawURLEncoding.DecodeString(string(encoded))
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil || l.Job.Prefixed("job") != job || s.Clock.Now().UnixMicro() >= l.Expires {
		return domain.Actor{}, refused
	}
	return domain.Actor{User: l.Renter, Scopes: []domain.Scope{domain.ScopeJobsRead}}, nil
}
