package testkit

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Postgres returns the URL of an empty schema of the test's own, which is
// dropped with the test. Locks that belong to a whole database (advisory ones,
// LISTEN) are shared with other tests: see PostgresDatabase.
func Postgres(t testing.TB) string {
	t.Helper()
	server := postgresURL(t)
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, server, "CREATE SCHEMA "+name)
	t.Cleanup(func() { execute(t, server, "DROP SCHEMA "+name+" CASCADE") })
	return with(t, server, func(u *url.URL) {
		q := u.Query()
		q.Set("search_path", name)
		u.RawQuery = q.Encode()
	})
}

// PostgresDatabase returns the URL of an empty database of the test's own. It
// takes some 50 ms more than a schema and shares nothing.
func PostgresDatabase(t testing.TB) string {
	t.Helper()
	server := postgresURL(t)
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	return with(t, server, func(u *url.URL) { u.Path = "/" + name })
}

// own is the server of this process, for `go test` without the runner. It
// lives as long as a test that uses it does.
var own struct {
	sync.Mutex
	server *servers.Postgres
	users  int
}

// postgresURL returns the runner's server, or starts one for this process.
func postgresURL(t testing.TB) string {
	t.Helper()
	if u := os.Getenv(servers.PostgresVariable); u != "" {
		return u
	}
	Need(t, servers.PostgreSQL)
	own.Lock()
	defer own.Unlock()
	if own.server == nil {
		server, err := servers.StartPostgres(t.Context())
		require.NoError(t, err)
		own.server = server
	}
	own.users++
	t.Cleanup(func() {
		own.Lock()
		defer own.Unlock()
		if own.users--; own.users == 0 {
			stopped := own.server
			own.server = nil
			require.NoError(t, stopped.Stop())
		}
	})
	return own.server.URL
}

// execute runs one statement on a connection of its own. It is called in
// clean-ups too, when the test's own context has ended.
func execute(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	require.NoError(t, err, statement)
}

func with(t testing.TB, server string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	change(u)
	return u.String()
}
