package runtime

import (
	"io"
	"sync"
)

// buffer is a pipe as the kernel makes them: a writer waits once 64 KiB are
// unread, and what was written can be read after the writer is gone.
type buffer struct {
	mu     sync.Mutex
	moved  sync.Cond
	data   []byte
	over   bool // no more writes
	closed bool // no more reads
}

const bufferSize = 64 << 10

func newBuffer() *buffer {
	b := &buffer{}
	b.moved.L = &b.mu
	return b
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(p) > 0 {
		for len(b.data) == bufferSize && !b.over {
			b.moved.Wait()
		}
		if b.over {
			return n, io.ErrClosedPipe
		}
		k := min(len(p), bufferSize-len(b.data))
		b.data = append(b.data, p[:k]...)
		p, n = p[k:], n+k
		b.moved.Broadcast()
	}
	return n, nil
}

// Read implements io.Reader.
func (b *buffer) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.data) == 0 && !b.over && !b.closed {
		b.moved.Wait()
	}
	if b.closed || len(b.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = append(b.data[:0], b.data[n:]...)
	b.moved.Broadcast()
	return n, nil
}

// end closes the writing side: writes that wait fail, what is buffered can
// still be read.
func (b *buffer) end() { b.set(&b.over) }

// close closes the reading side.
func (b *buffer) close() { b.set(&b.over, &b.closed) }

func (b *buffer) set(flags ...*bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range flags {
		*f = true
	}
	b.moved.Broadcast()
}
