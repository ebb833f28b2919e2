package contract

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Enrollments is the contract of ports.Enrollments.
func Enrollments(t *testing.T, open func(*testing.T) Storage) {
	c := enrollmentCases{open(t).Enrollments()}
	t.Run("every field comes back as it was added", c.added)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("of those who use a permission, one gets it", c.useRace)
	t.Run("an unknown, used or expired permission is unauthenticated", c.refused)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

type enrollmentCases struct{ ports.Enrollments }

func (c enrollmentCases) add(t *testing.T) hosts.Enrollment {
	t.Helper()
	e := filled[hosts.Enrollment]()
	e.ExpiresAt, e.UsedBy = now().Add(time.Hour), domain.ID{}
	require.NoError(t, c.Add(t.Context(), e))
	return e
}

func (c enrollmentCases) added(t *testing.T) {
	t.Parallel()
	want, host := c.add(t), ids.New()
	got, err := c.Use(t.Context(), want.TokenHash, host, now())
	require.NoError(t, err)
	want.UsedBy = host
	same(t, want, got)
}

func (c enrollmentCases) copies(t *testing.T) {
	t.Parallel()
	given := c.add(t)
	hash := append([]byte(nil), given.TokenHash...)
	scribble(&given)
	returned, err := c.Use(t.Context(), hash, ids.New(), now())
	require.NoError(t, err)
	scribble(&returned)
	_, err = c.Use(t.Context(), returned.TokenHash, ids.New(), now())
	assert.ErrorIs(t, err, domain.Unauthenticated(""))
}

func (c enrollmentCases) useRace(t *testing.T) {
	t.Parallel()
	e, contenders, got := c.add(t), make([]domain.ID, racers), make([]hosts.Enrollment, racers)
	errs := race(racers, func(i int) (err error) {
		contenders[i] = ids.New()
		got[i], err = c.Use(t.Context(), e.TokenHash, contenders[i], now())
		return err
	})
	assert.Equal(t, 1, winners(t, errs, domain.Unauthenticated("")))
	for i, err := range errs {
		if err == nil {
			assert.Equal(t, contenders[i], got[i].UsedBy)
		}
	}
}

func (c enrollmentCases) refused(t *testing.T) {
	t.Parallel()
	e := c.add(t)
	use := func(hash []byte, at time.Time) error {
		_, err := c.Use(t.Context(), hash, ids.New(), at)
		return err
	}
	assert.ErrorIs(t, use([]byte("unknown"), now()), domain.Unauthenticated(""))
	assert.ErrorIs(t, use(nil, now()), domain.Unauthenticated(""))
	assert.ErrorIs(t, use(e.TokenHash, e.ExpiresAt), domain.Unauthenticated(""), "it ends at its end")
	assert.ErrorIs(t, use(e.TokenHash, e.ExpiresAt.Add(time.Hour)), domain.Unauthenticated(""))
	require.NoError(t, use(e.TokenHash, e.ExpiresAt.Add(-time.Microsecond)), "those who were refused did not use it up")
	assert.ErrorIs(t, use(e.TokenHash, now()), domain.Unauthenticated(""))
}

func (c enrollmentCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := c.add(t)
	_, err := c.Use(ctx, e.TokenHash, ids.New(), now())
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Use(t.Context(), e.TokenHash, ids.New(), now())
	assert.NoError(t, err, "it is unused still")
}

func (c enrollmentCases) calls() calls {
	return calls{
		"Add": func(ctx context.Context) error { return c.Add(ctx, filled[hosts.Enrollment]()) },
		"Use": func(ctx context.Context) error {
			_, err := c.Use(ctx, []byte("unknown"), ids.New(), now())
			return err
		},
	}
}
