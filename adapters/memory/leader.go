package memory

import (
	"context"
	"sync"
	"time"

	"github.com/peergpu/peergpu/ports"
)

var _ ports.Leader = (*Leader)(nil)

// restart is the pause before a work that returned early is started again.
const restart = time.Second

// Leader lets one goroutine of this process at a time do a piece of work.
type Leader struct{ turns sync.Map } // name → chan struct{} of capacity 1

// NewLeader makes a leader that nobody is yet.
func NewLeader() *Leader { return &Leader{} }

// Lead runs work when it is its turn, see ports.Leader. What the work returns is its
// own business: it is run again anyhow.
func (l *Leader) Lead(ctx context.Context, name string, work func(context.Context) error) error {
	turns, _ := l.turns.LoadOrStore(name, make(chan struct{}, 1))
	turn := turns.(chan struct{})
	for ctx.Err() == nil {
		select {
		case turn <- struct{}{}:
			serve(ctx, turn, work)
		case <-ctx.Done():
			return nil
		}
		pause := time.NewTimer(restart)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
	return nil
}

// serve gives the turn back even when work panics.
func serve(ctx context.Context, turn chan struct{}, work func(context.Context) error) {
	defer func() { <-turn }()
	if ctx.Err() == nil {
		_ = work(ctx)
	}
}
