package contract

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/ports"
)

// Leader is the contract of ports.Leader. open gives those of two processes of one
// installation, or twice the same where there is only one process.
func Leader(t *testing.T, open func(*testing.T) (a, b ports.Leader)) {
	c := leaderCases{open}
	t.Run("work runs until the context ends, and is waited for", c.runs)
	t.Run("a context that has ended leads nothing", c.ended)
	t.Run("two leaders of one name never run at the same time", c.alone)
	t.Run("names do not wait for each other", c.names)
	t.Run("a work that returns early is started again after a pause", c.again)
	t.Run("another takes over when the leader leaves", c.takeOver)
}

type leaderCases struct {
	open func(*testing.T) (a, b ports.Leader)
}

// lead begins to lead until stop is called, which gives what Lead returned.
func lead(t *testing.T, l ports.Leader, name string, work func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	left := make(chan error, 1)
	go func() { left <- l.Lead(ctx, name, work) }()
	return func() error {
		cancel()
		select {
		case err := <-left:
			left <- err
			return err
		case <-time.After(patience):
			return errors.New("it does not return from Lead")
		}
	}
}

// received waits for something to happen.
func received[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		require.Fail(t, "it did not happen: "+what)
	}
	return v
}

func (c leaderCases) runs(t *testing.T) {
	t.Parallel()
	l, _ := c.open(t)
	began := make(chan struct{})
	var finished atomic.Bool
	stop := lead(t, l, "work", func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		finished.Store(true)
		return ctx.Err()
	})
	received(t, began, "the work began")
	require.NoError(t, stop())
	assert.True(t, finished.Load(), "Lead returns after its work")
}

func (c leaderCases) ended(t *testing.T) {
	t.Parallel()
	l, _ := c.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, l.Lead(ctx, "work", func(context.Context) error {
		t.Error("the work ran")
		return nil
	}))
}

func (c leaderCases) alone(t *testing.T) {
	t.Parallel()
	a, b := c.open(t)
	var running, most, runs atomic.Int64
	work := func(ctx context.Context) error {
		n := running.Add(1)
		defer running.Add(-1)
		if n > most.Load() {
			most.Store(n)
		}
		runs.Add(1)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil
	}
	var stops []func() error
	for range 3 {
		stops = append(stops, lead(t, a, "work", work), lead(t, b, "work", work))
	}
	require.Eventually(t, func() bool { return runs.Load() >= 4 }, patience, 5*time.Millisecond)
	for _, stop := range stops {
		require.NoError(t, stop())
	}
	assert.Equal(t, int64(1), most.Load())
}

func (c leaderCases) names(t *testing.T) {
	t.Parallel()
	a, b := c.open(t)
	first, second := make(chan struct{}), make(chan struct{})
	stopA := lead(t, a, "first", func(ctx context.Context) error {
		close(first)
		<-ctx.Done()
		return nil
	})
	received(t, first, "the first work began")
	stopB := lead(t, b, "second", func(ctx context.Context) error {
		close(second)
		<-ctx.Done()
		return nil
	})
	received(t, second, "the second work began while the first runs")
	require.NoError(t, stopA())
	require.NoError(t, stopB())
}

func (c leaderCases) again(t *testing.T) {
	t.Parallel()
	l, _ := c.open(t)
	began := make(chan time.Time, 100)
	stop := lead(t, l, "work", func(context.Context) error {
		began <- time.Now()
		return errors.New("it failed")
	})
	first := received(t, began, "the work began")
	second := received(t, began, "the work began again")
	assert.GreaterOrEqual(t, second.Sub(first), 10*time.Millisecond, "a pause")
	require.NoError(t, stop())
}

func (c leaderCases) takeOver(t *testing.T) {
	t.Parallel()
	a, b := c.open(t)
	began := make(chan string, 100)
	work := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			began <- name
			<-ctx.Done()
			return nil
		}
	}
	stopA := lead(t, a, "work", work("a"))
	require.Equal(t, "a", received(t, began, "the first leads"))
	stopB := lead(t, b, "work", work("b"))
	require.NoError(t, stopA())
	require.Equal(t, "b", received(t, began, "the second leads"))
	require.NoError(t, stopB())
}
