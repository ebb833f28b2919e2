package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/peergpu/peergpu/domain"
)

// traced makes a span of each request, below that of the client if it tells one
// (W3C Trace Context). Names and attributes are those of OpenTelemetry's semantic
// conventions for HTTP.
func (s *server) traced(next echo.HandlerFunc) echo.HandlerFunc {
	if s.Tracer == nil {
		return next
	}
	return func(c echo.Context) error {
		r := c.Request()
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := s.Tracer.Start(ctx, r.Method+" "+c.Path(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", r.Method), attribute.String("http.route", c.Path()),
			attribute.String("peergpu.request_id", c.Response().Header().Get(echo.HeaderXRequestID)),
		))
		defer span.End()
		c.SetRequest(r.WithContext(ctx))
		err := next(c)
		status := c.Response().Status
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if job := jobOf(c); job != "" {
			span.SetAttributes(attribute.String("peergpu.job.id", job))
		}
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		return err
	}
}

// subject is what a request turns out to be about.
type subject struct{ job string }

type subjectKey struct{}

// about notes the job that a request made.
func about(ctx context.Context, job domain.ID) {
	if s, ok := ctx.Value(subjectKey{}).(*subject); ok {
		s.job = job.Prefixed("job")
	}
}

// jobOf is the job that a request names or made, as the API writes it; empty: none.
func jobOf(c echo.Context) string {
	if s, ok := c.Request().Context().Value(subjectKey{}).(*subject); ok && s.job != "" {
		return s.job
	}
	name := c.Param("job_id")
	if strings.HasPrefix(c.Path(), "/api/jobs/:id") {
		name = c.Param("id")
	}
	if _, err := domain.ParsePrefixed("job", name); err != nil {
		return ""
	}
	return name
}
