package contract

import (
	"archive/zip"
	"bytes"
	"context"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Bundles is the contract of ports.Bundles, by the rules of openapi/bundle, whose own
// tests have them all. open also gives the blobs that it checks.
func Bundles(t *testing.T, open func(*testing.T) (ports.Bundles, ports.Blobs)) {
	bundles, blobs := open(t)
	c := bundleCases{bundles, blobCases{blobs}}
	t.Run("a ZIP that keeps the rules is accepted, and stays as it is", c.accepted)
	t.Run("a rule that is broken is the code, and the entry is in the detail", c.broken)
	t.Run("the ZIP is read whole", c.whole)
	t.Run("what is not stored is not found", c.notFound)
	t.Run("many are checked at once", c.many)
	t.Run("a cancelled context ends a call with its error", func(t *testing.T) {
		key := c.blobs.put(t, packed(t, entry{name: "main.py"}))
		calls{"Check": func(ctx context.Context) error { return c.Check(ctx, key) }}.cancelled(t)
	})
}

type bundleCases struct {
	ports.Bundles
	blobs blobCases
}

// entry is a file of a ZIP; a name with a final slash is a folder.
type entry struct {
	name, content string
	mode          fs.FileMode // of the type alone; 0: a file
	stored        bool        // not compressed
}

func packed(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.stored {
			h.Method = zip.Store
		}
		if e.mode != 0 {
			h.SetMode(e.mode | 0o644)
		}
		w, err := z.CreateHeader(h)
		require.NoError(t, err)
		_, err = w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

func (c bundleCases) accepted(t *testing.T) {
	t.Parallel()
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = byte(i * i >> 8)
	}
	for name, entries := range map[string][]entry{
		"one file":      {{name: "main.py", content: "print('hello')"}},
		"an empty file": {{name: "__init__.py"}},
		"folders":       {{name: "src/"}, {name: "src/deep/main.py", content: "pass"}, {name: "data/digits.csv", content: "1,2"}},
		"both methods":  {{name: "a", content: strings.Repeat("a", 1000)}, {name: "b", content: "b", stored: true}},
		"other scripts": {{name: "Käse/漢字.txt", content: "🙂"}},
		"a large file":  {{name: "model.bin", content: string(large), stored: true}},
		"a ZIP in it":   {{name: "inner.zip", content: string(packed(t, entry{name: "../evil"}))}},
	} {
		data := packed(t, entries...)
		key := c.blobs.put(t, data)
		for range 2 {
			assert.NoError(t, c.Check(t.Context(), key), name)
		}
		assert.Equal(t, data, c.blobs.read(t, key, 0, -1), name)
	}
}

// refused checks bytes that break a rule.
func (c bundleCases) refused(t *testing.T, data []byte) *domain.Error {
	t.Helper()
	err := c.Check(t.Context(), c.blobs.put(t, data))
	var refusal *domain.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, domain.KindInvalid, refusal.Kind, "%v", err)
	return refusal
}

func (c bundleCases) broken(t *testing.T) {
	t.Parallel()
	good := entry{name: "main.py", content: "print('hello')"}
	for code, bad := range map[string]entry{
		"path_traversal":       {name: "src/../../evil.py"},
		"absolute_path":        {name: "/etc/passwd"},
		"backslash":            {name: `src\evil.py`},
		"drive_letter":         {name: "C:/evil.py"},
		"empty_name":           {name: "src//evil.py"},
		"dot_name":             {name: "src/./evil.py"},
		"duplicate_name":       {name: "MAIN.py"},
		"file_folder_conflict": {name: "main.py/evil.py"},
		"symlink_entry":        {name: "link", content: "/etc/passwd", mode: fs.ModeSymlink},
		"special_file":         {name: "pipe", mode: fs.ModeNamedPipe},
		"name_too_long":        {name: strings.Repeat("n", 256)},
	} {
		refusal := c.refused(t, packed(t, good, bad))
		assert.Equal(t, code, refusal.Code, refusal.Detail)
		assert.Contains(t, refusal.Detail, bad.name[:min(len(bad.name), 100)])
	}
	hidden := c.refused(t, packed(t, good, entry{name: "a\x1b[2Jb"}))
	assert.Equal(t, "control_character", hidden.Code)
	assert.NotContains(t, hidden.Detail, "\x1b", "the name is fit to be shown")

	// Of the archive as a whole no entry is at fault.
	for code, data := range map[string][]byte{
		"not_a_zip":         []byte("#!/bin/sh\necho hello\n"),
		"empty_archive":     packed(t),
		"truncated":         packed(t, good)[:60],
		"unaccounted_bytes": append([]byte("#!/bin/sh\n"), packed(t, good)...),
	} {
		assert.Equal(t, code, c.refused(t, data).Code)
	}
}

func (c bundleCases) whole(t *testing.T) {
	t.Parallel()
	// The content is found again in the archive, because it is not compressed.
	marks := []string{"the very first bytes", "somewhere in between", "the very last bytes"}
	var entries []entry
	for i, mark := range marks {
		content := strings.Repeat("filler ", 50_000) + mark
		if i == 0 {
			content = mark + content
		}
		entries = append(entries, entry{name: "file" + string(rune('0'+i)), content: content, stored: true})
	}
	data := packed(t, entries...)
	require.NoError(t, c.Check(t.Context(), c.blobs.put(t, data)))
	for i, mark := range marks {
		flipped := bytes.Clone(data)
		flipped[bytes.Index(data, []byte(mark))] ^= 1
		refusal := c.refused(t, flipped)
		assert.Equal(t, "checksum_mismatch", refusal.Code)
		assert.Contains(t, refusal.Detail, entries[i].name)
	}
	for _, cut := range []int{1, 30, len(data) / 2} {
		c.refused(t, data[:len(data)-cut])
	}
}

func (c bundleCases) notFound(t *testing.T) {
	t.Parallel()
	assert.ErrorIs(t, c.Check(t.Context(), blobKey()), domain.NotFound(""))
}

func (c bundleCases) many(t *testing.T) {
	t.Parallel()
	good := c.blobs.put(t, packed(t, entry{name: "main.py", content: strings.Repeat("pass\n", 10_000)}))
	bad := c.blobs.put(t, packed(t, entry{name: "../main.py"}))
	for i, err := range race(racers, func(i int) error { return c.Check(t.Context(), []string{good, bad}[i%2]) }) {
		if i%2 == 0 {
			assert.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, domain.Invalid("path_traversal", ""))
		}
	}
}
