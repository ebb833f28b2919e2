package httpapi

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/peergpu/peergpu/openapi/api"
)

// explain turns what the validation library found into fields and sentences. Its own
// texts repeat the schema and the value, and a value may be a password; therefore the
// sentences are made here, of the schema alone. The prefix leads to what was checked.
func explain(err error, schema *openapi3.Schema, prefix ...string) []api.FieldProblem {
	var (
		many    openapi3.MultiError
		field   *openapi3.SchemaError
		request *openapi3filter.RequestError
	)
	if errors.As(err, &request) {
		if errors.Is(request.Err, openapi3filter.ErrInvalidRequired) {
			return []api.FieldProblem{{Pointer: pointer(prefix...), Code: "required", Detail: "this is required"}}
		}
		err = request.Err
	}
	switch {
	case errors.As(err, &many):
		var all []api.FieldProblem
		for _, e := range many {
			if len(all) >= maxProblems {
				break
			}
			all = append(all, explain(e, schema, prefix...)...)
		}
		return all
	case errors.As(err, &field):
		at := slices.Concat(prefix, field.JSONPointer())
		code, detail := describe(field)
		if code == "unknown_field" {
			var name string
			if _, err := fmt.Sscanf(field.Reason, "property %q is unsupported", &name); err == nil {
				at = append(at, name)
			}
		}
		return []api.FieldProblem{{Pointer: pointer(at...), Code: code, Detail: detail}}
	}
	// A parameter that could not even be read as what it should be.
	return []api.FieldProblem{{Pointer: pointer(prefix...), Code: "wrong_type", Detail: "expected " + typeOf(schema)}}
}

func describe(e *openapi3.SchemaError) (code, detail string) {
	s := e.Schema
	switch e.SchemaField {
	case "required":
		return "required", "this is required"
	case "properties":
		return "unknown_field", "there is no such field here; there are " + strings.Join(slices.Sorted(keys(s.Properties)), ", ")
	case "type", "nullable":
		if e.Value == nil {
			return "wrong_type", "null is not used: leave the field out"
		}
		return "wrong_type", "expected " + typeOf(s)
	case "enum":
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = fmt.Sprint(v)
		}
		return "not_allowed", "one of " + strings.Join(values, ", ")
	case "pattern":
		return "invalid_format", "must match " + s.Pattern
	case "format":
		return "invalid_format", "expected " + typeOf(s)
	case "minimum":
		return "out_of_range", "at least " + number(*s.Min)
	case "maximum":
		return "out_of_range", "at most " + number(*s.Max)
	case "multipleOf":
		return "out_of_range", "a multiple of " + number(*s.MultipleOf)
	case "minLength":
		return "too_short", fmt.Sprintf("at least %d characters", s.MinLength)
	case "maxLength":
		return "too_long", fmt.Sprintf("at most %d characters", *s.MaxLength)
	case "minItems":
		return "too_few", fmt.Sprintf("at least %d items", s.MinItems)
	case "maxItems":
		return "too_many", fmt.Sprintf("at most %d items", *s.MaxItems)
	case "uniqueItems":
		return "duplicate", "each item once"
	}
	return "invalid", "this does not fit the API's description"
}

func typeOf(s *openapi3.Schema) string {
	switch {
	case s.Type.Is("integer"):
		return "an integer"
	case s.Type.Is("number"):
		return "a number"
	case s.Type.Is("boolean"):
		return "true or false"
	case s.Type.Is("array"):
		return "a list"
	case s.Type.Is("object"):
		return "an object"
	case s.Format == "date-time":
		return "a time such as 2026-01-31T12:00:00Z"
	}
	return "a string"
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// pointer is a JSON pointer (RFC 6901). A token that a client made up is cut short.
func pointer(tokens ...string) string {
	var b strings.Builder
	for _, t := range tokens {
		if r := []rune(t); len(r) > 64 {
			t = string(r[:63]) + "…"
		}
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(t))
	}
	return b.String()
}

func keys[V any, M ~map[string]V](m M) iter.Seq[string] { return maps.Keys(m) }
