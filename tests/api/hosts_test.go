package api_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// enrolment is what an agent with a new key sends.
func enrolment(t *testing.T, token string) (map[string]any, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return map[string]any{
		"enrollment_token": token,
		"public_key":       map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(public)},
		"proof":            base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, wire.EnrolPayload(token, public))),
		"host": map[string]any{
			"hostname": "workstation", "os": "Debian GNU/Linux 12", "arch": "amd64", "machine_id": strings.Repeat("ab", 32),
			"agent_version": "0.1.0", "cpu_model": "", "cpus": 16, "memory_mb": 65536, "disk_mb": 512000,
		},
		"gpus": []any{
			map[string]any{"index": 0, "uuid": "GPU-0", "model": "NVIDIA GeForce RTX 4090", "vram_mb": 24564, "driver": "570.86.15", "cuda": "12.8"},
			map[string]any{"index": 1, "uuid": "GPU-1", "model": "NVIDIA A100", "vram_mb": 40960, "driver": "570.86.15", "mig": true},
		},
		"price_per_gpu_hour_micros": 350_000, "tags": []string{"linux"}, "region": "eu-de",
	}, private
}

func (s *site) enrollmentToken(owner string) string {
	s.t.Helper()
	var token api.EnrollmentToken
	s.do(ask{method: "POST", path: "/api/hosts/enrollment-tokens", token: owner}).json(s.t, 201, &token)
	return token.Token
}

func TestAHostEnrolsOnceWithAProofOfItsKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, owner := s.person("bob", 0)
		token := s.enrollmentToken(owner)
		body, key := enrolment(t, token)

		forged, _ := enrolment(t, token)
		forged["public_key"] = body["public_key"]
		s.do(ask{method: "POST", path: "/api/hosts/register", body: forged}).problem(t, 401, "unauthenticated")
		other, _ := enrolment(t, "pgpu_enr_other")
		s.do(ask{method: "POST", path: "/api/hosts/register", body: other}).problem(t, 401, "unauthenticated")

		var host api.RegisteredHost
		s.do(ask{method: "POST", path: "/api/hosts/register", body: body}).json(t, 201, &host)
		assert.Len(t, strings.Split(host.Keys, "."), 3, "a compact JWS")
		s.do(ask{method: "POST", path: "/api/hosts/register", body: body}).problem(t, 401, "unauthenticated")

		var keys api.KeySet
		s.do(ask{method: "GET", path: "/api/agent/jwks"}).json(t, 200, &keys)
		assert.NotEmpty(t, keys.JWS)

		var shown api.Host
		s.do(ask{method: "GET", path: "/api/hosts/" + host.HostID, token: owner}).json(t, 200, &shown)
		assert.Equal(t, "workstation", shown.Name)
		assert.Equal(t, "bob", shown.Owner.Handle)
		assert.Equal(t, api.HostStanding("pending"), shown.Standing)
		require.Len(t, shown.Devices, 1, "a partitioned GPU is not offered as a whole")
		assert.Equal(t, int64(350_000), shown.Devices[0].PriceMicros)
		assert.Equal(t, api.DeviceStatusOffline, shown.Devices[0].Status)

		// The key is the credential: an assertion gives a token, once.
		assertion := assert7523(host.HostID, key, s.Clock.Now(), "one")
		agent := s.agentToken(assertion, 200)
		s.agentToken(assertion, 401)
		s.agentToken(assert7523(host.HostID, key, s.Clock.Now().Add(-10*time.Minute), "late"), 401)
		_, stranger, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		s.agentToken(assert7523(host.HostID, stranger, s.Clock.Now(), "two"), 401)
		for _, bad := range []string{"x", "a.b.c", "..", "e30.e30.e30", assert7523("hst_x", key, s.Clock.Now(), "three")} {
			s.agentToken(bad, 401)
		}
		// It is good for the socket alone.
		s.do(ask{method: "GET", path: "/api/hosts", token: agent}).problem(t, 401, "unauthenticated")
	})
}

// assert7523 signs an assertion of a host.
func assert7523(host string, key ed25519.PrivateKey, now time.Time, jti string) string {
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":%q,"jti":%q,"iat":%d,"exp":%d}`, host, host, wire.AssertionAudience, "an-assertion-"+jti, now.Unix(), now.Add(time.Minute).Unix())
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"`+wire.TypAssertion+`"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

func (s *site) agentToken(assertion string, status int) string {
	s.t.Helper()
	got := s.do(ask{method: "POST", path: "/api/agent/token", body: map[string]any{
		"client_assertion_type": wire.AssertionType, "client_assertion": assertion,
	}})
	if status != 200 {
		got.problem(s.t, status, "unauthenticated")
		return ""
	}
	var token api.AgentToken
	got.json(s.t, 200, &token)
	assert.Equal(s.t, 600, token.ExpiresIn)
	return token.AccessToken
}

func TestAnOwnerChangesWhatIsOffered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		bob, owner := s.person("bob", 0)
		h := s.Host(bob, market.Machine{GPUs: 2, Unlisted: true})
		path := "/api/hosts/" + h.ID.Prefixed("hst")
		var host api.Host
		s.do(ask{method: "GET", path: path, token: owner}).json(t, 200, &host)
		assert.Equal(t, api.DeviceStatusUnlisted, host.Devices[0].Status)
		assert.True(t, host.Online)
		assert.False(t, host.OnlineSince.IsZero())

		s.do(ask{method: "PATCH", path: path, token: owner, body: map[string]any{"listed": true}}).problem(t, 422, "price_missing")
		var device api.Device
		s.do(ask{method: "PATCH", path: path + "/devices/" + host.Devices[1].ID, token: owner, body: map[string]any{"price_micros": 1000, "listed": true}}).json(t, 200, &device)
		assert.Equal(t, api.DeviceStatusAvailable, device.Status)
		s.do(ask{method: "PATCH", path: path + "/devices/dev_" + strings.Repeat("0", 31) + "1", token: owner, body: map[string]any{"listed": true}}).problem(t, 404, "not_found")
		s.do(ask{method: "PATCH", path: path, token: owner, body: map[string]any{
			"name": "Box", "tags": []string{"fast"}, "region": "us-ca", "price_micros": 2000, "listed": true,
		}}).json(t, 200, &host)
		assert.Equal(t, "Box", host.Name)
		for _, d := range host.Devices {
			assert.Equal(t, int64(2000), d.PriceMicros)
		}

		assert.Equal(t, 204, s.do(ask{method: "DELETE", path: path, token: owner}).StatusCode)
		var list api.HostList
		s.do(ask{method: "GET", path: "/api/hosts", token: owner}).json(t, 200, &list)
		assert.Empty(t, list.Items)
		s.do(ask{method: "GET", path: "/api/market/hosts/" + h.ID.Prefixed("hst")}).problem(t, 404, "not_found")
	})
}

func TestTheMarketIsSearchedSortedAndPaged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		bob := s.Person("bob", 0)
		for i, model := range []string{"NVIDIA GeForce RTX 4090", "Tesla T4", "NVIDIA A100-SXM4-80GB", "Unheard Of 1"} {
			s.Host(bob, market.Machine{Name: fmt.Sprint("box ", i), Model: model, Region: []string{"eu-de", "us-ca"}[i%2], Tags: []string{"linux"}})
		}
		pass(2 * time.Minute) // so that there is an uptime
		search := func(query string) api.OfferList {
			t.Helper()
			var got api.OfferList
			s.do(ask{method: "GET", path: "/api/market/offers" + query}).json(t, 200, &got)
			return got
		}
		all := search("")
		assert.Equal(t, 4, all.Total)
		assert.Equal(t, []api.FacetCount{{Value: "eu-de", Count: 2}, {Value: "us-ca", Count: 2}}, all.Facets.Region)
		var names []string
		for after := ""; ; {
			page := search("?sort=performance&limit=1&after=" + after)
			require.Len(t, page.Items, 1)
			names = append(names, page.Items[0].GPUModel)
			if after = page.Next; after == "" {
				break
			}
		}
		assert.Equal(t, []string{"NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090", "Tesla T4", "Unheard Of 1"}, names)
		one := search("?gpu_model=rtx4090")
		require.Len(t, one.Items, 1)
		assert.Equal(t, api.Performance{Tflops: 165.2, Source: "data_sheet"}, one.Items[0].Performance)
		assert.Len(t, one.Facets.GPUModel, 4, "a facet ignores its own filter")
		assert.Zero(t, search("?q=unheard").Items[0].Performance, "of an unknown model nothing is claimed")
		assert.Equal(t, 2, search("?region=us-ca&tags=linux").Total)
		assert.Equal(t, 0, search("?max_price_micros=0").Total)
		assert.Equal(t, 4, search("?q=BOX&isolation=container&min_uptime=0.5").Total)
		assert.Equal(t, 0, search("?isolation=gvisor").Total)
		assert.Equal(t, 0, search("?verified=true").Total)
		next := search("?sort=performance&limit=1").Next
		s.do(ask{method: "GET", path: "/api/market/offers?sort=price&after=" + next}).problem(t, 400, "invalid_request")

		var host api.MarketHost
		s.do(ask{method: "GET", path: "/api/market/hosts/" + one.Items[0].Host.ID}).json(t, 200, &host)
		assert.Equal(t, "bob", host.Owner.Handle)
		assert.NotContains(t, fmt.Sprint(host), "GPU-", "the driver's names are the owner's business")
		assert.InDelta(t, 0.9, host.Reliability.Rate, 1e-9)
		var models api.GPUModelList
		s.do(ask{method: "GET", path: "/api/market/gpu-models"}).json(t, 200, &models)
		assert.Greater(t, len(models.Items), 30)
	})
}

func TestAnOwnerSeesAttemptsAndNothingOfWhatRan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		bob, owner := s.person("bob", 0)
		h := s.Host(bob, market.Machine{})
		var want []string
		for i := range 3 {
			job := s.submit(renter, echoJob(map[string]any{"name": "secret plan", "command": []string{"secret-command"}}))
			want = append([]string{job.ID}, want...)
			h.Take().Run(i, 10*time.Second)
			synctest.Wait()
		}
		path := "/api/hosts/" + h.ID.Prefixed("hst") + "/jobs"
		var got []string
		for after := ""; ; {
			answer := s.do(ask{method: "GET", path: path + "?limit=1&after=" + after, token: owner})
			var page api.HostJobList
			answer.json(t, 200, &page)
			assert.NotContains(t, string(answer.Body), "secret")
			for _, j := range page.Items {
				got = append(got, j.JobID)
				assert.Equal(t, [3]int64{1000, 100, 900}, [3]int64{j.GrossMicros, j.FeeMicros, j.NetMicros})
			}
			if after = page.Next; after == "" {
				break
			}
		}
		assert.Equal(t, want, got)

		// A job that runs grows.
		s.submit(renter, echoJob(nil))
		h.Take().Start()
		pass(5 * time.Second)
		var page api.HostJobList
		s.do(ask{method: "GET", path: path + "?limit=1", token: owner}).json(t, 200, &page)
		assert.Equal(t, api.AttemptOutcomeActive, page.Items[0].Outcome)
		assert.Equal(t, int64(500), page.Items[0].GrossMicros)
		var host api.Host
		s.do(ask{method: "GET", path: "/api/hosts/" + h.ID.Prefixed("hst"), token: owner}).json(t, 200, &host)
		assert.Equal(t, api.DeviceStatusBusy, host.Devices[0].Status)
		assert.Equal(t, page.Items[0].JobID, host.Devices[0].JobID)
	})
}

func TestAttemptsOfOneJobAreListedOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		bob, owner := s.person("bob", 0)
		h := s.Host(bob, market.Machine{})
		s.submit(renter, echoJob(nil))
		for range 3 {
			a := h.Take()
			require.NoError(t, s.Jobs.Lost(t.Context(), h.Actor, a.Ref, "host_error", ""))
			pass(5 * time.Second)
		}
		var got []int
		for after := ""; ; {
			var page api.HostJobList
			s.do(ask{method: "GET", path: "/api/hosts/" + h.ID.Prefixed("hst") + "/jobs?limit=2&after=" + after, token: owner}).json(t, 200, &page)
			for _, j := range page.Items {
				got = append(got, j.Attempt)
				assert.Zero(t, j.GrossMicros, "a host's fault is not paid")
			}
			if after = page.Next; after == "" {
				break
			}
		}
		assert.Equal(t, []int{3, 2, 1}, got)
	})
}

func TestMoneyComesInAndGoesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 0)
		bob, owner := s.person("bob", 0)
		h := s.Host(bob, market.Machine{})
		up := func(key string, amount int64) answer {
			return s.do(ask{method: "POST", path: "/api/billing/top-ups", token: renter, body: map[string]any{"amount_micros": amount}, header: http.Header{"Idempotency-Key": {key}}})
		}
		s.do(ask{method: "POST", path: "/api/billing/top-ups", token: renter, body: map[string]any{"amount_micros": 10_000_000}}).problem(t, 400, "invalid_request")
		var first, again api.TopUp
		up("one", 10_000_000).json(t, 201, &first)
		up("one", 10_000_000).json(t, 201, &again)
		assert.Equal(t, first, again)
		up("one", 20_000_000).problem(t, 409, "key_reused")
		up("two", 10_000).problem(t, 422, "invalid_amount")
		var account api.BillingAccount
		s.do(ask{method: "GET", path: "/api/billing/account", token: renter}).json(t, 200, &account)
		assert.Equal(t, api.BillingAccount{
			Currency: "USD", BalanceMicros: 10_000_000, MinTopUpMicros: 1_000_000, MaxTopUpMicros: 10_000_000_000, Payments: "sandbox",
		}, account)

		paid := s.submit(renter, echoJob(nil))
		h.Take().Run(0, 10*time.Second)
		synctest.Wait()
		whole := s.submit(renter, echoJob(map[string]any{"limits": map[string]any{"max_cost_micros": 500}}))
		h.Take().Run(0, 20*time.Second) // longer than the hold pays for
		synctest.Wait()
		free := s.submit(renter, echoJob(map[string]any{"needs": map[string]any{"region": "moon", "max_price_micros": 1000}}))
		s.do(ask{method: "POST", path: "/api/jobs/" + free.ID + "/cancel", token: renter})
		synctest.Wait()
		s.submit(renter, echoJob(nil)) // open

		for side, want := range map[string][]string{"renter": {free.ID, whole.ID, paid.ID}, "host": {whole.ID, paid.ID}} {
			token := map[string]string{"renter": renter, "host": owner}[side]
			var got []string
			for after := ""; ; {
				var page api.StatementList
				s.do(ask{method: "GET", path: "/api/billing/statements?limit=1&side=" + side + "&after=" + after, token: token}).json(t, 200, &page)
				for _, st := range page.Items {
					got = append(got, st.JobID)
					assert.Equal(t, st.AmountMicros, st.FeeMicros+st.HostMicros)
					assert.Equal(t, st.HoldMicros, st.AmountMicros+st.ReleasedMicros)
					assert.False(t, st.SettledAt.IsZero())
				}
				if after = page.Next; after == "" {
					break
				}
			}
			assert.Equal(t, want, got, side)
		}
		var list api.LedgerList
		s.do(ask{method: "GET", path: "/api/billing/ledger?limit=100", token: renter}).json(t, 200, &list)
		var wallet int64
		for _, tx := range list.Items {
			for _, e := range tx.Entries {
				assert.Contains(t, []api.LedgerAccount{"wallet", "hold"}, e.Account, "others' accounts are not shown")
				if e.Account == api.LedgerAccountWallet {
					wallet += e.AmountMicros
				}
			}
		}
		s.do(ask{method: "GET", path: "/api/billing/account", token: renter}).json(t, 200, &account)
		assert.Equal(t, account.BalanceMicros, wallet)
		s.do(ask{method: "GET", path: "/api/billing/ledger?side=host", token: owner}).json(t, 200, &list)
		require.Len(t, list.Items, 2)
		assert.Equal(t, []api.LedgerEntry{{Account: "pending", AmountMicros: 450}}, list.Items[0].Entries)
	})
}
