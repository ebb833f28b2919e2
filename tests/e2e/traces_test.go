package e2e

import (
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector that keeps what it gets.
type spans struct {
	url string

	mu  sync.Mutex
	all []*traces.Span
}

func collect(t *testing.T) *spans {
	t.Helper()
	s := &spans{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var request collector.ExportTraceServiceRequest
		assert.NoError(t, proto.Unmarshal(body, &request))
		assert.Equal(t, "/v1/traces", r.URL.Path)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				s.all = append(s.all, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// of are the spans of a trace, by name.
func (s *spans) of(trace string) map[string]*traces.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]*traces.Span{}
	for _, span := range s.all {
		if hex.EncodeToString(span.GetTraceId()) == trace {
			found[span.GetName()] = span
		}
	}
	return found
}

func attribute(s *traces.Span, name string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == name {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

func TestAJobsLifeIsTracedAndLogged(t *testing.T) {
	t.Parallel()
	collected := collect(t)
	c, u := market(t, Profile{}, patient, "PEERGPU_TRACES="+collected.url, "PEERGPU_LOG_LEVEL=info")
	c.Agent(u, "box", "simulated", 1)
	id := c.Submit(u, []string{"simulate", "wait 200ms", "write outputs/a 1000", "exit 3"}, oneGPU())
	u.Await(id, job.over)
	_, hexed, _ := strings.Cut(id, "_")
	require.Zero(t, c.Stop(), "which sends what waits")

	got := collected.of(hexed)
	want := []string{"attempt 1", "delivered 1", "job", "prepared 1", "queued 1", "ran 1", "results 1"}
	require.Equal(t, want, slices.Sorted(maps.Keys(got)), "the trace of a job has its id")
	root := got["job"]
	assert.Empty(t, root.GetParentSpanId())
	assert.Equal(t, id, attribute(root, "peergpu.job.id"))
	assert.Equal(t, "failed", attribute(root, "peergpu.job.state"))
	assert.Equal(t, traces.Status_STATUS_CODE_ERROR, root.GetStatus().GetCode())
	assert.Equal(t, "exit_code", root.GetStatus().GetMessage())
	for name, parent := range map[string]string{"queued 1": "job", "attempt 1": "job", "delivered 1": "attempt 1", "prepared 1": "attempt 1", "ran 1": "attempt 1", "results 1": "attempt 1"} {
		s, p := got[name], got[parent]
		assert.Equal(t, p.GetSpanId(), s.GetParentSpanId(), name)
		assert.GreaterOrEqual(t, s.GetStartTimeUnixNano(), p.GetStartTimeUnixNano(), name)
		assert.LessOrEqual(t, s.GetEndTimeUnixNano(), p.GetEndTimeUnixNano(), name)
	}
	ran := got["ran 1"]
	assert.Greater(t, ran.GetEndTimeUnixNano()-ran.GetStartTimeUnixNano(), uint64(150e6), "it waited 200 ms")

	var submitted *traces.Span
	collected.mu.Lock()
	for _, s := range collected.all {
		if s.GetName() == "POST /api/jobs" {
			submitted = s
		}
	}
	collected.mu.Unlock()
	require.NotNil(t, submitted)
	assert.Equal(t, id, attribute(submitted, "peergpu.job.id"))
	request := attribute(submitted, "peergpu.request_id")

	var states []string
	for line := range strings.Lines(c.log.String()) {
		if strings.Contains(line, "msg=job ") && strings.Contains(line, "job="+id) {
			_, state, _ := strings.Cut(line, " state=")
			states = append(states, strings.Fields(state)[0])
		}
		if strings.Contains(line, "msg=request ") && strings.Contains(line, request) {
			assert.Contains(t, line, "job="+id, "the request that submitted it")
		}
	}
	assert.Equal(t, []string{"assigned", "running", "failed"}, states)
	assert.Contains(t, c.log.String(), "request_id="+request)
}
