package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/faults"
)

const (
	flushAfter = 100 * time.Millisecond // how long log bytes wait for company before they are stored
	flushBytes = 256 << 10              // or how many of them
	readBytes  = 256 << 10              // read at a time
	batchHead  = 16                     // offset and time in front of a live batch
)

// LogTopic is where batches of log bytes are published live, see EncodeBatch.
func LogTopic(ref Ref) string { return fmt.Sprintf("log:%s:%d", ref.Job, ref.Attempt) }

// EncodeBatch is how viewers get log bytes, live and from storage: 8 bytes of offset,
// 8 of time (microseconds since 1970; 0 for the zero time, which is not known), both
// big-endian, then the bytes.
func EncodeBatch(offset int64, at time.Time, data []byte) []byte {
	b := make([]byte, batchHead, batchHead+len(data))
	binary.BigEndian.PutUint64(b, uint64(offset))
	if !at.IsZero() {
		binary.BigEndian.PutUint64(b[8:], uint64(at.UnixMicro()))
	}
	return append(b, data...)
}

// DecodeBatch takes a batch apart; data shares its memory.
func DecodeBatch(b []byte) (offset int64, at time.Time, data []byte) {
	if micros := int64(binary.BigEndian.Uint64(b[8:])); micros != 0 {
		at = time.UnixMicro(micros).UTC()
	}
	return int64(binary.BigEndian.Uint64(b)), at, b[batchHead:]
}

// Position answers log bytes.
type Position struct {
	Offset int64 // durable bytes
	Rewind bool  // send again from there
	Stale  bool  // the host does not hold the attempt any more
}

// book is the log of one active attempt as it comes in: shown to viewers at once,
// stored in groups, acknowledged when it is durable.
type book struct {
	ref  Ref
	host domain.ID

	writing sync.Mutex // held while bytes are stored, so that groups keep their order

	mu      sync.Mutex
	stored  int64 // durable
	pending []byte
	since   time.Time // when the first pending byte came
	sum     hash.Hash // of everything, pending included
	lines   int64
	answer  func(Position)
	armed   bool
	closed  bool // storage knows more: open it anew
}

func (b *book) size() int64 { return b.stored + int64(len(b.pending)) }

// books are the open logs of this replica.
type books struct {
	mu   sync.Mutex
	open map[Ref]*book
}

func newBooks() *books { return &books{open: map[Ref]*book{}} }

func (k *books) find(ref Ref) *book {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open[ref]
}

func (k *books) close(job domain.ID, attempt int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.open[Ref{job, attempt}]; b != nil {
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
		delete(k.open, b.ref)
	}
}

// AppendLog takes log bytes of an attempt: viewers see them at once, answer is called
// when they are durable, or with the position from which to send again. The bytes
// belong to the callee. It blocks while too much waits to be stored: back-pressure
// reaches the job.
func (s *Service) AppendLog(ctx context.Context, who domain.Actor, ref Ref, offset int64, at time.Time, data []byte, answer func(Position)) error {
	b, err := s.locked(ctx, who, ref)
	if errors.Is(err, jobs.ErrStale) {
		answer(Position{Stale: true})
		return nil
	}
	if err != nil {
		return err
	}
	b.answer = answer
	switch size := b.size(); {
	case offset > size:
		stored := b.stored
		b.mu.Unlock()
		answer(Position{Offset: stored, Rewind: true})
		return nil
	case offset+int64(len(data)) <= size:
		stored := b.stored
		b.mu.Unlock()
		answer(Position{Offset: stored}) // a repeat
		return nil
	default:
		data = data[size-offset:]
		if size+int64(len(data)) > s.settings.LogBytes+readBytes {
			b.mu.Unlock()
			return domain.NewError(domain.KindExhausted, "log_limit", "a log has at most %d bytes", s.settings.LogBytes)
		}
	}
	s.take(b, at, data)
	s.counters.logBytes.Add(int64(len(data)))
	full := len(b.pending) >= flushBytes
	arm := !b.armed && !full
	b.armed = b.armed || arm
	b.mu.Unlock()
	if full {
		return s.flush(ctx, b)
	}
	if arm {
		time.AfterFunc(flushAfter, func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			b.mu.Lock()
			b.armed = false
			b.mu.Unlock()
			if err := s.flush(ctx, b); err != nil {
				s.Log.WarnContext(ctx, "log bytes cannot be stored; the agent will send them again", "job", b.ref.Job.Prefixed("job"), "error", err)
			}
		})
	}
	return nil
}

// locked is the open log of an attempt that the host holds, with b.mu held. One that
// was closed since it was found is opened anew, or found to be stale.
func (s *Service) locked(ctx context.Context, who domain.Actor, ref Ref) (*book, error) {
	for {
		b, err := s.book(ctx, who, ref)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		if !b.closed {
			return b, nil
		}
		b.mu.Unlock()
	}
}

// take adds bytes to the open log and shows them. b.mu is held.
func (s *Service) take(b *book, at time.Time, data []byte) {
	s.Live.Publish(LogTopic(b.ref), EncodeBatch(b.size(), at, data))
	if len(b.pending) == 0 {
		b.since = at
	}
	b.pending = append(b.pending, data...)
	b.sum.Write(data)
	for _, c := range data {
		if c == '\n' {
			b.lines++
		}
	}
}

// flush stores what is pending, unless the host does not hold the attempt any more: this
// replica may not have heard.
func (s *Service) flush(ctx context.Context, b *book) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	data, at, offset := b.pending, b.since, b.stored
	b.mu.Unlock()
	if len(data) == 0 {
		return nil
	}
	err := s.Logs.Append(ctx, b.ref.Job, b.ref.Attempt, b.host, offset, data, at)
	if err == nil {
		err = faults.Point("log.after_append_before_ack")
	}
	if err != nil {
		// Whatever went wrong, storage knows best: the next frame opens the log anew.
		s.books.close(b.ref.Job, b.ref.Attempt)
		stale := errors.Is(err, jobs.ErrStale)
		b.reply(Position{Offset: offset, Rewind: !stale, Stale: stale})
		return err
	}
	b.mu.Lock()
	b.stored += int64(len(data))
	b.pending = b.pending[len(data):]
	if len(b.pending) == 0 {
		b.pending = nil
	}
	stored := b.stored
	b.mu.Unlock()
	// Who began to watch at another replica since these bytes were shown has not seen them,
	// and did not find them stored: an empty batch behind them tells that they are.
	s.Live.Publish(LogTopic(b.ref), EncodeBatch(stored, at, nil))
	b.reply(Position{Offset: stored})
	return nil
}

func (b *book) reply(p Position) {
	b.mu.Lock()
	answer := b.answer
	b.mu.Unlock()
	if answer != nil {
		answer(p)
	}
}

// book finds the open log of an attempt that the host holds, or opens it: after a
// restart of the server its sum is made again from what is stored.
func (s *Service) book(ctx context.Context, who domain.Actor, ref Ref) (*book, error) {
	if b := s.books.find(ref); b != nil {
		if b.host != who.Host {
			return nil, jobs.ErrStale
		}
		return b, nil
	}
	if who.Host.IsZero() {
		return nil, domain.Unauthenticated("only agents have logs")
	}
	size, err := s.Logs.Open(ctx, ref.Job, ref.Attempt, who.Host)
	if err != nil {
		return nil, err
	}
	b := &book{ref: ref, host: who.Host, sum: sha256.New()}
	for b.stored < size {
		data, err := s.Logs.Read(ctx, ref.Job, ref.Attempt, b.stored, readBytes)
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			return nil, jobs.ErrStale // it is over and archived by now
		}
		b.sum.Write(data)
		b.stored += int64(len(data))
		for _, c := range data {
			if c == '\n' {
				b.lines++
			}
		}
	}
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	if other := s.books.open[ref]; other != nil {
		return other, nil
	}
	s.books.open[ref] = b
	return b, nil
}

// sealLog makes everything durable and tells size, sha256 and lines of the whole log.
func (s *Service) sealLog(ctx context.Context, who domain.Actor, ref Ref) (size int64, sum string, lines int64, err error) {
	b, err := s.book(ctx, who, ref)
	if err != nil {
		return 0, "", 0, err
	}
	if err := s.flush(ctx, b); err != nil {
		return 0, "", 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stored, hex.EncodeToString(b.sum.Sum(nil)), b.lines, nil
}
