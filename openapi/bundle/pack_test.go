package bundle_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/openapi/bundle"
)

func TestWhatIsPackedIsWhatIsUnpacked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		tree := fstest.MapFS{}
		// Parts of one kind per level cannot clash: files end in .f, folders in .d.
		name := rapid.Custom(func(r *rapid.T) string {
			parts := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9äöü _-]{1,12}`), 1, 6).Draw(r, "parts")
			return strings.Join(parts, ".d/") + ".f"
		})
		for _, n := range rapid.SliceOfNDistinct(name, 1, 30, rapid.ID).Draw(r, "names") {
			mode := fs.FileMode(0o644)
			if rapid.Bool().Draw(r, "exec") {
				mode = 0o755
			}
			tree[n] = &fstest.MapFile{Data: rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(r, "data"), Mode: mode}
		}
		var packed bytes.Buffer
		require.NoError(r, bundle.Pack(tree, &packed))
		s, err := check(packed.Bytes())
		require.NoError(r, err)
		require.Equal(r, len(tree), s.Files)

		parent, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(r, err)
		dir := filepath.Join(parent, "code")
		_, err = bundle.Extract(bytes.NewReader(packed.Bytes()), int64(packed.Len()), dir, bundle.DefaultLimits(), nil)
		require.NoError(r, err)
		require.Len(r, listing(t, dir), s.Files+s.Folders)
		for n, f := range tree {
			got, err := os.ReadFile(filepath.Join(dir, n))
			require.NoError(r, err)
			require.True(r, bytes.Equal(f.Data, got))
			info, err := os.Stat(filepath.Join(dir, n))
			require.NoError(r, err)
			require.Equal(r, f.Mode, info.Mode())
		}
	})
}

func TestTheSameTreePacksToTheSameBytes(t *testing.T) {
	t.Parallel()
	var first []byte
	for range 3 {
		tree := fstest.MapFS{}
		for i := range 50 {
			tree[fmt.Sprintf("d%d/f%d", i%7, i)] = &fstest.MapFile{Data: []byte("x"), Mode: 0o600}
		}
		var b bytes.Buffer
		require.NoError(t, bundle.Pack(tree, &b))
		if first == nil {
			first = b.Bytes()
		}
		require.Equal(t, first, b.Bytes())
	}
}

func TestHistoryAndCachesAreNotPacked(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, bundle.Pack(fstest.MapFS{
		"main.py": {}, ".git/HEAD": {}, "a/__pycache__/m.pyc": {}, "a/m.py": {}, ".env": {}, "sub/.git/HEAD": {},
	}, &b))
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	assert.Equal(t, []string{".env", "a/", "a/m.py", "main.py", "sub/"}, names)
}

func TestATreeThatCouldNotBeSubmittedIsNotPacked(t *testing.T) {
	t.Parallel()
	for code, tree := range map[bundle.Code]fstest.MapFS{
		bundle.SymlinkEntry:     {"a": {Mode: fs.ModeSymlink, Data: []byte("/etc/passwd")}},
		bundle.SpecialFile:      {"a": {Mode: fs.ModeNamedPipe}},
		bundle.Backslash:        {`a\b`: {}},
		bundle.ControlCharacter: {"a\nb": {}},
		bundle.DuplicateName:    {"A": {}, "a": {}},
		bundle.Empty:            {".git/HEAD": {}},
		bundle.PathTooDeep:      {strings.Repeat("d/", 32) + "f": {}},
	} {
		require.ErrorIs(t, bundle.Pack(tree, io.Discard), &bundle.Error{Code: code})
	}
}
