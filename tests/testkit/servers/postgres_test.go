package servers_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestAStoppedServerLeavesNothing(t *testing.T) {
	testkit.Need(t, servers.PostgreSQL)
	dir := testkit.Dir(t)
	testkit.NoProcesses(t, dir)
	require.NoError(t, os.Chmod(dir, 0o777))
	t.Setenv("TMPDIR", dir)

	server, err := servers.StartPostgres(t.Context())
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), server.URL)
	require.NoError(t, err)
	require.NoError(t, conn.Ping(t.Context()))

	// A client that is still there does not keep the server from stopping.
	require.NoError(t, server.Stop())
	assert.Error(t, conn.Ping(t.Context()))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAMissingServerIsNamedWithItsPackage(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "apt-get install bubblewrap", servers.Bubblewrap.How())
}
