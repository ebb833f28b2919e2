package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

// Settings are the operator's choices about the HTTP server.
type Settings struct {
	PublicURL string // where users reach us; empty: what their request says
	Secure    bool   // users reach us by HTTPS
	// Demo is the accounts that everybody knows: this machine alone may talk to us. Nil
	// outside of demo mode.
	Demo        *api.DemoSignIn
	BundleBytes int64 // of a submitted ZIP
	// Of an account, or of an address where nobody is signed in; 0 times is no limit.
	Requests ports.Limit
	Submits  ports.Limit // of jobs, by an account
	// MetricsToken is what who reads /metrics has to send. Empty: there is no /metrics.
	MetricsToken string
}

// Deps is what the HTTP server needs.
type Deps struct {
	Identity  *identity.Service
	Hosts     *hosts.Service
	Jobs      *jobs.Service
	Billing   *billing.Service
	Users     ports.Users
	Manifests ports.Manifests
	Clock     ports.Clock
	Limiter   ports.Limiter
	Log       *slog.Logger
	Outbox    ports.Outbox // whose lag is measured

	Blobs       http.Handler // serves /blobs/{token}
	Pages       http.Handler // the web app
	AgentSocket http.HandlerFunc
	JobSocket   func(w http.ResponseWriter, r *http.Request, job string)
	MeSocket    http.HandlerFunc
	// Ready tells for each part that we need what is wrong with it; nil is well.
	Ready func(context.Context) map[string]error
	// Meters are more for /metrics.
	Meters []prometheus.Collector
	// Tracer makes a span of each request; nil: nobody looks.
	Tracer trace.Tracer
	// LinkKey signs links and cursors. Replicas share it.
	LinkKey []byte
	// Address is where a request comes from; nil: whoever connects to us.
	Address  echo.IPExtractor
	Settings Settings
}

// server answers the operations of the document by the use cases.
type server struct {
	Deps
	version    string           // of the document
	jobRequest *openapi3.Schema // of a submit's JSON, for multipart bodies
	cookie     string           // the name of the refresh cookie
	sameOrigin *http.CrossOriginProtection
	meters     *meters
}

var _ api.StrictServerInterface = (*server)(nil)

// New makes the HTTP server with all its routes.
func New(d Deps) (*echo.Echo, error) {
	spec, err := openapi.Spec()
	if err != nil {
		return nil, err
	}
	s := &server{
		Deps: d, version: spec.Info.Version, jobRequest: spec.Components.Schemas["JobRequest"].Value,
		cookie: cookieName(d.Settings.Secure), sameOrigin: http.NewCrossOriginProtection(), meters: newMeters(d),
	}
	if origin := originOf(d.Settings.PublicURL); origin != "" {
		if err := s.sameOrigin.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	if e.IPExtractor = d.Address; d.Address == nil {
		e.IPExtractor = echo.ExtractIPDirect()
	}
	e.HTTPErrorHandler = ErrorHandler(d.Log)
	e.Use(requestID, securityHeaders(d.Settings.Secure), s.traced, s.logged, recovered)
	if d.Settings.Demo != nil {
		e.Use(loopbackOnly)
	}
	// Who asks is settled before the body is read: strangers cannot make us parse it.
	e.Use(s.limitBody, s.authenticate(spec), except("/blobs/", Validator(spec)), s.webApp)
	return e, s.mount(e)
}

func (s *server) mount(e *echo.Echo) error {
	r := routes{e}
	api.RegisterHandlers(r, api.NewStrictHandler(s, nil))
	blob := func(c echo.Context) error {
		// Unwrapped, so that the kernel can copy files to the socket.
		s.Blobs.ServeHTTP(c.Response().Writer, c.Request())
		return nil
	}
	r.GET("/blobs/:token", blob)
	r.PUT("/blobs/:token", blob)
	e.GET("/ws/agent", func(c echo.Context) error {
		s.AgentSocket(c.Response(), c.Request())
		return nil
	})
	e.GET("/ws/me", func(c echo.Context) error {
		s.MeSocket(c.Response(), c.Request())
		return nil
	})
	e.GET("/ws/job/:job_id", func(c echo.Context) error {
		s.JobSocket(c.Response(), c.Request(), c.Param("job_id"))
		return nil
	})
	if s.Settings.MetricsToken != "" {
		s.mountMetrics(e)
	}
	return Docs(e)
}

// routes makes HEAD work wherever GET does, which echo leaves to its caller.
type routes struct{ *echo.Echo }

// GET registers a route for GET and HEAD.
func (r routes) GET(path string, h echo.HandlerFunc, m ...echo.MiddlewareFunc) *echo.Route {
	r.HEAD(path, h, m...)
	return r.Echo.GET(path, h, m...)
}

// except lets requests below a path pass a middleware by.
func except(below string, m echo.MiddlewareFunc) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		inside := m(next)
		return func(c echo.Context) error {
			if strings.HasPrefix(c.Path(), below) {
				return next(c)
			}
			return inside(c)
		}
	}
}

// originOf is scheme and host of a URL, as browsers send them.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
