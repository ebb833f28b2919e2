package contract

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/tests/testkit"
)

// Folders is the contract of daemon.Folders. That no more fits in is a matter of the
// runtime, which watches where it cannot be had.
func Folders(t *testing.T, f daemon.Folders) {
	dir, outside := testkit.Dir(t), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "keep"), nil, 0o600))
	attempt := filepath.Join(dir, "attempt")
	work := filepath.Join(attempt, "work")
	for size, removed := range map[int64]string{0: work, 1: attempt, 1 << 20: work, 10 << 20: attempt, 3 << 30: attempt} {
		require.NoError(t, os.Mkdir(attempt, 0o700))
		require.NoError(t, f.MakeDir(t.Context(), work, size))
		left, err := os.ReadDir(work)
		require.NoError(t, err)
		assert.Empty(t, left)
		require.ErrorIs(t, f.MakeDir(t.Context(), work, size), os.ErrExist)
		require.DirExists(t, work, "it is another's")
		require.NoError(t, os.MkdirAll(filepath.Join(work, "a/b"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(work, "a/b/c"), []byte("x"), 0o600))
		require.NoError(t, os.Symlink(outside, filepath.Join(work, "link")))
		require.NoError(t, os.Chmod(filepath.Join(work, "a/b"), 0))
		require.NoError(t, os.Chmod(filepath.Join(work, "a"), 0o500))
		for range 2 { // the second finds nothing
			require.NoError(t, f.RemoveDir(removed))
			require.NoDirExists(t, removed)
		}
		require.NoError(t, os.RemoveAll(attempt), "nothing is mounted in it")
		assert.FileExists(t, filepath.Join(outside, "keep"))
	}
	require.Error(t, f.MakeDir(t.Context(), filepath.Join(dir, "nowhere", "work"), 1<<20))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
