package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/peergpu/peergpu/openapi"
)

//go:embed docs/index.html docs/docs.js docs/docs.css docs/*.gz
var docsFiles embed.FS

// docsPolicy lets the page load and ask nothing but this server. Swagger UI sets style
// attributes and draws its icons as data URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var docsTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".json": "application/json",
}

// asset is a file that never changes while the server runs, compressed once.
type asset struct {
	kind   string
	etag   string
	packed []byte // gzip
}

// Docs serves the document at /openapi.json, and at /docs a page to read and try it.
// Everything comes from the program itself.
func Docs(e *echo.Echo) error {
	document, err := openapi.JSON()
	if err != nil {
		return err
	}
	spec, err := pack("openapi.json", document)
	if err != nil {
		return err
	}
	assets, err := docsAssets()
	if err != nil {
		return err
	}
	page := func(c echo.Context) error { return assets["index.html"].serve(c) }
	file := func(c echo.Context) error {
		a, found := assets[c.Param("file")]
		if !found {
			return echo.ErrNotFound
		}
		return a.serve(c)
	}
	methods := []string{http.MethodGet, http.MethodHead}
	e.Match(methods, "/openapi.json", spec.serve)
	e.Match(methods, "/docs", page)
	e.Match(methods, "/docs/:file", file)
	return nil
}

func docsAssets() (map[string]asset, error) {
	assets := map[string]asset{}
	names, err := fs.Glob(docsFiles, "docs/*")
	if err != nil {
		return nil, err
	}
	for _, full := range names {
		data, err := docsFiles.ReadFile(full)
		if err != nil {
			return nil, err
		}
		name := path.Base(full)
		if bare, packed := strings.CutSuffix(name, ".gz"); packed {
			assets[bare] = newAsset(bare, data)
			continue
		}
		if assets[name], err = pack(name, data); err != nil {
			return nil, err
		}
	}
	return assets, nil
}

func pack(name string, data []byte) (asset, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return asset{}, fmt.Errorf("compress %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return asset{}, fmt.Errorf("compress %s: %w", name, err)
	}
	return newAsset(name, b.Bytes()), nil
}

func newAsset(name string, packed []byte) asset {
	sum := sha256.Sum256(packed)
	return asset{kind: docsTypes[path.Ext(name)], etag: hex.EncodeToString(sum[:8]), packed: packed}
}

func (a asset) serve(c echo.Context) error {
	zipped := strings.Contains(c.Request().Header.Get(echo.HeaderAcceptEncoding), "gzip")
	etag := `"` + a.etag + `"`
	if zipped {
		etag = `"` + a.etag + `-gzip"`
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentSecurityPolicy, docsPolicy)
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderCacheControl, "no-cache")
	h.Set(echo.HeaderVary, echo.HeaderAcceptEncoding)
	h.Set("ETag", etag)
	if c.Request().Header.Get("If-None-Match") == etag {
		return c.NoContent(http.StatusNotModified)
	}
	if zipped {
		h.Set(echo.HeaderContentEncoding, "gzip")
		return c.Blob(http.StatusOK, a.kind, a.packed)
	}
	r, err := gzip.NewReader(bytes.NewReader(a.packed))
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, a.kind, plain)
}
