package testkit_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestEachTestHasASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	one, two := testkit.Postgres(t), testkit.Postgres(t)
	for _, dsn := range []string{one, two} {
		conn := connect(t, dsn)
		_, err := conn.Exec(t.Context(), "CREATE TABLE jobs (id int)")
		require.NoError(t, err)
	}
}

func TestTheSchemaGoesWithItsTest(t *testing.T) {
	t.Parallel()
	outside := connect(t, testkit.Postgres(t))
	var schema string
	t.Run("a test with a table", func(t *testing.T) {
		conn := connect(t, testkit.Postgres(t))
		_, err := conn.Exec(t.Context(), "CREATE TABLE jobs (id int)")
		require.NoError(t, err)
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_schema()").Scan(&schema))
	})
	var left int
	require.NoError(t, outside.QueryRow(t.Context(),
		"SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema).Scan(&left))
	assert.Zero(t, left)
}

func TestALockOfADatabaseIsNotSeenInAnother(t *testing.T) {
	t.Parallel()
	for range 2 {
		var got bool
		conn := connect(t, testkit.PostgresDatabase(t))
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT pg_try_advisory_lock(1)").Scan(&got))
		assert.True(t, got)
	}
}

func TestListenersHaveDifferentPorts(t *testing.T) {
	t.Parallel()
	one, two := testkit.Listen(t).Addr().(*net.TCPAddr), testkit.Listen(t).Addr().(*net.TCPAddr)
	assert.NotEqual(t, one.Port, two.Port)
	assert.True(t, one.IP.IsLoopback())
}

func TestAProcessIsFoundByTheFolderThatItHasToDoWith(t *testing.T) {
	t.Parallel()
	dir := testkit.Dir(t)
	for name, cmd := range map[string]*exec.Cmd{
		"its arguments":   {Args: []string{"sh", "-c", "read line; : " + dir}},
		"its environment": {Args: []string{"sh", "-c", "read line"}, Env: []string{"HOME=" + dir}},
		"its folder":      {Args: []string{"sh", "-c", "read line"}, Dir: dir},
	} {
		cmd.Path = "/bin/sh"
		// It waits for its input, so that closing that is enough to end it.
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		found := testkit.Processes(dir)
		require.NoError(t, in.Close())
		_ = cmd.Wait() // `read` fails at the end of its input
		assert.Len(t, found, 1, name)
		assert.Contains(t, strings.Join(found, ""), "read line", name)
	}
	assert.Empty(t, testkit.Processes(dir))
}

func TestTheInsideOfASandboxIsFoundByItsMount(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Bubblewrap)
	dir := testkit.Dir(t)
	testkit.NoProcesses(t, dir)
	cmd := exec.Command("bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--bind", dir, "/mnt", "sh", "-c", "echo in; read line")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 2))
	require.NoError(t, err)
	inside := slices.ContainsFunc(testkit.Processes(dir), func(p string) bool { return strings.Contains(p, " sh -c ") && !strings.Contains(p, "bwrap") })
	require.NoError(t, in.Close())
	_ = cmd.Wait() // `read` fails at the end of its input
	assert.True(t, inside)
}

// spy stands in for a test, to see what is said to it.
type spy struct {
	testing.TB
	failed, skipped string
}

func (s *spy) Fatalf(format string, _ ...any) { s.failed = format }
func (s *spy) Skipf(format string, _ ...any)  { s.skipped = format }

//nolint:paralleltest // it sets the environment
func TestWhatIsMissingSkipsUnlessTheRunRequiresIt(t *testing.T) {
	missing := servers.Need{Name: "unobtainium", Probe: failing}
	for _, c := range []struct {
		ci, require string
		fails       bool
	}{
		{"", "", false},
		{"", "postgres", false},
		{"", "postgres,unobtainium", true},
		{"true", "", true},
	} {
		t.Setenv("CI", c.ci)
		t.Setenv("REQUIRE", c.require)
		s := &spy{TB: t}
		testkit.Need(s, missing)
		assert.Equal(t, c.fails, s.failed != "", "%+v", c)
		assert.Equal(t, !c.fails, s.failed == "" && s.skipped != "", "%+v", c)
	}
}

func TestAFolderCanBeEnteredByAnotherUser(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(filepath.Join(testkit.Dir(t), "."))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode().Perm())
}

func failing(context.Context) error { return errors.New("there is none") }

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}
