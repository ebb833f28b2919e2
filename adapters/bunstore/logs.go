package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Logs is the log bytes of attempts, in chunks as they came, each compressed by
// itself.
func (s *Store) Logs() ports.Logs { return logs{s} }

type logs struct{ s *Store }

type chunkRow struct {
	bun.BaseModel `bun:"table:log_chunks,alias:l"`

	JobID   key   `bun:",pk"`
	Attempt int   `bun:",pk"`
	Start   int64 `bun:",pk"` // raw bytes before it
	Size    int64 // raw bytes
	At      stamp
	Data    []byte // zstd
}

// coder compresses and expands; both may be used by many at once.
var coder = sync.OnceValue(func() (c struct {
	*zstd.Encoder
	*zstd.Decoder
}) {
	// Options that are fixed cannot be refused.
	c.Encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
	c.Decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0))
	return c
})

// present is the size of a log: where its last chunk ends.
const present = "COALESCE((SELECT start + size FROM log_chunks WHERE job_id = ? AND attempt = ? ORDER BY start DESC LIMIT 1), 0)"

// holding is the attempt if a host holds it.
const holding = " FROM attempts WHERE job_id = ? AND number = ? AND host = ? AND active"

func (r logs) Open(ctx context.Context, job domain.ID, attempt int, host domain.ID) (int64, error) {
	db, err := r.s.reader()
	if err != nil {
		return 0, err
	}
	size, err := r.open(ctx, db, job, attempt, host)
	return size, r.s.failed(ctx, err)
}

func (r logs) open(ctx context.Context, db bun.IDB, job domain.ID, attempt int, host domain.ID) (size int64, err error) {
	err = db.NewRaw("SELECT "+present+holding, key(job), attempt, key(job), attempt, key(host)).Scan(ctx, &size)
	if errors.Is(err, sql.ErrNoRows) && ctx.Err() == nil {
		err = jobs.ErrStale
	}
	return size, err
}

func (r logs) Append(ctx context.Context, job domain.ID, attempt int, host domain.ID, offset int64, data []byte, at time.Time) error {
	if len(data) == 0 {
		size, err := r.Open(ctx, job, attempt, host)
		if err == nil && size != offset {
			err = errWrongOffset
		}
		return err
	}
	packed := coder().EncodeAll(data, nil)
	return r.s.commit(ctx, job, func(t *tx) error {
		// Two servers that append at once have the same start, which the key refuses.
		n, err := t.exec(r.s.write.NewRaw("INSERT INTO log_chunks (job_id, attempt, start, size, at, data) "+
			"SELECT ?, ?, ?, ?, ?, ?"+holding+" AND "+present+" = ?",
			key(job), attempt, offset, len(data), stamp(at), packed, key(job), attempt, key(host), key(job), attempt, offset))
		if err != nil || n > 0 {
			return err
		}
		db, err := t.rows()
		if err != nil {
			return err
		}
		if _, err = r.open(t.ctx, db, job, attempt, host); err == nil {
			err = errWrongOffset
		}
		return err
	})
}

func (r logs) Size(ctx context.Context, job domain.ID, attempt int) (size int64, err error) {
	db, err := r.s.reader()
	if err != nil {
		return 0, err
	}
	err = db.NewRaw("SELECT "+present, key(job), attempt).Scan(ctx, &size)
	return size, r.s.failed(ctx, err)
}

func (r logs) Read(ctx context.Context, job domain.ID, attempt int, offset int64, limit int) ([]byte, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	if limit = max(limit, 1); limit > mostRead {
		limit = mostRead
	}
	first := db.NewSelect().Model((*chunkRow)(nil)).Column("start").Where("job_id = ?", key(job)).Where("attempt = ?", attempt).
		Where("start <= ?", offset).OrderExpr("start DESC").Limit(1)
	var chunks []chunkRow
	err = db.NewSelect().Model(&chunks).Column("start", "size", "data").Where("job_id = ?", key(job)).Where("attempt = ?", attempt).
		Where("start >= (?)", first).Where("start < ?", offset+int64(limit)).Order("start").Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, r.s.failed(ctx, err)
	}
	var out []byte
	for _, c := range chunks {
		raw, err := coder().DecodeAll(c.Data, nil)
		if err != nil || int64(len(raw)) != c.Size {
			return nil, domain.NewError(domain.KindInternal, "damaged_log", "a part of the log is damaged").
				With(fmt.Errorf("chunk at %d of job %s attempt %d: %w", c.Start, job, attempt, err))
		}
		skip := min(max(offset+int64(len(out))-c.Start, 0), c.Size)
		out = append(out, raw[skip:min(c.Size, skip+int64(limit-len(out)))]...)
	}
	return out, nil
}

// mostRead bounds what one Read holds in memory.
const mostRead = 8 << 20

func (r logs) Drop(ctx context.Context, job domain.ID, attempt int) error {
	return r.s.commitLazily(ctx, job, func(t *tx) error {
		return t.later(r.s.write.NewDelete().Model((*chunkRow)(nil)).Where("job_id = ?", key(job)).Where("attempt = ?", attempt))
	})
}
