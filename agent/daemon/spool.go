package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// spool is an attempt's merged output on disk, from its first byte on: what was not
// acknowledged can be sent again, and the sum is over exactly what is billed. One
// goroutine writes; the courier reads.
type spool struct {
	file  *os.File
	clock Clock
	limit int64 // bytes of the job that are kept; 0: all
	room  int64 // bytes that may wait for acknowledgement before Write blocks

	mu       sync.Mutex
	size     int64
	acked    int64
	dropped  int64
	lines    int64
	lastByte byte
	sum      hash.Hash
	marks    []mark
	closed   bool
	eager    bool          // Write does not wait for room any more
	roomy    chan struct{} // closed when there is room again; nil when nobody waits
	changed  func()        // tells the courier
}

// mark remembers when the bytes from an offset on were read.
type mark struct {
	offset int64
	at     time.Time
}

// The marks are for display, so they are coarse: one per batch, and bounded.
const (
	markEvery = 5 * time.Millisecond
	maxMarks  = 4096
)

// newSpool makes the file at path.
func newSpool(path string, clock Clock, limit, room int64, changed func()) (*spool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &spool{file: f, clock: clock, limit: limit, room: room, sum: sha256.New(), changed: changed}, nil
}

// reopenSpool takes up the file that an earlier process left. A missing file is an empty
// stream: the process died before it made one.
func reopenSpool(path string, clock Clock, limit, room int64, at time.Time, changed func()) (*spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &spool{clock: clock, limit: limit, room: room, sum: sha256.New(), changed: changed, marks: []mark{{0, at}}}
	buf := make([]byte, wire.MaxLogData)
	for {
		n, err := f.Read(buf)
		s.count(buf[:n])
		if errors.Is(err, io.EOF) {
			s.file = f
			return s, nil
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// resume is the byte of the job from which on more is wanted, or below 0 when whatever
// comes is too much: what was dropped before is not known any more.
func (s *spool) resume() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit == 0 || s.size < s.limit {
		return s.size
	}
	s.dropped++                 // so that there is a marker
	s.closed = s.size > s.limit // unless there is one
	return -1
}

// Write keeps p. It blocks while too much waits for the server, which in turn blocks
// the job: nothing is dropped below the limit. Over the limit bytes are counted only, and
// so are those that the disk does not take.
func (s *spool) Write(p []byte) (int, error) {
	s.awaitRoom()
	s.mu.Lock()
	keep := p
	if s.limit > 0 && s.size+int64(len(p)) > s.limit {
		keep = p[:max(0, s.limit-s.size)]
		s.dropped += int64(len(p) - len(keep))
	}
	err := s.append(keep)
	if err != nil {
		s.dropped += int64(len(keep)) // the marker will tell
		keep = nil
	}
	s.mu.Unlock()
	if len(keep) > 0 {
		s.changed()
	}
	return len(p), err
}

// append writes and counts; the lock is held.
func (s *spool) append(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := s.file.WriteAt(p, s.size); err != nil {
		return err
	}
	now := s.clock.Now()
	if n := len(s.marks); n == 0 || now.Sub(s.marks[n-1].at) >= markEvery {
		if n >= maxMarks {
			s.thin()
		}
		s.marks = append(s.marks, mark{s.size, now})
	}
	s.count(p)
	return nil
}

// thin forgets every second mark.
func (s *spool) thin() {
	kept := s.marks[:0]
	for i, m := range s.marks {
		if i%2 == 0 {
			kept = append(kept, m)
		}
	}
	s.marks = kept
}

// count takes kept bytes into the sums; the lock is held.
func (s *spool) count(p []byte) {
	s.sum.Write(p)
	s.size += int64(len(p))
	for _, b := range p {
		if b == '\n' {
			s.lines++
		}
	}
	if len(p) > 0 {
		s.lastByte = p[len(p)-1]
	}
}

// awaitRoom blocks until less than room waits for acknowledgement.
func (s *spool) awaitRoom() {
	for {
		s.mu.Lock()
		if s.eager || s.room <= 0 || s.size-s.acked < s.room {
			s.mu.Unlock()
			return
		}
		if s.roomy == nil {
			s.roomy = make(chan struct{})
		}
		wait := s.roomy
		s.mu.Unlock()
		<-wait
	}
}

// release lets Write go on for good: the job has ended, and what is left in the pipe is
// little.
func (s *spool) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eager = true
	s.wakeWriter()
}

// wakeWriter lets a Write that waits look again; the lock is held.
func (s *spool) wakeWriter() {
	if s.roomy != nil {
		close(s.roomy)
		s.roomy = nil
	}
}

// finish ends the stream, with a marker when bytes were dropped.
func (s *spool) finish() error {
	s.mu.Lock()
	var err error
	if s.dropped > 0 && !s.closed {
		marker := fmt.Sprintf("[truncated %d bytes]\n", s.dropped)
		if s.size > 0 && s.lastByte != '\n' {
			marker = "\n" + marker
		}
		err = s.append([]byte(marker))
	}
	s.closed = true
	s.mu.Unlock()
	s.changed()
	return err
}

// ack notes that the server has the bytes before offset for good. An offset from the
// future is the server's mistake and ignored.
func (s *spool) ack(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset <= s.acked || offset > s.size {
		return
	}
	s.acked = offset
	for len(s.marks) > 1 && s.marks[1].offset <= offset {
		s.marks = s.marks[1:]
	}
	if s.size-s.acked < s.room {
		s.wakeWriter()
	}
}

// rewind takes back what was acknowledged: the server misses bytes from offset on.
func (s *spool) rewind(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = min(s.acked, max(0, offset))
}

// state says how long the stream is, how much is acknowledged and whether it ended.
func (s *spool) state() (size, acked int64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.acked, s.closed
}

// read fills buf from offset on, and says when the first byte was produced.
func (s *spool) read(offset int64, buf []byte) (time.Time, error) {
	s.mu.Lock()
	at := s.clock.Now()
	for _, m := range s.marks {
		if m.offset > offset {
			break
		}
		at = m.at
	}
	s.mu.Unlock()
	_, err := s.file.ReadAt(buf, offset)
	return at, err
}

// summary is what finished says about the log.
func (s *spool) summary() wire.LogSummary {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	if s.size > 0 && s.lastByte != '\n' {
		lines++
	}
	return wire.LogSummary{
		Bytes: s.size, Lines: lines, SHA256: hex.EncodeToString(s.sum.Sum(nil)), TruncatedBytes: s.dropped,
	}
}

// close frees the file; it stays on disk.
func (s *spool) close() {
	if err := s.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		s.release()
	}
}
