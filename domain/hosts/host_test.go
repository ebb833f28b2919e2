package hosts_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

func TestAKeyHasTheThumbprintOfTheStandard(t *testing.T) {
	t.Parallel()
	key, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	require.NoError(t, err)
	assert.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", hosts.Thumbprint(key), "RFC 8037, appendix A.3")
}

func TestAHostThatMayNotConnectIsToldWhy(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h, err := hosts.Register(hosts.Registration{ID: domain.ID{1}, Name: "box", PublicKey: make([]byte, 32)}, now)
	require.NoError(t, err)
	_, err = h.Connect(now)
	require.NoError(t, err)
	require.NoError(t, h.Suspend("why", now))
	_, err = h.Connect(now)
	require.ErrorIs(t, err, hosts.ErrSuspended)
	require.NoError(t, h.Reinstate(now))
	_, err = h.Connect(now)
	require.NoError(t, err)
	require.NoError(t, h.Retire(now))
	_, err = h.Connect(now)
	require.ErrorIs(t, err, hosts.ErrRetired)
}

func TestABandwidthFollowsWhatIsMeasured(t *testing.T) {
	t.Parallel()
	h := hosts.Restore(hosts.Snapshot{Devices: []hosts.Device{{Version: 1}}})
	measured := func(want, bytes int64, took time.Duration, why string) {
		t.Helper()
		h.Measure(bytes, took)
		assert.Equal(t, want, h.Snapshot().BandwidthMbps, why)
	}
	measured(0, 1<<20-1, time.Second, "too small to tell")
	measured(0, 1<<30, 0, "in no time")
	assert.EqualValues(t, 1, h.Snapshot().Devices[0].Version)
	measured(800, 100_000_000, time.Second, "the first counts whole")
	assert.EqualValues(t, 2, h.Snapshot().Devices[0].Version, "the match sees it")
	measured(1000, 200_000_000, time.Second, "the next by a quarter")
	measured(750, 2_000_000, 24*time.Hour, "never less than one")
	for range 100 {
		h.Measure(1<<50, time.Millisecond)
	}
	assert.LessOrEqual(t, h.Snapshot().BandwidthMbps, int64(100_000), "no line is faster")
}
