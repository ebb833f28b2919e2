package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/labstack/echo/v4"

	"github.com/peergpu/peergpu/openapi/api"
)

const (
	jsonType    = "application/json"
	maxJSON     = 1 << 20 // bytes of a JSON body
	maxValues   = 10_000  // values in a JSON body, nested ones included
	maxDepth    = 32      // levels of a JSON body
	maxProblems = 100     // fields that one answer names
)

// Validator refuses requests whose shape does not fit the document: parameters and
// JSON bodies. Bodies of other types are not read, so that uploads stay streams; only
// their type is checked. Defaults of query parameters are filled in, those of bodies
// are not. Routes that the document does not describe pass.
func Validator(spec *openapi3.T) echo.MiddlewareFunc {
	routes := describedRoutes(spec)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			method := c.Request().Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			route, described := routes[method+" "+c.Path()]
			if !described {
				return next(c)
			}
			bad := checkParameters(c, route)
			body := checkNoBody
			if described := route.Operation.RequestBody; described != nil {
				body = func(req *http.Request) ([]api.FieldProblem, error) { return checkBody(req, described.Value) }
			}
			badBody, err := body(c.Request())
			if err != nil {
				return err
			}
			bad = append(bad, badBody...)
			if len(bad) > 0 {
				p := byStatus(http.StatusBadRequest)
				p.errors = bad[:min(len(bad), maxProblems)]
				return p
			}
			return next(c)
		}
	}
}

// describedRoutes indexes the operations by method and path as echo writes them, so
// that a request is routed once.
func describedRoutes(spec *openapi3.T) map[string]*routers.Route {
	routes := map[string]*routers.Route{}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			routed := strings.NewReplacer("{", ":", "}", "").Replace(path)
			routes[method+" "+routed] = &routers.Route{Spec: spec, Path: path, PathItem: item, Method: method, Operation: op}
		}
	}
	return routes
}

func checkParameters(c echo.Context, route *routers.Route) (bad []api.FieldProblem) {
	req := c.Request()
	query, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return []api.FieldProblem{{Pointer: "/query", Code: "malformed", Detail: "the query string is malformed"}}
	}
	input := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: map[string]string{}, QueryParams: query, Route: route,
		Options: &openapi3filter.Options{MultiError: true},
	}
	for i, name := range c.ParamNames() { // echo leaves them escaped
		value, err := url.PathUnescape(c.ParamValues()[i])
		if err != nil || !clean(value) {
			return []api.FieldProblem{{Pointer: "/path/" + name, Code: "malformed", Detail: "this part of the path is malformed"}}
		}
		input.PathParams[name] = value
	}
	parameters := route.Operation.Parameters
	for _, name := range slices.Sorted(keys(query)) {
		known := parameters.GetByInAndName(openapi3.ParameterInQuery, name)
		switch {
		case known != nil && len(query[name]) > 1 && !known.Schema.Value.Type.Is("array"):
			bad = append(bad, api.FieldProblem{Pointer: pointer("query", name), Code: "duplicate", Detail: "once"})
		case known == nil:
			bad = append(bad, api.FieldProblem{Pointer: pointer("query", name), Code: "unknown_parameter", Detail: "there is no such parameter here"})
		case slices.ContainsFunc(query[name], func(v string) bool { return !clean(v) }):
			bad = append(bad, api.FieldProblem{Pointer: pointer("query", name), Code: "invalid_character", Detail: "UTF-8 text without NUL"})
		}
	}
	for _, p := range parameters {
		if err := openapi3filter.ValidateParameter(req.Context(), input, p.Value); err != nil {
			bad = append(bad, explain(err, p.Value.Schema.Value, p.Value.In, p.Value.Name)...)
		}
	}
	return bad
}

// checkNoBody refuses a body where the document describes none: whoever sends one means
// something by it, and it would be ignored.
func checkNoBody(req *http.Request) ([]api.FieldProblem, error) {
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		return nil, nil
	}
	if req.ContentLength < 0 { // its end alone tells
		if n, err := io.ReadFull(req.Body, make([]byte, 1)); n == 0 && errors.Is(err, io.EOF) {
			return nil, nil
		}
	}
	p := byStatus(http.StatusBadRequest)
	p.code, p.detail = "unexpected_body", "this takes no body: send the request without one"
	return nil, p
}

// checkBody gives the fields that are wrong, or the error that the body is as a whole.
func checkBody(req *http.Request, body *openapi3.RequestBody) ([]api.FieldProblem, error) {
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		if body.Required {
			return []api.FieldProblem{{Pointer: "", Code: "required", Detail: "a body is needed"}}, nil
		}
		return nil, nil
	}
	kind, parameters, err := mime.ParseMediaType(req.Header.Get(echo.HeaderContentType))
	content := body.Content[kind]
	if err != nil || content == nil {
		p := byStatus(http.StatusUnsupportedMediaType)
		p.detail = "send " + strings.Join(slices.Sorted(keys(body.Content)), " or ")
		return nil, p
	}
	if kind == echo.MIMEMultipartForm && parameters["boundary"] == "" {
		return []api.FieldProblem{{Pointer: "/header/Content-Type", Code: "malformed", Detail: "multipart/form-data names its boundary; curl -F and a browser's form do"}}, nil
	}
	if kind != jsonType {
		return nil, nil
	}
	raw, err := io.ReadAll(io.LimitReader(req.Body, maxJSON+1))
	if err != nil {
		return []api.FieldProblem{{Pointer: "", Code: "unreadable", Detail: "the body broke off"}}, nil //nolint:nilerr // the client is told
	}
	if len(raw) > maxJSON {
		p := byStatus(http.StatusRequestEntityTooLarge)
		p.detail = fmt.Sprintf("a JSON body has at most %d bytes", maxJSON)
		return nil, p
	}
	req.Body = io.NopCloser(bytes.NewReader(raw))
	return checkJSON(raw, content.Schema.Value), nil
}

// checkJSON holds one JSON text against a schema.
func checkJSON(raw []byte, schema *openapi3.Schema) []api.FieldProblem {
	if !utf8.Valid(raw) {
		return []api.FieldProblem{{Pointer: "", Code: "invalid_character", Detail: "the body is not UTF-8"}}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return []api.FieldProblem{{Pointer: "", Code: "invalid_json", Detail: fmt.Sprintf("the body is no JSON: an error near byte %d", decoder.InputOffset())}}
	}
	var i inspection
	if bad := i.look(value, nil); bad != nil {
		return []api.FieldProblem{*bad}
	}
	if bad := twice(json.NewDecoder(bytes.NewReader(raw)), nil); bad != nil {
		return []api.FieldProblem{*bad}
	}
	if err := schema.VisitJSON(value, openapi3.MultiErrors()); err != nil {
		return explain(err, schema)
	}
	return nil
}

// twice finds a key that an object of a valid JSON text has more than once: readers
// differ about which of its values counts. It reads one value.
func twice(d *json.Decoder, at []string) *api.FieldProblem {
	d.UseNumber()
	token, err := d.Token()
	if err != nil {
		return nil // the text was read before
	}
	switch token {
	case json.Delim('['):
		for n := 0; d.More(); n++ {
			if bad := twice(d, append(at, strconv.Itoa(n))); bad != nil {
				return bad
			}
		}
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			token, err := d.Token()
			name, ok := token.(string)
			if err != nil || !ok {
				return nil
			}
			if seen[name] {
				return &api.FieldProblem{Pointer: pointer(append(at, name)...), Code: "duplicate_key", Detail: fmt.Sprintf("the key %.64q is there twice", name)}
			}
			seen[name] = true
			if bad := twice(d, append(at, name)); bad != nil {
				return bad
			}
		}
	default:
		return nil
	}
	_, _ = d.Token() // the end of the array or object
	return nil
}

// inspection looks for what JSON can hold and no schema of ours refuses in time: the
// one character that Postgres cannot store, and so many values or levels that naming
// all that is wrong with them would cost more than a request may.
type inspection struct{ values int }

func (i *inspection) look(value any, at []string) *api.FieldProblem {
	if i.values++; i.values > maxValues || len(at) > maxDepth {
		return &api.FieldProblem{Pointer: "", Code: "too_complex", Detail: fmt.Sprintf("at most %d values, %d levels deep", maxValues, maxDepth)}
	}
	switch v := value.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			return &api.FieldProblem{Pointer: pointer(at...), Code: "invalid_character", Detail: "text without NUL"}
		}
	case []any:
		for n, e := range v {
			if bad := i.look(e, append(at, strconv.Itoa(n))); bad != nil {
				return bad
			}
		}
	case map[string]any:
		for k, e := range v {
			if bad := i.look(e, append(at, k)); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func clean(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
