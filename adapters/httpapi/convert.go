package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	domainidentity "github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

// mapped converts a list; of none it makes an empty one, because null is not used.
func mapped[A, B any](list []A, convert func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = convert(a)
	}
	return out
}

// parseID reads an id whose form the validator has checked already.
func parseID(kind, id string) (domain.ID, error) { return domain.ParsePrefixed(kind, id) }

func compareIDs(a, b domain.ID) int { return bytes.Compare(a[:], b[:]) }

// badParameter refuses one part of a request.
func badParameter(pointer, code, detail string) error {
	p := byStatus(http.StatusBadRequest)
	p.errors = []api.FieldProblem{{Pointer: pointer, Code: code, Detail: detail}}
	return p
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, err = w.Write(append(data, '\n'))
	return err
}

func userJSON(u domainidentity.Snapshot) api.User {
	return api.User{
		ID: u.ID.Prefixed("usr"), Email: u.Email, Handle: u.Handle, Name: u.Name, CreatedAt: u.CreatedAt,
		Roles: mapped(u.Roles, func(r domain.Role) api.Role { return api.Role(r) }),
	}
}

func sessionJSON(in identity.SignedIn) api.Session {
	return api.Session{AccessToken: in.Access, TokenType: "Bearer", ExpiresIn: int(in.Expires.Seconds()), User: userJSON(in.User)}
}

func tokenJSON(t domainidentity.APIToken) api.Token {
	return api.Token{
		ID: t.ID.Prefixed("tok"), Name: t.Name, Prefix: t.Prefix, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: t.LastUsedAt,
		Scopes: mapped(t.Scopes, func(s domain.Scope) api.Scope { return api.Scope(s) }),
	}
}

// userRefs names accounts as others see them. Each is read once in a request.
type userRefs struct {
	s     *server
	known map[domain.ID]api.UserRef
}

func (s *server) userRefs() *userRefs { return &userRefs{s: s, known: map[domain.ID]api.UserRef{}} }

func (u *userRefs) of(ctx context.Context, id domain.ID) (api.UserRef, error) {
	if ref, ok := u.known[id]; ok {
		return ref, nil
	}
	found, err := u.s.Users.Get(ctx, id)
	if err != nil && domain.KindOf(err) != domain.KindNotFound {
		return api.UserRef{}, err
	}
	ref := api.UserRef{ID: id.Prefixed("usr"), Handle: found.Handle}
	u.known[id] = ref
	return ref, nil
}

// linkJSON is a signed download, as a browser can follow it.
func (s *server) linkJSON(ctx context.Context, r ports.SignedRequest) api.Link {
	return api.Link{URL: s.absolute(ctx, r.URL), ExpiresAt: r.Expires}
}

// absolute completes a link of ours that has no host, because none is configured, by
// the one that the client reached us at.
func (s *server) absolute(ctx context.Context, link string) string {
	if !strings.HasPrefix(link, "/") {
		return link
	}
	if s.Settings.PublicURL != "" {
		return s.Settings.PublicURL + link
	}
	req := callerOf(ctx).request
	if req == nil || req.Host == "" {
		return link
	}
	if req.TLS != nil {
		return "https://" + req.Host + link
	}
	return "http://" + req.Host + link
}

func pointTo(n domain.Micros) *int64 {
	v := int64(n)
	return &v
}

func orNil(n *domain.Micros) *int64 {
	if n == nil {
		return nil
	}
	return pointTo(*n)
}

func toMicros(n *int64) *domain.Micros {
	if n == nil {
		return nil
	}
	v := domain.Micros(*n)
	return &v
}
