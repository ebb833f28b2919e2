package cloudblob

import (
	"context"
	"sync"
)

// keyLock lets one call at a time change the object of a key. Its zero value is ready.
type keyLock struct {
	mu   sync.Mutex
	held map[string]*turn
}

// turn is one key's lock: whoever can put into the channel has it.
type turn struct {
	holder chan struct{}
	users  int // that hold it or wait
}

func (l *keyLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*turn{}
	}
	t := l.held[key]
	if t == nil {
		t = &turn{holder: make(chan struct{}, 1)}
		l.held[key] = t
	}
	t.users++
	l.mu.Unlock()

	select {
	case t.holder <- struct{}{}:
		if ctx.Err() == nil {
			return func() { <-t.holder; l.leave(key, t) }, nil
		}
		<-t.holder
	case <-ctx.Done():
	}
	l.leave(key, t)
	return nil, ctx.Err()
}

func (l *keyLock) leave(key string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.held, key)
	}
}
