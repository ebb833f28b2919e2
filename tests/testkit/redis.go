package testkit

import (
	"context"
	"crypto/rand"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Redis returns the URL of a Redis with a prefix of the test's own. Others use it at the
// same time: see RedisServer.
func Redis(t testing.TB) string {
	t.Helper()
	u := os.Getenv(servers.RedisVariable)
	if u == "" {
		u = RedisServer(t).URL
	}
	return u + "?prefix=" + rand.Text()
}

// RedisServer starts a Redis of the test's own, to be flushed, restarted and frozen.
func RedisServer(t testing.TB) *servers.Redis {
	t.Helper()
	Need(t, servers.RedisServer)
	r, err := servers.StartRedis(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r
}
