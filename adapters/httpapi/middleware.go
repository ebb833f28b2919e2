package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// requestID names every request, for the answer and the log. Names that clients send
// are not taken over: they would write into our log.
func requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		var id domain.ID
		_, _ = rand.Read(id[:])                         // never fails
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a UUIDv4
		c.Response().Header().Set(echo.HeaderXRequestID, id.String())
		ctx := ports.WithLog(c.Request().Context(), slog.String("request_id", id.String()))
		c.SetRequest(c.Request().WithContext(context.WithValue(ctx, subjectKey{}, new(subject))))
		return next(c)
	}
}

// The headers of every answer (security page, web auth). Handlers that serve something
// else than the web app and JSON narrow the policy.
const (
	contentPolicy = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; frame-src 'none'; " +
		"img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	permissionsPolicy = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()"
	transportPolicy   = "max-age=31536000; includeSubDomains"
)

func securityHeaders(secure bool) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			h := c.Response().Header()
			h.Set(echo.HeaderContentSecurityPolicy, contentPolicy)
			h.Set(echo.HeaderXContentTypeOptions, "nosniff")
			h.Set(echo.HeaderReferrerPolicy, "strict-origin-when-cross-origin")
			h.Set("Permissions-Policy", permissionsPolicy)
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			if secure {
				h.Set(echo.HeaderStrictTransportSecurity, transportPolicy)
			}
			if strings.HasPrefix(c.Request().URL.Path, "/api/") {
				h.Set(echo.HeaderCacheControl, "no-store")
			}
			return next(c)
		}
	}
}

// logged notes each request by its route: paths and queries may hold permissions.
func (s *server) logged(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := s.Clock.Now()
		defer func() { // even when the connection is cut on purpose
			level := slog.LevelInfo
			if slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, c.Path()) {
				level = slog.LevelDebug
			}
			attrs := []slog.Attr{
				slog.String("method", c.Request().Method), slog.String("route", c.Path()),
				slog.Int("status", c.Response().Status), slog.Int64("bytes", c.Response().Size),
				slog.Duration("took", s.Clock.Now().Sub(began)), slog.String("from", c.RealIP()),
			}
			if who := actorOf(c.Request().Context()); !who.User.IsZero() {
				attrs = append(attrs, slog.String("user", who.User.String()))
			}
			if job := jobOf(c); job != "" {
				attrs = append(attrs, slog.String("job", job))
			}
			s.Log.LogAttrs(c.Request().Context(), level, "request", attrs...)
			s.meters.observe(c, s.Clock.Now().Sub(began))
		}()
		if err := next(c); err != nil {
			c.Error(err) // here, so that the status is known
		}
		return nil
	}
}

// recovered makes a defect of one request that request's alone.
func recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch r := recover(); r {
			case nil:
			case http.ErrAbortHandler:
				panic(r) // somebody cuts the connection on purpose
			default:
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return next(c)
	}
}

// limitBody bounds what a request can send. JSON is bounded more exactly by the
// validator; objects are, by what their link announces.
func (s *server) limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	const slack = 64 << 10 // for boundaries, and for the validator to say it better
	return func(c echo.Context) error {
		req := c.Request()
		if req.Body == nil || req.Body == http.NoBody || strings.HasPrefix(c.Path(), "/blobs/") {
			return next(c)
		}
		limit := int64(maxJSON + slack)
		until := s.Clock.Now().Add(partTimeout)
		if strings.HasPrefix(req.Header.Get(echo.HeaderContentType), "multipart/") {
			limit += s.Settings.BundleBytes
			until = time.Time{} // as long as parts come
		}
		w := c.Response().Writer
		req.Body = &patientBody{http.MaxBytesReader(w, req.Body, limit), http.NewResponseController(w), s.Clock, until}
		return next(c)
	}
}

// patientBody waits for each part of a body, but not for ever: a client that stops
// sending would hold a connection, and with a form a file.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	clock   ports.Clock
	until   time.Time // the whole body has to be there; zero: no matter when
}

func (b *patientBody) Read(p []byte) (int, error) {
	deadline := b.clock.Now().Add(partTimeout)
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.control.SetReadDeadline(deadline)
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// The answer may take longer. After any other error the deadline has to stay: the
		// server reads what is left of the body before it answers.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// loopbackOnly refuses whoever does not name this machine: a page on the Internet that
// had its name resolved to 127.0.0.1 does not.
func loopbackOnly(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		origin, err := url.Parse(req.Header.Get(echo.HeaderOrigin))
		if !isLoopback(req.Host) || err != nil || (req.Header.Get(echo.HeaderOrigin) != "" && !isLoopback(origin.Host)) {
			return domain.Forbidden("the demo serves this machine alone: use http://localhost")
		}
		return next(c)
	}
}

func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// partTimeout is how long a client may take to send a part of a body, or to accept a
// part of a stream.
const partTimeout = time.Minute
