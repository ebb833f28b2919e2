//go:build unix

package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/wire"
)

// leave makes what a job may leave in its folder.
func leave(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

func TestOutputsAreRegularFilesBelowTheFolderAlone(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "shadow")
	require.NoError(t, os.WriteFile(secret, []byte("root"), 0o644))
	dir := leave(t, map[string]string{"outputs/a": "abc", "outputs/sub/b": "", "other": "x", "outputs/new\nline": "x", "outputs/back\\slash": "x", "outputs/\xff": "x", "outputs/\u202egpj.sh": "x"})
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "outputs/link")))
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "outputs/inner")))
	require.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(dir, "outputs/folder")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "outputs/pipe"), 0o644))
	c, err := collect(t.Context(), dir, []string{"outputs/**"}, wire.ManifestLimits{})
	require.NoError(t, err)
	require.Len(t, c.files, 2)
	assert.Equal(t, "outputs/a", c.files[0].Path)
	assert.EqualValues(t, 3, c.files[0].Size)
	assert.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", c.files[0].SHA256)
	assert.Equal(t, "outputs/sub/b", c.files[1].Path)
	assert.Equal(t, 8, c.skipped)
}

func TestAFolderThatIsALinkIsNotEntered(t *testing.T) {
	t.Parallel()
	outside := leave(t, map[string]string{"secret": "x"})
	dir := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "outputs")))
	c, err := collect(t.Context(), dir, []string{"outputs/**", "**"}, wire.ManifestLimits{})
	require.NoError(t, err)
	assert.Empty(t, c.files)
}

func TestOutputsHaveLimits(t *testing.T) {
	t.Parallel()
	dir := leave(t, map[string]string{"a": "12345", "b": "12345"})
	var tooMuch *errTooMuch
	_, err := collect(t.Context(), dir, []string{"*"}, wire.ManifestLimits{ArtifactBytes: 9})
	require.ErrorAs(t, err, &tooMuch)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "holes"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(dir, "holes"), 1<<40)) // 1 TiB of holes is refused unread
	_, err = collect(t.Context(), dir, []string{"holes"}, wire.ManifestLimits{ArtifactBytes: 1 << 30})
	require.ErrorContains(t, err, `larger than 1024.0 MiB together, the most that is kept of a job here: leave less; the first too much is "holes" of 1048576.0 MiB`)
	_, err = collect(t.Context(), dir, []string{"holes"}, wire.ManifestLimits{ArtifactBytes: 2 << 30, DiskBytes: 1 << 30})
	require.ErrorContains(t, err, "larger than 1024.0 MiB together, the job's disk: ask for more with needs.disk_mb")
	require.NoError(t, os.Remove(filepath.Join(dir, "holes")))
	_, err = collect(t.Context(), dir, []string{"*"}, wire.ManifestLimits{ArtifactFiles: 1})
	require.ErrorAs(t, err, &tooMuch)
	c, err := collect(t.Context(), dir, []string{"*"}, wire.ManifestLimits{ArtifactBytes: 10, ArtifactFiles: 2})
	require.NoError(t, err)
	assert.Len(t, c.files, 2)
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for glob, names := range map[string]string{
		"outputs/**":     "outputs/a outputs/b/c !outputs !other/outputs/a",
		"outputs":        "outputs/a outputs/b/c outputs !output",
		"outputs/":       "outputs/a",
		"*.pt":           "a.pt !b/a.pt !a.ptx",
		"**/*.pt":        "a.pt b/a.pt b/c/a.pt !a.txt",
		"**":             "a a/b/c",
		"a/**/z":         "a/z a/b/z a/b/c/z !a/b/y !z",
		"model-[0-9].h5": "model-1.h5 !model-x.h5",
		"./metrics.json": "metrics.json !a/metrics.json",
	} {
		require.True(t, validGlob(glob), glob)
		for _, name := range strings.Fields(names) {
			want := !strings.HasPrefix(name, "!")
			name = strings.TrimPrefix(name, "!")
			assert.Equal(t, want, matchAny([]string{glob}, name), "%s on %s", glob, name)
		}
	}
	for _, glob := range []string{"", "/etc/*", "../x", "a/../../x", "[", "**/**/**/**/**/x"} {
		assert.False(t, validGlob(glob), glob)
	}
}
