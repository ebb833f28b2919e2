package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// frame is what comes over /ws/me.
type frame struct {
	Type    string
	Job     api.Job
	Host    api.Host
	HostID  string `json:"host_id"`
	Time    time.Time
	Devices []api.DeviceLoad
}

// me opens /ws/me and gives its frames, until the socket is closed.
func (s *site) me(header http.Header, protocols ...string) (*websocket.Conn, <-chan frame, *http.Response) {
	s.t.Helper()
	dialer := websocket.Dialer{NetDialContext: s.wire.dial, Subprotocols: protocols}
	conn, res, err := dialer.DialContext(s.t.Context(), "ws://localhost/ws/me", header)
	if err != nil {
		require.NotNil(s.t, res, err)
		return nil, nil, res
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	frames := make(chan frame, 1000)
	go func() {
		defer close(frames)
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			var f frame
			if kind == websocket.TextMessage && json.Unmarshal(data, &f) == nil {
				frames <- f
			}
		}
	}()
	synctest.Wait()
	return conn, frames, res
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// heard takes the frames that are there.
func heard(frames <-chan frame) (list []frame) {
	synctest.Wait()
	for {
		select {
		case f, ok := <-frames:
			if !ok {
				return list
			}
			list = append(list, f)
		default:
			return list
		}
	}
}

func TestOnesOwnJobsAndHostsAreFollowedLive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		bob, owner := s.person("bob", 0)
		_, stranger := s.person("eve", 0)
		h := s.Host(bob, market.Machine{Name: "attic"})
		_, ada, _ := s.me(bearer(renter))
		_, bobs, _ := s.me(bearer(owner))
		_, eves, _ := s.me(bearer(stranger))
		_, half, _ := s.me(bearer(s.pat(owner, "jobs:read")))

		job := s.submit(renter, echoJob(map[string]any{"env": []any{map[string]any{"name": "KEY", "value": canary, "secret": true}}}))
		got := heard(ada)
		require.Len(t, got, 1)
		assert.Equal(t, "job", got[0].Type)
		shown := s.job(renter, job.ID)
		assert.Equal(t, shown, got[0].Job, "as the API shows it")
		got = heard(bobs)
		require.Len(t, got, 1)
		assert.Equal(t, "host", got[0].Type)
		assert.Equal(t, api.DeviceStatusBusy, got[0].Host.Devices[0].Status)
		var host api.Host
		s.do(ask{method: "GET", path: "/api/hosts/" + h.ID.Prefixed("hst"), token: owner}).json(t, 200, &host)
		assert.Equal(t, host, got[0].Host)

		h.Take().Run(0, time.Second)
		got = heard(ada)
		require.NotEmpty(t, got)
		assert.Equal(t, api.JobState("succeeded"), got[len(got)-1].Job.State)
		got = heard(bobs)
		require.NotEmpty(t, got)
		last := got[len(got)-1]
		assert.Equal(t, api.DeviceStatusAvailable, last.Host.Devices[0].Status)
		assert.Equal(t, int64(1), last.Host.RunsOk, "the verdict is told too")

		h.Beat(hosts.Load{UUID: h.GPUs[0].UUID, Utilization: 97, MemoryUsedMB: 18_000, TemperatureC: 71, PowerW: 391})
		got = heard(bobs)
		require.Len(t, got, 1)
		assert.Equal(t, frame{Type: "load", HostID: host.ID, Time: s.Clock.Now(), Devices: []api.DeviceLoad{
			{DeviceID: host.Devices[0].ID, UtilizationPercent: 97, MemoryUsedMB: 18_000, TemperatureC: 71, PowerW: 391},
		}}, got[0])
		var telemetry api.Telemetry
		s.do(ask{method: "GET", path: "/api/hosts/" + host.ID + "/telemetry", token: owner}).json(t, 200, &telemetry)
		require.Len(t, telemetry.Items, 1)
		assert.Equal(t, 97, telemetry.Items[0].Samples[0].UtilizationPercent)

		s.do(ask{method: "DELETE", path: "/api/hosts/" + host.ID, token: owner})
		got = heard(bobs)
		require.NotEmpty(t, got)
		assert.Equal(t, api.HostStanding("retired"), got[len(got)-1].Host.Standing)

		assert.Empty(t, heard(ada))
		assert.Empty(t, heard(eves), "nothing of what is others'")
		assert.Empty(t, heard(half), "hosts need their scope")
	})
}

func TestWhoMayOpenTheSocketOfTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		s.Host(s.Person("bob", 0), market.Machine{})
		job := s.submit(renter, echoJob(nil))
		ticket := func(body map[string]any) (got api.WSTicket) {
			t.Helper()
			s.do(ask{method: "POST", path: "/api/ws-tickets", token: renter, body: body}).json(t, 201, &got)
			return got
		}
		refused := func(status int, header http.Header, protocols ...string) {
			t.Helper()
			conn, _, res := s.me(header, protocols...)
			assert.Nil(t, conn)
			assert.Equal(t, status, res.StatusCode)
			assert.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		}
		mine := ticket(map[string]any{"resource": "me"})
		assert.Equal(t, []string{"v1.me", "ticket." + mine.Ticket}, mine.Protocols)
		conn, _, res := s.me(nil, mine.Protocols...)
		require.NotNil(t, conn)
		assert.Equal(t, "v1.me", res.Header.Get("Sec-WebSocket-Protocol"))
		refused(401, nil, mine.Protocols...)
		refused(401, nil, "v1.me", "ticket."+ticket(map[string]any{"job_id": job.ID}).Ticket)
		refused(401, nil, "v1.me")
		refused(403, http.Header{"Origin": {"https://evil.example"}}, ticket(map[string]any{"resource": "me"}).Protocols...)
		refused(403, bearer(s.pat(renter, "hosts:read")))
		late := ticket(map[string]any{"resource": "me"})
		pass(time.Minute)
		refused(401, nil, late.Protocols...)
		for _, body := range []map[string]any{{}, {"resource": "all"}, {"resource": "me", "job_id": job.ID}} {
			s.do(ask{method: "POST", path: "/api/ws-tickets", token: renter, body: body}).problem(t, 400, "invalid_request")
		}
	})
}

func TestTheSocketOfOnesOwnEndsWithTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		s.Person("ada", 0)
		got := s.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": "ada@example.org", "password": market.Password}})
		var session api.Session
		got.json(t, 200, &session)
		_, frames, _ := s.me(bearer(session.AccessToken))
		require.Equal(t, 204, s.do(ask{method: "POST", path: "/api/auth/logout", header: cookie(program, got.Cookies()[0])}).StatusCode)
		pass(25 * time.Second)
		select {
		case _, open := <-frames:
			assert.False(t, open)
		default:
			assert.Fail(t, "it is not closed at the next ping")
		}
	})
}

func TestWhoDoesNotKeepUpIsToldToAskAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 100*market.Dollar)
		ada := s.SignIn("ada")
		dialer := websocket.Dialer{NetDialContext: s.wire.dial}
		conn, _, err := dialer.DialContext(t.Context(), "ws://localhost/ws/me", bearer(renter))
		require.NoError(t, err)
		defer conn.Close()
		// The client reads nothing: on this network a write waits for its reader.
		spec := market.Spec()
		spec.Limits.MaxCost = 1
		for range 300 {
			m := s.Submit(ada, spec)
			_, err := s.Jobs.Cancel(t.Context(), ada, m.ID)
			require.NoError(t, err)
		}
		types := map[string]int{}
		for types["resync"] == 0 {
			_, data, err := conn.ReadMessage()
			require.NoError(t, err)
			var f frame
			require.NoError(t, json.Unmarshal(data, &f))
			types[f.Type]++
		}
		assert.Less(t, types["job"], 300)
	})
}

func TestTheMarketTellsItsNumbers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		h := s.Host(s.Person("bob", 0), market.Machine{Name: "attic", GPUs: 2})
		s.submit(renter, echoJob(nil))
		h.Take().Run(0, time.Second)
		s.submit(renter, echoJob(nil))
		synctest.Wait()
		var stats api.MarketStats
		s.do(ask{method: "GET", path: "/api/market/stats"}).json(t, 200, &stats)
		assert.Equal(t, api.MarketStats{
			HostsOnline: 1, GPUsOnline: 2, GPUsFree: 1, JobsSucceeded: 1, JobsSucceeded24H: 1, Currency: "USD",
			Cheapest: []api.CheapestOffer{{
				Host: api.HostRef{ID: h.ID.Prefixed("hst"), Name: "attic"}, GPUModel: "NVIDIA GeForce RTX 4090", VRAMMB: 24_564,
				GPUsFree: 1, PriceMicros: int64(market.DefaultPrice),
			}},
		}, stats)
	})
}
