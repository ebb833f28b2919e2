package api_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestJobsAreFoundByNameIDAndHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		_, other := s.person("eve", 10*market.Dollar)
		attic := s.Host(s.Person("bob", 0), market.Machine{Name: "attic", GPUs: 4})
		barn := s.Host(s.Person("carl", 0), market.Machine{Name: "barn", GPUs: 4})
		named := func(token, name string, h *market.Host) api.Job {
			return s.submit(token, echoJob(map[string]any{"name": name, "host_id": h.ID.Prefixed("hst")}))
		}
		digits, half := named(renter, "Digits 3", attic), named(renter, "50% of it", barn)
		foreign := named(other, "digits", attic)
		found := func(query string) []string {
			t.Helper()
			var page api.JobList
			s.do(ask{method: "GET", path: "/api/jobs?" + query, token: renter}).json(t, 200, &page)
			ids := []string{}
			for _, j := range page.Items {
				ids = append(ids, j.ID)
			}
			return ids
		}
		assert.Equal(t, []string{half.ID, digits.ID}, found(""))
		assert.Equal(t, []string{digits.ID}, found("q=DIGITS"))
		assert.Equal(t, []string{half.ID}, found("q=50%25"), "no wildcard")
		assert.Equal(t, []string{half.ID}, found("q="+half.ID))
		assert.Empty(t, found("q="+foreign.ID))
		assert.Equal(t, []string{digits.ID}, found("host_id="+attic.ID.Prefixed("hst")))
		assert.Empty(t, found("q=digits&host_id="+barn.ID.Prefixed("hst")))
		assert.Equal(t, []string{digits.ID}, found("q=digits&state=assigned&state=running"))
		s.do(ask{method: "GET", path: "/api/jobs?q=x&versions_of=" + half.ID, token: renter}).problem(t, 400, "invalid_request")
	})
}

func TestAJobListsItsAttemptsWithTheirLogs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		attic := s.Host(s.Person("bob", 0), market.Machine{Name: "attic"})
		job := s.submit(renter, echoJob(nil))
		assert.Equal(t, s.Clock.Now(), job.AsOf)
		a := attic.Take()
		a.Start()
		a.Print("first\n")
		pass(time.Second)
		barn := s.Host(s.Person("carl", 0), market.Machine{Name: "barn", Price: 2 * market.DefaultPrice})
		attic.Silence()
		pass(6 * time.Minute)
		b := barn.Take()
		b.Start()
		b.Print("second\n")
		pass(10 * time.Second)
		shown := s.job(renter, job.ID)
		assert.Equal(t, s.Clock.Now(), shown.AsOf)
		require.Len(t, shown.Attempts, 2)
		lost, running := shown.Attempts[0], shown.Attempts[1]
		assert.Equal(t, [2]string{"attic", "barn"}, [2]string{lost.Host.Name, running.Host.Name})
		assert.Equal(t, api.AttemptOutcome("lost"), lost.Outcome)
		assert.Equal(t, "host_lost", lost.Reason)
		assert.Zero(t, lost.CostMicros, "the renter does not pay for it")
		assert.Equal(t, api.AttemptOutcomeActive, running.Outcome)
		assert.Equal(t, int64(2000), running.CostMicros)
		assert.Equal(t, shown.CostMicros, running.CostMicros)
		assert.Equal(t, shown.StartedAt, running.StartedAt)
		for attempt, text := range map[string]string{"1": "first\n", "2": "second\n", "": "second\n"} {
			got := s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/logs?attempt=" + attempt, token: renter})
			if attempt == "" {
				got = s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/logs", token: renter})
			}
			assert.Equal(t, text, string(got.Body), attempt)
		}
		tail := s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/logs?attempt=1", token: renter, header: http.Header{"Range": {"bytes=-3"}}})
		assert.Equal(t, 206, tail.StatusCode)
		assert.Equal(t, "st\n", string(tail.Body))
	})
}

func TestAJobIsEditedAndRunAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{GPUs: 4})
		first := s.submit(renter, echoJob(map[string]any{
			"env": []any{map[string]any{"name": "KEY", "value": canary, "secret": true}, map[string]any{"name": "LEVEL", "value": "3"}},
		}))
		rerun := func(body any, key string) answer {
			return s.do(ask{method: "POST", path: "/api/jobs/" + first.ID + "/rerun", token: renter, body: body, header: http.Header{"Idempotency-Key": {key}}})
		}
		var same, edited, repeated api.Job
		rerun(nil, "a").json(t, 201, &same)
		assert.Equal(t, first.Command, same.Command)
		assert.Equal(t, first.Env, same.Env)
		change := echoJob(map[string]any{"command": []string{"echo", "bye"}, "needs": map[string]any{"gpus": 2},
			"env": []any{map[string]any{"name": "KEY"}, map[string]any{"name": "LEVEL", "value": "4"}}})
		rerun(change, "b").json(t, 201, &edited)
		four := "4"
		assert.Equal(t, []string{"echo", "bye"}, edited.Command)
		assert.Equal(t, []api.ShownEnvVar{{Name: "KEY", Secret: true}, {Name: "LEVEL", Value: &four}}, edited.Env)
		assert.Len(t, edited.Devices, 2)
		assert.Equal(t, first.ID, edited.RerunOf)
		assert.Equal(t, 3, edited.Version)

		rerun(change, "b").json(t, 201, &repeated)
		assert.Equal(t, edited.ID, repeated.ID)
		rerun(nil, "b").problem(t, 409, "key_reused")
		rerun(map[string]any{}, "c").json(t, 201, &same)
		assert.Equal(t, first.Command, same.Command)
		rerun(map[string]any{"name": "no command"}, "c2").problem(t, 422, "invalid_job")
		p := rerun(map[string]any{"command": []string{"x"}, "source": map[string]any{"kind": "image", "image": "x"}}, "d").problem(t, 400, "invalid_request")
		assert.Equal(t, "/source", p.Errors[0].Pointer)
		p = rerun(map[string]any{"command": []string{"x"}, "env": []any{map[string]any{"name": "NEW"}}}, "e").problem(t, 422, "invalid_job")
		assert.Equal(t, "/env/0/value", p.Errors[0].Pointer)
	})
}

func TestAHalfTypedJobIsEstimated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{})
		for _, body := range []map[string]any{
			{},
			{"name": "\u202e", "command": []string{""}},
			{"source": map[string]any{"kind": "bundle"}, "outputs": []string{"/"}},
			{"source": map[string]any{"kind": "image"}, "network": map[string]any{"mode": "proxy"}},
			{"env": []any{map[string]any{"name": "A", "value": ""}, map[string]any{"name": "A", "value": ""}}},
		} {
			var plan api.Estimate
			s.do(ask{method: "POST", path: "/api/jobs/estimate", token: renter, body: body}).json(t, 200, &plan)
			assert.Equal(t, 1, plan.HostsFitting, "%v: %v", body, plan.Exclusions)
			assert.Equal(t, int64(0), *plan.ExpectedWaitS)
		}
		p := s.do(ask{method: "POST", path: "/api/jobs/estimate", token: renter, body: map[string]any{"needs": map[string]any{"gpus": 17}}}).problem(t, 400, "invalid_request")
		assert.Equal(t, "/needs/gpus", p.Errors[0].Pointer)
	})
}

func TestEarningsComeByDay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		bob, owner := s.person("bob", 0)
		attic, barn := s.Host(bob, market.Machine{Name: "attic"}), s.Host(bob, market.Machine{Name: "barn"})
		for _, h := range []*market.Host{attic, barn} {
			s.submit(renter, echoJob(map[string]any{"host_id": h.ID.Prefixed("hst")}))
			h.Take().Run(0, 10*time.Second)
			synctest.Wait()
		}
		var one, all api.Earnings
		s.do(ask{method: "GET", path: "/api/hosts/" + attic.ID.Prefixed("hst") + "/earnings?days=2", token: owner}).json(t, 200, &one)
		assert.Equal(t, api.Earned{Jobs: 1, GrossMicros: 1000, FeeMicros: 100, NetMicros: 900}, one.Total)
		require.Len(t, one.Days, 2)
		assert.Equal(t, s.Clock.Now().Format(time.DateOnly), one.Days[0].Date.Format(time.DateOnly), "today first")
		assert.Equal(t, [4]int64{1, 1000, 100, 900}, [4]int64{one.Days[0].Jobs, one.Days[0].GrossMicros, one.Days[0].FeeMicros, one.Days[0].NetMicros})
		assert.Zero(t, one.Days[1].Jobs)
		s.do(ask{method: "GET", path: "/api/hosts/earnings", token: owner}).json(t, 200, &all)
		assert.Equal(t, api.Earned{Jobs: 2, GrossMicros: 2000, FeeMicros: 200, NetMicros: 1800}, all.Total)
		assert.Len(t, all.Days, 30)
		assert.Equal(t, 1000, all.FeeBPS, "the share that a price is shown with before anything was earned")
		s.do(ask{method: "GET", path: "/api/hosts/earnings?days=367", token: owner}).problem(t, 400, "invalid_request")
	})
}

func TestTheDemoOffersItsAccounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		demo := api.DemoSignIn{Password: "well known", Accounts: []api.DemoAccount{{Email: "renter@peergpu.test", Role: api.RoleRenter, Name: "Demo renter"}}}
		body := func(change ...func(*httpapi.Settings)) string {
			got := open(t, change...).do(ask{method: "GET", path: "/api/auth/providers"})
			assert.Equal(t, 200, got.StatusCode)
			return string(got.Body)
		}
		assert.JSONEq(t, `{"password": true, "sign_up": "open", "oauth": []}`, body())
		assert.JSONEq(t, `{"password": true, "sign_up": "open", "oauth": [], "demo": {"password": "well known",
			"accounts": [{"email": "renter@peergpu.test", "role": "renter", "name": "Demo renter"}]}}`,
			body(func(o *httpapi.Settings) { o.Demo = &demo }))
	})
}
