package ports

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Clock is the only source of time. Now is UTC in whole microseconds.
type Clock interface {
	Now() time.Time
}

// IDs makes identifiers. They are UUIDv7, unique, and grow: an id is larger than
// every id that the same IDs made before.
type IDs interface {
	New() domain.ID
}

// Leader lets one process at a time do a piece of work.
type Leader interface {
	// Lead runs work while this process is the leader for name, and again when it
	// becomes leader again, until ctx ends; then it returns nil. Two leaders of one
	// name do not run at the same time; a process that stands still while its
	// leadership is given to another does not know it, so what work does must bear
	// being done twice. The context of work ends when leadership is lost. A work that
	// returns early is started again after a pause.
	Lead(ctx context.Context, name string, work func(context.Context) error) error
}

// Limit is how often something may happen.
type Limit struct {
	Times int
	Per   time.Duration
}

// Use counts a use of a key and refuses one that is over the limit. A limit of 0 times is
// none.
func (l Limit) Use(ctx context.Context, by Limiter, key string) error {
	if l.Times == 0 {
		return nil
	}
	wait, ok, err := by.Allow(ctx, key, l)
	if err == nil && !ok {
		return domain.TooMany(wait)
	}
	return err
}

// Limiter bounds how often a key is used, in a sliding window.
type Limiter interface {
	// Allow counts a use. When the limit is reached it counts nothing and tells after
	// which time the next use is allowed. Keys do not influence each other.
	Allow(ctx context.Context, key string, limit Limit) (wait time.Duration, ok bool, err error)
}
