package contract

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

// GPUsCase is an adapter of daemon.GPUs under test.
type GPUsCase struct {
	// Open looks at a machine with two GPUs or more.
	Open func(t *testing.T) daemon.GPUs
	// None are machines without GPUs, in each way in which one can lack them.
	None map[string]func(t *testing.T) daemon.GPUs
}

// GPUs is the contract of daemon.GPUs.
func GPUs(t *testing.T, c GPUsCase) {
	probe := func(t *testing.T, g daemon.GPUs) []daemon.GPU {
		gpus, err := g.Probe(t.Context())
		require.NoError(t, err)
		return gpus
	}
	t.Run("the GPUs are listed in the driver's order, each with what identifies it", func(t *testing.T) {
		t.Parallel()
		gpus := probe(t, c.Open(t))
		require.GreaterOrEqual(t, len(gpus), 2)
		uuids := map[string]bool{}
		for i, g := range gpus {
			assert.False(t, uuids[g.UUID], "%s is there twice", g.UUID)
			uuids[g.UUID] = true
			assert.NotEmpty(t, g.UUID)
			assert.NotEmpty(t, g.Model)
			assert.NotEmpty(t, g.Driver)
			assert.GreaterOrEqual(t, g.MemoryBytes, int64(0))
			if i > 0 {
				assert.Greater(t, g.Index, gpus[i-1].Index)
			}
		}
	})
	t.Run("a second look finds the same, whatever was done to the first", func(t *testing.T) {
		t.Parallel()
		g := c.Open(t)
		first, second := probe(t, g), probe(t, g)
		require.Equal(t, first, second)
		clear(first)
		require.Equal(t, second, probe(t, g))
	})
	t.Run("load samples every GPU once, in the same order", func(t *testing.T) {
		t.Parallel()
		g := c.Open(t)
		gpus := probe(t, g)
		loads, err := g.Load(t.Context())
		require.NoError(t, err)
		require.Len(t, loads, len(gpus))
		for i, l := range loads {
			assert.Equal(t, gpus[i].UUID, l.UUID)
			assert.True(t, 0 <= l.Utilization && l.Utilization <= 100, "%d%%", l.Utilization)
			assert.True(t, 0 <= l.MemoryUsed && l.MemoryUsed <= gpus[i].MemoryBytes, "%d bytes", l.MemoryUsed)
			assert.GreaterOrEqual(t, l.PowerW, 0)
		}
	})
	for why, open := range c.None {
		t.Run("a machine "+why+" has an empty list and no error", func(t *testing.T) {
			t.Parallel()
			g := open(t)
			assert.Empty(t, probe(t, g))
			loads, err := g.Load(t.Context())
			require.NoError(t, err)
			assert.Empty(t, loads)
		})
	}
	t.Run("a cancelled context ends both", func(t *testing.T) {
		t.Parallel()
		g := c.Open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := g.Probe(ctx)
		require.ErrorIs(t, err, context.Canceled)
		_, err = g.Load(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("many may look at once", func(t *testing.T) {
		t.Parallel()
		g := c.Open(t)
		want := probe(t, g)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				got, err := g.Probe(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, want, got)
				_, err = g.Load(t.Context())
				assert.NoError(t, err)
			})
		}
		all.Wait()
	})
}
