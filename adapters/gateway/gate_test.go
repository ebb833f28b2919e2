package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// noTokens knows no token.
type noTokens struct{ ports.Tokens }

func (noTokens) Verify(ports.Audience, string) (ports.Claims, error) {
	return ports.Claims{}, domain.Unauthenticated("no token is known")
}

// gated makes a gateway that lets so many agents in; none of them has a token.
func gated(t *testing.T, perSecond int) *gateway.Gateway {
	t.Helper()
	known := hosts.New(hosts.Deps{Clock: system.Clock{}, Tokens: noTokens{}}, hosts.Settings{})
	return gateway.New(gateway.Deps{Clock: system.Clock{}, Hosts: known, AgentsPerSecond: perSecond}, gateway.NewChannels(memory.NewLive()))
}

// knock tries to open an agent's WebSocket without a token.
func knock(g *gateway.Gateway) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.Agent(w, httptest.NewRequest(http.MethodGet, "/ws/agent", nil))
	return w
}

func TestMoreAgentsThanASecondTakesAreToldWhenToComeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gated(t, 3)
		waits := map[int]bool{}
		for range 10 {
			for range 3 {
				require.Equal(t, http.StatusUnauthorized, knock(g).Code, "who finds room is asked for a token")
			}
			for range 20 {
				w := knock(g)
				require.Equal(t, http.StatusServiceUnavailable, w.Code)
				s, err := strconv.Atoi(w.Header().Get("Retry-After"))
				require.NoError(t, err)
				assert.True(t, s >= 1 && s <= 5, s)
				waits[s] = true
				assert.Contains(t, w.Body.String(), "too_many_agents")
			}
			time.Sleep(time.Second)
		}
		assert.Greater(t, len(waits), 2, "not all come again together")
	})
}

func TestWithoutALimitAllAgentsAreAsked(t *testing.T) {
	t.Parallel()
	g := gated(t, 0)
	for range 5000 {
		require.Equal(t, http.StatusUnauthorized, knock(g).Code)
	}
}
