package contract

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Logs is the contract of ports.Logs.
func Logs(t *testing.T, open func(*testing.T) Storage) {
	c := logCases{open(t).Logs()}
	t.Run("an unknown attempt has no bytes", c.unknown)
	t.Run("any reads give what any appends wrote", c.model)
	t.Run("offsets count raw bytes, however well they are compressed", c.raw)
	t.Run("an offset other than the size changes nothing", c.wrongOffset)
	t.Run("of those who append at one offset, one does", c.appendRace)
	t.Run("attempts and jobs are kept apart", c.apart)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("dropping removes all bytes, and removing nothing is no error", c.drop)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

var errWrongOffset = domain.Conflict("wrong_offset", "")

type logCases struct{ ports.Logs }

func (c logCases) size(t require.TestingT, ctx context.Context, job domain.ID, attempt int) int64 {
	n, err := c.Size(ctx, job, attempt)
	require.NoError(t, err)
	return n
}

// all reads a log in parts of at most limit bytes.
func (c logCases) all(t *testing.T, job domain.ID, attempt, limit int) (log []byte) {
	t.Helper()
	for {
		part, err := c.Read(t.Context(), job, attempt, int64(len(log)), limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(part), limit)
		if len(part) == 0 {
			return log
		}
		log = append(log, part...)
	}
}

func (c logCases) unknown(t *testing.T) {
	t.Parallel()
	job := ids.New()
	assert.Zero(t, c.size(t, t.Context(), job, 1))
	assert.Empty(t, c.all(t, job, 1, 10))
	assert.ErrorIs(t, c.Append(t.Context(), job, 1, 5, []byte("x"), now()), errWrongOffset)
}

func (c logCases) model(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(r *rapid.T) {
		job, log := ids.New(), []byte{}
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			data := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(r, "data")
			require.NoError(r, c.Append(ctx, job, 1, int64(len(log)), data, now()))
			log = append(log, data...)
			require.EqualValues(r, len(log), c.size(r, ctx, job, 1))
			offset := rapid.IntRange(0, len(log)).Draw(r, "offset")
			limit := rapid.IntRange(1, len(log)+1).Draw(r, "limit")
			got, err := c.Read(ctx, job, 1, int64(offset), limit)
			require.NoError(r, err)
			require.True(r, bytes.HasPrefix(log[offset:], got), "%q is not at %d of %q", got, offset, log)
			require.LessOrEqual(r, len(got), limit)
			require.Equal(r, offset == len(log), len(got) == 0, "at least one byte, unless at the end")
		}
	})
}

func (c logCases) raw(t *testing.T) {
	t.Parallel()
	job, noise := ids.New(), make([]byte, 300_000)
	_, _ = rand.Read(noise)
	log := []byte(strings.Repeat("epoch 1: loss 0.5\n", 20_000))
	require.NoError(t, c.Append(t.Context(), job, 1, 0, log, now()))
	require.NoError(t, c.Append(t.Context(), job, 1, int64(len(log)), noise, now()))
	log = append(log, noise...)
	assert.EqualValues(t, len(log), c.size(t, t.Context(), job, 1))
	for _, limit := range []int{1 << 16, 99_991, 1 << 30} {
		assert.True(t, bytes.Equal(log, c.all(t, job, 1, limit)), "in parts of %d", limit)
	}
}

func (c logCases) wrongOffset(t *testing.T) {
	t.Parallel()
	job := ids.New()
	require.NoError(t, c.Append(t.Context(), job, 1, 0, []byte("hello"), now()))
	for _, offset := range []int64{0, 4, 6, 1 << 40, -1} {
		assert.ErrorIs(t, c.Append(t.Context(), job, 1, offset, []byte("world"), now()), errWrongOffset, "%d", offset)
	}
	assert.Equal(t, "hello", string(c.all(t, job, 1, 100)))
}

func (c logCases) appendRace(t *testing.T) {
	t.Parallel()
	job := ids.New()
	var want []byte
	for range 3 {
		offset := int64(len(want))
		errs := race(racers, func(i int) error {
			return c.Append(t.Context(), job, 1, offset, bytes.Repeat([]byte{byte('a' + i)}, i+1), now())
		})
		require.Equal(t, 1, winners(t, errs, errWrongOffset))
		for i, err := range errs {
			if err == nil {
				want = append(want, bytes.Repeat([]byte{byte('a' + i)}, i+1)...)
			}
		}
	}
	assert.Equal(t, string(want), string(c.all(t, job, 1, 100)))
}

func (c logCases) apart(t *testing.T) {
	t.Parallel()
	job, other := ids.New(), ids.New()
	require.NoError(t, c.Append(t.Context(), job, 1, 0, []byte("first"), now()))
	require.NoError(t, c.Append(t.Context(), job, 2, 0, []byte("second"), now()))
	require.NoError(t, c.Append(t.Context(), other, 1, 0, []byte("other"), now()))
	require.NoError(t, c.Drop(t.Context(), job, 1))
	assert.Empty(t, c.all(t, job, 1, 100))
	assert.Equal(t, "second", string(c.all(t, job, 2, 100)))
	assert.Equal(t, "other", string(c.all(t, other, 1, 100)))
}

func (c logCases) copies(t *testing.T) {
	t.Parallel()
	job, given := ids.New(), []byte("hello")
	require.NoError(t, c.Append(t.Context(), job, 1, 0, given, now()))
	copy(given, "xxxxx")
	part, err := c.Read(t.Context(), job, 1, 0, 3)
	require.NoError(t, err)
	copy(part, "yyy")
	_ = append(part, "zzz"...)
	assert.Equal(t, "hello", string(c.all(t, job, 1, 100)))
}

func (c logCases) drop(t *testing.T) {
	t.Parallel()
	job := ids.New()
	require.NoError(t, c.Drop(t.Context(), job, 1))
	require.NoError(t, c.Append(t.Context(), job, 1, 0, []byte("one"), now()))
	require.NoError(t, c.Append(t.Context(), job, 1, 3, []byte("two"), now()))
	require.NoError(t, c.Drop(t.Context(), job, 1))
	require.NoError(t, c.Drop(t.Context(), job, 1))
	assert.Zero(t, c.size(t, t.Context(), job, 1))
	assert.Empty(t, c.all(t, job, 1, 100))
}

func (c logCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	job := ids.New()
	require.NoError(t, c.Append(t.Context(), job, 1, 0, []byte("one"), now()))
	require.ErrorIs(t, c.Append(ctx, job, 1, 3, []byte("two"), now()), context.Canceled)
	require.ErrorIs(t, c.Drop(ctx, job, 1), context.Canceled)
	assert.Equal(t, "one", string(c.all(t, job, 1, 100)))
}

func (c logCases) calls() calls {
	return calls{
		"Append": func(ctx context.Context) error { return c.Append(ctx, ids.New(), 1, 0, []byte("x"), now()) },
		"Size":   func(ctx context.Context) error { _, err := c.Size(ctx, ids.New(), 1); return err },
		"Read":   func(ctx context.Context) error { _, err := c.Read(ctx, ids.New(), 1, 0, 1); return err },
		"Drop":   func(ctx context.Context) error { return c.Drop(ctx, ids.New(), 1) },
	}
}
