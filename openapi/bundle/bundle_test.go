package bundle_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/bundle"
)

func check(b []byte) (bundle.Summary, error) {
	return bundle.Check(bytes.NewReader(b), int64(len(b)), bundle.DefaultLimits())
}

// extract unpacks into a new folder, and answers it and the folder that it is in.
func extract(t testing.TB, b []byte, limits bundle.Limits) (dir, parent string, err error) {
	t.Helper()
	parent = t.TempDir()
	dir = filepath.Join(parent, "code")
	_, err = bundle.Extract(bytes.NewReader(b), int64(len(b)), dir, limits, nil)
	return dir, parent, err
}

func TestHostileArchivesAreRefusedByCheckAndByExtract(t *testing.T) {
	t.Parallel()
	for _, h := range corpus() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			limits := bundle.DefaultLimits()
			if h.limits != nil {
				h.limits(&limits)
			}
			_, err := bundle.Check(bytes.NewReader(h.archive), int64(len(h.archive)), limits)
			var broken *bundle.Error
			require.ErrorAs(t, err, &broken)
			assert.Equal(t, h.code, broken.Code, broken.Detail)
			assert.NotEmpty(t, broken.Detail)

			_, parent, err := extract(t, h.archive, limits)
			var same *bundle.Error
			require.ErrorAs(t, err, &same)
			assert.Equal(t, broken, same, "both sides say the same")
			assert.Empty(t, listing(t, parent), "nothing is left")
		})
	}
}

// listing is every file and folder below dir.
func listing(t require.TestingT, dir string) (names []string) {
	require.NoError(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p != dir {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	return names
}

func TestTheForgedBombsAreRealBombs(t *testing.T) {
	t.Parallel()
	// Without this the corpus could prove nothing: the standard library accepts
	// and unpacks both.
	for name, b := range map[string][]byte{"shared": sharedKernel(100), "quoted": quotedOverlap(50)} {
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		require.NoError(t, err, name)
		for _, f := range z.File {
			r, err := f.Open()
			require.NoError(t, err, name)
			_, err = io.Copy(io.Discard, r)
			require.NoError(t, err, "%s %s", name, f.Name)
		}
	}
}

func TestOrdinaryArchivesOfAllMakesAreAccepted(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("for i in range(3): print(i)\n", 30)
	wide := both(func(h *header) {
		h.extra = field(1, numbers(h.size, h.packed))
		h.size, h.packed = math.MaxUint32, math.MaxUint32
	})
	dos := func(f *forged) { f.central.attributes, f.central.creator = 0x20, 0 }
	kinds := map[string]forged{
		"stored":                     file("a", text),
		"deflated":                   file("a", text, deflated),
		"empty":                      file("a", ""),
		"from DOS":                   file("a", text, dos),
		"descriptor":                 file("a", text, deflated, streamed(true, 4)),
		"descriptor, no signature":   file("a", text, deflated, streamed(false, 4)),
		"descriptor, wide":           file("a", text, deflated, streamed(true, 8)),
		"descriptor, wide, unsigned": file("a", text, deflated, streamed(false, 8)),
		"descriptor and known sizes": file("a", text, streamed(true, 4), func(f *forged) { f.local.size = f.central.size }),
		"zip64 sizes":                file("a", text, wide),
		"zip64 in the header alone":  file("a", text, func(f *forged) { c := f.central; wide(f); f.central = c }),
		"zip64 offset": file("a", text, func(f *forged) {
			f.central.offset, f.central.forceOffset = math.MaxUint32, true
			f.central.extra = field(1, numbers(0))
		}),
		"times and owners":        file("a", text, both(func(h *header) { h.extra = append(field(0x5455, make([]byte, 9)), field(0x7875, make([]byte, 11))...) })),
		"padding that is no list": file("a", text, both(func(h *header) { h.extra = []byte{0xff, 0xff, 0xff, 0xff, 0} })),
		"a Unicode name, twice":   file("é", text, both(func(h *header) { h.extra = field(0x7075, []byte("\x01....é")) })),
		"a comment":               file("a", text, func(f *forged) { f.central.comment = []byte("hello") }),
		"a sticky bit":            file("a", text, attributes(0o101644<<16)),
		"a name of 255 bytes":     file(strings.Repeat("n", 255), text),
		"a path of 32 parts":      file(strings.Repeat("d/", 31)+"f", text),
		"odd but harmless":        file("..a/b..c/ -rf $(x) 'q' 😀", text),
	}
	for name, f := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, edit := range []func(*end){func(*end) {}, func(e *end) { e.zip64 = true }, func(e *end) { e.comment = strings.Repeat("c", math.MaxUint16) }} {
				b := archive([]forged{folder("dir/"), f, folder("dir/sub/", attributes(0o042775<<16)), file("zz", "end")}, edit)
				if f.central.forceOffset {
					b = archive([]forged{f}, edit)
				}
				s, err := check(b)
				require.NoError(t, err)
				dir, _, err := extract(t, b, bundle.DefaultLimits())
				require.NoError(t, err)
				got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.central.name)))
				require.NoError(t, err)
				if len(got) > 0 {
					assert.Equal(t, text, string(got))
				}
				assert.Len(t, listing(t, dir), s.Files+s.Folders)
			}
		})
	}
}

func TestTenThousandFilesAreStillAccepted(t *testing.T) {
	t.Parallel()
	s, err := check(archive(many(10_000)))
	require.NoError(t, err)
	assert.Equal(t, bundle.Summary{Files: 10_000, Bytes: 20_000}, s)
}

func TestASmallFileOfZerosIsNoBomb(t *testing.T) {
	t.Parallel()
	_, err := check(one(file("zeros", strings.Repeat("\x00", 1<<19), deflated)))
	require.NoError(t, err)
}

func TestArchivesInsideTheArchiveStayClosed(t *testing.T) {
	t.Parallel()
	inner := string(one(file("../../evil", "x")))
	dir, _, err := extract(t, one(file("data/inner.zip", inner)), bundle.DefaultLimits())
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "data", "inner.zip"))
	require.NoError(t, err)
	assert.Equal(t, inner, string(got))
}

func TestModesAreReducedToExecutableOrNot(t *testing.T) {
	t.Parallel()
	dir, _, err := extract(t, archive([]forged{
		file("plain", "x", attributes(0o100666<<16)),
		file("secret", "x", attributes(0o100400<<16)),
		file("run", "x", attributes(0o100700<<16)),
		file("dos", "x", attributes(0x21)),
		folder("open/", attributes(0o041777<<16)),
		file("implied/file", "x"),
	}), bundle.DefaultLimits())
	require.NoError(t, err)
	for name, mode := range map[string]fs.FileMode{
		"": fs.ModeDir | 0o700, "plain": 0o644, "secret": 0o644, "run": 0o755, "dos": 0o644,
		"open": fs.ModeDir | 0o755, "implied": fs.ModeDir | 0o755, "implied/file": 0o644,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode(), name)
	}
}

func TestAFolderThatExistsIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
	b := one(file("a", "x"))
	_, err := bundle.Extract(bytes.NewReader(b), int64(len(b)), dir, bundle.DefaultLimits(), nil)
	require.ErrorIs(t, err, fs.ErrExist)
	assert.Equal(t, []string{"mine"}, listing(t, dir))
}

// broken fails to read some way into the archive.
type broken struct {
	io.ReaderAt
	from int64
}

var errDisk = errors.New("the disk is gone")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, errDisk
	}
	return b.ReaderAt.ReadAt(p, off)
}

func TestAFailingReaderIsNotTheArchivesFault(t *testing.T) {
	t.Parallel()
	b := archive([]forged{file("a", "content", deflated), file("b", "content", streamed(true, 4))})
	for from := range int64(len(b)) {
		// Reads from the back of the file fail first, so this cuts every step once.
		for _, r := range []io.ReaderAt{broken{bytes.NewReader(b), from}, flipped{bytes.NewReader(b), from}} {
			var e *bundle.Error
			_, err := bundle.Check(r, int64(len(b)), bundle.DefaultLimits())
			require.ErrorIs(t, err, errDisk)
			require.NotErrorAs(t, err, &e)
			parent := t.TempDir()
			_, err = bundle.Extract(r, int64(len(b)), filepath.Join(parent, "code"), bundle.DefaultLimits(), nil)
			require.ErrorIs(t, err, errDisk)
			require.Empty(t, listing(t, parent))
			_, err = bundle.Extract(r, int64(len(b)), parent, bundle.DefaultLimits(), nil)
			require.ErrorIs(t, err, errDisk)
			require.Empty(t, listing(t, parent), "it is there still, and empty")
		}
	}
}

// flipped fails to read what touches one byte.
type flipped struct {
	io.ReaderAt
	bad int64
}

func (f flipped) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(p)) {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestErrorsAreFitForDisplay(t *testing.T) {
	t.Parallel()
	_, err := check(one(file("a\x1b]0;x\x07/\xff\u202e"+strings.Repeat("é", 200), "x")))
	var e *bundle.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, `a\u{1b}]0;x\u{7}/\xff\u{202e}`, e.Entry[:strings.Index(e.Entry, "é")])
	assert.True(t, strings.HasSuffix(e.Entry, "…"))
	assert.Contains(t, err.Error(), "name_not_utf8")
	require.ErrorIs(t, err, &bundle.Error{Code: bundle.NameNotUTF8})
	require.NotErrorIs(t, err, &bundle.Error{Code: bundle.NameNotUTF8, Entry: "other"})
}

func TestLimitsThatAreZeroLetNothingThrough(t *testing.T) {
	t.Parallel()
	b := one(file("a", "x"))
	_, err := bundle.Check(bytes.NewReader(b), int64(len(b)), bundle.Limits{})
	require.ErrorIs(t, err, &bundle.Error{Code: bundle.ArchiveTooLarge})
	for name, zero := range map[string]func(*bundle.Limits){
		"total": func(l *bundle.Limits) { l.TotalBytes = 0 }, "entries": func(l *bundle.Limits) { l.Entries = 0 },
		"directory": func(l *bundle.Limits) { l.DirectoryBytes = 0 }, "name": func(l *bundle.Limits) { l.NameBytes = 0 },
		"path": func(l *bundle.Limits) { l.PathBytes = 0 }, "depth": func(l *bundle.Limits) { l.Depth = 0 },
		"ratio": func(l *bundle.Limits) { l.Ratio, l.RatioFromBytes = 0, 0 },
	} {
		limits := bundle.DefaultLimits()
		zero(&limits)
		_, err := bundle.Check(bytes.NewReader(b), int64(len(b)), limits)
		var e *bundle.Error
		require.ErrorAs(t, err, &e, name)
	}
}
