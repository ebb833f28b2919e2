package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

var ada = map[string]any{"email": "Ada@Example.org", "password": market.Password, "name": "Ada", "accepted_terms": true}

func TestSigningUpAndIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		var user api.User
		s.do(ask{method: "POST", path: "/api/auth/register", body: ada}).json(t, 201, &user)
		assert.Equal(t, "ada@example.org", user.Email)
		assert.Equal(t, "ada", user.Handle)
		assert.ElementsMatch(t, []api.Role{"renter", "host"}, user.Roles)
		s.do(ask{method: "POST", path: "/api/auth/register", body: ada}).problem(t, 409, "email_taken")

		got := s.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": "ADA@example.org", "password": market.Password}})
		var session api.Session
		got.json(t, 200, &session)
		assert.Equal(t, "Bearer", session.TokenType)
		assert.Equal(t, 900, session.ExpiresIn)
		assert.Equal(t, user, session.User)
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))

		var me api.User
		s.do(ask{method: "GET", path: "/api/me", token: session.AccessToken}).json(t, 200, &me)
		assert.Equal(t, user, me)
		s.do(ask{method: "PATCH", path: "/api/me", token: session.AccessToken, body: map[string]any{"name": "Ada L."}}).json(t, 200, &me)
		assert.Equal(t, "Ada L.", me.Name)
		s.do(ask{method: "PATCH", path: "/api/me", token: session.AccessToken, body: map[string]any{}}).json(t, 200, &me)
		assert.Equal(t, "Ada L.", me.Name)
	})
}

func TestAWrongAddressAndAWrongPasswordLookTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		s.Person("ada", 0)
		unknown := s.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": "x@example.org", "password": "whatever-it-is"}})
		wrong := s.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": "ada@example.org", "password": "whatever-it-is"}})
		a, b := unknown.problem(t, 401, "wrong_credentials"), wrong.problem(t, 401, "wrong_credentials")
		a.RequestID, b.RequestID = "", ""
		assert.Equal(t, a, b)
		assert.Empty(t, wrong.Header.Get("Set-Cookie"))
		s.do(ask{method: "POST", path: "/api/auth/register", body: map[string]any{"email": "b@example.org", "password": "12345678", "name": "B", "accepted_terms": true}}).problem(t, 422, "weak_password")
		s.do(ask{method: "POST", path: "/api/auth/register", body: map[string]any{"email": "b@example.org", "password": market.Password, "name": "B", "accepted_terms": false}}).problem(t, 422, "terms_not_accepted")
	})
}

// program marks a request as no web page's.
var program = http.Header{"X-Peergpu-Client": {"test"}}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Add(name, value)
	return h
}

func TestTheRefreshCookieRotatesAndIsGoodForNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		s.Person("ada", 0)
		first := s.login()
		assert.Equal(t, "peergpu", first.Name)
		assert.True(t, first.HttpOnly)
		assert.False(t, first.Secure, "browsers refuse Secure cookies on plain HTTP")
		assert.Equal(t, http.SameSiteStrictMode, first.SameSite)
		assert.Equal(t, "/", first.Path)

		s.do(ask{method: "GET", path: "/api/me", header: cookie(program, first)}).problem(t, 401, "unauthenticated")

		got := s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, first)})
		var session api.Session
		got.json(t, 200, &session)
		second := got.Cookies()[0]
		assert.NotEqual(t, first.Value, second.Value)
		assert.Equal(t, 200, s.do(ask{method: "GET", path: "/api/me", token: session.AccessToken}).StatusCode)

		// Another tab that still had the old cookie gets a token, and keeps the new cookie.
		req := s.request(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, first)})
		res, err := s.client.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, 200, res.StatusCode)
		assert.Empty(t, res.Header.Values("Set-Cookie"))

		// Later, the old cookie betrays a theft: everything of the session ends.
		pass(time.Minute)
		s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, first)}).problem(t, 401, "unauthenticated")
		s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, second)}).problem(t, 401, "unauthenticated")
		s.do(ask{method: "GET", path: "/api/me", token: session.AccessToken}).problem(t, 401, "unauthenticated")
	})
}

func TestLogoutEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		s.Person("ada", 0)
		c := s.login()
		token := s.signIn("ada")
		var session api.Session
		got := s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, c)})
		got.json(t, 200, &session)
		c = got.Cookies()[0]
		got = s.do(ask{method: "POST", path: "/api/auth/logout", header: cookie(program, c)})
		assert.Equal(t, 204, got.StatusCode)
		assert.Negative(t, got.Cookies()[0].MaxAge)
		s.do(ask{method: "GET", path: "/api/me", token: session.AccessToken}).problem(t, 401, "unauthenticated")
		s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, c)}).problem(t, 401, "unauthenticated")
		assert.Equal(t, 200, s.do(ask{method: "GET", path: "/api/me", token: token}).StatusCode, "another session goes on")
		assert.Equal(t, 204, s.do(ask{method: "POST", path: "/api/auth/logout", header: program}).StatusCode)
		s.do(ask{method: "POST", path: "/api/auth/refresh", header: program}).problem(t, 401, "unauthenticated")
	})
}

func TestOtherSitesCannotRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, func(o *httpapi.Settings) { o.PublicURL = "https://gpu.example.org" })
		s.Person("ada", 0)
		for _, c := range []struct {
			header http.Header
			want   int
		}{
			{http.Header{}, 403},
			{http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
			{http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
			{http.Header{"Sec-Fetch-Site": {"cross-site"}, "X-Peergpu-Client": {"x"}}, 403},
			{http.Header{"Origin": {"https://evil.example"}}, 403},
			{http.Header{"Origin": {"null"}, "X-Peergpu-Client": {"x"}}, 403},
			{http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
			{http.Header{"Origin": {"http://localhost"}}, 200},
			{http.Header{"Origin": {"https://gpu.example.org"}}, 200}, // through a proxy
			{http.Header{"X-Peergpu-Client": {"x"}}, 200},
		} {
			kept := s.login()
			for _, path := range []string{"/api/auth/refresh", "/api/auth/logout"} {
				got := s.do(ask{method: "POST", path: path, header: cookie(c.header, kept)})
				if c.want == 403 {
					got.problem(t, 403, "forbidden")
				} else {
					assert.Less(t, got.StatusCode, 300, "%s %v", path, c.header)
				}
			}
		}
	})
}

func TestWithHTTPSTheCookieIsBoundToTheHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, func(o *httpapi.Settings) { o.Secure = true })
		s.Person("ada", 0)
		c := s.login()
		assert.Equal(t, "__Host-peergpu", c.Name)
		assert.True(t, c.Secure)
		assert.Empty(t, c.Domain)
		assert.Equal(t, 200, s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, c)}).StatusCode)
		c.Name = "peergpu"
		assert.Equal(t, 401, s.do(ask{method: "POST", path: "/api/auth/refresh", header: cookie(program, c)}).StatusCode)
	})
}

// login signs ada in and gives her refresh cookie.
func (s *site) login() *http.Cookie {
	s.t.Helper()
	got := s.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": "ada@example.org", "password": market.Password}})
	require.Len(s.t, got.Cookies(), 1, string(got.Body))
	return got.Cookies()[0]
}

func cookie(h http.Header, c *http.Cookie) http.Header {
	return with(h, "Cookie", c.Name+"="+c.Value)
}

func TestTokensDoWhatTheirScopesSay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, session := s.person("ada", 0)
		var made api.NewToken
		s.do(ask{method: "POST", path: "/api/tokens", token: session, body: map[string]any{
			"name": "nightly", "scopes": []string{"jobs:read"}, "expires_at": s.Clock.Now().Add(time.Hour),
		}}).json(t, 201, &made)
		assert.True(t, strings.HasPrefix(made.Token, made.Prefix))

		assert.Equal(t, 200, s.do(ask{method: "GET", path: "/api/jobs", token: made.Token}).StatusCode)
		s.do(ask{method: "GET", path: "/api/me", token: made.Token}).problem(t, 403, "forbidden")
		writer := s.pat(session, "account:read", "account:write")
		s.do(ask{method: "POST", path: "/api/tokens", token: writer, body: map[string]any{"name": "x", "scopes": []string{"jobs:read"}}}).problem(t, 403, "forbidden")

		var list api.TokenList
		s.do(ask{method: "GET", path: "/api/tokens", token: writer}).json(t, 200, &list)
		require.Len(t, list.Items, 2)
		assert.Equal(t, made.ID, list.Items[0].ID, "oldest first")
		assert.False(t, list.Items[0].LastUsedAt.IsZero())

		// A token may end itself and others.
		assert.Equal(t, 204, s.do(ask{method: "DELETE", path: "/api/tokens/" + made.ID, token: writer}).StatusCode)
		s.do(ask{method: "GET", path: "/api/jobs", token: made.Token}).problem(t, 401, "unauthenticated")
		_, other := s.person("eve", 0)
		s.do(ask{method: "DELETE", path: "/api/tokens/" + list.Items[1].ID, token: other}).problem(t, 404, "not_found")

		short := s.pat(session, "jobs:read")
		for _, bad := range []string{short + "x", short[:len(short)-1], "pgpu_", "pgpu_x", "nonsense", "a.b.c", short + " " + short} {
			s.do(ask{method: "GET", path: "/api/jobs", token: bad}).problem(t, 401, "unauthenticated")
		}
		for _, way := range []string{"Basic " + short, "bearer", short, "Token " + short} {
			got := s.do(ask{method: "GET", path: "/api/jobs", header: http.Header{"Authorization": {way}}})
			got.problem(t, 401, "unauthenticated")
			assert.Equal(t, "Bearer", got.Header.Get("Www-Authenticate"))
		}
		s.do(ask{method: "POST", path: "/api/tokens", token: session, body: map[string]any{
			"name": "late", "scopes": []string{"jobs:read"}, "expires_at": s.Clock.Now().Add(-time.Hour),
		}}).problem(t, 422, "invalid_token")
	})
}

func TestExpiredCredentialsAreWorthNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, session := s.person("ada", 0)
		var made api.NewToken
		s.do(ask{method: "POST", path: "/api/tokens", token: session, body: map[string]any{
			"name": "t", "scopes": []string{"jobs:read"}, "expires_at": s.Clock.Now().Add(time.Hour),
		}}).json(t, 201, &made)
		pass(16 * time.Minute)
		s.do(ask{method: "GET", path: "/api/jobs", token: session}).problem(t, 401, "unauthenticated")
		assert.Equal(t, 200, s.do(ask{method: "GET", path: "/api/jobs", token: made.Token}).StatusCode)
		pass(time.Hour)
		s.do(ask{method: "GET", path: "/api/jobs", token: made.Token}).problem(t, 401, "unauthenticated")
	})
}
