package bundle_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/openapi/bundle"
)

// FuzzZip holds for every input: Check and Extract agree; what they accept unpacks
// to what was announced and to what the standard library reads; what they refuse
// leaves nothing; nothing is ever written outside the folder.
func FuzzZip(f *testing.F) {
	for _, h := range corpus() {
		if len(h.archive) < 8<<10 { // large seeds only slow the mutations down
			f.Add(h.archive)
		}
	}
	f.Add(one(file("a/b", "content", deflated)))
	f.Add(archive([]forged{folder("d/"), file("d/f", "content", deflated, streamed(true, 4)), file("e", "x", streamed(false, 8))},
		func(e *end) { e.zip64 = true }))
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, t.TempDir(), b) })
}

// agree is what has to hold for every archive; parent is an empty folder.
func agree(t require.TestingT, parent string, b []byte) {
	limits := bundle.DefaultLimits()
	limits.TotalBytes = 4 << 20
	s, refused := bundle.Check(bytes.NewReader(b), int64(len(b)), limits)
	dir := filepath.Join(parent, "code")
	got, err := bundle.Extract(bytes.NewReader(b), int64(len(b)), dir, limits, nil)
	if refused != nil {
		var e *bundle.Error
		require.ErrorAs(t, refused, &e)
		require.Error(t, err)
		require.Equal(t, refused.Error(), err.Error())
		require.Empty(t, listing(t, parent))
		return
	}
	require.NoError(t, err)
	require.Equal(t, s, got)
	names := listing(t, parent)
	require.Len(t, names, 1+s.Files+s.Folders)
	for _, n := range names {
		require.True(t, n == "code" || strings.HasPrefix(n, "code/"), n)
	}
	require.Equal(t, s.Bytes, compare(t, b, dir))
}

// Mutated bytes rarely make an archive that passes; these entries often do.
func TestEveryArchiveOfPlausibleEntriesIsTreatedAlike(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(`([abAé.]|/|\\|\.\.|c:|e\x{301}){1,6}`)
	edits := []func(*forged){
		deflated, streamed(true, 4), streamed(false, 4), streamed(true, 8), streamed(false, 8),
		both(func(h *header) { h.crc++ }), both(func(h *header) { h.size++ }), both(func(h *header) { h.size-- }),
		both(func(h *header) { h.packed++ }), both(func(h *header) { h.packed-- }), both(func(h *header) { h.method ^= 8 }),
		both(func(h *header) { h.flags ^= 8 }), func(f *forged) { f.local.size++ }, func(f *forged) { f.local.name += "x" },
		func(f *forged) { f.payload = append(f.payload, 0) }, func(f *forged) { f.at = new(int) },
		attributes(0), attributes(0o120777 << 16), attributes(modeExec), attributes(modeFolder), attributes(0x10),
	}
	outer := t
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		var entries []forged
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			content := rapid.SampledFrom([]string{"", "x", "hello hello hello", strings.Repeat("z", 5000)}).Draw(t, "content")
			f := file(name.Draw(t, "name"), content)
			if strings.HasSuffix(f.central.name, "/") {
				f = folder(f.central.name)
			}
			if rapid.IntRange(0, 3).Draw(t, "edited") == 0 {
				for _, edit := range rapid.SliceOfN(rapid.SampledFrom(edits), 1, 2).Draw(t, "edits") {
					edit(&f)
				}
			}
			entries = append(entries, f)
		}
		parent, err := os.MkdirTemp(outer.TempDir(), "")
		require.NoError(t, err)
		b := archive(entries, func(e *end) { e.zip64 = rapid.Bool().Draw(t, "zip64") })
		if _, err := check(b); err == nil {
			accepted++
		}
		agree(t, parent, b)
	})
	require.Positive(t, accepted)
}

// compare holds the unpacked files against the standard library's reading.
func compare(t require.TestingT, b []byte, dir string) (total int64) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		require.ErrorIs(t, err, zip.ErrInsecurePath)
	}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		require.NoError(t, err)
		want, err := io.ReadAll(r)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Name)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), f.Name)
		total += int64(len(got))
	}
	return total
}
