package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/peergpu/peergpu/openapi/wire"
)

// errTooMuch is a job whose results are over its limits.
type errTooMuch struct{ detail string }

// Error is a sentence for the renter.
func (e *errTooMuch) Error() string { return e.detail }

// collection is what a job left.
type collection struct {
	files   []wire.Artifact
	skipped int // matched, and neither a regular file nor fit to be named
}

// maxSeen bounds how long looking for outputs takes.
const maxSeen = 1_000_000

// collect lists the regular files below dir that a glob matches, with their sums. The
// job owned the folder and may have left anything in it: links, FIFOs, names full of
// control characters. None of that is followed, opened or reported by name.
func collect(ctx context.Context, dir string, globs []string, limits wire.ManifestLimits) (collection, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return collection{}, err
	}
	defer root.Close()
	var c collection
	var total int64
	maxBytes, maxFiles := smaller(limits.ArtifactBytes, limits.DiskBytes), limits.ArtifactFiles
	seen := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		seen++
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case seen > maxSeen:
			return &errTooMuch{fmt.Sprintf("the working folder holds more than %d files", maxSeen)}
		case errors.Is(err, fs.ErrPermission) && d != nil && d.IsDir():
			return fs.SkipDir // closed by the job itself
		case err != nil:
			return err
		case d.IsDir() || !matchAny(globs, name):
			return nil
		case !d.Type().IsRegular() || !presentable(name):
			c.skipped++
			return nil
		case maxFiles > 0 && len(c.files) == maxFiles:
			return &errTooMuch{fmt.Sprintf("the outputs are more than %d files, the most that is kept of a job here: pack them into fewer", maxFiles)}
		}
		a, err := sumFile(root, name, maxBytes-total, maxBytes > 0)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, errNotRegular) {
			c.skipped++
			return nil
		}
		if errors.Is(err, errTooLong) {
			limit := sizeWords(maxBytes) + " together, the most that is kept of a job here: leave less"
			if maxBytes == limits.DiskBytes {
				limit = sizeWords(maxBytes) + " together, the job's disk: ask for more with needs.disk_mb"
			}
			// The name is last: it may be long, and cut.
			return &errTooMuch{fmt.Sprintf("the outputs are larger than %s; the first too much is %q of %s", limit, name, sizeWords(a.Size))}
		}
		if err != nil {
			return err
		}
		total += a.Size
		c.files = append(c.files, a)
		return nil
	})
	return c, err
}

var (
	errTooLong    = errors.New("too long")
	errNotRegular = errors.New("not a regular file")
)

// sumFile reads a file once, for its size and its sum, and never more than there is room
// for.
func sumFile(root *os.Root, name string, room int64, bounded bool) (wire.Artifact, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return wire.Artifact{}, err
	}
	defer f.Close()
	// A file of holes takes no room here and all of its size on its way: its size is
	// looked at before it is read.
	if info, err := f.Stat(); err != nil {
		return wire.Artifact{}, err
	} else if bounded && info.Size() > room {
		return wire.Artifact{Size: info.Size()}, errTooLong
	}
	sum := sha256.New()
	var r io.Reader = f
	if bounded {
		r = io.LimitReader(f, room+1)
	}
	n, err := io.Copy(sum, r)
	if err != nil {
		return wire.Artifact{}, err
	}
	if bounded && n > room {
		return wire.Artifact{Size: n}, errTooLong
	}
	return wire.Artifact{Path: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// sizeWords is a number of bytes for people.
func sizeWords(n int64) string {
	if n < mib {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/mib)
}

// openRegular opens a file of the job, and nothing that only looks like one.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errNotRegular, err, f.Close())
	}
	return f, nil
}

// presentable says that a path can be shown and stored everywhere, as what it is: nothing
// in it turns the direction of writing.
func presentable(name string) bool {
	return utf8.ValidString(name) && len(name) <= 1024 && !strings.ContainsRune(name, '\\') &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
		})
}

// matchAny says whether a glob selects a path. A glob that names a folder selects all
// that is in it.
func matchAny(globs []string, name string) bool {
	parts := strings.Split(name, "/")
	return slices.ContainsFunc(globs, func(glob string) bool {
		return match(strings.Split(path.Clean(glob), "/"), parts)
	})
}

// match works on the parts of both paths. It tries every length for **, of which
// validGlob allows a few only.
func match(glob, name []string) bool {
	switch {
	case len(glob) == 0:
		return true // the rest is inside a folder that was selected
	case glob[0] == "**":
		for i := range len(name) + 1 {
			// Whatever is left for ** alone must be something.
			if len(glob) == 1 && i < len(name) || len(glob) > 1 && match(glob[1:], name[i:]) {
				return true
			}
		}
		return false
	case len(name) == 0:
		return false
	}
	ok, _ := path.Match(glob[0], name[0])
	return ok && match(glob[1:], name[1:])
}

// validGlob says that a glob can be used and stays below its folder.
func validGlob(glob string) bool {
	clean := path.Clean(glob)
	if glob == "" || path.IsAbs(glob) || clean == ".." || strings.HasPrefix(clean, "../") || strings.Count(glob, "**") > 4 {
		return false
	}
	_, err := path.Match(clean, "x")
	return err == nil
}
