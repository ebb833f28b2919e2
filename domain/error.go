package domain

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Kind is the class of an error, as the caller has to react to it. Each driving
// adapter has one table from kinds to its own statuses.
type Kind int

// The kinds of error, from the caller's fault to ours.
const (
	KindInternal        Kind = iota // a defect of ours; details stay in the log
	KindInvalid                     // the input has a wrong meaning; see Fields
	KindUnauthenticated             // no or a bad credential
	KindForbidden                   // a missing role or scope
	KindNotFound                    // not there, or somebody else's
	KindConflict                    // the present state does not allow it
	KindPaymentRequired             // not enough credit
	KindExhausted                   // a limit is reached: try later or ask for less
	KindUnavailable                 // a part that we need does not answer: try again
)

// Error is what use cases answer when they refuse. Code is stable and meant for
// programs, Detail for people; neither ever holds a secret.
type Error struct {
	Kind   Kind
	Code   string
	Detail string
	Fields []Field
	// RetryAfter is when a use that came too soon is allowed; 0 is not known.
	RetryAfter time.Duration
	cause      error
}

// Field says what is wrong with one part of the input. Pointer is a JSON pointer
// (RFC 6901) into the request, such as /needs/gpus.
type Field struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

// Error gives code, detail and cause in one line.
func (e *Error) Error() string {
	s := e.Code + ": " + e.Detail
	for _, f := range e.Fields {
		s += "; " + f.Pointer + ": " + f.Detail
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause, which is for logs and not for callers.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is match on kind and code, so that sentinel values work.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Code == e.Code
}

// With returns a copy that carries a cause.
func (e *Error) With(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// NewError builds an error; detail is formatted with args when there are any.
func NewError(kind Kind, code, detail string, args ...any) *Error {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return &Error{Kind: kind, Code: code, Detail: detail}
}

// Invalid is a value whose meaning is wrong.
func Invalid(code, detail string, args ...any) *Error {
	return NewError(KindInvalid, code, detail, args...)
}

// NotFound hides the difference between "not there" and "not yours".
func NotFound(what string) *Error {
	return NewError(KindNotFound, "not_found", "there is no such "+what)
}

// Conflict is a request that the present state does not allow.
func Conflict(code, detail string, args ...any) *Error {
	return NewError(KindConflict, code, detail, args...)
}

// Forbidden is a caller without the role or scope that is needed.
func Forbidden(detail string, args ...any) *Error {
	return NewError(KindForbidden, "forbidden", detail, args...)
}

// Unauthenticated is a missing, wrong or expired credential.
func Unauthenticated(detail string) *Error {
	return NewError(KindUnauthenticated, "unauthenticated", detail)
}

// Unavailable is a part of ours that does not answer.
func Unavailable(code, detail string, args ...any) *Error {
	return NewError(KindUnavailable, code, detail, args...)
}

// TooMany refuses a use that came too soon, for so long.
func TooMany(wait time.Duration) *Error {
	e := NewError(KindExhausted, "rate_limited", "too many tries; try again in %d seconds", int(math.Ceil(wait.Seconds())))
	e.RetryAfter = wait
	return e
}

// KindOf tells the kind of any error; what is not ours is internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// CodeOf tells the code of any error, or "internal".
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "internal"
}

// Problems collects what is wrong with several fields of one input.
type Problems []Field

// Add notes a problem at a JSON pointer.
func (p *Problems) Add(pointer, code, detail string, args ...any) {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	*p = append(*p, Field{Pointer: pointer, Code: code, Detail: detail})
}

// Err is nil when nothing was noted, else one Invalid error with every field.
func (p Problems) Err(code, detail string) error {
	if len(p) == 0 {
		return nil
	}
	return &Error{Kind: KindInvalid, Code: code, Detail: detail, Fields: p}
}
