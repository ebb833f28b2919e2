package cloudblob

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// served is a store with its handler on a real server. ended receives once for each
// request that the handler has left.
type served struct {
	*Store
	url   string
	ended chan struct{}
}

func serve(t *testing.T, s *Store) *served {
	t.Helper()
	ended := make(chan struct{}, 1024)
	mux := http.NewServeMux()
	handler := s.Handler()
	mux.HandleFunc("/blobs/", func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		handler.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &served{s, server.URL, ended}
}

func (s *served) do(t *testing.T, method, link string, body io.Reader, change func(*http.Request)) (*http.Response, []byte) {
	t.Helper()
	if strings.HasPrefix(link, "/") {
		link = s.url + link
	}
	r, err := http.NewRequestWithContext(t.Context(), method, link, body)
	require.NoError(t, err)
	if change != nil {
		change(r)
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, data
}

func (s *served) putLink(t *testing.T, key string, data []byte) string {
	t.Helper()
	r, err := s.SignPut(t.Context(), key, ports.PutOptions{Size: int64(len(data)), SHA256: sumOf(data), Expires: time.Minute})
	require.NoError(t, err)
	assert.Equal(t, http.MethodPut, r.Method)
	return r.URL
}

func (s *served) getLink(t *testing.T, key, filename string) string {
	t.Helper()
	r, err := s.SignGet(t.Context(), key, ports.GetOptions{Filename: filename, Expires: time.Minute})
	require.NoError(t, err)
	assert.Equal(t, http.MethodGet, r.Method)
	return r.URL
}

func problemOf(t *testing.T, response *http.Response, body []byte) (code string) {
	t.Helper()
	assert.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
	var p struct {
		Status int
		Code   string
		Title  string
		Detail string
	}
	require.NoError(t, json.Unmarshal(body, &p), string(body))
	assert.Equal(t, response.StatusCode, p.Status)
	assert.NotEmpty(t, p.Title)
	assert.NotEmpty(t, p.Detail)
	return p.Code
}

func TestWhatIsUploadedByALinkIsDownloadedByALink(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store *Store, left func() []string) {
		s := serve(t, store)
		for key, data := range map[string][]byte{"empty": {}, "a/b": []byte("0123456789"), "large": bytes.Repeat([]byte("x"), 3<<20)} {
			for range 2 { // an agent that did not hear the answer sends it again
				response, body := s.do(t, http.MethodPut, s.putLink(t, key, data), bytes.NewReader(data), nil)
				require.Equal(t, http.StatusCreated, response.StatusCode, string(body))
			}
			info, err := s.Stat(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, ports.BlobInfo{Key: key, Size: int64(len(data)), SHA256: sumOf(data)}, info)

			response, body := s.do(t, http.MethodGet, s.getLink(t, key, "x.bin"), nil, nil)
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.True(t, bytes.Equal(data, body), key)
			assert.Equal(t, "application/octet-stream", response.Header.Get("Content-Type"))
			assert.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
			assert.Equal(t, `attachment; filename="x.bin"`, response.Header.Get("Content-Disposition"))
			assert.Equal(t, `"`+sumOf(data)+`"`, response.Header.Get("ETag"))

			response, body = s.do(t, http.MethodHead, s.getLink(t, key, ""), nil, nil)
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.EqualValues(t, len(data), response.ContentLength)
			assert.Empty(t, body)
		}
		assert.Len(t, left(), 6)
	})
}

func TestARangeOfADownloadIsThatPart(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store *Store, _ func() []string) {
		s := serve(t, store)
		_, err := s.Put(t.Context(), "k", strings.NewReader("0123456789"))
		require.NoError(t, err)
		link := s.getLink(t, "k", "")
		for ask, want := range map[string]string{"bytes=0-3": "0123", "bytes=4-": "456789", "bytes=-2": "89"} {
			response, body := s.do(t, http.MethodGet, link, nil, func(r *http.Request) {
				r.Header.Set("Range", ask)
				r.Header.Set("If-Range", `"`+sumOf([]byte("0123456789"))+`"`)
			})
			assert.Equal(t, http.StatusPartialContent, response.StatusCode)
			assert.Equal(t, want, string(body))
		}
		response, _ := s.do(t, http.MethodGet, link, nil, func(r *http.Request) { r.Header.Set("Range", "bytes=11-") })
		assert.Equal(t, http.StatusRequestedRangeNotSatisfiable, response.StatusCode)
		response, body := s.do(t, http.MethodGet, link, nil, func(r *http.Request) {
			r.Header.Set("Range", "bytes=4-")
			r.Header.Set("If-Range", `"of another object"`)
		})
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Equal(t, "0123456789", string(body))
	})
}

func TestAnUploadOfOtherBytesIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store *Store, left func() []string) {
		s := serve(t, store)
		data := bytes.Repeat([]byte("x"), 1<<20)
		link := s.putLink(t, "k", data)
		other := append(bytes.Clone(data[1:]), 'y')
		for name, c := range map[string]struct {
			body   io.Reader
			status int
			code   string
		}{
			"one byte changed": {bytes.NewReader(other), http.StatusBadRequest, "sha256_mismatch"},
			"one byte less":    {bytes.NewReader(data[1:]), http.StatusBadRequest, "size_mismatch"},
			"one byte more":    {bytes.NewReader(append(bytes.Clone(data), 'x')), http.StatusRequestEntityTooLarge, "size_mismatch"},
			"no length":        {io.MultiReader(bytes.NewReader(data)), http.StatusBadRequest, "length_required"},
		} {
			response, body := s.do(t, http.MethodPut, link, c.body, nil)
			assert.Equal(t, c.status, response.StatusCode, name)
			assert.Equal(t, c.code, problemOf(t, response, body), name)
		}
		assert.Empty(t, left())
	})
}

func TestAnUploadThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store *Store, left func() []string) {
		s := serve(t, store)
		link := s.putLink(t, "k", make([]byte, 1<<20))
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		_, err = io.WriteString(conn, "PUT "+link+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\nhalf of it")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		<-s.ended
		assert.Empty(t, left())
	})
}

func TestAnUploadNeverReplacesAnObject(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store *Store, _ func() []string) {
		s := serve(t, store)
		_, err := s.Put(t.Context(), "k", strings.NewReader("first"))
		require.NoError(t, err)
		response, body := s.do(t, http.MethodPut, s.putLink(t, "k", []byte("other")), strings.NewReader("other"), nil)
		assert.Equal(t, http.StatusConflict, response.StatusCode)
		assert.Equal(t, "object_exists", problemOf(t, response, body))
		assert.Equal(t, "first", string(read(t, s.Store, "k")))
	})
}

func TestALinkIsGoodForOneThingUntilItExpires(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store *Store, left func() []string) {
		s := serve(t, store)
		_, err := s.Put(t.Context(), "k", strings.NewReader("x"))
		require.NoError(t, err)
		get, put := s.getLink(t, "k", ""), s.putLink(t, "new", []byte("x"))
		missing := s.getLink(t, "missing", "")
		stranger, err := newLinks(Options{Key: bytes.Repeat([]byte{2}, 32), Clock: s.keeper.(*own).links.clock})
		require.NoError(t, err)
		foreign, err := stranger.get("k", ports.GetOptions{Expires: time.Minute})
		require.NoError(t, err)

		check := func(method, link string, status int, code string) {
			t.Helper()
			response, body := s.do(t, method, link, strings.NewReader("x"), nil)
			assert.Equal(t, status, response.StatusCode, "%s %s", method, link)
			if method != http.MethodHead {
				assert.Equal(t, code, problemOf(t, response, body), "%s %s", method, link)
			}
		}
		check(http.MethodPut, get, http.StatusForbidden, "forbidden")
		check(http.MethodGet, put, http.StatusForbidden, "forbidden")
		check(http.MethodHead, put, http.StatusForbidden, "")
		check(http.MethodDelete, get, http.StatusMethodNotAllowed, "method_not_allowed")
		check(http.MethodPost, put, http.StatusMethodNotAllowed, "method_not_allowed")
		check(http.MethodGet, missing, http.StatusNotFound, "not_found")
		check(http.MethodGet, foreign.URL, http.StatusForbidden, "forbidden")
		for _, link := range []string{"/blobs/", "/blobs/x", "/blobs/.", "/blobs/..", "/blobs/e30.", get + "x", get + ".x", strings.Replace(get, ".", "", 1)} {
			response, _ := s.do(t, http.MethodGet, link, nil, nil)
			assert.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, response.StatusCode, link)
		}
		for i := len(linkPath); i < len(get); i++ {
			changed := get[:i] + "A" + get[i+1:]
			if _, err := s.keeper.(*own).links.parse(strings.TrimPrefix(changed, linkPath)); changed != get {
				require.ErrorIs(t, err, errBadLink, changed)
			}
		}

		s.keeper.(*own).links.clock.(*clock).advance(time.Minute - time.Microsecond)
		response, _ := s.do(t, http.MethodGet, get, nil, nil)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		s.keeper.(*own).links.clock.(*clock).advance(time.Microsecond)
		check(http.MethodGet, get, http.StatusForbidden, "link_expired")
		check(http.MethodPut, put, http.StatusForbidden, "link_expired")
		assert.Len(t, left(), 2)
	})
}

func TestALinkIsAPathOrLeadsToThePublicURL(t *testing.T) {
	t.Parallel()
	o := options()
	for public, prefix := range map[string]string{
		"": "/blobs/", "https://gpu.example.org": "https://gpu.example.org/blobs/", "https://example.org/gpu/": "https://example.org/gpu/blobs/",
	} {
		o.PublicURL = public
		s, err := Open(t.Context(), "mem://", o)
		require.NoError(t, err)
		r, err := s.SignGet(t.Context(), "k", ports.GetOptions{Expires: time.Hour})
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(r.URL, prefix), r.URL)
		assert.Equal(t, o.Clock.Now().Add(time.Hour), r.Expires)
	}
}

func TestALinkForNothingSensibleIsNotMade(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "mem://", options())
	require.NoError(t, err)
	for _, o := range []ports.PutOptions{
		{Size: -1, SHA256: sumOf(nil), Expires: time.Minute}, {SHA256: "", Expires: time.Minute},
		{SHA256: strings.ToUpper(sumOf([]byte("x"))), Expires: time.Minute}, {SHA256: sumOf(nil)},
	} {
		_, err := s.SignPut(t.Context(), "k", o)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err))
	}
	_, err = s.SignGet(t.Context(), "k", ports.GetOptions{Expires: -time.Second})
	assert.Equal(t, domain.KindInvalid, domain.KindOf(err))
}

func TestTheNameOfADownloadCannotEscapeItsHeader(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":                         "attachment",
		"model.bin":                `attachment; filename="model.bin"`,
		"../../etc/passwd":         `attachment; filename="passwd"`,
		`C:\Windows\x.exe`:         `attachment; filename="x.exe"`,
		"a\r\nSet-Cookie: x=1.txt": `attachment; filename="aSet-Cookie: x=1.txt"`,
		`a"; filename="evil.exe`:   `attachment; filename="a_; filename=_evil.exe"; filename*=UTF-8''a%22%3B%20filename%3D%22evil.exe`,
		"übung.txt":                `attachment; filename="_bung.txt"; filename*=UTF-8''%C3%BCbung.txt`,
		"gpj\u202e.exe":            `attachment; filename="gpj.exe"`,
		"100%.txt":                 `attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt`,
		"..":                       "attachment",
		"\xff":                     "attachment",
	} {
		got := disposition(name)
		assert.Equal(t, want, got, "%q", name)
		kind, _, err := mime.ParseMediaType(got)
		require.NoError(t, err, got)
		assert.Equal(t, "attachment", kind)
	}
}

// FuzzLink looks for a token that is accepted and was not made here.
func FuzzLink(f *testing.F) {
	o := options()
	o.Clock = &clock{now: time.Unix(1_800_000_000, 0)} // the workers make the same links
	l, err := newLinks(o)
	require.NoError(f, err)
	made := map[string]bool{}
	for _, key := range []string{"a", "jobs/1/2/x"} {
		r, err := l.get(key, ports.GetOptions{Filename: "x", Expires: time.Hour})
		require.NoError(f, err)
		token := strings.TrimPrefix(r.URL, linkPath)
		made[token] = true
		f.Add(token)
		f.Add(token + "=")
	}
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"m":"GET","k":"../../etc/passwd","e":9223372036854775807}`)) + ".")
	f.Fuzz(func(t *testing.T, token string) {
		if g, err := l.parse(token); err == nil && !made[token] {
			t.Fatalf("accepted %q as %+v", token, g)
		}
	})
}

func FuzzDisposition(f *testing.F) {
	for _, s := range []string{"x", `";`, "ü\r\n", "\u202e", "a%20b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := disposition(name)
		kind, params, err := mime.ParseMediaType(got)
		if err != nil || kind != "attachment" || strings.ContainsAny(got, "\r\n") || strings.ContainsAny(params["filename"], `/\`) {
			t.Fatalf("%q gives %q: %v", name, got, err)
		}
	})
}
