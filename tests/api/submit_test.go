package api_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestAZIPComesWithItsJobInAnyOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{GPUs: 4})
		bundle := string(market.Zip(map[string]string{"train.py": "print('x')"}))
		job := part{"job", `{"command":["python3","train.py"],"limits":{"max_runtime_s":60}}`}
		for _, parts := range [][]part{{job, {"bundle", bundle}}, {{"bundle", bundle}, job}} {
			body, header := form(parts...)
			var got api.Job
			s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: body, header: header}).json(t, 201, &got)
			assert.Equal(t, api.JobState("assigned"), got.State)
			assert.Equal(t, api.JobSource{Kind: "bundle", Size: int64(len(bundle)), SHA256: sumOf(bundle)}, got.Source)
			assert.Zero(t, got.Upload)
		}
	})
}

// leftovers are the temporary files that submits forgot.
func leftovers(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(os.TempDir(), "peergpu-bundle-*"))
	require.NoError(t, err)
	var old []string
	for _, f := range files {
		if held, err := os.Stat(f); err == nil && held.Size() == int64(len(marked)) {
			old = append(old, f)
		}
	}
	return old
}

// marked has a size that no other test's file has.
var marked = strings.Repeat("m", 77_777)

func TestABadFormIsRefusedFieldByFieldAndLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		ada, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{})
		bundle := part{"bundle", string(market.Zip(map[string]string{"a": "b"}))}
		job := part{"job", `{"command":["true"]}`}
		for _, c := range []struct {
			name    string
			parts   []part
			status  int
			code    string
			pointer string
		}{
			{"no job", []part{bundle}, 400, "invalid_request", "/job"},
			{"no bundle", []part{job}, 400, "invalid_request", "/bundle"},
			{"twice", []part{job, job, bundle}, 400, "invalid_request", "/job"},
			{"another part", []part{job, bundle, {"extra", "x"}}, 400, "invalid_request", "/extra"},
			{"unknown field", []part{{"job", `{"command":["true"],"price_micros":1}`}, bundle}, 400, "invalid_request", "/price_micros"},
			{"unknown field, later", []part{bundle, {"job", `{"command":["true"],"needs":{"gpu":1}}`}}, 400, "invalid_request", "/needs/gpu"},
			{"a key twice", []part{{"job", `{"command":["true"],"limits":{"max_runtime_s":1,"max_runtime_s":9}}`}, bundle}, 400, "invalid_request", "/limits/max_runtime_s"},
			{"wrong type", []part{{"job", `{"command":"true"}`}, bundle}, 400, "invalid_request", "/command"},
			{"no JSON", []part{{"job", `{`}, bundle}, 400, "invalid_request", ""},
			{"wrong meaning", []part{{"job", `{"command":["true"],"outputs":["../x"]}`}, bundle}, 422, "invalid_job", "/outputs/0"},
			{"kind", []part{{"job", `{"command":["true"],"source":{"kind":"image","image":"x"}}`}, bundle}, 422, "invalid_job", "/source/kind"},
			{"size", []part{{"job", `{"command":["true"],"source":{"kind":"bundle","size":1}}`}, bundle}, 422, "invalid_job", "/source/size"},
			{"a huge job", []part{{"job", `{"name":"` + strings.Repeat("n", 1<<20) + `"}`}, bundle}, 413, "body_too_large", ""},
			{"a huge bundle", []part{job, {"bundle", strings.Repeat("x", bundleBytes+1)}}, 413, "bundle_too_large", ""},
			{"no ZIP", []part{job, {"bundle", marked}}, 422, "not_a_zip", ""},
		} {
			body, header := form(c.parts...)
			got := s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: body, header: header})
			p := got.problem(t, c.status, c.code)
			if c.pointer != "" && assert.NotEmpty(t, p.Errors, c.name) {
				assert.Equal(t, c.pointer, p.Errors[0].Pointer, c.name)
			}
		}
		broken, header := form(job, bundle)
		s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: broken[:len(broken)-20], header: header}).problem(t, 400, "invalid_request")
		s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: broken, header: http.Header{"Content-Type": {"multipart/form-data"}}})

		var list api.JobList
		s.do(ask{method: "GET", path: "/api/jobs", token: renter}).json(t, 200, &list)
		assert.Empty(t, list.Items)
		assert.Equal(t, 10*market.Dollar, s.Balance(ada).Credit, "nothing is held")
		assert.Empty(t, leftovers(t))
	})
}

func TestAZIPIsUploadedAfterwardsByASignedLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{})
		bundle := market.Zip(map[string]string{"train.py": "print('x')"})
		job := s.submit(renter, echoJob(map[string]any{"source": map[string]any{"kind": "bundle", "size": len(bundle), "sha256": sumOf(string(bundle))}}))
		assert.Equal(t, api.JobState("pending"), job.State)
		assert.Equal(t, api.PaymentStateCreated, job.Payment.State)
		assert.Equal(t, "PUT", job.Upload.Method)
		assert.True(t, strings.HasPrefix(job.Upload.URL, "http://localhost/blobs/"), job.Upload.URL)

		s.do(ask{method: "POST", path: "/api/jobs/" + job.ID + "/submit", token: renter}).problem(t, 409, "no_bundle")
		header := http.Header{}
		for k, v := range job.Upload.Headers {
			header.Set(k, v)
		}
		bad := s.do(ask{method: "PUT", path: job.Upload.URL, body: bytes.Repeat([]byte{1}, len(bundle)), header: header})
		bad.problem(t, 400, "sha256_mismatch")
		assert.Equal(t, 201, s.do(ask{method: "PUT", path: job.Upload.URL, body: bundle, header: header}).StatusCode)
		for range 2 { // the second time changes nothing
			var queued api.Job
			s.do(ask{method: "POST", path: "/api/jobs/" + job.ID + "/submit", token: renter}).json(t, 200, &queued)
			assert.Equal(t, api.JobState("assigned"), queued.State)
		}
		s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: echoJob(map[string]any{"source": map[string]any{"kind": "bundle"}})}).problem(t, 422, "invalid_job")
		s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: echoJob(map[string]any{
			"source": map[string]any{"kind": "bundle", "size": bundleBytes * 100, "sha256": sumOf("")},
		})}).problem(t, 413, "bundle_too_large")
	})
}

func TestARepeatedSubmitFindsTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		ada, renter := s.person("ada", 10*market.Dollar)
		_, other := s.person("eve", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{GPUs: 8})
		key := http.Header{"Idempotency-Key": {"once"}}
		create := func(token string, body any, header http.Header) answer {
			return s.do(ask{method: "POST", path: "/api/jobs", token: token, body: body, header: header})
		}
		var first, again, others api.Job
		create(renter, echoJob(nil), key).json(t, 201, &first)
		create(renter, `{"limits": {"max_runtime_s": 60},   "command": ["echo", "hello"], "name": "hello"}`, key).json(t, 201, &again)
		assert.Equal(t, first.ID, again.ID, "however it is laid out")
		create(renter, echoJob(map[string]any{"name": "other"}), key).problem(t, 409, "key_reused")
		create(other, echoJob(nil), key).json(t, 201, &others)
		assert.NotEqual(t, first.ID, others.ID, "keys of others do not count")
		assert.Equal(t, domain.Micros(6000), s.Balance(ada).Held)

		bundle := part{"bundle", string(market.Zip(map[string]string{"a": "1"}))}
		changed := part{"bundle", string(market.Zip(map[string]string{"a": "2"}))}
		job := part{"job", `{"command":["true"]}`}
		body, header := form(job, bundle)
		header.Set("Idempotency-Key", "zip")
		create(renter, body, header).json(t, 201, &first)
		body, header = form(bundle, job)
		header.Set("Idempotency-Key", "zip")
		create(renter, body, header).json(t, 201, &again)
		assert.Equal(t, first.ID, again.ID)
		body, header = form(job, changed)
		header.Set("Idempotency-Key", "zip")
		create(renter, body, header).problem(t, 409, "key_reused")

		rerun := func(id string) answer {
			return s.do(ask{method: "POST", path: "/api/jobs/" + id + "/rerun", token: renter, header: http.Header{"Idempotency-Key": {"rerun"}}})
		}
		var second api.Job
		rerun(first.ID).json(t, 201, &second)
		rerun(first.ID).json(t, 201, &again)
		assert.Equal(t, second.ID, again.ID)
		assert.Equal(t, first.ID, second.RerunOf)
		assert.Equal(t, 2, second.Version)
		rerun(second.ID).problem(t, 409, "key_reused")
	})
}
