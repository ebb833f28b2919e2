package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
)

// cookieName is that of the refresh cookie. The prefix binds it to this host and to
// HTTPS; browsers refuse it on plain HTTP, which only a demo or a test uses.
func cookieName(secure bool) string {
	if secure {
		return "__Host-peergpu"
	}
	return "peergpu"
}

// refreshCookie is the Set-Cookie header for a refresh token; without one it clears
// the cookie.
func (s *server) refreshCookie(token string) string {
	c := http.Cookie{ //nolint:gosec // Secure where there is HTTPS, see cookieName
		Name: s.cookie, Value: token, Path: "/", HttpOnly: true, Secure: s.Settings.Secure,
		SameSite: http.SameSiteStrictMode, MaxAge: int(identity.SessionIdle / time.Second),
	}
	if token == "" {
		c.MaxAge = -1
	}
	return c.String()
}

// presented is the refresh token of a request that no foreign page can have made:
// browsers say where a request comes from, programs mark themselves. One that does
// neither might come from an old browser, and is refused.
func (s *server) presented(ctx context.Context) (string, error) {
	req := callerOf(ctx).request
	h := req.Header
	if h.Get("Sec-Fetch-Site") == "" && h.Get("Origin") == "" && h.Get("X-PeerGPU-Client") == "" {
		return "", domain.Forbidden("programs send the header X-PeerGPU-Client here")
	}
	if err := s.sameOrigin.Check(req); err != nil {
		return "", domain.Forbidden("requests from other sites are refused")
	}
	c, err := req.Cookie(s.cookie)
	if err != nil {
		return "", nil //nolint:nilerr // no cookie is no session
	}
	return c.Value, nil
}
