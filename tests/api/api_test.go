// Package api_test holds the HTTP server against its document: every answer that a test
// gets is validated, and everything that the document promises is asked for.
package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
	"github.com/peergpu/peergpu/web"
)

// bundleBytes is the largest ZIP that the servers of these tests take.
const bundleBytes = 256 << 10

// site is a marketplace behind its HTTP server.
type site struct {
	*market.Market
	t      *testing.T
	echo   *echo.Echo
	client *http.Client
	wire   *pipes
	log    *journal
	ready  map[string]error
}

// bubble runs a test where a day passes in no time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// pass lets time go by, and everybody do what they do then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// open starts a marketplace; the test runs in a bubble.
func open(t *testing.T, change ...func(*httpapi.Settings)) *site {
	t.Helper()
	s := &site{Market: market.Open(t, market.Options{}), t: t, log: &journal{}, ready: map[string]error{"database": nil}}
	settings := httpapi.Settings{BundleBytes: bundleBytes}
	limiter := memory.NewLimiter(s.Clock)
	for _, c := range change {
		c(&settings)
	}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g := gateway.New(gateway.Deps{
		Jobs: s.Jobs, Hosts: s.Hosts, Identity: s.Identity, Manifests: s.Manifests, Clock: s.Clock, IDs: system.IDs{},
		Live: s.Live, Log: log, JobJSON: httpapi.JobJSON, HostJSON: httpapi.HostJSON, LoadJSON: httpapi.LoadJSON,
		Limiter: limiter, Address: cameFrom, Connects: settings.Requests,
	}, gateway.NewChannels(s.Live))
	var err error
	s.echo, err = httpapi.New(httpapi.Deps{
		Identity: s.Identity, Hosts: s.Hosts, Jobs: s.Jobs, Billing: s.Billing, Users: s.Store.Users(), Manifests: s.Manifests,
		Clock: s.Clock, Log: log, Blobs: s.Blobs.Handler(), Pages: pages(t), AgentSocket: g.Agent, JobSocket: g.Job, MeSocket: g.Me,
		Ready: func(context.Context) map[string]error { return s.ready }, LinkKey: []byte("links"), Settings: settings,
		Limiter: limiter, Address: cameFrom, Outbox: s.Store.Outbox(),
	})
	require.NoError(t, err)
	s.wire = newPipes()
	server := &http.Server{Handler: s.echo, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(s.wire) })
	transport := &http.Transport{DialContext: s.wire.dial}
	s.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		served.Wait()
		assert.NoError(t, g.Stop(context.Background()))
	})
	return s
}

// cameFrom lets a request say its address, on a network that has none.
func cameFrom(r *http.Request) string { return r.Header.Get("X-From") }

// pages is a web app of one page.
func pages(t *testing.T) http.Handler {
	t.Helper()
	app, err := web.New(fstest.MapFS{"index.html": {Data: []byte("<html>app</html>")}})
	require.NoError(t, err)
	return app
}

// pipes is a network in memory, on which a bubble knows who waits.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.dialed <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// ask is a request.
type ask struct {
	method, path string
	token        string // bearer
	body         any    // JSON; a string or []byte is sent as it is
	header       http.Header
}

// answer is what came back, read whole.
type answer struct {
	*http.Response
	Body []byte
}

// do sends a request and validates the answer against the document.
func (s *site) do(a ask) answer {
	s.t.Helper()
	req := s.request(a)
	res, err := s.client.Do(req)
	require.NoError(s.t, err, a.method+" "+a.path)
	body, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	got := answer{res, body}
	s.validate(req, got)
	return got
}

func (s *site) request(a ask) *http.Request {
	s.t.Helper()
	var body io.Reader
	kind := "application/json"
	switch b := a.body.(type) {
	case nil:
		kind = ""
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	case io.Reader:
		body = b
	default:
		data, err := json.Marshal(b)
		require.NoError(s.t, err)
		body = bytes.NewReader(data)
	}
	link, err := url.Parse(a.path)
	require.NoError(s.t, err)
	if link.Host == "" {
		link.Scheme, link.Host = "http", "localhost"
	}
	req, err := http.NewRequestWithContext(s.t.Context(), a.method, link.String(), body)
	require.NoError(s.t, err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	for name, values := range a.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return req
}

// json reads an answer that has to have a status.
func (a answer) json(t require.TestingT, status int, into any) {
	require.Equal(t, status, a.StatusCode, string(a.Body))
	require.NoError(t, json.Unmarshal(a.Body, into))
}

// problem reads a refusal.
func (a answer) problem(t require.TestingT, status int, code string) api.Problem {
	var p api.Problem
	a.json(t, status, &p)
	assert.Equal(t, code, p.Code, string(a.Body))
	return p
}

// operation finds what the document says about a request.
func operation(t require.TestingT, method, path string) (*routers.Route, map[string]string) {
	spec, err := openapi.Spec()
	require.NoError(t, err)
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, fixed := range []bool{true, false} { // /hosts/register before /hosts/{id}
		for template, item := range spec.Paths.Map() {
			op := item.GetOperation(method)
			if op == nil || fixed == strings.Contains(template, "{") {
				continue
			}
			names := parameter.FindAllStringSubmatch(template, -1)
			form := regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(template), `([^/]+)`) + "$")
			values := form.FindStringSubmatch(path)
			if values == nil {
				continue
			}
			found := map[string]string{}
			for i, n := range names {
				found[n[1]] = values[i+1]
			}
			return &routers.Route{Spec: spec, Path: template, PathItem: item, Method: method, Operation: op}, found
		}
	}
	return nil, nil
}

var parameter = regexp.MustCompile(`\\?\{(\w+)\\?\}`)

// validate holds an answer against the document, its headers too.
func (s *site) validate(req *http.Request, a answer) {
	s.t.Helper()
	route, params := operation(s.t, req.Method, req.URL.Path)
	if route == nil || a.StatusCode == http.StatusMethodNotAllowed {
		return
	}
	kind := a.Header.Get("Content-Type")
	options := &openapi3filter.Options{
		IncludeResponseStatus: true, MultiError: true,
		// Bodies that are no JSON have no schema to speak of.
		ExcludeResponseBody: req.Method == http.MethodHead || !strings.Contains(kind, "json") || strings.HasPrefix(req.URL.Path, "/openapi"),
	}
	err := openapi3filter.ValidateResponse(s.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.StatusCode, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), Options: options,
	})
	assert.NoError(s.t, err, "%s %s answered %d: %s", req.Method, req.URL.Path, a.StatusCode, a.Body)
	assert.NotEmpty(s.t, a.Header.Get("X-Request-Id"))
	described := route.Operation.Responses.Status(a.StatusCode)
	if described != nil && len(described.Value.Content) > 0 && req.Method != http.MethodHead {
		assert.NotNil(s.t, described.Value.Content.Get(kind), "%s %s: %s is not described", req.Method, req.URL.Path, kind)
	}
	noSecrets(s.t, req, a)
}

// noSecrets looks for what no answer may hold. Secrets that are shown once come in
// fields of their own.
func noSecrets(t *testing.T, req *http.Request, a answer) {
	t.Helper()
	if !strings.Contains(a.Header.Get("Content-Type"), "json") || strings.HasPrefix(req.URL.Path, "/openapi") {
		return
	}
	if req.URL.Path != "/api/auth/providers" { // where the demo's password stands
		assert.NotRegexp(t, secretField, string(a.Body), "%s %s", req.Method, req.URL.Path)
	}
	for _, word := range []string{canary, market.Password, "goroutine ", ".go:"} {
		assert.NotContains(t, string(a.Body), word, "%s %s", req.Method, req.URL.Path)
	}
}

var secretField = regexp.MustCompile(`(?i)"[a-z_]*(password|_hash|sealed|refresh|idempotency|blob|private)[a-z_]*" *:`)

// canary is the value of every secret variable.
const canary = "canary-3f9c1d"

// signIn gives an access token.
func (s *site) signIn(name string) string {
	s.t.Helper()
	var session api.Session
	s.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": name + "@example.org", "password": market.Password}}).json(s.t, 200, &session)
	return session.AccessToken
}

// person registers somebody with credit and signs them in.
func (s *site) person(name string, credit domain.Micros) (domain.Actor, string) {
	s.t.Helper()
	who := s.Person(name, credit)
	return who, s.signIn(name)
}

// pat makes a personal access token.
func (s *site) pat(session string, scopes ...string) string {
	s.t.Helper()
	var made api.NewToken
	s.do(ask{method: "POST", path: "/api/tokens", token: session, body: map[string]any{"name": "t", "scopes": scopes}}).json(s.t, 201, &made)
	return made.Token
}

// part is one of a form.
type part struct{ name, content string }

// form makes a multipart body of parts.
func form(parts ...part) (body []byte, header http.Header) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		create := w.CreateFormField
		if p.name == "bundle" {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(name, "bundle.zip") }
		}
		out, err := create(p.name)
		if err == nil {
			_, err = io.WriteString(out, p.content)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes(), http.Header{"Content-Type": {w.FormDataContentType()}}
}
