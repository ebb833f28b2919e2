package adapters

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/application"
	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
)

// config is the embedded profile in a folder of the test.
func config(t *testing.T) Config {
	t.Helper()
	c := Config{
		Listen: "127.0.0.1:0", Data: t.TempDir(), Events: "memory://", Payments: "sandbox://", Currency: "USD", FeeBPS: 1000,
		LeaseTTL: time.Minute, LogBytes: 1 << 20, BundleBytes: 1 << 20, ArtifactBytes: 1 << 20, ArtifactFiles: 10, JobPIDs: 64, OrphanAge: time.Hour, AgentsPerSecond: 100, LogLevel: "error",
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

func TestNoServiceLacksWhatItNeeds(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Database = "memory://"
	var i *identity.Service
	var h *hosts.Service
	var j *jobs.Service
	var b *billing.Service
	var g *gateway.Gateway
	require.NoError(t, fx.New(quiet, Ports(c, slog.New(slog.DiscardHandler)), application.Module, fx.Populate(&i, &h, &j, &b, &g)).Err())
	for _, deps := range []any{i.Deps, h.Deps, j.Deps, b.Deps, g.Deps} {
		v := reflect.ValueOf(deps)
		for n := range v.NumField() {
			assert.False(t, v.Field(n).IsZero(), "%s.%s", v.Type(), v.Type().Field(n).Name)
		}
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

func TestMissingKeysAreToldBeforeTheDatabaseIsTouched(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Database = "postgres://127.0.0.1:1/none"
	_, err := Start(t.Context(), c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "PEERGPU_VAULT_KEY")
	_, err = Start(t.Context(), c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "PEERGPU_VAULT_KEY", "the folder is not locked any more")
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
	c.Listen, c.FeeBPS, c.Currency, c.LeaseTTL, c.Blobs, c.LogBytes, c.OrphanAge, c.AgentsPerSecond, c.Registries = "8080", 10_001, "usd", time.Second/10, "ftp://x", 0, time.Minute, -1, []string{"https://x"}
	_, err := c.Complete()
	for _, name := range []string{"LISTEN", "FEE_BPS", "CURRENCY", "LEASE_TTL", "BLOBS", "LOG_BYTES", "ORPHAN_AGE", "AGENTS_PER_SECOND", "REGISTRIES"} {
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

func TestNoImagesAreTheOperatorsChoiceToo(t *testing.T) {
	c, err := ReadConfig()
	require.NoError(t, err)
	require.Contains(t, c.Images, "default")
	t.Setenv("PEERGPU_IMAGES", "")
	c, err = ReadConfig()
	require.NoError(t, err)
	require.Empty(t, c.Images)
}

func TestAMisspeltVariableIsNotTakenSilently(t *testing.T) {
	t.Setenv("PEERGPU_LOGINS_PER_MIN", "1")
	t.Setenv("PEERGPU_VALUT_KEY", "hunter2")
	t.Setenv("PEERGPU_FEE_BPS", "x")
	_, err := ReadConfig()
	require.ErrorContains(t, err, "PEERGPU_LOGINS_PER_MIN: there is no such variable: did you mean PEERGPU_LOGINS_PER_MINUTE?")
	require.ErrorContains(t, err, "PEERGPU_VALUT_KEY: there is no such variable: did you mean PEERGPU_VAULT_KEY?")
	require.ErrorContains(t, err, "PEERGPU_FEE_BPS", "every mistake is told at once")
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestVariablesOfOthersAreToldAndHaveNoEffect(t *testing.T) {
	for _, name := range []string{"PEERGPU_AGENT_HOME", "PEERGPU_PORT_8080_TCP", "PEERGPU_SERVICE_HOST", "PEERGPU_FAULTS", "PEERGPU_FAULTS_LOG", "PEERGPU_URL", "PEERGPU_TEST_POSTGRES"} {
		t.Setenv(name, "x")
	}
	c, err := ReadConfig()
	require.NoError(t, err)
	assert.Subset(t, c.unknown, []string{"PEERGPU_PORT_8080_TCP", "PEERGPU_SERVICE_HOST"})
	assert.NotContains(t, c.unknown, "PEERGPU_AGENT_HOME", "the agent's")
	for _, v := range Variables() {
		assert.NotContains(t, c.unknown, v.Name)
	}
	var said strings.Builder
	mine := config(t)
	mine.unknown = []string{"PEERGPU_SERVICE_HOST"}
	i, err := Start(t.Context(), mine, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn})))
	require.NoError(t, err)
	require.NoError(t, i.Stop())
	assert.Contains(t, said.String(), "PEERGPU_SERVICE_HOST")
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

func TestOnlyATrustedProxySaysWhereARequestComesFrom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ trusted, peer, forwarded, want string }{
		"nobody is trusted":          {"", "10.0.0.1:5", "9.9.9.9", "10.0.0.1"},
		"a proxy of ours":            {"10.0.0.0/8", "10.0.0.1:5", "9.9.9.9", "9.9.9.9"},
		"the client lies":            {"10.0.0.0/8", "10.0.0.1:5", "1.1.1.1, 9.9.9.9", "9.9.9.9"},
		"two proxies":                {"10.0.0.0/8, ::1/128", "[::1]:5", "9.9.9.9, 10.0.0.7", "9.9.9.9"},
		"somebody else":              {"10.0.0.0/8", "8.8.8.8:5", "9.9.9.9", "8.8.8.8"},
		"a network nobody named":     {"10.0.0.0/8", "192.168.1.1:5", "9.9.9.9", "192.168.1.1"},
		"no more than is said of it": {"10.0.0.0/8", "10.0.0.1:5", "", "10.0.0.1"},
	} {
		address, err := Config{TrustedProxies: c.trusted}.clientAddress()
		require.NoError(t, err, name)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		assert.Equal(t, c.want, address(r), name)
	}
}
