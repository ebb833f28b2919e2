package contract

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/ports"
)

// Limiter is the contract of ports.Limiter, on a real clock with short windows.
func Limiter(t *testing.T, open func(*testing.T) ports.Limiter) {
	c := limiterCases{open(t)}
	t.Run("as many uses as the limit are allowed, and no more", c.limit)
	t.Run("after the time that is told, the next use is allowed", c.wait)
	t.Run("a use that is refused is not counted", c.refused)
	t.Run("keys do not influence each other", c.keys)
	t.Run("no window of any position holds more than the limit", c.sliding)
	t.Run("of many at once, as many as the limit are allowed", c.many)
	t.Run("a cancelled context counts nothing", c.cancelled)
}

type limiterCases struct{ ports.Limiter }

func (c limiterCases) use(t *testing.T, key string, l ports.Limit) (time.Duration, bool) {
	t.Helper()
	wait, ok, err := c.Allow(t.Context(), key, l)
	require.NoError(t, err)
	if ok {
		assert.Zero(t, wait)
	} else {
		assert.True(t, wait > 0 && wait <= l.Per, "%s", wait)
	}
	return wait, ok
}

func (c limiterCases) limit(t *testing.T) {
	t.Parallel()
	key, l := ids.New().String(), ports.Limit{Times: 3, Per: time.Hour}
	for range 3 {
		_, ok := c.use(t, key, l)
		assert.True(t, ok)
	}
	for range 3 {
		_, ok := c.use(t, key, l)
		assert.False(t, ok)
	}
}

func (c limiterCases) wait(t *testing.T) {
	t.Parallel()
	key, l := ids.New().String(), ports.Limit{Times: 2, Per: 300 * time.Millisecond}
	for range 2 {
		_, ok := c.use(t, key, l)
		require.True(t, ok)
	}
	wait, ok := c.use(t, key, l)
	require.False(t, ok)
	<-time.After(wait)
	_, ok = c.use(t, key, l)
	assert.True(t, ok)
}

func (c limiterCases) refused(t *testing.T) {
	t.Parallel()
	key, l := ids.New().String(), ports.Limit{Times: 1, Per: time.Hour}
	_, ok := c.use(t, key, l)
	require.True(t, ok)
	// Who tries again and again waits no longer than who waits.
	for counted := time.Now(); time.Since(counted) < 50*time.Millisecond; {
		tried := time.Now()
		wait, ok := c.use(t, key, l)
		require.False(t, ok)
		require.LessOrEqual(t, wait, l.Per-tried.Sub(counted)+5*time.Millisecond)
	}
}

func (c limiterCases) keys(t *testing.T) {
	t.Parallel()
	l := ports.Limit{Times: 1, Per: time.Hour}
	key := ids.New().String()
	for _, k := range []string{key, key + ":", "x" + key, ids.New().String()} {
		_, ok := c.use(t, k, l)
		assert.True(t, ok, k)
	}
}

func (c limiterCases) sliding(t *testing.T) {
	t.Parallel()
	key, l := ids.New().String(), ports.Limit{Times: 3, Per: 200 * time.Millisecond}
	var before, after []time.Time // of the calls that were allowed
	require.Eventually(t, func() bool {
		began := time.Now()
		if _, ok := c.use(t, key, l); ok {
			before, after = append(before, began), append(after, time.Now())
		}
		return len(before) >= 10
	}, patience, 7*time.Millisecond)
	for i := l.Times; i < len(before); i++ {
		// The longest that the uses can lie apart; they were counted in between.
		assert.GreaterOrEqual(t, after[i].Sub(before[i-l.Times]), l.Per)
	}
}

func (c limiterCases) many(t *testing.T) {
	t.Parallel()
	key, l := ids.New().String(), ports.Limit{Times: 10, Per: time.Hour}
	allowed := make([]bool, 5*racers)
	for _, err := range race(len(allowed), func(i int) (err error) {
		_, allowed[i], err = c.Allow(t.Context(), key, l)
		return err
	}) {
		require.NoError(t, err)
	}
	n := 0
	for _, ok := range allowed {
		if ok {
			n++
		}
	}
	assert.Equal(t, 10, n)
}

func (c limiterCases) cancelled(t *testing.T) {
	t.Parallel()
	key, l := ids.New().String(), ports.Limit{Times: 1, Per: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, ok, err := c.Allow(ctx, key, l)
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, ok)
	_, ok = c.use(t, key, l)
	assert.True(t, ok)
}
