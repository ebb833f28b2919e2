package api_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestWhoHasTheTokenReadsTheMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const token = "0123456789abcdef"
		s := open(t, func(set *httpapi.Settings) { set.MetricsToken = token })
		bob, ada := s.Person("bob", 0), s.Person("ada", 25_000_000)
		spec := market.Spec("echo")
		spec.Limits.MaxCost = 1_000_000 // nobody is there who would have a price
		s.Submit(ada, spec)
		pass(90 * time.Second)
		h := s.Host(bob, market.Machine{})
		pass(time.Second)
		a := h.Take()
		a.Print("hello\n")
		s.Submit(ada, spec)
		pass(30 * time.Second)

		read := func(token string) answer {
			header := http.Header{}
			if token != "" {
				header.Set("Authorization", "Bearer "+token)
			}
			return s.do(ask{method: "GET", path: "/metrics", header: header})
		}
		for _, wrong := range []string{"", "wrong", token + "0", token[1:]} {
			read(wrong).problem(t, 401, "unauthenticated")
		}
		got := read(token)
		assert.Equal(t, 200, got.StatusCode)
		lines := strings.Split(string(got.Body), "\n")
		peergpu := strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, "peergpu_") }), "\n")
		for _, line := range []string{
			`peergpu_jobs{state="queued"} 1`, `peergpu_jobs{state="running"} 0`, `peergpu_jobs{state="assigned"} 1`,
			`peergpu_jobs_oldest_wait_seconds 30`, `peergpu_jobs_queue_wait_seconds_count 1`, `peergpu_log_bytes_total 6`,
			`peergpu_hosts{state="online"} 1`, `peergpu_hosts{state="offline"} 0`, `peergpu_outbox_oldest_seconds 0`,
			`peergpu_ledger_micros{account="platform:fee"} 0`,
			`peergpu_http_request_duration_seconds_count{code="401",method="GET",route="/metrics"} 4`,
		} {
			assert.Contains(t, lines, line)
		}
		assert.Contains(t, lines, "peergpu_jobs_queue_wait_seconds_sum 90")

		dashboard, err := os.ReadFile("../../deploy/grafana.json")
		require.NoError(t, err)
		require.True(t, json.Valid(dashboard))
		shown := regexp.MustCompile(`peergpu_\w+`).FindAllString(string(dashboard), -1)
		require.NotEmpty(t, shown)
		for _, name := range shown {
			assert.Regexp(t, "(?m)^"+name+"[{ ]", peergpu, "deploy/grafana.json shows it")
		}
	})
}
