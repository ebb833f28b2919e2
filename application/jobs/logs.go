package jobs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// LogView is one attempt's log, ready to be read by somebody who may.
type LogView struct {
	Ref
	Size int64 // bytes that exist now
	Over bool  // no more will come
	// Seen is the job as it was when Follow last looked.
	Seen jobs.Snapshot
	s    *Service
}

// OpenLog opens the log of an attempt; 0 is the latest. A job without attempt has an
// empty log.
func (s *Service) OpenLog(ctx context.Context, who domain.Actor, id domain.ID, attempt int) (LogView, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return LogView{}, err
	}
	j, err := s.get(ctx, who, id)
	if err != nil {
		return LogView{}, err
	}
	if attempt == 0 {
		attempt = j.Attempt()
	}
	v := LogView{Ref: Ref{id, attempt}, s: s}
	if attempt == 0 {
		v.Over = j.State.Terminal()
		return v, nil
	}
	if attempt < 0 || attempt > j.Attempt() {
		return v, domain.NotFound("attempt")
	}
	return v, v.measure(ctx, j)
}

func (v *LogView) measure(ctx context.Context, j jobs.Snapshot) error {
	a := j.Attempts[v.Attempt-1]
	var err error
	if v.Size, err = v.s.Logs.Size(ctx, v.Job, v.Attempt); err != nil {
		return err
	}
	v.Over = !a.Active()
	if v.Over && v.Size == 0 {
		info, err := v.s.Blobs.Stat(ctx, logKey(v.Ref))
		if domain.KindOf(err) == domain.KindNotFound {
			return nil
		}
		v.Size = info.Size
		return err
	}
	if b := v.s.books.find(v.Ref); b != nil {
		b.mu.Lock()
		v.Size = max(v.Size, b.size())
		b.mu.Unlock()
	}
	return nil
}

// Read gives bytes from an offset: from storage, from what waits to be stored, or from
// the archive. At the end it gives none.
func (v *LogView) Read(ctx context.Context, offset int64) ([]byte, error) {
	if v.Attempt == 0 {
		return nil, nil
	}
	if b := v.s.books.find(v.Ref); b != nil {
		b.mu.Lock()
		if at := offset - b.stored; at >= 0 && at < int64(len(b.pending)) {
			data := bytes.Clone(b.pending[at:])
			b.mu.Unlock()
			return data, nil
		}
		b.mu.Unlock()
	}
	data, err := v.s.Logs.Read(ctx, v.Job, v.Attempt, offset, readBytes)
	if err != nil || len(data) > 0 || !v.Over {
		return data, err
	}
	r, err := v.s.Blobs.Open(ctx, logKey(v.Ref), offset, readBytes)
	if err != nil {
		if domain.KindOf(err) == domain.KindNotFound {
			return nil, nil
		}
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Follow hands on the log from an offset as batches (see EncodeBatch), first what is
// stored, then what comes, until no more will come. Between the two there is no gap
// and no repeat: the offset decides, and what the live channel lost is read again.
func (v *LogView) Follow(ctx context.Context, who domain.Actor, from int64, emit func(batch []byte) error) error {
	changes, cancelChanges := v.s.Live.Subscribe(JobTopic(v.Job))
	defer cancelChanges()
	if err := v.begin(ctx, who, changes); err != nil {
		return err
	}
	live, cancel := v.s.Live.Subscribe(LogTopic(v.Ref))
	defer cancel()
	var news []byte // why it is looked at again
	for {
		// What exists is read before what comes is waited for; both subscriptions are older.
		j, err := v.s.told(ctx, who, v.Job, news)
		if err != nil {
			return err
		}
		v.Seen = j
		v.Over = v.Attempt > 0 && !j.Attempts[v.Attempt-1].Active() || j.State.Terminal()
		if from, err = v.history(ctx, from, emit); err != nil || v.Over {
			return err
		}
		if from, news, err = v.wait(ctx, from, live, changes, emit); err != nil {
			return err
		}
	}
}

// begin waits for the first attempt, if there is none yet.
func (v *LogView) begin(ctx context.Context, who domain.Actor, changes <-chan []byte) error {
	for v.Attempt == 0 {
		j, err := v.s.get(ctx, who, v.Job)
		if err != nil || j.State.Terminal() {
			return err
		}
		if v.Attempt = j.Attempt(); v.Attempt > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
	}
	return nil
}

// history emits what can be read from an offset, without a time, because storage keeps
// none of each line, and tells where it ended.
func (v *LogView) history(ctx context.Context, from int64, emit func([]byte) error) (int64, error) {
	for {
		data, err := v.Read(ctx, from)
		if err != nil || len(data) == 0 {
			return from, err
		}
		if err := emit(EncodeBatch(from, time.Time{}, data)); err != nil {
			return from, err
		}
		from += int64(len(data))
	}
}

// wait emits live batches until something else has to be looked at: a gap, a loss, or
// a change of the job that may be the end of the attempt. It tells the message about that.
func (v *LogView) wait(ctx context.Context, from int64, live, changes <-chan []byte, emit func([]byte) error) (int64, []byte, error) {
	for {
		select {
		case <-ctx.Done():
			return from, nil, ctx.Err()
		case message := <-changes:
			if u, ok := parseUpdate(message); ok && v.Attempt > 0 && u.Attempt == v.Attempt && u.State.Active() {
				continue
			}
			return from, message, nil
		case batch := <-live:
			if batch == nil {
				return from, nil, nil
			}
			offset, at, data := DecodeBatch(batch)
			switch end := offset + int64(len(data)); {
			case offset > from:
				return from, nil, nil
			case end <= from:
				continue
			case offset < from:
				batch = EncodeBatch(from, at, data[from-offset:])
				fallthrough
			default:
				if err := emit(batch); err != nil {
					return from, nil, err
				}
				from = end
			}
		}
	}
}

// LogLink signs a download of a log that is archived.
func (s *Service) LogLink(ctx context.Context, who domain.Actor, id domain.ID, attempt int) (ports.SignedRequest, error) {
	v, err := s.OpenLog(ctx, who, id, attempt)
	if err != nil {
		return ports.SignedRequest{}, err
	}
	if v.Over && v.Attempt > 0 {
		_, err = s.archive(ctx, v.Ref)
	}
	if err != nil {
		return ports.SignedRequest{}, err
	}
	if !v.Over || v.Attempt == 0 {
		return ports.SignedRequest{}, domain.Conflict("log_not_complete", "the log is not complete; read it at /api/jobs/{id}/logs")
	}
	return s.Blobs.SignGet(ctx, logKey(v.Ref), ports.GetOptions{Filename: id.Prefixed("job") + ".log", Expires: LinkTTL})
}

// archive moves the log of an attempt that is over into the blob store. Interrupted
// anywhere, it does the rest when it is repeated.
func (s *Service) archive(ctx context.Context, ref Ref) (ports.BlobInfo, error) {
	info, err := s.Blobs.Stat(ctx, logKey(ref))
	if domain.KindOf(err) == domain.KindNotFound {
		info, err = s.Blobs.Put(ctx, logKey(ref), &logReader{ctx: ctx, s: s, ref: ref})
	}
	if err != nil || info.Size == 0 {
		return info, err
	}
	return info, s.Logs.Drop(ctx, ref.Job, ref.Attempt)
}

func logKey(ref Ref) string { return fmt.Sprintf(logsPrefix+"%s/%d.log", ref.Job, ref.Attempt) }

// logReader reads the stored log of an attempt as one stream.
type logReader struct {
	ctx    context.Context //nolint:containedctx // an io.Reader has no other place for it
	s      *Service
	ref    Ref
	offset int64
	rest   []byte
	last   bool // nothing follows rest
}

func (r *logReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && !r.last {
		data, err := r.s.Logs.Read(r.ctx, r.ref.Job, r.ref.Attempt, r.offset, readBytes)
		if err != nil {
			return 0, err
		}
		r.rest, r.last = data, len(data) < readBytes
		r.offset += int64(len(data))
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
