package cloudblob

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// octets is the type of everything that is stored and served: what it is, nobody knows.
const octets = "application/octet-stream"

// ServeHTTP serves signed links: PUT, GET and HEAD of /blobs/{token}. The token is the
// last element of the path and the whole permission. Mount it where the writer of
// net/http reaches it unwrapped: the kernel then sends files by itself. A limit on the
// duration or the size of requests must not hold here.
func (o *own) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.Method {
	case http.MethodPut:
		err = o.servePut(w, r)
	case http.MethodGet, http.MethodHead:
		err = o.serveGet(w, r)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		err = &refusal{http.StatusMethodNotAllowed, "method_not_allowed", "a link is for PUT, or for GET and HEAD"}
	}
	if err != nil {
		writeProblem(w, err)
	}
}

func (o *own) servePut(w http.ResponseWriter, r *http.Request) error {
	g, err := o.links.parse(path.Base(r.URL.Path))
	if err != nil {
		return err
	}
	switch {
	case g.Method != http.MethodPut:
		return errBadLink
	case r.ContentLength < 0:
		return &refusal{http.StatusBadRequest, "length_required", "the upload has to say its Content-Length"}
	case r.ContentLength > g.Size:
		return &refusal{http.StatusRequestEntityTooLarge, "size_mismatch", "the upload is larger than announced"}
	case r.ContentLength < g.Size:
		return &refusal{http.StatusBadRequest, "size_mismatch", "the upload is smaller than announced"}
	}
	body := &upload{r: r.Body}
	_, err = o.store(r.Context(), g.Key, body, func(info ports.BlobInfo) error {
		if info.Size != g.Size || info.SHA256 != g.SHA256 {
			return &refusal{http.StatusBadRequest, "sha256_mismatch", "the bytes are not those announced: their sha256 differs"}
		}
		return nil
	})
	if body.broken != nil && errors.Is(err, body.broken) {
		return &refusal{http.StatusBadRequest, "upload_broken", "the upload broke off"}
	}
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+g.SHA256+`"`)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// upload remembers whether it was the client that broke off.
type upload struct {
	r      io.Reader
	broken error
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.broken = err
	}
	return n, err
}

func (o *own) serveGet(w http.ResponseWriter, r *http.Request) error {
	g, err := o.links.parse(path.Base(r.URL.Path))
	if err != nil {
		return err
	}
	if g.Method != http.MethodGet {
		return errBadLink
	}
	info, err := o.stat(r.Context(), g.Key)
	if err != nil {
		return err
	}
	object, err := o.bucket.NewRangeReader(r.Context(), g.Key, 0, -1, nil)
	if err != nil {
		return translate(r.Context(), err)
	}
	defer object.Close()

	h := w.Header()
	h.Set("Content-Type", octets)
	h.Set("Content-Disposition", disposition(g.Filename))
	h.Set("ETag", `"`+info.SHA256+`"`)
	h.Set("Cache-Control", "private, no-store")
	// What renters stored never becomes a page of this origin.
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Referrer-Policy", "no-referrer")

	var content io.ReadSeeker = object
	var inner io.Reader
	if object.As(&inner) {
		if f, ok := inner.(*os.File); ok {
			content = f // the kernel can copy it to the socket
		}
	}
	// Objects do not change: the ETag says all that a date could.
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
}

// disposition makes a download of whatever it is (RFC 6266). Its name loses folders,
// control characters and what turns the direction of text; the plain form keeps
// ASCII, the extended one (RFC 8187) everything.
func disposition(filename string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, filename)
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if name = strings.Trim(name, " ."); name == "" {
		return "attachment"
	}
	plain := strings.Map(func(r rune) rune {
		if r > '~' || r == '"' || r == '%' {
			return '_'
		}
		return r
	}, name)
	value := `attachment; filename="` + plain + `"`
	if plain != name {
		value += "; filename*=UTF-8''" + extended(name)
	}
	return value
}

// extended is ext-value's encoding of RFC 8187.
func extended(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// refusal is an answer that concerns HTTP alone.
type refusal struct {
	status       int
	code, detail string
}

// Error gives code and detail in one line.
func (r *refusal) Error() string { return r.code + ": " + r.detail }

// writeProblem answers an error as RFC 9457. What is our own fault is not explained.
func writeProblem(w http.ResponseWriter, err error) {
	p := refusal{http.StatusServiceUnavailable, "unavailable", "the object store does not answer; try again in a moment"}
	var (
		plain   *refusal
		refused *domain.Error
	)
	switch {
	case errors.As(err, &plain):
		p = *plain
	case errors.As(err, &refused):
		if status, ok := statuses[refused.Kind]; ok {
			p = refusal{status, refused.Code, refused.Detail}
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if p.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // whoever has gone does not read it
		"type": "about:blank", "title": http.StatusText(p.status), "status": p.status,
		"code": p.code, "detail": p.detail, "request_id": h.Get("X-Request-Id"),
	})
}

var statuses = map[domain.Kind]int{
	domain.KindForbidden: http.StatusForbidden,
	domain.KindNotFound:  http.StatusNotFound,
	domain.KindConflict:  http.StatusConflict,
	domain.KindInvalid:   http.StatusBadRequest,
}
