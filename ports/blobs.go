package ports

import (
	"context"
	"io"
	"iter"
	"net/http"
	"time"
)

// BlobInfo describes a stored object.
type BlobInfo struct {
	Key    string
	Size   int64  // bytes
	SHA256 string // hexadecimal
}

// SignedRequest is an HTTP request that needs no other credential until it expires.
type SignedRequest struct {
	Method  string
	URL     string
	Header  http.Header // must be sent as they are
	Expires time.Time
}

// PutOptions binds a signed upload to what was announced.
type PutOptions struct {
	Size    int64 // bytes, exact
	SHA256  string
	Expires time.Duration // from now
}

// GetOptions shapes a signed download.
type GetOptions struct {
	Filename string // offered to browsers; empty: none
	Expires  time.Duration
}

// Blobs stores objects: bundles, logs, artifacts. Objects are immutable; keys are
// ours and hold slashes, letters, digits, dots and dashes.
type Blobs interface {
	// Put stores what r gives, computing its sha256, and returns only when it is
	// stored whole. An r that fails leaves nothing behind. Putting a key again with
	// the same bytes changes nothing.
	Put(ctx context.Context, key string, r io.Reader) (BlobInfo, error)
	// Open reads from offset, at most length bytes, or to the end when length is -1.
	// A missing key is NotFound; an offset at the end gives an empty reader.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Stat describes an object without reading it; a missing key is NotFound.
	Stat(ctx context.Context, key string) (BlobInfo, error)
	// Delete removes an object; a missing one is no error.
	Delete(ctx context.Context, key string) error
	// SignPut allows one client to upload exactly the announced bytes. An upload of
	// another size or sha256 is refused and leaves nothing behind.
	SignPut(ctx context.Context, key string, o PutOptions) (SignedRequest, error)
	// SignGet allows to download the object, always as an attachment of type
	// application/octet-stream, with ranges.
	SignGet(ctx context.Context, key string, o GetOptions) (SignedRequest, error)
}

// BlobIndex lists what Blobs stores.
type BlobIndex interface {
	// Older gives the keys with a prefix, which ends with a slash, of the objects that
	// were stored before a moment, in the order of the keys. An error is the last that it
	// gives. What it gave may be deleted while it goes on.
	Older(ctx context.Context, prefix string, before time.Time) iter.Seq2[string, error]
}
