// Package cloudblob is for keeping objects (bundles, logs, artifacts) in a folder or
// in memory, behind the portable buckets of gocloud.dev. These two cannot sign URLs
// that restrict an upload, so the package brings the handler that serves its own
// signed links.
package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Options is what a store needs beside its URL.
type Options struct {
	Key       []byte // signs links; at least 32 bytes
	PublicURL string // where Handler is reached, without /blobs; empty: links are paths
	Clock     ports.Clock
}

// Store keeps objects in a bucket, and beside each of them its sha256 as a small
// object of its own: it is known only when the last byte has been written, and then
// no bucket lets metadata be added without copying. The sha256 is written first, so
// that an object exists, whole and described, from the moment in which its own bytes
// appear.
type Store struct {
	bucket *blob.Bucket
	links  *links
	keys   keyLock
}

// Open opens the store of a URL: file:///an/absolute/folder, file://./a/relative/one,
// or mem://. A folder belongs to one process; what is written survives the end of the
// process, but is not synced against the loss of power.
func Open(rawURL string, o Options) (*Store, error) {
	l, err := newLinks(o)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("the URL of the blobs is malformed")
	}
	s := &Store{links: l}
	switch u.Scheme {
	case memblob.Scheme:
		s.bucket = memblob.OpenBucket(nil)
	case fileblob.Scheme:
		s.bucket, err = openFolder(u, o.Clock.Now())
	default:
		err = fmt.Errorf("blobs can be kept at file:// or mem://, not at %q", u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the use of the bucket.
func (s *Store) Close() error { return s.bucket.Close() }

func openFolder(u *url.URL, now time.Time) (*blob.Bucket, error) {
	folder := filepath.FromSlash(u.Path)
	if u.Host == "." {
		folder = "." + folder
	} else if u.Host != "" && u.Host != "localhost" {
		return nil, fmt.Errorf("file://%s%s names a host; a folder has three slashes, or is relative with file://./", u.Host, u.Path)
	}
	if err := sweep(folder, now.Add(-time.Hour)); err != nil {
		return nil, fmt.Errorf("the folder of the blobs cannot be read: %w", err)
	}
	return fileblob.OpenBucket(folder, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o700,
		NoTempDir: true,                       // a rename works within one file system only
		Metadata:  fileblob.MetadataDontWrite, // it would cost an MD5 of everything
	})
}

// unfinished is how fileblob names what it is writing.
var unfinished = regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`)

// sweep removes what a killed process did not write to its end.
func sweep(folder string, before time.Time) error {
	root, err := os.OpenRoot(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || !unfinished.MatchString(d.Name()) {
			return err
		}
		if info, err := d.Info(); err == nil && info.ModTime().Before(before) {
			return root.Remove(path)
		}
		return nil
	})
}

// keyForm is what our keys look like. The underscore is not in it: it begins the
// names of sums.
var keyForm = regexp.MustCompile(`^[A-Za-z0-9.-]+(/[A-Za-z0-9.-]+)*$`)

const longestKey = 512

func checkKey(key string) error {
	ok := len(key) <= longestKey && keyForm.MatchString(key) && !strings.HasSuffix(key, ".attrs") && !unfinished.MatchString(key)
	for part := range strings.SplitSeq(key, "/") {
		ok = ok && part != "." && part != ".."
	}
	if !ok {
		return domain.Invalid("invalid_key", "%.64q is no key of an object", key)
	}
	return nil
}

// sumKey is where the sha256 of an object is kept.
func sumKey(key string) string { return "_sha256/" + key }

// Open implements ports.Blobs.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if offset < 0 || length < -1 {
		return nil, domain.Invalid("invalid_range", "an offset is not negative, a length at least -1")
	}
	r, err := s.bucket.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, translate(ctx, err)
	}
	return r, nil
}

// Stat implements ports.Blobs.
func (s *Store) Stat(ctx context.Context, key string) (ports.BlobInfo, error) {
	if err := checkKey(key); err != nil {
		return ports.BlobInfo{}, err
	}
	if err := ctx.Err(); err != nil {
		return ports.BlobInfo{}, err
	}
	attrs, err := s.bucket.Attributes(ctx, key)
	if err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	sum, err := s.bucket.ReadAll(ctx, sumKey(key))
	if err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	return ports.BlobInfo{Key: key, Size: attrs.Size, SHA256: string(sum)}, nil
}

// Delete implements ports.Blobs.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	unlock, err := s.keys.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range []string{key, sumKey(key)} {
		if err := s.bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return translate(ctx, err)
		}
	}
	return nil
}

// SignPut implements ports.Blobs.
func (s *Store) SignPut(_ context.Context, key string, o ports.PutOptions) (ports.SignedRequest, error) {
	if err := checkKey(key); err != nil {
		return ports.SignedRequest{}, err
	}
	return s.links.put(key, o)
}

// SignGet implements ports.Blobs.
func (s *Store) SignGet(_ context.Context, key string, o ports.GetOptions) (ports.SignedRequest, error) {
	if err := checkKey(key); err != nil {
		return ports.SignedRequest{}, err
	}
	return s.links.get(key, o)
}

// translate turns an error of the bucket into one of ours. A cancelled call is that,
// whatever the bucket made of it.
func translate(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if gcerrors.Code(err) == gcerrors.NotFound {
		return domain.NotFound("object").With(err)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return domain.Unavailable("disk_full", "the server's disk has no room; try again later").With(err)
	}
	return domain.Unavailable("blobs_unavailable", "the object store does not answer").With(err)
}
