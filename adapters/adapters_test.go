package adapters

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"github.com/peergpu/peergpu/application"
)

// config is the embedded profile in a folder of the test.
func config(t *testing.T) Config {
	t.Helper()
	c := Config{
		Listen: "127.0.0.1:0", Data: t.TempDir(), Events: "memory://", Payments: "sandbox://", Currency: "USD", FeeBPS: 1000,
		LeaseTTL: time.Minute, LogBytes: 1 << 20, BundleBytes: 1 << 20, ArtifactBytes: 1 << 20, ArtifactFiles: 10, JobPIDs: 64, LogLevel: "error",
	}
	c, err := c.Complete()
	require.NoError(t, err)
	return c
}

func TestEveryProfileIsWiredWhole(t *testing.T) {
	t.Parallel()
	for _, database := range []string{"sqlite:///x/y.db", "memory://", "postgres://user@127.0.0.1/db"} {
		c := config(t)
		c.Database = database
		assert.NoError(t, fx.ValidateApp(quiet, Ports(c, slog.Default()), application.Module, running), database)
	}
}

func TestTheServerStartsServesAndStops(t *testing.T) {
	t.Parallel()
	i, err := Start(t.Context(), config(t), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	resp, err := http.Get(i.Server.URL + "/readyz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, i.Stop())
	_, err = http.Get(i.Server.URL + "/readyz")
	assert.Error(t, err)
}

func TestASecondServerOnOneDataFolderIsRefused(t *testing.T) {
	t.Parallel()
	c := config(t)
	i, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = Start(t.Context(), c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "another PeerGPU uses")
	require.NoError(t, i.Stop())
}

func TestATakenPortIsOneClearLine(t *testing.T) {
	t.Parallel()
	c := config(t)
	i, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	other := config(t)
	other.Listen = strings.TrimPrefix(i.Server.URL, "http://")
	_, err = Start(t.Context(), other, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "is taken by another program")
	assert.NotContains(t, err.Error(), "\n")
	require.NoError(t, i.Stop())
}

func TestEveryMistakeInTheConfigurationIsTold(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Listen, c.FeeBPS, c.Currency, c.LeaseTTL, c.Blobs, c.LogBytes = "8080", 10_001, "usd", time.Second/10, "s3://x", 0
	_, err := c.Complete()
	for _, name := range []string{"LISTEN", "FEE_BPS", "CURRENCY", "LEASE_TTL", "BLOBS", "LOG_BYTES"} {
		assert.ErrorContains(t, err, "PEERGPU_"+name)
	}
}

func TestAValueOfTheWrongTypeIsToldByTheNameOfItsVariable(t *testing.T) {
	t.Setenv("PEERGPU_FEE_BPS", "x")
	t.Setenv("PEERGPU_LEASE_TTL", "5")
	_, err := ReadConfig()
	require.ErrorContains(t, err, `PEERGPU_FEE_BPS: "x" is not a whole number`)
	require.ErrorContains(t, err, `PEERGPU_LEASE_TTL: "5" is not a time with its unit`)
	assert.NotContains(t, err.Error(), "strconv")
}

func TestTheDemoServesThisMachineAlone(t *testing.T) {
	t.Parallel()
	for listen, ok := range map[string]bool{
		"127.0.0.1:8080": true, "[::1]:8080": true, "localhost:8080": true, "0.0.0.0:8080": false, ":8080": false, "192.168.1.2:8080": false,
	} {
		c := config(t)
		c.Listen = listen
		_, err := c.ForDemo()
		assert.Equal(t, ok, err == nil, listen)
	}
}

func TestPasswordsInURLsAreNotShown(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Database = "postgres://ada:hunter2@db.example.org/x"
	for _, line := range c.Standing() {
		assert.NotContains(t, line[1], "hunter2")
	}
}
