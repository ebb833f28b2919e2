package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Docker returns the address of an engine and the id of an image with a shell. Other tests
// use it too.
func Docker(t testing.TB) (host, image string) {
	t.Helper()
	if v := os.Getenv(servers.DockerVariable); v != "" {
		host, image, _ = strings.Cut(v, " ")
		return host, image
	}
	Need(t, servers.DockerEngine)
	ownDocker.Lock()
	defer ownDocker.Unlock()
	if ownDocker.server == nil {
		server, err := servers.StartDocker(context.WithoutCancel(t.Context()))
		require.NoError(t, err)
		ownDocker.server = server
	}
	ownDocker.users++
	t.Cleanup(func() {
		ownDocker.Lock()
		defer ownDocker.Unlock()
		if ownDocker.users--; ownDocker.users == 0 {
			stopped := ownDocker.server
			ownDocker.server = nil
			require.NoError(t, stopped.Stop())
		}
	})
	return ownDocker.server.Host(), ownDocker.server.Image
}

// ownDocker is the engine of this process, for `go test` without the runner. It lives as
// long as a test that uses it does.
var ownDocker struct {
	sync.Mutex
	server *servers.Docker
	users  int
}

// Entry returns the path of the program that containers begin with, built once a process.
func Entry(t testing.TB) string {
	t.Helper()
	path, err := builtEntry()
	require.NoError(t, err)
	return path
}

var builtEntry = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "peergpu", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Go's own cache makes this quick. Other processes may do the same at this moment.
	path := filepath.Join(dir, "peergpu-entry")
	own := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.Command("go", "build", "-trimpath", "-o", own, "github.com/peergpu/peergpu/agent/entry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the entry: %w: %s", err, out)
	}
	return path, os.Rename(own, path)
})

// Registry returns the address of a registry of container images, host:port without TLS,
// that is the test's own. An engine, if one is named, reaches it there, too.
func Registry(t testing.TB, engine string) string {
	t.Helper()
	Need(t, servers.ImageRegistry)
	r, err := servers.StartRegistry(context.WithoutCancel(t.Context()), engine)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r.Host
}
