package httpapi_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
)

func docs(t *testing.T) *echo.Echo {
	t.Helper()
	e := echo.New()
	require.NoError(t, httpapi.Docs(e))
	return e
}

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestTheDocumentIsServed(t *testing.T) {
	t.Parallel()
	rec := get(docs(t), "/openapi.json")
	require.Equal(t, http.StatusOK, rec.Code)
	assert.Equal(t, "application/json", rec.Header().Get("Content-Type"))
	var document struct{ OpenAPI string }
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &document))
	assert.Equal(t, "3.0.3", document.OpenAPI)
	assert.NotContains(t, rec.Body.String(), "x-go-", "how we generate code is nobody's business")
}

func TestTheDocsPageAsksNobodyElse(t *testing.T) {
	t.Parallel()
	e := docs(t)
	page := get(e, "/docs")
	require.Equal(t, http.StatusOK, page.Code)
	assert.Contains(t, page.Header().Get("Content-Security-Policy"), "default-src 'none'")
	assert.NotContains(t, page.Header().Get("Content-Security-Policy"), "http")
	html := page.Body.String()
	assert.NotContains(t, html, "://")
	assert.NotRegexp(t, `<script[^>]*>[^<]`, html, "no inline script")
	links := regexp.MustCompile(`(?:src|href)="(/docs/[^"]+)"`).FindAllStringSubmatch(html, -1)
	require.Len(t, links, 4)
	for _, l := range links {
		rec := get(e, l[1])
		assert.Equal(t, http.StatusOK, rec.Code, l[1])
		assert.Equal(t, "nosniff", rec.Header().Get("X-Content-Type-Options"))
		assert.Regexp(t, `^text/(css|javascript); charset=utf-8$`, rec.Header().Get("Content-Type"))
		assert.NotZero(t, rec.Body.Len())
	}
	assert.Contains(t, get(e, "/docs/docs.js").Body.String(), "validatorUrl: null")
	assert.Equal(t, http.StatusNotFound, get(e, "/docs/README.md").Code)
	assert.Equal(t, http.StatusNotFound, get(e, "/docs/..%2fdocs.go").Code)
}

func TestFilesAreSentPackedAndOnce(t *testing.T) {
	t.Parallel()
	e := docs(t)
	plain := get(e, "/docs/swagger-ui-bundle.js")
	packed := get(e, "/docs/swagger-ui-bundle.js", "Accept-Encoding", "br, gzip")
	assert.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
	assert.Less(t, packed.Body.Len(), plain.Body.Len()/3)
	r, err := gzip.NewReader(packed.Body)
	require.NoError(t, err)
	unpacked, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Len(t, unpacked, plain.Body.Len())
	assert.NotEqual(t, plain.Header().Get("ETag"), packed.Header().Get("ETag"))

	again := get(e, "/docs/swagger-ui-bundle.js", "If-None-Match", plain.Header().Get("ETag"))
	assert.Equal(t, http.StatusNotModified, again.Code)
	assert.Zero(t, again.Body.Len())

	req := httptest.NewRequest(http.MethodHead, "/docs", nil)
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, req)
	assert.Equal(t, http.StatusOK, rec.Code)
	assert.True(t, strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html"))
}
