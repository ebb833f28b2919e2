package memory

import (
	"context"
	"sync"
	"time"

	"github.com/peergpu/peergpu/ports"
)

var _ ports.Limiter = (*Limiter)(nil)

// Limiter remembers the uses of each key within its window.
type Limiter struct {
	clock ports.Clock
	mu    sync.Mutex
	uses  map[string]*window
	sweep int // calls until keys out of use are forgotten
}

// window is the uses of a key that count still, oldest first.
type window struct {
	times []time.Time
	ends  time.Time // of the last use's window
}

// NewLimiter makes a limiter that has seen nothing.
func NewLimiter(clock ports.Clock) *Limiter {
	return &Limiter{clock: clock, uses: map[string]*window{}}
}

// Allow counts a use, see ports.Limiter.
func (l *Limiter) Allow(ctx context.Context, key string, limit ports.Limit) (time.Duration, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	l.forget(now)
	w := l.uses[key]
	if w == nil {
		w = &window{}
		l.uses[key] = w
	}
	past := 0
	for past < len(w.times) && !w.times[past].Add(limit.Per).After(now) {
		past++
	}
	w.times = w.times[past:]
	if limit.Times <= 0 {
		return limit.Per, false, nil
	}
	if n := len(w.times); n >= limit.Times {
		// Of n uses, so many have to leave the window that one place is free.
		return w.times[n-limit.Times].Add(limit.Per).Sub(now), false, nil
	}
	w.times = append(w.times, now)
	w.ends = now.Add(limit.Per)
	return 0, true, nil
}

// forget drops the keys that are not in use, because anybody can make up keys. It does
// so after as many calls as it left keys, so that it costs each call next to nothing.
func (l *Limiter) forget(now time.Time) {
	if l.sweep--; l.sweep > 0 {
		return
	}
	for key, w := range l.uses {
		if !w.ends.After(now) {
			delete(l.uses, key)
		}
	}
	l.sweep = len(l.uses) + 1000
}
