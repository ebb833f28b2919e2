// Package bunstore keeps everything that PeerGPU stores in one SQL database: SQLite
// for an installation that needs nothing else, PostgreSQL for the others. Each port
// stands in a file of its own; what all share is the way of writing (writer.go), the
// way of changing an aggregate (update.go), the translation of errors (errors.go) and
// the differences between the databases (dialect.go).
//
// In both databases times are BIGINT microseconds since 1970 in UTC, exact and the
// same to compare; ids are lower-case UUIDs (type uuid on PostgreSQL); NULL stands for
// a zero id or time; money is BIGINT. Free text loses NUL characters, because
// PostgreSQL cannot hold them.
package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Options is what a store needs beside its database.
type Options struct {
	Clock ports.Clock
	IDs   ports.IDs
	Log   *slog.Logger // nil: the default logger
}

// Store is an open database. Its methods give the ports; they may all be used at
// once, by any number of goroutines.
type Store struct {
	Options
	connection
	writer  *writer
	posts   *poster
	copies  *copies
	nested  nesting
	wake    chan struct{}
	leaders sync.Map // name → chan struct{}, see Leader
}

// Open connects to the database of a URL, and brings its tables up to date. Several
// processes may do that at once. sqlite:///path/to/file is a file, made if it is
// missing; sqlite://:memory: is one that is gone after Close; postgres://… is what
// libpq takes.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if o.Clock == nil || o.IDs == nil {
		return nil, domain.NewError(domain.KindInternal, "incomplete", "a store needs a clock and ids")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	c, err := connect(url)
	if err != nil {
		return nil, err
	}
	s := &Store{Options: o, connection: c, copies: newCopies(), wake: make(chan struct{}, 1)}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(translate(c.dialect, err), s.disconnect())
	}
	s.writer = newWriter(s)
	s.posts = &poster{store: s, open: map[pair]*accountRow{}}
	return s, nil
}

// Close waits for the writes that are under way, refuses new ones as Unavailable, and
// disconnects.
func (s *Store) Close() error {
	s.writer.close()
	return s.disconnect()
}

func (s *Store) disconnect() error {
	err := s.read.Close()
	if s.write != s.read {
		err = errors.Join(s.write.Close(), err)
	}
	return errors.Join(err, s.cleanup())
}

// Pools are the connections, by what they are for.
func (s *Store) Pools() map[string]*sql.DB {
	pools := map[string]*sql.DB{"read": s.read.DB}
	if s.write != s.read {
		pools["write"] = s.write.DB
	}
	return pools
}

// Ping checks that the database answers, and tells how far its clock is ahead of
// ours; on SQLite there is no other clock.
func (s *Store) Ping(ctx context.Context) (skew time.Duration, err error) {
	var now int64
	if err := s.read.NewRaw(s.dialect.now).Scan(ctx, &now); err != nil {
		return 0, s.failed(ctx, err)
	}
	if now == 0 {
		return 0, nil
	}
	return time.UnixMicro(now).Sub(s.Clock.Now()), nil
}

// reader gives what queries run on. It refuses calls from within a change.
func (s *Store) reader() (bun.IDB, error) {
	if err := s.nested.check(); err != nil {
		return nil, err
	}
	return s.read, nil
}
