package api_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/api"
)

func TestEveryRouteIsInTheDocumentAndTheOtherWayRound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		spec, err := openapi.Spec()
		require.NoError(t, err)
		var described, served []string
		for path, item := range spec.Paths.Map() {
			for method := range item.Operations() {
				described = append(described, method+" "+path)
				if method == http.MethodGet && !strings.HasPrefix(path, "/ws/") {
					described = append(described, "HEAD "+path) // what GET answers, without its body
				}
			}
		}
		for _, r := range s.echo.Routes() {
			var parts []string
			for p := range strings.SplitSeq(r.Path, "/") {
				if name, isParam := strings.CutPrefix(p, ":"); isParam {
					p = "{" + name + "}"
				}
				parts = append(parts, p)
			}
			served = append(served, r.Method+" "+strings.Join(parts, "/"))
		}
		slices.Sort(described)
		slices.Sort(served)
		assert.Equal(t, described, served)
	})
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, secure := range map[string]bool{"plain": false, "secure": true} {
			s := open(t, func(o *httpapi.Settings) { o.Secure = secure })
			for _, path := range []string{"/healthz", "/api/me", "/nowhere", "/api/market/offers"} {
				got := s.do(ask{method: "GET", path: path}).Header
				var lines []string
				for _, h := range []string{
					"Content-Security-Policy", "Cross-Origin-Opener-Policy", "Permissions-Policy", "Referrer-Policy",
					"Strict-Transport-Security", "X-Content-Type-Options",
				} {
					if v := got.Get(h); v != "" {
						lines = append(lines, h+": "+v)
					}
				}
				want, err := os.ReadFile("testdata/headers-" + name + ".txt")
				require.NoError(t, err)
				assert.Equal(t, string(want), strings.Join(lines, "\n")+"\n", path)
				assert.Empty(t, got.Get("Access-Control-Allow-Origin"))
				assert.Empty(t, got.Get("Server"))
			}
		}
	})
}

func TestOtherOriginsGetNoPermission(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		for _, origin := range []string{"https://evil.example", "null", "http://localhost.evil.example"} {
			got := s.do(ask{method: "OPTIONS", path: "/api/jobs", header: http.Header{
				"Origin": {origin}, "Access-Control-Request-Method": {"POST"},
			}})
			assert.Empty(t, got.Header.Get("Access-Control-Allow-Origin"))
			assert.Empty(t, got.Header.Get("Access-Control-Allow-Credentials"))
		}
	})
}

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		got := s.do(ask{method: "GET", path: "/api/nothing"})
		p := got.problem(t, 404, "not_found")
		assert.Equal(t, "application/problem+json", got.Header.Get("Content-Type"))
		assert.Equal(t, "about:blank", p.Type)
		assert.Equal(t, "Not Found", p.Title)
		assert.Equal(t, 404, p.Status)
		assert.Equal(t, got.Header.Get("X-Request-Id"), p.RequestID)
		assert.Len(t, p.RequestID, 36)
		s.do(ask{method: "DELETE", path: "/api/jobs"}).problem(t, 405, "method_not_allowed")
		assert.NotEqual(t, "mine", s.do(ask{method: "GET", path: "/", header: http.Header{"X-Request-Id": {"mine"}}}).Header.Get("X-Request-Id"))
	})
}

func TestWhatTheServerDoesNotServeIsAPageOfTheWebApp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		for _, path := range []string{"/", "/login", "/jobs/job_1", "/apis", "/docsy", "/models/api/docs", "/%2fapi/jobs"} {
			got := s.do(ask{method: "GET", path: path})
			assert.Equal(t, 200, got.StatusCode, path)
			assert.Equal(t, "text/html; charset=utf-8", got.Header.Get("Content-Type"))
			assert.Equal(t, "<html>app</html>", string(got.Body))
		}
		for _, path := range []string{
			"/api", "/api/", "/api/nothing", "/ws/nothing", "/docs/nothing.js", "/healthz/x", "/readyz/x", "/metrics", "/hf/x", "/blobs", "/openapi.json/x",
		} {
			s.do(ask{method: "GET", path: path}).problem(t, 404, "not_found")
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			s.do(ask{method: method, path: "/login"}).problem(t, 404, "not_found")
		}
	})
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		for _, path := range []string{"/healthz", "/docs", "/openapi.json", "/api/market/offers"} {
			got := s.do(ask{method: "HEAD", path: path})
			assert.Equal(t, 200, got.StatusCode, path)
			assert.Empty(t, got.Body)
		}
		assert.Equal(t, 401, s.do(ask{method: "HEAD", path: "/api/me"}).StatusCode)
	})
}

func TestADefectIsOneRequestsAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		s.ready = map[string]error{"database": panics{}}
		s.do(ask{method: "GET", path: "/readyz"}).problem(t, 500, "internal")
		assert.Contains(t, s.log.String(), "a defect of the test")
		assert.Equal(t, 200, s.do(ask{method: "GET", path: "/healthz"}).StatusCode)
	})
}

type panics struct{}

func (panics) Error() string { return "x" }

func (panics) As(any) bool { panic("a defect of the test") }

func TestReadinessNamesWhatIsMissingAndNoAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		var got api.Readiness
		s.do(ask{method: "GET", path: "/readyz"}).json(t, 200, &got)
		assert.Equal(t, api.Readiness{Status: "ready", Checks: []api.ReadinessCheck{{Name: "database", Ok: true}}}, got)

		s.ready = map[string]error{"database": os.ErrDeadlineExceeded, "blobs": domain.Unavailable("full", "the disk is full")}
		s.do(ask{method: "GET", path: "/readyz"}).json(t, 503, &got)
		assert.Equal(t, api.Readiness{Status: "unready", Checks: []api.ReadinessCheck{
			{Name: "blobs", Detail: "the disk is full"}, {Name: "database", Detail: "does not answer"},
		}}, got)

		s.ready = map[string]error{"server": domain.Unavailable("stopping", "the server stops")}
		s.do(ask{method: "GET", path: "/readyz"}).json(t, 503, &got)
		assert.Equal(t, api.ReadinessStatusStopping, got.Status)

		var health api.Health
		s.do(ask{method: "GET", path: "/healthz"}).json(t, 200, &health)
		assert.Equal(t, "ok", health.Status)
	})
}

func TestTheDemoServesThisMachineAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, func(o *httpapi.Settings) { o.Demo = &api.DemoSignIn{} })
		for _, c := range []struct {
			host, origin string
			want         int
		}{
			{"localhost:8080", "", 401}, {"127.0.0.1", "", 401}, {"[::1]:8080", "", 401}, {"LOCALHOST", "http://localhost:3000", 401},
			{"evil.example", "", 403}, {"127.0.0.1.nip.io", "", 403}, {"localhost.evil.example", "", 403}, {"192.168.1.1", "", 403},
			{"localhost", "http://evil.example", 403}, {"localhost", "null", 403},
		} {
			header := http.Header{}
			if c.origin != "" {
				header.Set("Origin", c.origin)
			}
			assert.Equal(t, c.want, s.do(ask{method: "GET", path: "http://" + c.host + "/api/me", header: header}).StatusCode, c)
		}
	})
}

func TestWhoStopsSendingIsNotWaitedForForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		conn, err := s.wire.dial(t.Context(), "", "")
		require.NoError(t, err)
		defer conn.Close()
		head := "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
		_, err = io.WriteString(conn, head)
		require.NoError(t, err)
		began := s.Clock.Now()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		assert.Equal(t, 400, res.StatusCode)
		assert.Equal(t, time.Minute, s.Clock.Now().Sub(began))
	})
}

func TestTheLogHoldsNoSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, token := s.person("ada", 0)
		job := "job_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b"
		s.do(ask{method: "GET", path: "/api/jobs/" + job + "/artifacts.zip?link=secret-link"})
		s.do(ask{method: "GET", path: "/blobs/secret-blob"})
		s.do(ask{method: "GET", path: "/api/me", token: token})
		log := s.log.String()
		assert.Contains(t, log, "route=/blobs/:token")
		assert.Contains(t, log, "user=")
		for _, secret := range []string{token, "secret-link", "secret-blob", "not-a-common-one", "ada@example.org"} {
			assert.NotContains(t, log, secret)
		}
	})
}
