package gateway_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// toOther is the fan-out as a replica sees it that has one other, which has the live of the
// house.
type toOther struct{ *memory.Live }

func (l toOther) Elsewhere(topic string, data []byte) { l.Publish(topic, data) }

// another is a replica beside that of the house: it serves the same market. Its calls reach
// the house, those of the house not it.
func (h *house) another() (*house, *gateway.Channels) {
	other := *h
	return &other, other.serve(toOther{h.Live})
}

func TestAnAgentIsReachedFromAnotherReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host := h.machine()
		l := h.connect(host)
		_, there := h.another()

		h.reach.lost.Store(true)
		job := h.Submit(h.renter, market.Spec())
		l.quiet()
		began := h.Clock.Now()
		there.Wake(host.ID)
		assert.Equal(t, job.ID, jobOf(t, heard[*wire.Manifest](l).JWS))
		assert.Equal(t, began, h.Clock.Now(), "at once")

		there.Close(host.ID, "it was suspended")
		assert.Equal(t, wire.CloseForbidden, l.closed())
	})
}

func TestANewerSessionAtAnotherReplicaFencesTheOlder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host, bystander := h.machine(), h.machine()
		older, other := h.connect(host), h.connect(bystander)
		there, _ := h.another()
		there.connect(host)
		assert.Equal(t, wire.CloseFenced, older.closed())
		other.quiet()
		assert.Empty(t, other.ended)
	})
}

func TestSessionsAreLookedOverWhenCallsWereLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		gone, stays := h.machine(), h.machine()
		l, other := h.connect(gone), h.connect(stays)
		h.reach.lost.Store(true)
		require.NoError(t, h.Hosts.Retire(t.Context(), h.owner, gone.ID))
		synctest.Wait()
		require.Empty(t, l.ended, "nobody told")
		h.Live.LoseAll()
		assert.Equal(t, wire.CloseForbidden, l.closed())
		other.quiet()
		assert.Empty(t, other.ended)
	})
}
