//go:build unix

package bundle_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/bundle"
)

func TestAnOwnerIsGivenEverything(t *testing.T) {
	t.Parallel()
	owner := bundle.Owner{UID: os.Getuid(), GID: os.Getgid()}
	if owner.UID == 0 {
		owner = bundle.Owner{UID: 65534, GID: 65534}
	}
	dir := filepath.Join(t.TempDir(), "code")
	b := archive([]forged{file("a/b", "x"), folder("c/")})
	_, err := bundle.Extract(bytes.NewReader(b), int64(len(b)), dir, bundle.DefaultLimits(), &owner)
	require.NoError(t, err)
	for _, name := range append(listing(t, dir), "") {
		assert.Equal(t, owner, ownerOf(t, filepath.Join(dir, name)), name)
	}
}

func ownerOf(t *testing.T, path string) bundle.Owner {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	return bundle.Owner{UID: int(stat.Uid), GID: int(stat.Gid)}
}
