package contract

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Pins is the contract of ports.Pins.
func Pins(t *testing.T, open func(*testing.T) Storage) {
	c := pinCases{open(t).Pins()}
	t.Run("an image that was not pinned is not found", c.missing)
	t.Run("the first to pin an image decides", c.first)
	t.Run("all who pin an image at once have one", c.race)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
}

type pinCases struct{ ports.Pins }

func pin(n int) domainjobs.PinnedImage {
	return domainjobs.PinnedImage{Ref: fmt.Sprintf("registry.example.org/a/b:%d", n), Digest: "sha256:" + strings.Repeat(fmt.Sprint(n%10), 64)}
}

func (c pinCases) missing(t *testing.T) {
	t.Parallel()
	_, err := c.Pinned(t.Context(), "never/"+ids.New().String())
	require.ErrorIs(t, err, domain.NotFound(""))
}

func (c pinCases) first(t *testing.T) {
	t.Parallel()
	image := "a/" + ids.New().String()
	for range 2 {
		got, err := c.Pin(t.Context(), image, pin(1))
		require.NoError(t, err)
		assert.Equal(t, pin(1), got)
	}
	got, err := c.Pin(t.Context(), image, pin(2))
	require.NoError(t, err)
	assert.Equal(t, pin(1), got, "it stays what it is")
	got, err = c.Pinned(t.Context(), image)
	require.NoError(t, err)
	assert.Equal(t, pin(1), got)
	_, err = c.Pinned(t.Context(), image+":other")
	require.ErrorIs(t, err, domain.NotFound(""))
}

func (c pinCases) race(t *testing.T) {
	t.Parallel()
	image := "b/" + ids.New().String()
	var mu sync.Mutex
	got := map[domainjobs.PinnedImage]bool{}
	for _, err := range race(racers, func(n int) error {
		p, err := c.Pin(t.Context(), image, pin(n))
		mu.Lock()
		defer mu.Unlock()
		got[p] = true
		return err
	}) {
		require.NoError(t, err)
	}
	assert.Len(t, got, 1)
}

func (c pinCases) calls() calls {
	return calls{
		"Pinned": func(ctx context.Context) error { _, err := c.Pinned(ctx, "x"); return err },
		"Pin":    func(ctx context.Context) error { _, err := c.Pin(ctx, "x", pin(1)); return err },
	}
}
