// Package cloudblob is for keeping objects (bundles, logs, artifacts) in a folder, in
// memory or at an object storage that speaks S3, behind the portable buckets of
// gocloud.dev. A folder and memory cannot sign URLs that restrict an upload, so for
// these the package brings the handler that serves its own signed links.
package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Options is what a store needs beside its URL.
type Options struct {
	Key       []byte // signs our own links; at least 32 bytes
	PublicURL string // where Handler is reached, without /blobs; empty: links are paths
	Clock     ports.Clock

	// AccessKey and SecretKey are for an object storage; without them they are found as
	// AWS's programs find theirs: in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a
	// profile, or the role of the machine.
	AccessKey, SecretKey string
}

// Store keeps objects in a bucket. How they are described and who serves their links
// differs between our own buckets and an object storage.
type Store struct {
	bucket *blob.Bucket
	keeper
}

// keeper is what differs. Keys have been checked, and contexts have not ended.
type keeper interface {
	put(ctx context.Context, key string, r io.Reader) (ports.BlobInfo, error)
	stat(ctx context.Context, key string) (ports.BlobInfo, error)
	remove(ctx context.Context, key string) error
	signPut(ctx context.Context, key string, o ports.PutOptions) (ports.SignedRequest, error)
	signGet(ctx context.Context, key string, o ports.GetOptions) (ports.SignedRequest, error)
	http.Handler
}

// Open opens the store of a URL: file:///an/absolute/folder, file://./a/relative/one,
// mem://, or s3://bucket with the parameters that openS3 tells. A folder belongs to one
// process; what is written survives the end of the process, but is not synced against
// the loss of power.
func Open(ctx context.Context, rawURL string, o Options) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the URL of the blobs is malformed")
	}
	if u.Scheme == s3blob.Scheme {
		return openS3(ctx, u, o)
	}
	l, err := newLinks(o)
	if err != nil {
		return nil, err
	}
	var bucket *blob.Bucket
	switch u.Scheme {
	case memblob.Scheme:
		bucket = memblob.OpenBucket(nil)
	case fileblob.Scheme:
		bucket, err = openFolder(u, o.Clock.Now())
	default:
		err = fmt.Errorf("blobs can be kept at file://, s3:// or mem://, not at %q", u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	return &Store{bucket, &own{bucket: bucket, links: l}}, nil
}

// MostBytes is how large one object at a URL can be; 0 is no limit.
func MostBytes(rawURL string) int64 {
	if strings.HasPrefix(rawURL, s3blob.Scheme+"://") {
		return largestS3
	}
	return 0
}

// Close ends the use of the bucket.
func (s *Store) Close() error { return s.bucket.Close() }

// Handler serves the signed links of our own buckets, below /blobs/; those of an object
// storage lead there, and this knows none.
func (s *Store) Handler() http.Handler { return s.keeper }

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

// check is before everything that is done with an object.
func check(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

// Put implements ports.Blobs.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) (ports.BlobInfo, error) {
	if err := check(ctx, key); err != nil {
		return ports.BlobInfo{}, err
	}
	return s.put(ctx, key, r)
}

// Open implements ports.Blobs.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	if offset < 0 || length < -1 {
		return nil, domain.Invalid("invalid_range", "an offset is not negative, a length at least -1")
	}
	r, err := s.bucket.NewRangeReader(ctx, key, offset, length, nil)
	if beyondEnd(err) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, translate(ctx, err)
	}
	return r, nil
}

// Stat implements ports.Blobs.
func (s *Store) Stat(ctx context.Context, key string) (ports.BlobInfo, error) {
	if err := check(ctx, key); err != nil {
		return ports.BlobInfo{}, err
	}
	return s.stat(ctx, key)
}

// Delete implements ports.Blobs.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	return s.remove(ctx, key)
}

// SignPut implements ports.Blobs.
func (s *Store) SignPut(ctx context.Context, key string, o ports.PutOptions) (ports.SignedRequest, error) {
	switch {
	case o.Size < 0 || !isSHA256(o.SHA256):
		return ports.SignedRequest{}, domain.Invalid("invalid_upload", "an upload is announced with its size and its sha256 in lower-case hexadecimal")
	case o.Expires <= 0:
		return ports.SignedRequest{}, errNoTime
	}
	if err := check(ctx, key); err != nil {
		return ports.SignedRequest{}, err
	}
	return s.signPut(ctx, key, o)
}

// SignGet implements ports.Blobs.
func (s *Store) SignGet(ctx context.Context, key string, o ports.GetOptions) (ports.SignedRequest, error) {
	if o.Expires <= 0 {
		return ports.SignedRequest{}, errNoTime
	}
	if err := check(ctx, key); err != nil {
		return ports.SignedRequest{}, err
	}
	return s.signGet(ctx, key, o)
}

var (
	errNoTime = domain.Invalid("invalid_expiry", "a link has to be good for some time")
	errExists = domain.Conflict("object_exists", "there is another object with this key, and objects do not change")
)

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
