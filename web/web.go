// Package web is the web app as the program carries it: the files that `make web` built
// from the sources in this folder, and how they are answered to browsers.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var built embed.FS

// Dist is the files of the web app in this program. It has no index.html when the
// program was compiled without them.
func Dist() (fs.FS, error) { return fs.Sub(built, "dist") }

// Site answers the files of a web app, which are read once. Every path that is no file
// is a page of the app, which the app itself resolves. It is safe for concurrent use.
type Site struct {
	files map[string]file // by path, with its first slash
}

// file is one file in the encodings that it is there in, the smallest first.
type file struct {
	kind     string
	cache    string
	variants []variant
}

type variant struct {
	encoding string // as in Content-Encoding; empty is the file as it is
	etag     string
	body     []byte
}

const (
	index  = "/index.html"
	assets = "/assets/" // what has a hash of its content in its name

	forever   = "public, max-age=31536000, immutable"
	askAlways = "no-cache"
)

// encodings are those that a build leaves beside a file, in the order of preference.
var encodings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}, {"", ""}}

// kinds does not depend on what the machine knows about file names.
var kinds = map[string]string{
	".css":   "text/css; charset=utf-8",
	".html":  "text/html; charset=utf-8",
	".ico":   "image/x-icon",
	".js":    "text/javascript; charset=utf-8",
	".json":  "application/json",
	".png":   "image/png",
	".svg":   "image/svg+xml",
	".txt":   "text/plain; charset=utf-8",
	".woff2": "font/woff2",
}

// New reads the files of a web app. Files and folders that begin with a dot are not
// part of it.
func New(dist fs.FS) (*Site, error) {
	s := &Site{files: map[string]file{}}
	err := fs.WalkDir(dist, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || path.Ext(name) == ".br" || path.Ext(name) == ".gz":
			return nil
		}
		f, err := read(dist, name)
		s.files["/"+name] = f
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the web app: %w", err)
	}
	return s, nil
}

func read(dist fs.FS, name string) (file, error) {
	f := file{kind: kinds[path.Ext(name)], cache: askAlways}
	if f.kind == "" {
		return f, fmt.Errorf("%s: files of this kind are not served", name)
	}
	if strings.HasPrefix("/"+name, assets) {
		f.cache = forever
	}
	for _, e := range encodings {
		body, err := fs.ReadFile(dist, name+e.suffix)
		if e.name != "" && err != nil {
			continue // not everything gets smaller
		}
		if err != nil {
			return f, err
		}
		sum := sha256.Sum256(body)
		f.variants = append(f.variants, variant{e.name, `"` + hex.EncodeToString(sum[:12]) + `"`, body})
	}
	return f, nil
}

// ServeHTTP answers the file at the path of a GET or HEAD, or the app's one page. What
// is missing below /assets/ is 404: a page of an earlier build then notices that it is
// out of date, instead of reading a page as a script.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, found := s.files[r.URL.Path]
	if !found && !strings.HasPrefix(r.URL.Path, assets) {
		f, found = s.files[index]
		if !found {
			explain(w)
			return
		}
	}
	if !found {
		w.Header().Set("Cache-Control", "no-store")
		http.NotFound(w, r)
		return
	}
	f.serve(w, r)
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	v := f.pick(r.Header.Get("Accept-Encoding"))
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", f.cache)
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", v.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	if known(r.Header.Get("If-None-Match"), v.etag) {
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if v.encoding != "" {
		h.Set("Content-Encoding", v.encoding)
	}
	h.Set("Content-Length", strconv.Itoa(len(v.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(v.body) // whoever has gone does not read it
	}
}

// pick chooses the smallest variant that the client takes.
func (f file) pick(accepted string) variant {
	for _, v := range f.variants {
		if v.encoding != "" && takes(accepted, v.encoding) {
			return v
		}
	}
	return f.variants[len(f.variants)-1]
}

// takes reads an Accept-Encoding header. A weight of 0 is a refusal; other weights do
// not matter, since we know which variant is the smallest.
func takes(accepted, encoding string) bool {
	for entry := range strings.SplitSeq(accepted, ",") {
		name, parameters, _ := strings.Cut(entry, ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		weight, weighted := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(parameters), " ", ""), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !weighted || (err == nil && q > 0)
	}
	return false
}

// known tells whether an If-None-Match header names the tag.
func known(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// notBuilt stands in for every page of a program that was compiled without them.
const notBuilt = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PeerGPU: the web app is not built</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1rem; color-scheme: light dark }
</style>
<h1>The web app is not in this program</h1>
<p>The server runs, and its API is complete: <a href="/docs">read and try it</a>.</p>
<p>To get the pages, install Node.js 20.19 or newer, then stop the server and start it
with <code>make run</code>, or build it again with <code>make build</code>.</p>
`

func explain(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", kinds[".html"])
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(notBuilt)) // whoever has gone does not read it
}
