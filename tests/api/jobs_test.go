package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// echoJob is a job that any host runs.
func echoJob(more map[string]any) map[string]any {
	job := map[string]any{"name": "hello", "command": []string{"echo", "hello"}, "limits": map[string]any{"max_runtime_s": 60}}
	for k, v := range more {
		job[k] = v
	}
	return job
}

func (s *site) submit(token string, body any) api.Job {
	s.t.Helper()
	var job api.Job
	s.do(ask{method: "POST", path: "/api/jobs", token: token, body: body}).json(s.t, 201, &job)
	return job
}

func (s *site) job(token, id string) api.Job {
	s.t.Helper()
	var job api.Job
	s.do(ask{method: "GET", path: "/api/jobs/" + id, token: token}).json(s.t, 200, &job)
	return job
}

func TestAJobFromSubmitToItsStatement(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		bob, owner := s.person("bob", 0)
		h := s.Host(bob, market.Machine{GPUs: 2})

		job := s.submit(renter, echoJob(map[string]any{
			"env":   []any{map[string]any{"name": "KEY", "value": canary, "secret": true}, map[string]any{"name": "LEVEL", "value": "3"}},
			"needs": map[string]any{"gpus": 1, "gpu_model": "rtx 4090"},
		}))
		assert.Equal(t, api.JobState("assigned"), job.State)
		assert.Equal(t, "ada", job.Renter.Handle)
		assert.Equal(t, "NVIDIA GeForce RTX 4090", job.Needs.GPUModel, "as the catalogue names it")
		level := "3"
		assert.Equal(t, []api.ShownEnvVar{{Name: "KEY", Secret: true}, {Name: "LEVEL", Value: &level}}, job.Env)
		assert.Equal(t, h.ID.Prefixed("hst"), job.Host.ID)
		assert.Equal(t, int64(6000), job.HoldMicros)
		assert.Equal(t, api.PaymentStateAuthorized, job.Payment.State)
		assert.Equal(t, 1, job.Choice.OffersConsidered)
		assert.Equal(t, job.ID, job.Origin)
		assert.Equal(t, 1, job.Version)

		a := h.Take()
		a.Start()
		a.Print("one\ntwo\n")
		pass(10 * time.Second)
		synctest.Wait()
		running := s.job(renter, job.ID)
		assert.Equal(t, api.JobState("running"), running.State)
		assert.Equal(t, "running", running.Phase.Name)
		assert.Equal(t, int64(10_000), running.BillableMS, "so far")
		assert.Equal(t, int64(1000), running.CostMicros)
		assert.Equal(t, int64(8), running.Log.Bytes)

		a.Exit(0)
		a.Upload("outputs/metrics.json", `{"accuracy": 0.97}`)
		a.Upload("outputs/model.bin", "weights")
		a.Finish()
		synctest.Wait()
		done := s.job(renter, job.ID)
		assert.Equal(t, api.JobState("succeeded"), done.State)
		assert.Equal(t, api.Cause("none"), done.Cause)
		assert.Equal(t, 0, *done.ExitCode)
		assert.Equal(t, int64(1000), done.CostMicros)
		assert.Zero(t, done.HoldMicros)
		assert.Equal(t, api.PaymentStateCaptured, done.Payment.State)
		assert.Equal(t, api.JobArtifacts{Count: 2, Bytes: 25}, done.Artifacts)
		assert.Equal(t, int64(2), done.Log.Lines)
		assert.Equal(t, sumOf("one\ntwo\n"), done.Log.SHA256)
		assert.Equal(t, map[string]any{"accuracy": 0.97}, done.Metrics)

		for _, token := range []string{renter, owner} {
			var st api.Statement
			s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/statement", token: token}).json(t, 200, &st)
			assert.Equal(t, api.StatementStateSettled, st.State)
			assert.Equal(t, [6]int64{6000, 1000, 1000, 100, 900, 5000},
				[6]int64{st.HoldMicros, st.AmountMicros, int64(st.FeeBPS), st.FeeMicros, st.HostMicros, st.ReleasedMicros})
			assert.Equal(t, "ada", st.Renter.Handle)
			assert.Equal(t, "bob", st.HostOwner.Handle)
			sums := map[api.LedgerKind]int64{}
			for _, l := range st.Lines {
				sums[l.Kind] += l.AmountMicros
			}
			assert.Equal(t, map[api.LedgerKind]int64{"hold": 0, "settle": 0}, sums, "each transaction is whole and sums to zero")
			assert.Equal(t, api.LedgerKind("hold"), st.Lines[0].Kind, "oldest first")
			require.Len(t, st.Attempts, 1)
			assert.True(t, st.Attempts[0].Billed)
			assert.NotEmpty(t, st.Attempts[0].Explanation)
		}
	})
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestTheTimelineTellsCausesAndTheChoice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		h := s.Host(s.Person("bob", 0), market.Machine{Name: "box"})
		job := s.submit(renter, echoJob(nil))
		h.Take().Run(3, time.Second)
		synctest.Wait()

		var all []api.JobEvent
		for after := ""; ; {
			var page api.JobEventList
			s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/events?limit=2&after=" + after, token: renter}).json(t, 200, &page)
			assert.LessOrEqual(t, len(page.Items), 2)
			all = append(all, page.Items...)
			if after = page.Next; after == "" {
				break
			}
		}
		var types []string
		for i, e := range all {
			types = append(types, e.Type)
			assert.True(t, i == 0 || e.Seq > all[i-1].Seq)
		}
		assert.Equal(t, []string{"jobs.submitted", "jobs.queued", "jobs.assigned", "jobs.accepted", "jobs.running", "jobs.exited", "jobs.failed"}, types)
		assert.Equal(t, "box", all[2].Host.Name)
		assert.Equal(t, int64(market.DefaultPrice), all[2].Choice.HourlyPriceMicros)
		assert.InDelta(t, 0.9, all[2].Choice.SuccessRate, 1e-9)
		last := all[6]
		assert.Equal(t, "exit_code", last.Reason)
		assert.Equal(t, api.Cause("renter"), last.Cause)
		assert.Equal(t, 3, *last.ExitCode)
		assert.Equal(t, int64(100), last.AmountMicros)
	})
}

func TestNobodySetsWhatIsNotTheirs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, token := s.person("ada", 10*market.Dollar)
		h := s.Host(s.SignIn("ada"), market.Machine{})
		for _, c := range []struct {
			method, path string
			body         map[string]any
			fields       []string
		}{
			{"POST", "/api/auth/register", ada, []string{"roles", "role", "id", "handle", "balance", "verified"}},
			{"PATCH", "/api/me", map[string]any{"name": "A"}, []string{"roles", "email", "password_hash", "disabled"}},
			{"POST", "/api/tokens", map[string]any{"name": "n", "scopes": []string{"jobs:read"}}, []string{"user_id", "token", "hash"}},
			{"POST", "/api/jobs", echoJob(nil), []string{"renter", "renter_id", "user_id", "state", "cost_micros", "hold_micros", "price", "currency", "attempts", "version"}},
			{"POST", "/api/jobs/estimate", echoJob(nil), []string{"renter"}},
			{"PATCH", "/api/hosts/" + h.ID.Prefixed("hst"), map[string]any{}, []string{"owner", "verified", "standing", "runs_ok", "devices"}},
			{"POST", "/api/billing/top-ups", map[string]any{"amount_micros": 10_000_000}, []string{"user_id", "balance_micros", "fee_bps", "currency"}},
		} {
			for _, field := range c.fields {
				body := map[string]any{field: "x"}
				for k, v := range c.body {
					body[k] = v
				}
				got := s.do(ask{method: c.method, path: c.path, token: token, body: body, header: http.Header{"Idempotency-Key": {"k"}}})
				p := got.problem(t, 400, "invalid_request")
				require.Len(t, p.Errors, 1)
				assert.Equal(t, "/"+field, p.Errors[0].Pointer)
				assert.Equal(t, "unknown_field", p.Errors[0].Code)
			}
		}
	})
}

func TestAJobThatNoHostFitsSaysWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		ada, renter := s.person("ada", 10*market.Dollar)
		h := s.Host(s.Person("bob", 0), market.Machine{})
		s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: echoJob(map[string]any{"needs": map[string]any{"min_vram_mb": 80_000}})}).problem(t, 422, "no_price")
		job := s.submit(renter, echoJob(map[string]any{"needs": map[string]any{"min_vram_mb": 80_000, "max_price_micros": 360_000}}))
		assert.Equal(t, api.JobState("queued"), job.State)
		assert.Equal(t, 1, job.Waiting.Hosts)
		assert.Equal(t, []api.Exclusion{{Constraint: "vram", Hosts: 1}}, job.Waiting.Exclusions)
		assert.Equal(t, job.Waiting.Since.Add(24*time.Hour), job.Waiting.Until)

		var plan api.Estimate
		s.do(ask{method: "POST", path: "/api/jobs/estimate", token: renter, body: map[string]any{}}).json(t, 200, &plan)
		assert.Equal(t, h.ID.Prefixed("hst"), plan.HostID)
		assert.Equal(t, 1, plan.HostsFitting)
		assert.Equal(t, int64(360_000), *plan.HoldMicros)
		assert.Equal(t, int64(s.Balance(ada).Credit), *plan.CreditMicros)
		assert.Zero(t, *plan.ExpectedWaitS)
		s.do(ask{method: "POST", path: "/api/jobs/estimate", token: renter, body: map[string]any{"needs": map[string]any{"region": "moon"}}}).json(t, 200, &plan)

		var cancelled api.Job
		s.do(ask{method: "POST", path: "/api/jobs/" + job.ID + "/cancel", token: renter}).json(t, 200, &cancelled)
		assert.Equal(t, api.JobState("cancelled"), cancelled.State)
		assert.Equal(t, api.PaymentStateVoided, cancelled.Payment.State)
		synctest.Wait()
		assert.Equal(t, 10*market.Dollar, s.Balance(ada).Credit)
		refused := s.do(ask{method: "POST", path: "/api/jobs", token: renter, body: echoJob(map[string]any{"limits": map[string]any{"max_cost_micros": 11_000_000}})})
		refused.problem(t, 402, "insufficient_funds")
		assert.Contains(t, string(refused.Body), "the job needs 11.000000 USD to be held until it ends, and 10.000000 are available: buy 1.000000 more")
	})
}

func TestPagesShowEverythingOnceAndCursorsCannotBeMadeUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		_, other := s.person("eve", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{})
		var want []string
		for range 5 {
			want = append([]string{s.submit(renter, echoJob(nil)).ID}, want...)
		}
		s.submit(other, echoJob(nil))
		var got []string
		var cursor string
		for after := ""; ; {
			var page api.JobList
			s.do(ask{method: "GET", path: "/api/jobs?limit=2&after=" + after, token: renter}).json(t, 200, &page)
			for _, j := range page.Items {
				got = append(got, j.ID)
			}
			if after = page.Next; after == "" {
				break
			}
			cursor = after
			s.submit(renter, echoJob(nil)) // what comes meanwhile moves nothing
		}
		assert.Equal(t, want, got)

		flipped := []byte(cursor)
		flipped[10] ^= 1
		for _, bad := range []string{"x", "!!!", string(flipped), cursor + "A", cursor[:len(cursor)-2], "e30"} {
			p := s.do(ask{method: "GET", path: "/api/jobs?after=" + bad, token: renter}).problem(t, 400, "invalid_request")
			assert.Equal(t, "/query/after", p.Errors[0].Pointer)
		}
		s.do(ask{method: "GET", path: "/api/billing/ledger?after=" + cursor, token: renter}).problem(t, 400, "invalid_request")
		s.do(ask{method: "GET", path: "/api/jobs?limit=101", token: renter}).problem(t, 400, "invalid_request")

		var page api.JobList
		s.do(ask{method: "GET", path: "/api/jobs?after=" + cursor, token: other}).json(t, 200, &page)
		for _, j := range page.Items {
			assert.Equal(t, "eve", j.Renter.Handle, "a cursor is a place, not a permission")
		}
		s.do(ask{method: "GET", path: "/api/jobs?state=running&state=queued&limit=100", token: renter}).json(t, 200, &page)
		for _, j := range page.Items {
			assert.Equal(t, api.JobState("queued"), j.State)
		}
		s.do(ask{method: "GET", path: "/api/jobs?versions_of=" + want[0], token: renter}).json(t, 200, &page)
		assert.Len(t, page.Items, 1)
		s.do(ask{method: "GET", path: "/api/jobs?versions_of=" + want[0], token: other}).json(t, 200, &page)
		assert.Empty(t, page.Items)
		s.do(ask{method: "GET", path: "/api/jobs?state=queued&versions_of=" + want[0], token: renter}).problem(t, 400, "invalid_request")
	})
}

func TestATicketOpensOneSocketOfOneJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		ada, renter := s.person("ada", 10*market.Dollar)
		_, other := s.person("eve", 0)
		s.Host(s.Person("bob", 0), market.Machine{})
		job := s.submit(renter, echoJob(nil))
		s.do(ask{method: "POST", path: "/api/ws-tickets", token: other, body: map[string]any{"job_id": job.ID}}).problem(t, 404, "not_found")
		var ticket api.WSTicket
		s.do(ask{method: "POST", path: "/api/ws-tickets", token: renter, body: map[string]any{"job_id": job.ID}}).json(t, 201, &ticket)
		assert.Equal(t, []string{"v1.job", "ticket." + ticket.Ticket}, ticket.Protocols)
		id, err := domain.ParsePrefixed("job", job.ID)
		require.NoError(t, err)
		who, err := s.Identity.Redeem(t.Context(), ticket.Ticket, gateway.JobResource(id))
		require.NoError(t, err)
		assert.Equal(t, ada.User, who.User)
		_, err = s.Identity.Redeem(t.Context(), ticket.Ticket, gateway.JobResource(id))
		assert.Error(t, err)
	})
}

func TestTheSameJobIsShownOnSockets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		ada, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{})
		job := s.submit(renter, echoJob(nil))
		id, err := domain.ParsePrefixed("job", job.ID)
		require.NoError(t, err)
		v, err := s.Jobs.Get(t.Context(), ada, id)
		require.NoError(t, err)
		text, err := json.Marshal(httpapi.JobJSON(v))
		require.NoError(t, err)
		assert.JSONEq(t, string(s.do(ask{method: "GET", path: "/api/jobs/" + job.ID, token: renter}).Body), string(text))
	})
}
