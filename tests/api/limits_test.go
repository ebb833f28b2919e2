package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// tooMany checks a refusal for being asked too often, and gives how long to wait.
func (a answer) tooMany(t *testing.T) time.Duration {
	t.Helper()
	p := a.problem(t, http.StatusTooManyRequests, "rate_limited")
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	require.NoError(t, err)
	assert.Contains(t, p.Detail, fmt.Sprintf("in %d seconds", seconds))
	return time.Duration(seconds) * time.Second
}

func TestRequestsAreLimitedByAccountAndElseByAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, func(o *httpapi.Settings) { o.Requests = ports.Limit{Times: 5, Per: time.Minute} })
		_, ada := s.person("ada", 0)
		_, bob := s.person("bob", 0)
		me := func(token string) answer { return s.do(ask{method: "GET", path: "/api/me", token: token}) }
		for range 5 {
			assert.Equal(t, http.StatusOK, me(ada).StatusCode)
		}
		wait := me(ada).tooMany(t)
		assert.Equal(t, time.Minute, wait)
		assert.Equal(t, http.StatusOK, me(bob).StatusCode, "another account")
		for range 3 { // two sign-ins have counted
			assert.Equal(t, http.StatusUnauthorized, me("pgpu_guess").StatusCode)
		}
		me("pgpu_guess").tooMany(t)
		me("").tooMany(t)
		there := http.Header{"X-From": {"2001:db8::1"}}
		elsewhere := s.do(ask{method: "GET", path: "/api/me", token: "pgpu_guess", header: there})
		assert.Equal(t, http.StatusUnauthorized, elsewhere.StatusCode, "another address")
		s.do(ask{method: "GET", path: "/api/me", token: ada, header: there}).tooMany(t)
		for range 10 {
			assert.Equal(t, http.StatusOK, s.do(ask{method: "GET", path: "/healthz"}).StatusCode, "not of the API")
		}
		pass(wait - time.Second - time.Millisecond)
		me(ada).tooMany(t)
		pass(time.Second + time.Millisecond)
		assert.Equal(t, http.StatusOK, me(ada).StatusCode)
	})
}

func TestSubmittingIsLimitedByAccount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, func(o *httpapi.Settings) { o.Submits = ports.Limit{Times: 3, Per: time.Minute} })
		_, ada := s.person("ada", 100*market.Dollar)
		_, bob := s.person("bob", 100*market.Dollar)
		job := map[string]any{
			"command": []string{"true"}, "limits": map[string]any{"max_cost_micros": 1_000_000},
		}
		submit := func(token string) answer {
			return s.do(ask{method: "POST", path: "/api/jobs", token: token, body: job})
		}
		var made struct{ ID string }
		submit(ada).json(t, http.StatusCreated, &made)
		submit(ada).json(t, http.StatusCreated, &made)
		again := ask{method: "POST", path: "/api/jobs/" + made.ID + "/rerun", token: ada, body: map[string]any{}}
		assert.Equal(t, http.StatusCreated, s.do(again).StatusCode)
		assert.Positive(t, submit(ada).tooMany(t))
		s.do(again).tooMany(t)
		assert.Equal(t, http.StatusOK, s.do(ask{method: "GET", path: "/api/jobs/" + made.ID, token: ada}).StatusCode)
		submit(bob).json(t, http.StatusCreated, &made)
	})
}
