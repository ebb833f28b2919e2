package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/api"
)

const jobID = "job_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b"

// serve mounts handle on every route that the tests use, behind the validator.
func serve(t testing.TB, handle echo.HandlerFunc) (h http.Handler, log *bytes.Buffer) {
	t.Helper()
	spec, err := openapi.Spec()
	require.NoError(t, err)
	log = &bytes.Buffer{}
	e := echo.New()
	e.HTTPErrorHandler = httpapi.ErrorHandler(slog.New(slog.NewTextHandler(log, nil)))
	e.Use(named, httpapi.Validator(spec))
	for _, route := range []string{
		"GET /api/jobs", "POST /api/jobs", "GET /api/jobs/:id", "HEAD /api/jobs/:id", "POST /api/jobs/:id/rerun",
		"POST /api/jobs/:id/cancel", "GET /api/jobs/:id/logs", "POST /api/auth/register", "POST /api/billing/top-ups", "POST /api/tokens",
		"PATCH /api/hosts/:id", "GET /api/market/offers", "GET /not/described",
	} {
		method, path, _ := strings.Cut(route, " ")
		e.Add(method, path, handle)
	}
	return e, log
}

// named gives every request an id, as the server does.
func named(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderXRequestID, "req-1")
		return next(c)
	}
}

func ok(c echo.Context) error { return c.NoContent(http.StatusNoContent) }

// call sends a request and reads the problem, if the answer is one.
func call(t testing.TB, h http.Handler, method, target, body string, header ...string) (*httptest.ResponseRecorder, api.Problem) {
	t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	var p api.Problem
	if rec.Code >= 400 && method != http.MethodHead {
		assert.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		assert.Equal(t, rec.Code, p.Status)
		assert.Equal(t, http.StatusText(rec.Code), p.Title)
		assert.Equal(t, rec.Header().Get("X-Request-Id"), p.RequestID)
		assert.NotEmpty(t, p.RequestID)
	}
	return rec, p
}

func TestWhatFitsTheDescriptionPasses(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	for _, c := range [][3]string{
		{"GET", "/api/jobs", ""},
		{"GET", "/api/jobs?state=queued&state=running&limit=100&after=abc", ""},
		{"GET", "/api/jobs/" + jobID, ""},
		{"HEAD", "/api/jobs/" + jobID, ""},
		{"GET", "/api/market/offers?tags=linux,fast&min_uptime=0.5&sort=reliability&gpu_model=RTX%204090", ""},
		{"POST", "/api/jobs", `{"command":["echo","hello"],"needs":{"gpus":2,"cpus":0.5},"env":[{"name":"A","value":""}]}`},
		{"POST", "/api/jobs/" + jobID + "/rerun", ""},
		{"PATCH", "/api/hosts/hst_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b", `{"price_micros":0}`},
		{"GET", "/not/described?anything=goes", ""},
	} {
		rec, p := call(t, h, c[0], c[1], c[2])
		assert.Equal(t, http.StatusNoContent, rec.Code, "%v: %+v", c, p)
	}
}

func TestEachWrongFieldIsNamed(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, func(echo.Context) error { t.Error("the handler ran"); return nil })
	for _, c := range []struct{ name, method, target, body, pointer, code, detail string }{
		{"unknown field", "POST", "/api/jobs", `{"needs":{"gpu":1}}`, "/needs/gpu", "unknown_field", "gpus"},
		{"mass assignment", "POST", "/api/auth/register", `{"email":"a@b.de","password":"12345678","name":"A","accepted_terms":true,"roles":["admin"]}`, "/roles", "unknown_field", "accepted_terms"},
		{"another case", "POST", "/api/jobs", `{"Command":["x"]}`, "/Command", "unknown_field", "command"},
		{"missing field", "POST", "/api/auth/register", `{"email":"a@b.de","password":"12345678","name":"A"}`, "/accepted_terms", "required", "required"},
		{"wrong type", "POST", "/api/jobs", `{"command":"echo hello"}`, "/command", "wrong_type", "a list"},
		{"null", "POST", "/api/jobs", `{"name":null}`, "/name", "wrong_type", "leave the field out"},
		{"fraction", "POST", "/api/jobs", `{"needs":{"gpus":1.5}}`, "/needs/gpus", "wrong_type", "an integer"},
		{"in a list", "POST", "/api/jobs", `{"env":[{"name":"A","value":"x"},{"name":"1A","value":"x"}]}`, "/env/1/name", "invalid_format", "must match"},
		{"too small", "POST", "/api/jobs", `{"needs":{"gpus":0}}`, "/needs/gpus", "out_of_range", "at least 1"},
		{"too large", "POST", "/api/jobs", `{"limits":{"max_wait_s":604801}}`, "/limits/max_wait_s", "out_of_range", "at most 604800"},
		{"out of int64", "POST", "/api/jobs", `{"needs":{"memory_mb":1e30}}`, "/needs/memory_mb", "out_of_range", "at most"},
		{"too long", "POST", "/api/jobs", `{"name":"` + strings.Repeat("n", 101) + `"}`, "/name", "too_long", "100"},
		{"enum", "POST", "/api/jobs", `{"network":{"mode":"host"}}`, "/network/mode", "not_allowed", "none, proxy, full"},
		{"twice", "POST", "/api/tokens", `{"name":"n","scopes":["jobs:read","jobs:read"]}`, "/scopes", "duplicate", "once"},
		{"time", "POST", "/api/tokens", `{"name":"n","scopes":["jobs:read"],"expires_at":"tomorrow"}`, "/expires_at", "invalid_format", "2026-01-31T12:00:00Z"},
		{"NUL", "POST", "/api/jobs", `{"command":["a","b\u0000c"]}`, "/command/1", "invalid_character", "NUL"},
		{"not UTF-8", "POST", "/api/jobs", "{\"name\":\"\xff\"}", "", "invalid_character", "UTF-8"},
		{"no JSON", "POST", "/api/jobs", `{"name":`, "", "invalid_json", "near byte"},
		{"a key twice", "POST", "/api/jobs", `{"command":["a"],"name":"x","command":["b"]}`, "/command", "duplicate_key", `"command"`},
		{"a key twice, escaped", "POST", "/api/jobs", `{"name":"x","n\u0061me":"y"}`, "/name", "duplicate_key", `"name"`},
		{"a key twice, nested", "POST", "/api/jobs", `{"env":[{"name":"A"},{"name":"B","value":{"x":[{}],"x":1}}]}`, "/env/1/value/x", "duplicate_key", `"x"`},
		{"two values", "POST", "/api/jobs", `{} {}`, "", "invalid_json", "near byte"},
		{"too many values", "POST", "/api/jobs", `{"command":[` + strings.Repeat(`1,`, 10_000) + `1]}`, "", "too_complex", "10000"},
		{"too deep", "POST", "/api/jobs", strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "", "too_complex", "32"},
		{"no object", "POST", "/api/jobs", `[]`, "", "wrong_type", "an object"},
		{"no body", "POST", "/api/jobs", ``, "", "required", "a body"},
		{"query type", "GET", "/api/jobs?limit=many", ``, "/query/limit", "wrong_type", "an integer"},
		{"query range", "GET", "/api/jobs?limit=101", ``, "/query/limit", "out_of_range", "at most 100"},
		{"query item", "GET", "/api/jobs?state=queued&state=lost", ``, "/query/state/1", "not_allowed", "pending"},
		{"repeated parameter", "GET", "/api/jobs?limit=1&limit=2", ``, "/query/limit", "duplicate", "once"},
		{"unknown parameter", "GET", "/api/jobs?status=queued", ``, "/query/status", "unknown_parameter", "no such parameter"},
		{"NUL in the query", "GET", "/api/market/offers?q=a%00b", ``, "/query/q", "invalid_character", "NUL"},
		{"malformed query", "GET", "/api/jobs?q=%zz", ``, "/query", "malformed", "query"},
		{"path", "GET", "/api/jobs/42", ``, "/path/id", "invalid_format", "^job_"},
		{"another kind's id", "GET", "/api/jobs/hst_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b", ``, "/path/id", "invalid_format", "^job_"},
		{"escaped path", "GET", "/api/jobs/" + jobID + "%2f..", ``, "/path/id", "invalid_format", "^job_"},
		{"header", "POST", "/api/billing/top-ups", `{"amount_micros":10000}`, "/header/Idempotency-Key", "required", "required"},
		{"cents", "POST", "/api/billing/top-ups", `{"amount_micros":10001}`, "/amount_micros", "out_of_range", "a multiple of 10000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec, p := call(t, h, c.method, c.target, c.body)
			assert.Equal(t, http.StatusBadRequest, rec.Code)
			assert.Equal(t, "invalid_request", p.Code)
			var found *api.FieldProblem
			for i := range p.Errors {
				if p.Errors[i].Pointer == c.pointer {
					found = &p.Errors[i]
				}
			}
			require.NotNil(t, found, "%+v", p.Errors)
			assert.Equal(t, c.code, found.Code)
			assert.Contains(t, found.Detail, c.detail)
		})
	}
}

func TestAllWrongFieldsComeInOneAnswer(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	_, p := call(t, h, "POST", "/api/jobs?nope=1", `{}`)
	assert.Len(t, p.Errors, 1)
	_, p = call(t, h, "POST", "/api/jobs", `{"bogus":1,"needs":{"gpus":0,"cpus":-1},"funding":"gold"}`)
	assert.Len(t, p.Errors, 4)

	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, `"field%d":1,`, i)
	}
	_, p = call(t, h, "POST", "/api/jobs", "{"+many.String()+`"name":"n"}`)
	assert.Len(t, p.Errors, 100)
}

func TestAnswersRepeatNoValue(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	rec, _ := call(t, h, "POST", "/api/auth/register", `{"email":7,"password":["hunter2hunter2"],"name":"","accepted_terms":"hunter2"}`)
	assert.Equal(t, http.StatusBadRequest, rec.Code)
	assert.NotContains(t, rec.Body.String(), "hunter2")
	assert.NotContains(t, rec.Body.String(), "additionalProperties")

	long := strings.Repeat("x", 100_000)
	rec, _ = call(t, h, "POST", "/api/jobs", `{"`+long+`":1}`)
	assert.Equal(t, http.StatusBadRequest, rec.Code)
	assert.Less(t, rec.Body.Len(), 2000)
}

func TestAJSONBodyHasAtMostOneMebibyte(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	rec, p := call(t, h, "POST", "/api/jobs", `{"name":"`+strings.Repeat("n", 1<<20)+`"}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, rec.Code)
	assert.Equal(t, "body_too_large", p.Code)
}

func TestBodiesOfAnotherTypeAreRefused(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "nonsense/", ""} {
		rec, p := call(t, h, "POST", "/api/tokens", `{"name":"n","scopes":["jobs:read"]}`, "Content-Type", kind)
		assert.Equal(t, http.StatusUnsupportedMediaType, rec.Code, kind)
		assert.Contains(t, p.Detail, "application/json")
	}
	rec, _ := call(t, h, "POST", "/api/tokens", `{"name":"n","scopes":["jobs:read"]}`, "Content-Type", "Application/JSON; charset=utf-8")
	assert.Equal(t, http.StatusNoContent, rec.Code)
}

func TestTheHandlerReadsTheBodyAndFindsTheDefaults(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, func(c echo.Context) error {
		body, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, c.QueryParam("limit")+c.QueryParam("sort")+string(body))
	})
	sent := `{"name": "n"}`
	rec, _ := call(t, h, "POST", "/api/jobs", sent)
	assert.Equal(t, sent, rec.Body.String(), "the body stays as it was sent")
	rec, _ = call(t, h, "GET", "/api/market/offers", "")
	assert.Equal(t, "20price", rec.Body.String())
	rec, _ = call(t, h, "GET", "/api/market/offers?limit=3&sort=performance", "")
	assert.Equal(t, "3performance", rec.Body.String())
}

func TestMultipartBodiesStayStreams(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	h, _ := serve(t, func(c echo.Context) error {
		close(started) // before the client has sent the second part
		form, err := c.Request().MultipartReader()
		if err != nil {
			return err
		}
		for {
			part, err := form.NextPart()
			if errors.Is(err, io.EOF) {
				return c.NoContent(http.StatusNoContent)
			}
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, part); err != nil {
				return err
			}
		}
	})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	body, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		part, _ := form.CreateFormField("job")
		_, _ = io.WriteString(part, "{}")
		<-started
		part, _ = form.CreateFormFile("bundle", "b.zip")
		_, _ = part.Write(make([]byte, 2<<20)) // more than JSON may have
		_ = w.CloseWithError(form.Close())
	}()
	res, err := http.Post(server.URL+"/api/jobs", form.FormDataContentType(), body)
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, http.StatusNoContent, res.StatusCode)
}

func TestAFormWithoutItsBoundaryIsToldSo(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	rec, p := call(t, h, "POST", "/api/jobs", "x", "Content-Type", "multipart/form-data")
	assert.Equal(t, http.StatusBadRequest, rec.Code)
	require.Len(t, p.Errors, 1)
	assert.Equal(t, "/header/Content-Type", p.Errors[0].Pointer)
}

func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	var fields domain.Problems
	fields.Add("/needs/gpus", "too_many", "no host has so many")
	for _, c := range []struct {
		err    error
		status int
		code   string
		header [2]string
	}{
		{fields.Err("invalid_job", "the job cannot run"), 422, "invalid_job", [2]string{}},
		{domain.Unauthenticated("sign in"), 401, "unauthenticated", [2]string{"Www-Authenticate", "Bearer"}},
		{domain.Forbidden("no"), 403, "forbidden", [2]string{}},
		{domain.NotFound("job"), 404, "not_found", [2]string{}},
		{domain.Conflict("already_finished", "x"), 409, "already_finished", [2]string{}},
		{domain.NewError(domain.KindPaymentRequired, "insufficient_funds", "x"), 402, "insufficient_funds", [2]string{}},
		{domain.NewError(domain.KindExhausted, "rate_limited", "x"), 429, "rate_limited", [2]string{"Retry-After", "1"}},
		{domain.NewError(domain.KindExhausted, "bundle_too_large", "x"), 413, "bundle_too_large", [2]string{}},
		{fmt.Errorf("wrapped: %w", domain.Unavailable("database", "x")), 503, "database", [2]string{"Retry-After", "1"}},
		{domain.NewError(domain.KindInternal, "secret_code", "secret detail"), 500, "internal", [2]string{}},
		{errors.New("secret detail"), 500, "internal", [2]string{}},
		{echo.ErrNotFound, 404, "not_found", [2]string{}},
		{echo.NewHTTPError(http.StatusTeapot), 418, "http_418", [2]string{}},
		{&http.MaxBytesError{Limit: 5}, 413, "body_too_large", [2]string{}},
	} {
		h, log := serve(t, func(echo.Context) error { return c.err })
		rec, p := call(t, h, "GET", "/not/described", "")
		assert.Equal(t, c.status, rec.Code, c.err)
		assert.Equal(t, c.code, p.Code)
		assert.NotEmpty(t, p.Detail)
		assert.NotContains(t, rec.Body.String(), "secret")
		if c.header[0] != "" {
			assert.Equal(t, c.header[1], rec.Header().Get(c.header[0]))
		}
		if c.status == 422 {
			assert.Equal(t, []api.FieldProblem{{Pointer: "/needs/gpus", Code: "too_many", Detail: "no host has so many"}}, p.Errors)
		}
		if c.status == 500 {
			assert.Contains(t, log.String(), "secret detail", "what we hide from the caller is in the log")
			assert.Contains(t, log.String(), p.RequestID)
		} else {
			assert.Empty(t, log.String())
		}
	}
}

func TestWhatIsNoRouteIsAProblemToo(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	rec, p := call(t, h, "GET", "/api/nothing", "")
	assert.Equal(t, 404, rec.Code)
	assert.Equal(t, "not_found", p.Code)
	rec, p = call(t, h, "DELETE", "/api/jobs", "")
	assert.Equal(t, 405, rec.Code)
	assert.Equal(t, "method_not_allowed", p.Code)
	rec, _ = call(t, h, "HEAD", "/api/jobs/42", "")
	assert.Equal(t, 400, rec.Code)
	assert.Empty(t, rec.Body.String())
}

// Whatever is sent, the answer is a plain refusal or the handler gets a body that the
// generated types can hold.
func FuzzJobRequests(f *testing.F) {
	h, _ := serve(f, func(c echo.Context) error {
		var job api.JobRequest
		if err := c.Bind(&job); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	for _, seed := range []string{`{}`, `{"command":["a"]}`, `{"needs":{"gpus":1.0}}`, `{"env":[{}]}`, `null`, `{"needs":{"memory_mb":1e3}}`, strings.Repeat("[", 20_000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		req := httptest.NewRequest(http.MethodPost, "/api/jobs", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		assert.Contains(t, []int{204, 400, 413}, rec.Code, rec.Body.String())
	})
}

func TestABodyWhereNoneIsDescribedIsRefused(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, ok)
	for _, target := range []string{"POST /api/jobs/" + jobID + "/cancel", "GET /api/jobs/" + jobID} {
		method, path, _ := strings.Cut(target, " ")
		for _, body := range []string{`{"limits":{"max_runtime_s":1}}`, "{}", " "} {
			for _, length := range []int64{int64(len(body)), -1} { // with its length, and in chunks
				req := httptest.NewRequest(method, path, strings.NewReader(body))
				req.ContentLength = length
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, req)
				require.Equal(t, http.StatusBadRequest, rec.Code, "%s %q", target, body)
				var p api.Problem
				require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
				assert.Equal(t, "unexpected_body", p.Code)
			}
		}
		for _, length := range []int64{0, -1} {
			req := httptest.NewRequest(method, path, strings.NewReader(""))
			req.ContentLength = length
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			assert.Equal(t, http.StatusNoContent, rec.Code, "%s with an empty body", target)
		}
	}
}
