package web_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/web"
)

func app(t *testing.T) *web.Site {
	t.Helper()
	files := fstest.MapFS{".gitkeep": {}, ".vite/manifest.json": {Data: []byte("{}")}}
	for name, content := range map[string]string{
		"index.html": "<html>app</html>", "theme.js": "theme()",
		"assets/main-1a2b.js": "console.log()", "assets/main-1a2b.js.br": "BR", "assets/main-1a2b.js.gz": "GZ",
		"assets/inter-3c4d.woff2": "font",
	} {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	s, err := web.New(files)
	require.NoError(t, err)
	return s
}

func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestTheSmallestEncodingThatABrowserTakesIsSent(t *testing.T) {
	t.Parallel()
	s := app(t)
	tags := map[string]bool{}
	for accepted, want := range map[string][2]string{
		"":                             {"", "console.log()"},
		"gzip, deflate, br, zstd":      {"br", "BR"},
		"GZIP":                         {"gzip", "GZ"},
		"br;q=0, gzip;q=0.5":           {"gzip", "GZ"},
		"br; q=0.0,gzip;q=0":           {"", "console.log()"},
		"brotli, x-gzip":               {"", "console.log()"},
		"gzip;q=0.001 , br ; q = 0.1 ": {"br", "BR"},
		"br;q=much":                    {"", "console.log()"},
	} {
		got := ask(s, "GET", "/assets/main-1a2b.js", "Accept-Encoding", accepted)
		assert.Equal(t, 200, got.Code)
		assert.Equal(t, want[0], got.Header().Get("Content-Encoding"), accepted)
		assert.Equal(t, want[1], got.Body.String(), accepted)
		assert.Equal(t, "Accept-Encoding", got.Header().Get("Vary"))
		assert.Equal(t, "text/javascript; charset=utf-8", got.Header().Get("Content-Type"))
		tags[got.Header().Get("ETag")] = true
	}
	assert.Len(t, tags, 3, "a strong tag names one sequence of bytes")
}

func TestWhatABrowserHasIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := app(t)
	tag := ask(s, "GET", "/theme.js").Header().Get("ETag")
	for _, header := range []string{tag, `"other", ` + tag, "W/" + tag, "*"} {
		got := ask(s, "GET", "/theme.js", "If-None-Match", header)
		assert.Equal(t, 304, got.Code, header)
		assert.Zero(t, got.Body.Len())
		assert.Equal(t, tag, got.Header().Get("ETag"))
	}
	assert.Equal(t, 200, ask(s, "GET", "/theme.js", "If-None-Match", `"other"`).Code)
}

func TestOnlyFilesWithAHashInTheirNameAreKeptForEver(t *testing.T) {
	t.Parallel()
	s := app(t)
	for path, want := range map[string]string{
		"/assets/main-1a2b.js": "public, max-age=31536000, immutable", "/assets/inter-3c4d.woff2": "public, max-age=31536000, immutable",
		"/": "no-cache", "/jobs/job_1": "no-cache", "/theme.js": "no-cache",
	} {
		assert.Equal(t, want, ask(s, "GET", path).Header().Get("Cache-Control"), path)
	}
}

func TestEveryPathButAMissingAssetIsAPage(t *testing.T) {
	t.Parallel()
	s := app(t)
	for _, path := range []string{"/", "/index.html", "/login", "/models/ada/resnet.v2", "/.vite/manifest.json", "/.gitkeep", "/assets"} {
		got := ask(s, "GET", path)
		assert.Equal(t, 200, got.Code, path)
		assert.Equal(t, "<html>app</html>", got.Body.String(), path)
		assert.Equal(t, "text/html; charset=utf-8", got.Header().Get("Content-Type"))
		assert.Equal(t, "nosniff", got.Header().Get("X-Content-Type-Options"))
	}
	for _, path := range []string{"/assets/main-0000.js", "/assets/", "/assets/main-1a2b.js.br", "/assets/../index.html"} {
		got := ask(s, "GET", path)
		assert.Equal(t, 404, got.Code, path)
		assert.Equal(t, "no-store", got.Header().Get("Cache-Control"))
		assert.NotContains(t, got.Body.String(), "html")
	}
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	got := ask(app(t), "HEAD", "/assets/main-1a2b.js", "Accept-Encoding", "br")
	assert.Equal(t, 200, got.Code)
	assert.Zero(t, got.Body.Len())
	assert.Equal(t, "2", got.Header().Get("Content-Length"))
}

func TestAProgramWithoutTheAppSaysHowToGetIt(t *testing.T) {
	t.Parallel()
	s, err := web.New(fstest.MapFS{".gitkeep": {}})
	require.NoError(t, err)
	for _, path := range []string{"/", "/login"} {
		got := ask(s, "GET", path)
		assert.Equal(t, 404, got.Code)
		assert.Contains(t, got.Body.String(), "make build")
		assert.Contains(t, got.Body.String(), "/docs")
		assert.Equal(t, "text/html; charset=utf-8", got.Header().Get("Content-Type"))
	}
	assert.Equal(t, 404, ask(s, "GET", "/assets/main-1a2b.js").Code)
}

func TestAFileOfAnUnknownKindIsAMistakeOfTheBuild(t *testing.T) {
	t.Parallel()
	_, err := web.New(fstest.MapFS{"photo.tiff": {Data: []byte("x")}})
	assert.ErrorContains(t, err, "photo.tiff")
}

// What is built, if anything is, is what New takes.
func TestTheFilesOfThisProgramCanBeServed(t *testing.T) {
	t.Parallel()
	dist, err := web.Dist()
	require.NoError(t, err)
	_, err = fs.Stat(dist, ".gitkeep")
	require.NoError(t, err)
	_, err = web.New(dist)
	require.NoError(t, err)
}
