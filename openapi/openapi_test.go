package openapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi"
)

func load(t *testing.T) *openapi3.T {
	t.Helper()
	spec, err := openapi.Spec()
	require.NoError(t, err)
	return spec
}

// operations calls visit for every operation, in a sub-test of its name.
func operations(t *testing.T, visit func(t *testing.T, path, method string, op *openapi3.Operation)) {
	t.Helper()
	for path, item := range load(t).Paths.Map() {
		for method, op := range item.Operations() {
			t.Run(method+" "+path, func(t *testing.T) { visit(t, path, method, op) })
		}
	}
}

// schemas calls visit for every schema that is written out in the document, once,
// with the place where it stands.
func schemas(t *testing.T, visit func(place string, s *openapi3.Schema)) {
	t.Helper()
	var walk func(place string, ref *openapi3.SchemaRef)
	walk = func(place string, ref *openapi3.SchemaRef) {
		if ref == nil || ref.Ref != "" {
			return
		}
		s := ref.Value
		visit(place, s)
		for name, p := range s.Properties {
			walk(place+"."+name, p)
		}
		walk(place+"[]", s.Items)
		walk(place+"{}", s.AdditionalProperties.Schema)
	}
	spec := load(t)
	for name, ref := range spec.Components.Schemas {
		walk(name, ref)
	}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			for _, p := range op.Parameters {
				walk(fmt.Sprintf("%s %s ?%s", method, path, p.Value.Name), p.Value.Schema)
			}
			for status, r := range op.Responses.Map() {
				for kind, c := range r.Value.Content {
					walk(fmt.Sprintf("%s %s %s %s", method, path, status, kind), c.Schema)
				}
			}
		}
	}
}

func TestTheDocumentIsValidWithItsExamples(t *testing.T) {
	t.Parallel()
	spec := load(t) // loading validates, examples included
	assert.Equal(t, "3.0.3", spec.OpenAPI)
	body, err := openapi.JSON()
	require.NoError(t, err)
	var document map[string]any
	require.NoError(t, json.Unmarshal(body, &document))
	assert.Contains(t, document["paths"], "/api/jobs/{id}")
}

func TestEveryOperationSaysWhatItIsAndWhoMayCallIt(t *testing.T) {
	t.Parallel()
	scope := regexp.MustCompile(`^(jobs|hosts|billing|account):(read|write)$`)
	seen := map[string]string{}
	operations(t, func(t *testing.T, path, method string, op *openapi3.Operation) {
		assert.Regexp(t, `^[a-z][A-Za-z]+$`, op.OperationID)
		assert.Empty(t, seen[op.OperationID], "the operationId is taken")
		seen[op.OperationID] = path
		assert.Len(t, op.Tags, 1)
		assert.NotEmpty(t, op.Summary)
		assert.False(t, strings.HasSuffix(op.Summary, "."), "a summary is a headline")
		assert.NotEmpty(t, op.Description)

		bearer := op.Security == nil // the document's default
		if op.Security != nil {
			bearer = slices.ContainsFunc(*op.Security, func(r openapi3.SecurityRequirement) bool { _, ok := r["bearer"]; return ok })
		}
		if bearer {
			assert.Regexp(t, scope, op.Extensions[openapi.ExtScope], "who sends a bearer token needs a scope")
			assert.NotNil(t, op.Responses.Status(http.StatusUnauthorized))
			assert.NotNil(t, op.Responses.Status(http.StatusForbidden))
		} else {
			assert.NotContains(t, op.Extensions, openapi.ExtScope)
			assert.NotContains(t, op.Extensions, openapi.ExtRole)
		}
		if role, ok := op.Extensions[openapi.ExtRole]; ok {
			assert.Contains(t, []any{"renter", "host", "admin"}, role)
		}
		if s, ok := op.Extensions[openapi.ExtScope].(string); ok {
			reads := method == http.MethodGet || strings.HasSuffix(path, "/link") ||
				path == "/api/jobs/estimate" || path == "/api/ws-tickets"
			assert.Equal(t, reads, strings.HasSuffix(s, ":read"), "what changes something needs the scope to write")
		}
	})
}

func TestTokensNeverMakeTokens(t *testing.T) {
	t.Parallel()
	op := load(t).Paths.Value("/api/tokens").Post
	assert.Equal(t, true, op.Extensions[openapi.ExtSessionOnly])
}

func TestEveryOperationNamesItsErrorsAsProblems(t *testing.T) {
	t.Parallel()
	operations(t, func(t *testing.T, path, _ string, op *openapi3.Operation) {
		errors := 0
		for status, r := range op.Responses.Map() {
			if status < "400" {
				continue
			}
			errors++
			if path == "/readyz" && status == "503" {
				continue // an answer, not a problem
			}
			assert.True(t, strings.HasPrefix(r.Ref, "#/components/responses/"), status)
			assert.Contains(t, r.Value.Content, "application/problem+json", status)
		}
		assert.Positive(t, errors)
		if op.RequestBody != nil {
			assert.NotNil(t, op.Responses.Status(http.StatusBadRequest))
			assert.NotNil(t, op.Responses.Status(http.StatusRequestEntityTooLarge))
		}
		if strings.Contains(path, "{id}") {
			assert.NotNil(t, op.Responses.Status(http.StatusNotFound))
		}
	})
}

func TestRequestsForbidUnknownFields(t *testing.T) {
	t.Parallel()
	var check func(t *testing.T, place string, ref *openapi3.SchemaRef)
	check = func(t *testing.T, place string, ref *openapi3.SchemaRef) {
		if ref == nil {
			return
		}
		s := ref.Value
		if s.Type.Is("object") {
			ap := s.AdditionalProperties
			assert.True(t, ap.Schema != nil || ap.Has != nil && !*ap.Has, "%s takes unknown fields", place)
		}
		for name, p := range s.Properties {
			check(t, place+"/"+name, p)
		}
		check(t, place+"/[]", s.Items)
	}
	operations(t, func(t *testing.T, _, _ string, op *openapi3.Operation) {
		if op.RequestBody == nil {
			return
		}
		for kind, c := range op.RequestBody.Value.Content {
			check(t, kind, c.Schema)
			if strings.HasSuffix(kind, "json") {
				assert.True(t, c.Example != nil || len(c.Examples) > 0, "an example helps")
			}
		}
	})
}

func TestEverySchemaAndParameterIsDescribed(t *testing.T) {
	t.Parallel()
	schemas(t, func(place string, s *openapi3.Schema) {
		if strings.Contains(place, " ?") {
			return // a parameter's description stands beside its schema
		}
		assert.NotEmpty(t, s.Description, place)
	})
	operations(t, func(t *testing.T, _, _ string, op *openapi3.Operation) {
		for _, p := range op.Parameters {
			assert.NotEmpty(t, p.Value.Description, p.Value.Name)
		}
	})
}

func TestNamesTimesAndMoneyFollowTheConventions(t *testing.T) {
	t.Parallel()
	snake := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	schemas(t, func(place string, s *openapi3.Schema) {
		amounts, list := false, false
		for name, p := range s.Properties {
			assert.Regexp(t, snake, name, place)
			switch {
			case strings.HasSuffix(name, "_micros"):
				amounts = true
				assert.True(t, p.Value.Type.Is("integer") && p.Value.Format == "int64", "%s.%s is an integer", place, name)
			case strings.HasSuffix(name, "_at"), name == "time", name == "since", name == "until":
				assert.Equal(t, "date-time", p.Value.Format, "%s.%s", place, name)
			case name == "items":
				list = true
			}
		}
		if list && place != "GPUModelList" && place != "Telemetry" { // which are short
			assert.Contains(t, s.Properties, "next", place)
		}
		// What is part of something with a currency has it from there.
		inner := []string{"Facets", "Choice", "JobEvent", "JobPayment", "LedgerEntry", "TopUpRequest", "StatementLine", "StatementAttempt",
			"Device", "MarketDevice", "CheapestOffer", "JobAttempt", "Earned", "EarningsDay", "HostChange", "DeviceChange", "JobNeeds", "JobLimits", "HostRegistration"}
		if amounts && !slices.Contains(inner, place) {
			assert.Contains(t, s.Properties, "currency", place)
		}
	})
}

func TestListsArePagedAndCreationsRepeatable(t *testing.T) {
	t.Parallel()
	// What answers a secret cannot answer it again; an account is unique by its address.
	once := []string{"createToken", "createWSTicket", "createEnrollmentToken", "registerHost", "register"}
	operations(t, func(t *testing.T, path, method string, op *openapi3.Operation) {
		ok := op.Responses.Status(http.StatusOK)
		if method == http.MethodGet && ok != nil && ok.Value.Content["application/json"] != nil {
			answer := ok.Value.Content["application/json"].Schema.Value
			if answer.Properties["next"] != nil {
				limit := op.Parameters.GetByInAndName("query", "limit")
				require.NotNil(t, limit)
				assert.InDelta(t, 100, *limit.Schema.Value.Max, 0)
				assert.NotNil(t, op.Parameters.GetByInAndName("query", "after"))
			}
		}
		creates := method == http.MethodPost && op.Responses.Status(http.StatusCreated) != nil
		if creates && !strings.HasSuffix(path, "/link") && !slices.Contains(once, op.OperationID) {
			key := op.Parameters.GetByInAndName("header", "Idempotency-Key")
			require.NotNil(t, key)
			assert.Equal(t, op.OperationID == "createTopUp", key.Required, "a key is required where money moves")
		}
	})
}
