package bunstore

import (
	"context"
	"errors"
	"hash/fnv"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/peergpu/peergpu/tests/faults"
)

// migrate brings the tables up to date. The two folders of migrations are written by
// hand, with the same numbers; a test compares what comes of them. There is no way
// back: an older program refuses nothing, because changes only add.
func (s *Store) migrate(ctx context.Context) error {
	files, err := s.dialect.migrations()
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if s.postgres != nil {
		locker, err := s.migrationLock(ctx)
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(s.dialect.goose, s.write.DB, files, options...)
	if err != nil {
		return err
	}
	done, err := up(ctx, provider)
	// goose has no lock for SQLite. Who comes second finds tables that it was about to
	// make, and, when it looks again, that there is nothing left to do.
	for try := 1; err != nil && s.postgres == nil && ctx.Err() == nil && try < maxTries; try++ {
		wait(ctx, 50*time.Millisecond)
		done, err = up(ctx, provider)
	}
	if len(done) > 0 {
		s.Log.InfoContext(ctx, "migrated the database", "migrations", len(done), "version", done[len(done)-1].Source.Version)
	}
	return err
}

// up applies what is missing. A build with crash points takes one migration at a time,
// each still in a transaction of its own, so that it can die between two.
func up(ctx context.Context, provider *goose.Provider) (done []*goose.MigrationResult, err error) {
	if !faults.Enabled {
		return provider.Up(ctx)
	}
	for {
		next, err := provider.UpByOne(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		done = append(done, next)
		_ = faults.Point("migrate.mid")
	}
}

// migrationLock makes servers that start at once wait for each other. The lock is one
// per schema, so that schemas of one database do not wait.
func (s *Store) migrationLock(ctx context.Context) (lock.SessionLocker, error) {
	var schema string
	if err := s.write.NewRaw("SELECT current_schema()").Scan(ctx, &schema); err != nil {
		return nil, err
	}
	h := fnv.New64a()
	h.Write([]byte("peergpu migrations " + schema))
	const everySecond, forMinutes = 1, 5 * 60
	return lock.NewPostgresSessionLocker(lock.WithLockID(int64(h.Sum64())), lock.WithLockTimeout(everySecond, forMinutes))
}
