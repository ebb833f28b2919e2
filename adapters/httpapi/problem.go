// Package httpapi is the HTTP door of the server: it holds requests against the
// published language, calls use cases, and answers what they return or refuse.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
)

// problem is an error that concerns HTTP alone, such as a body of the wrong shape. What
// use cases refuse is a domain.Error.
type problem struct {
	status int
	code   string
	detail string
	errors []api.FieldProblem
	// retryAfter is in seconds; 0 leaves it to the status.
	retryAfter int
}

// Error gives code and detail in one line.
func (p *problem) Error() string { return p.code + ": " + p.detail }

// statusOf is the one table from kinds of errors to statuses. Shape is checked before
// a use case runs, therefore Invalid is about meaning.
var statusOf = map[domain.Kind]int{
	domain.KindInternal:        http.StatusInternalServerError,
	domain.KindInvalid:         http.StatusUnprocessableEntity,
	domain.KindUnauthenticated: http.StatusUnauthorized,
	domain.KindForbidden:       http.StatusForbidden,
	domain.KindNotFound:        http.StatusNotFound,
	domain.KindConflict:        http.StatusConflict,
	domain.KindPaymentRequired: http.StatusPaymentRequired,
	domain.KindExhausted:       http.StatusTooManyRequests,
	domain.KindUnavailable:     http.StatusServiceUnavailable,
}

// statusCodes names the problems that the router and the server find.
var statusCodes = map[int]problem{
	http.StatusBadRequest:            {code: "invalid_request", detail: "the request does not fit the API's description"},
	http.StatusUnauthorized:          {code: "unauthenticated", detail: "sign in, or send a personal access token"},
	http.StatusForbidden:             {code: "forbidden", detail: "this is not allowed"},
	http.StatusNotFound:              {code: "not_found", detail: "there is nothing at this address"},
	http.StatusMethodNotAllowed:      {code: "method_not_allowed", detail: "this address does not take this method"},
	http.StatusRequestEntityTooLarge: {code: "body_too_large", detail: "the body is too large"},
	http.StatusUnsupportedMediaType:  {code: "unsupported_media_type", detail: "the body is of a type that this does not take"},
	http.StatusTooManyRequests:       {code: "rate_limited", detail: "too many requests; try again later"},
	http.StatusServiceUnavailable:    {code: "unavailable", detail: "try again in a moment"},
}

// ErrorHandler answers every error as application/problem+json. Only what is our own
// fault is logged, and nothing of that is shown.
func ErrorHandler(log *slog.Logger) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		p := problemOf(err)
		id := c.Response().Header().Get(echo.HeaderXRequestID)
		if p.status == http.StatusInternalServerError {
			log.ErrorContext(c.Request().Context(), "request failed",
				"request_id", id, "method", c.Request().Method, "route", c.Path(), "error", err)
		}
		if c.Response().Committed {
			return // too late: the client sees a body that breaks off
		}
		if err := write(c, p, id); err != nil {
			log.DebugContext(c.Request().Context(), "answer not sent", "request_id", id, "error", err)
		}
	}
}

func problemOf(err error) *problem {
	var (
		ours    *problem
		refused *domain.Error
		routed  *echo.HTTPError
		tooBig  *http.MaxBytesError
		typed   *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &refused) && refused.Kind != domain.KindInternal:
		p := &problem{
			status: statusOf[refused.Kind], code: refused.Code, detail: refused.Detail,
			retryAfter: int(math.Ceil(refused.RetryAfter.Seconds())),
		}
		if strings.HasSuffix(p.code, "_too_large") {
			p.status = http.StatusRequestEntityTooLarge // trying again later would not help
		}
		for _, f := range refused.Fields {
			p.errors = append(p.errors, api.FieldProblem{Pointer: f.Pointer, Code: f.Code, Detail: f.Detail})
		}
		return p
	case errors.Is(err, http.ErrMissingBoundary), errors.Is(err, http.ErrNotMultipart):
		return byStatus(http.StatusBadRequest)
	case errors.As(err, &tooBig):
		return byStatus(http.StatusRequestEntityTooLarge)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return byStatus(http.StatusServiceUnavailable)
	case errors.As(err, &routed) && errors.As(err, &typed):
		// 1.0 is an integer to JSON Schema, but not to Go.
		p := byStatus(routed.Code)
		p.errors = []api.FieldProblem{{Pointer: pointer(strings.Split(typed.Field, ".")...), Code: "wrong_type", Detail: "expected another type"}}
		return p
	case errors.As(err, &routed) && routed.Code < http.StatusInternalServerError:
		return byStatus(routed.Code)
	}
	return &problem{status: http.StatusInternalServerError, code: "internal", detail: "something went wrong on our side"}
}

func byStatus(status int) *problem {
	p, known := statusCodes[status]
	if !known {
		p = problem{code: "http_" + strconv.Itoa(status), detail: http.StatusText(status)}
	}
	p.status = status
	return &p
}

func write(c echo.Context, p *problem, requestID string) error {
	h := c.Response().Header()
	switch p.status {
	case http.StatusUnauthorized:
		h.Set(echo.HeaderWWWAuthenticate, "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if p.retryAfter > 0 {
			h.Set(echo.HeaderRetryAfter, strconv.Itoa(p.retryAfter))
		} else if h.Get(echo.HeaderRetryAfter) == "" {
			h.Set(echo.HeaderRetryAfter, "1")
		}
	}
	h.Set(echo.HeaderCacheControl, "no-store")
	if c.Request().Method == http.MethodHead {
		return c.NoContent(p.status)
	}
	body, err := json.Marshal(api.Problem{
		Type: "about:blank", Title: http.StatusText(p.status), Status: p.status,
		Code: p.code, Detail: p.detail, RequestID: requestID, Errors: p.errors,
	})
	if err != nil {
		return err
	}
	return c.Blob(p.status, "application/problem+json", body)
}
