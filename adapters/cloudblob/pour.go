package cloudblob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"

	"github.com/peergpu/peergpu/ports"
)

// piece is how much is read, written and hashed at a time.
type piece [256 << 10]byte

var pieces = sync.Pool{New: func() any { return new(piece) }}

// pour copies r to w and hashes it on the way. The hash of one piece runs while the
// next is read and written: on a fast disk it takes as long as the rest.
func pour(ctx context.Context, w io.Writer, r io.Reader) (ports.BlobInfo, error) {
	type part struct {
		bytes *piece
		n     int
	}
	var (
		sum    = sha256.New()
		parts  = make(chan part, 2)
		hashed = make(chan struct{})
		size   int64
		err    error
	)
	go func() {
		defer close(hashed)
		for p := range parts {
			sum.Write(p.bytes[:p.n])
			pieces.Put(p.bytes)
		}
	}()
	for err == nil {
		p := part{bytes: pieces.Get().(*piece)} //nolint:forcetypeassert // what the pool makes
		p.n, err = fill(r, p.bytes[:])
		if _, broken := w.Write(p.bytes[:p.n]); broken != nil {
			err = translate(ctx, broken)
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		size += int64(p.n)
		parts <- p
	}
	close(parts)
	<-hashed
	if err != io.EOF { //nolint:errorlint // a wrapped one is a failure that somebody wants to explain
		return ports.BlobInfo{}, err
	}
	return ports.BlobInfo{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// fill reads until the piece is full. Unlike io.ReadFull it gives the reader's own
// error: for one that broke off, io.ErrUnexpectedEOF must not look like a short end.
func fill(r io.Reader, b []byte) (n int, err error) {
	for empty := 0; n < len(b) && err == nil && empty < 100; empty++ {
		var m int
		if m, err = r.Read(b[n:]); m > 0 {
			n, empty = n+m, 0
		}
	}
	if n < len(b) && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}
