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
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Logs is the contract of ports.Logs.
func Logs(t *testing.T, open func(*testing.T) Storage) {
	s := open(t)
	c := logCases{s.Logs(), s.Jobs()}
	t.Run("an unknown attempt has no bytes", c.unknown)
	t.Run("any reads give what any appends wrote", c.model)
	t.Run("offsets count raw bytes, however well they are compressed", c.raw)
	t.Run("an offset other than the size changes nothing", c.wrongOffset)
	t.Run("bytes are taken from the host that holds the attempt alone", c.holder)
	t.Run("of those who append at one offset, one does", c.appendRace)
	t.Run("attempts and jobs are kept apart", c.apart)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("dropping removes all bytes, and removing nothing is no error", c.drop)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

var errWrongOffset = domain.Conflict("wrong_offset", "")

type logCases struct {
	ports.Logs
	jobs ports.Jobs // the attempts
}

// held is an attempt that a host holds.
type held struct {
	job    domain.ID
	number int
	host   domain.ID
}

// hold makes a job with an attempt.
func (c logCases) hold(t require.TestingT, ctx context.Context) held {
	j := waiting(ids.New())
	require.NoError(t, lease(j, ids.New()))
	require.NoError(t, c.jobs.Add(ctx, j))
	s := j.Snapshot()
	return held{s.ID, 1, s.Current().Host}
}

// again takes the attempt away and leases the job to another host.
func (c logCases) again(t *testing.T, h held) held {
	t.Helper()
	s, err := c.jobs.Update(t.Context(), h.job, func(j *work.Job) error {
		if err := j.Lose(h.number, work.ReasonHostLost, "", now()); err != nil {
			return err
		}
		return lease(j, ids.New())
	})
	require.NoError(t, err)
	return held{h.job, s.Attempt(), s.Current().Host}
}

func (c logCases) append(ctx context.Context, h held, offset int, data string) error {
	return c.Append(ctx, h.job, h.number, h.host, int64(offset), []byte(data), now())
}

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
	assert.ErrorIs(t, c.append(t.Context(), held{job, 1, ids.New()}, 0, "x"), work.ErrStale)
	_, err := c.Open(t.Context(), job, 1, ids.New())
	assert.ErrorIs(t, err, work.ErrStale)
}

func (c logCases) holder(t *testing.T) {
	t.Parallel()
	first := c.hold(t, t.Context())
	open := func(h held) (int64, error) { return c.Open(t.Context(), h.job, h.number, h.host) }
	size, err := open(first)
	require.NoError(t, err)
	assert.Zero(t, size)
	require.NoError(t, c.append(t.Context(), first, 0, "hello"))
	size, err = open(first)
	require.NoError(t, err)
	assert.EqualValues(t, 5, size)

	second := c.again(t, first)
	require.NoError(t, c.append(t.Context(), second, 0, "world"))
	for why, h := range map[string]held{
		"the attempt is over":               first,
		"another host holds it":             {first.job, 2, first.host},
		"the host holds another attempt":    {first.job, 1, second.host},
		"the host holds another job":        {c.hold(t, t.Context()).job, 1, second.host},
		"there is no such attempt":          {first.job, 3, second.host},
		"there is no such host":             {first.job, 2, domain.ID{}},
		"the job has another with its name": {second.host, 2, second.job},
	} {
		_, err := open(h)
		assert.ErrorIs(t, err, work.ErrStale, why)
		for _, data := range []string{"", "x"} {
			assert.ErrorIs(t, c.append(t.Context(), h, 5, data), work.ErrStale, why)
			assert.ErrorIs(t, c.append(t.Context(), h, 0, data), work.ErrStale, why)
		}
	}
	assert.Equal(t, "hello", string(c.all(t, first.job, 1, 100)))
	assert.Equal(t, "world", string(c.all(t, first.job, 2, 100)))
}

func (c logCases) model(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(r *rapid.T) {
		h, log := c.hold(r, ctx), []byte{}
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			data := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(r, "data")
			require.NoError(r, c.append(ctx, h, len(log), string(data)))
			log = append(log, data...)
			require.EqualValues(r, len(log), c.size(r, ctx, h.job, 1))
			offset := rapid.IntRange(0, len(log)).Draw(r, "offset")
			limit := rapid.IntRange(1, len(log)+1).Draw(r, "limit")
			got, err := c.Read(ctx, h.job, 1, int64(offset), limit)
			require.NoError(r, err)
			require.Equal(r, string(log[offset:min(offset+limit, len(log))]), string(got))
		}
	})
}

func (c logCases) raw(t *testing.T) {
	t.Parallel()
	h, noise := c.hold(t, t.Context()), make([]byte, 300_000)
	_, _ = rand.Read(noise)
	log := []byte(strings.Repeat("epoch 1: loss 0.5\n", 20_000))
	require.NoError(t, c.append(t.Context(), h, 0, string(log)))
	require.NoError(t, c.append(t.Context(), h, len(log), string(noise)))
	log = append(log, noise...)
	assert.EqualValues(t, len(log), c.size(t, t.Context(), h.job, 1))
	for _, limit := range []int{1 << 16, 99_991, 1 << 30} {
		assert.True(t, bytes.Equal(log, c.all(t, h.job, 1, limit)), "in parts of %d", limit)
	}
}

func (c logCases) wrongOffset(t *testing.T) {
	t.Parallel()
	h := c.hold(t, t.Context())
	require.NoError(t, c.append(t.Context(), h, 0, "hello"))
	for _, offset := range []int{0, 4, 6, 1 << 40, -1} {
		for _, data := range []string{"", "world"} {
			assert.ErrorIs(t, c.append(t.Context(), h, offset, data), errWrongOffset, "%d", offset)
		}
	}
	assert.NoError(t, c.append(t.Context(), h, 5, ""))
	assert.Equal(t, "hello", string(c.all(t, h.job, 1, 100)))
}

func (c logCases) appendRace(t *testing.T) {
	t.Parallel()
	h := c.hold(t, t.Context())
	var want []byte
	for range 3 {
		errs := race(racers, func(i int) error {
			return c.append(t.Context(), h, len(want), strings.Repeat(string(rune('a'+i)), i+1))
		})
		require.Equal(t, 1, winners(t, errs, errWrongOffset))
		for i, err := range errs {
			if err == nil {
				want = append(want, bytes.Repeat([]byte{byte('a' + i)}, i+1)...)
			}
		}
	}
	assert.Equal(t, string(want), string(c.all(t, h.job, 1, 100)))
}

func (c logCases) apart(t *testing.T) {
	t.Parallel()
	first, other := c.hold(t, t.Context()), c.hold(t, t.Context())
	require.NoError(t, c.append(t.Context(), first, 0, "first"))
	require.NoError(t, c.append(t.Context(), c.again(t, first), 0, "second"))
	require.NoError(t, c.append(t.Context(), other, 0, "other"))
	require.NoError(t, c.Drop(t.Context(), first.job, 1))
	assert.Empty(t, c.all(t, first.job, 1, 100))
	assert.Equal(t, "second", string(c.all(t, first.job, 2, 100)))
	assert.Equal(t, "other", string(c.all(t, other.job, 1, 100)))
}

func (c logCases) copies(t *testing.T) {
	t.Parallel()
	h, given := c.hold(t, t.Context()), []byte("hello")
	require.NoError(t, c.Append(t.Context(), h.job, 1, h.host, 0, given, now()))
	copy(given, "xxxxx")
	part, err := c.Read(t.Context(), h.job, 1, 0, 3)
	require.NoError(t, err)
	copy(part, "yyy")
	_ = append(part, "zzz"...)
	assert.Equal(t, "hello", string(c.all(t, h.job, 1, 100)))
}

func (c logCases) drop(t *testing.T) {
	t.Parallel()
	h := c.hold(t, t.Context())
	require.NoError(t, c.Drop(t.Context(), h.job, 1))
	require.NoError(t, c.append(t.Context(), h, 0, "one"))
	require.NoError(t, c.append(t.Context(), h, 3, "two"))
	require.NoError(t, c.Drop(t.Context(), h.job, 1))
	require.NoError(t, c.Drop(t.Context(), h.job, 1))
	assert.Zero(t, c.size(t, t.Context(), h.job, 1))
	assert.Empty(t, c.all(t, h.job, 1, 100))
}

func (c logCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := c.hold(t, t.Context())
	require.NoError(t, c.append(t.Context(), h, 0, "one"))
	require.ErrorIs(t, c.append(ctx, h, 3, "two"), context.Canceled)
	require.ErrorIs(t, c.Drop(ctx, h.job, 1), context.Canceled)
	assert.Equal(t, "one", string(c.all(t, h.job, 1, 100)))
}

func (c logCases) calls() calls {
	return calls{
		"Append": func(ctx context.Context) error { return c.append(ctx, held{ids.New(), 1, ids.New()}, 0, "x") },
		"Open":   func(ctx context.Context) error { _, err := c.Open(ctx, ids.New(), 1, ids.New()); return err },
		"Size":   func(ctx context.Context) error { _, err := c.Size(ctx, ids.New(), 1); return err },
		"Read":   func(ctx context.Context) error { _, err := c.Read(ctx, ids.New(), 1, 0, 1); return err },
		"Drop":   func(ctx context.Context) error { return c.Drop(ctx, ids.New(), 1) },
	}
}
