// Package testkit is for tests that need more than Go: a schema in a real
// PostgreSQL, a free port, a folder that a sandbox may enter, the proof that
// no process is left behind.
package testkit

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/moby/sys/mount"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Need skips the test where the thing is not on this machine, or fails it if
// the run requires it (REQUIRE names it, or CI=true). Each thing is tried once
// a process.
func Need(t testing.TB, need servers.Need) {
	t.Helper()
	probe, _ := probes.LoadOrStore(need.Name, sync.OnceValue(func() error { return need.Probe(t.Context()) }))
	err := probe.(func() error)()
	if err == nil {
		return
	}
	if need.Required() {
		t.Fatalf("this run requires %s: %v (%s)", need.Name, err, need.How())
	}
	t.Skipf("%v; `make test` installs it where it can (or %s)", err, need.How())
}

var probes sync.Map // name of a need → func() error

// Listen returns a listener on a free loopback port, closed with the test.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Volumes says whether an agent can give jobs file systems of their own here: as root,
// with loop devices and mkfs.ext4.
func Volumes() bool {
	_, devices := os.Stat("/dev/loop-control")
	_, program := exec.LookPath("mkfs.ext4")
	return os.Geteuid() == 0 && devices == nil && program == nil
}

// Dir returns a folder for the test. Its path is shorter than t.TempDir's, so
// that a Unix socket fits in, and another user may enter it. File systems in it, of jobs
// whose agent was killed, go with it.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peergpu-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, errors.Join(mount.RecursiveUnmount(dir), os.RemoveAll(dir))) })
	return dir
}
