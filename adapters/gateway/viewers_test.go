package gateway_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// someone is a client whose address nobody asks for.
var someone = identity.Client{}

// ticket is a permission to watch a job.
func (h *house) ticket(who domain.Actor, job domain.ID) string {
	h.t.Helper()
	ticket, err := h.Identity.Ticket(h.t.Context(), who, gateway.JobResource(job))
	require.NoError(h.t, err)
	return ticket
}

// waiting is a job of the renter that no host has yet.
func (h *house) waiting() domainjobs.Snapshot {
	h.t.Helper()
	spec := market.Spec()
	spec.Limits.MaxCost = market.Dollar
	return h.Submit(h.renter, spec)
}

// watch opens a job's WebSocket with a ticket, as browsers do.
func (h *house) watch(job domain.ID, ticket string, origin string) (*websocket.Conn, int) {
	h.t.Helper()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	return h.upgrade("/ws/job/"+job.Prefixed("job"), header, "v1.job", "ticket."+ticket)
}

func TestATicketOpensOneWebSocketOfItsJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		job, other := h.waiting(), h.waiting()
		ticket := h.ticket(h.renter, job.ID)
		conn, status := h.watch(job.ID, ticket, "http://gpu.example")
		require.Equal(t, http.StatusSwitchingProtocols, status)
		assert.Equal(t, "v1.job", conn.Subprotocol(), "the ticket is not echoed")
		_, data, err := conn.ReadMessage()
		require.NoError(t, err)
		var first struct {
			Type string
			Job  struct{ State string }
		}
		require.NoError(t, json.Unmarshal(data, &first))
		assert.Equal(t, "job", first.Type)
		assert.Equal(t, "queued", first.Job.State)
		_, status = h.watch(job.ID, ticket, "")
		assert.Equal(t, http.StatusUnauthorized, status, "used already")

		_, status = h.watch(other.ID, h.ticket(h.renter, job.ID), "")
		assert.Equal(t, http.StatusUnauthorized, status, "for another job")

		late := h.ticket(h.renter, job.ID)
		pass(identity.TicketTTL + time.Second)
		_, status = h.watch(job.ID, late, "")
		assert.Equal(t, http.StatusUnauthorized, status, "too old")

		_, status = h.watch(job.ID, h.ticket(h.owner, job.ID), "")
		assert.Equal(t, http.StatusNotFound, status, "somebody else's job")
	})
}

func TestPagesOfOtherSitesWatchNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		job := h.waiting()
		for _, origin := range []string{"https://evil.example", "null", "http://gpu.example.evil.example", "http://gpu.example:81"} {
			_, status := h.watch(job.ID, h.ticket(h.renter, job.ID), origin)
			assert.Equal(t, http.StatusForbidden, status, origin)
		}
	})
}

func TestAServerThatStopsLetsGoOfThoseWhoWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		job := h.waiting()
		conn, status := h.watch(job.ID, h.ticket(h.renter, job.ID), "")
		require.Equal(t, http.StatusSwitchingProtocols, status)
		read := make(chan error, 1)
		go func() {
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					read <- err
					return
				}
			}
		}()
		require.NoError(t, h.gateway.Stop(t.Context()))
		require.Error(t, <-read)
	})
}

func TestWebSocketsAreLimitedByWhoOpensThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		job := h.waiting()
		guess := func(from string) int {
			_, status := h.upgrade("/ws/job/"+job.ID.Prefixed("job"), http.Header{"X-From": {from}}, "v1.job", "ticket.guess")
			return status
		}
		for range connects {
			assert.Equal(t, http.StatusUnauthorized, guess("here"))
			conn, status := h.watch(job.ID, h.ticket(h.renter, job.ID), "")
			require.Equal(t, http.StatusSwitchingProtocols, status)
			require.NoError(t, conn.Close())
		}
		assert.Equal(t, http.StatusTooManyRequests, guess("here"))
		assert.Equal(t, "60", h.retry)
		assert.Equal(t, http.StatusUnauthorized, guess("there"))
		_, status := h.watch(job.ID, h.ticket(h.renter, job.ID), "")
		assert.Equal(t, http.StatusTooManyRequests, status, "an account's")
		for range 2 * connects {
			h.connect(h.machine()) // agents behind one address come back all at once
		}
		pass(time.Minute)
		assert.Equal(t, http.StatusUnauthorized, guess("here"))
	})
}

func TestASocketEndsWithTheCredentialThatOpenedIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		job := h.waiting()
		in, err := h.Identity.Login(t.Context(), someone, "ada@example.org", market.Password)
		require.NoError(t, err)
		who, err := h.Identity.Authenticate(t.Context(), in.Access)
		require.NoError(t, err)
		create := func(expires time.Time) (domain.ID, string) {
			made, secret, err := h.Identity.CreateToken(t.Context(), who, identity.NewToken{
				Name: "laptop", Scopes: []domain.Scope{domain.ScopeJobsRead}, Expires: expires,
			})
			require.NoError(t, err)
			return made.ID, secret
		}
		revoked, secret := create(time.Time{})
		_, brief := create(h.Clock.Now().Add(8 * time.Second))
		_, lasting := create(time.Time{})

		ended := map[string]chan int{}
		watch := func(name, bearer string) {
			for path, protocol := range map[string]string{"/ws/job/" + job.ID.Prefixed("job"): "v1.job", "/ws/me": "v1.me"} {
				conn, status := h.upgrade(path, http.Header{"Authorization": {"Bearer " + bearer}}, protocol)
				require.Equal(t, http.StatusSwitchingProtocols, status, name)
				end := make(chan int, 1)
				ended[name+" at "+protocol] = end
				go func() {
					for {
						_, _, err := conn.ReadMessage()
						var closed *websocket.CloseError
						if errors.As(err, &closed) {
							end <- closed.Code
						}
						if err != nil {
							return
						}
					}
				}()
			}
		}
		watch("a session", in.Access)
		watch("a revoked token", secret)
		watch("an expired token", brief)
		watch("a good token", lasting)
		pass(7 * time.Second)
		for name, end := range ended {
			assert.Empty(t, end, name)
		}
		require.NoError(t, h.Identity.RevokeToken(t.Context(), who, revoked))
		require.NoError(t, h.Identity.Logout(t.Context(), in.Refresh))
		pass(7 * time.Second)
		for name, end := range ended {
			if strings.HasPrefix(name, "a good token") {
				assert.Empty(t, end, name)
			} else if assert.NotEmpty(t, end, name) {
				assert.Equal(t, 4401, <-end, name)
			}
		}
	})
}
