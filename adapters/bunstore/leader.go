package bunstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/peergpu/peergpu/ports"
)

// Leader is leadership among the servers of one database. On PostgreSQL it is an
// advisory lock, held by a connection of its own: the server takes it back when that
// connection breaks. A SQLite file has one server, so there it is a lock in memory.
func (s *Store) Leader() ports.Leader { return leader{s} }

type leader struct{ s *Store }

// The times of leadership. A connection that does not answer for lostAfter is given
// up, so that the work ends before the server notices and lets another lead.
const (
	retryAfter = time.Second
	beatEvery  = time.Second
	lostAfter  = 2 * time.Second
)

func (l leader) Lead(ctx context.Context, name string, work func(context.Context) error) error {
	// Within the process the turn is taken in memory, also on PostgreSQL, so that those
	// who wait cost no connection each.
	mine, _ := l.s.leaders.LoadOrStore(name, make(chan struct{}, 1))
	turn := mine.(chan struct{})
	for ctx.Err() == nil {
		select {
		case turn <- struct{}{}:
			l.term(ctx, turn, name, work)
		case <-ctx.Done():
			return nil
		}
		wait(ctx, retryAfter)
	}
	return nil
}

// term leads once, if it is given the lock, and gives the turn back.
func (l leader) term(ctx context.Context, turn chan struct{}, name string, work func(context.Context) error) {
	defer func() { <-turn }()
	var err error
	if l.s.postgres == nil {
		err = work(ctx)
	} else {
		err = l.locked(ctx, name, work)
	}
	if err != nil && ctx.Err() == nil {
		l.s.Log.WarnContext(ctx, "the work of a leader ended and starts again", "name", name, "error", err)
	}
}

// locked runs work while a connection holds the lock of the name.
func (l leader) locked(ctx context.Context, name string, work func(context.Context) error) error {
	conn, err := pgx.ConnectConfig(ctx, l.s.postgres)
	if err != nil {
		return unavailable.With(err)
	}
	// Closing gives the lock back. Nobody's context may prevent that.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostAfter)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	another := false
	for ctx.Err() == nil {
		var leads bool
		// Schemas are apart, as all their tables are.
		err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/' || $1::text, 0))", name).Scan(&leads)
		if err != nil {
			return unavailable.With(err)
		}
		if leads {
			// Another led until now. If its connection broke, the lock is free a moment
			// before it knows that, so it is given the time of a beat to end its work. A
			// server that starts within that moment cannot know of it.
			if another && !alive(ctx, conn) {
				return errLost
			}
			return l.hold(ctx, conn, work)
		}
		another = true
		wait(ctx, retryAfter)
	}
	return nil
}

// hold runs work until it returns or the connection is lost, and returns after it.
func (l leader) hold(ctx context.Context, conn *pgx.Conn, work func(context.Context) error) error {
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	done := make(chan error, 1)
	go func() {
		done <- work(ctx)
		lose(nil)
	}()
	for alive(ctx, conn) {
	}
	if ctx.Err() == nil {
		lose(errLost)
	}
	err := <-done
	if errors.Is(context.Cause(ctx), errLost) {
		return errLost
	}
	return err
}

var errLost = errors.New("the connection that held the lock is lost")

// alive waits for a while and tells whether the connection is still there. A break is
// seen at once, because the connection waits for a message.
func alive(ctx context.Context, conn *pgx.Conn) bool {
	beat, cancel := context.WithTimeout(ctx, beatEvery)
	_, err := conn.WaitForNotification(beat)
	cancel()
	if ctx.Err() != nil || err != nil && beat.Err() == nil {
		return false
	}
	ping, cancel := context.WithTimeout(ctx, lostAfter)
	defer cancel()
	return conn.Ping(ping) == nil
}

// wait waits, or until the context ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
