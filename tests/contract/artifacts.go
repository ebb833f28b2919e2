package contract

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Artifacts is the contract of ports.Artifacts.
func Artifacts(t *testing.T, open func(*testing.T) Storage) {
	c := artifactCases{open(t).Artifacts()}
	t.Run("what is not there is not found", c.notFound)
	t.Run("every field comes back as it was planned", c.planned)
	t.Run("a file is visible once it is confirmed", c.confirm)
	t.Run("planning a path again replaces what was planned", c.replaced)
	t.Run("planning a path again leaves what is confirmed", c.confirmedStays)
	t.Run("of those who plan one path, one is stored", c.planRace)
	t.Run("files are listed by attempt, ordered by path", c.list)
	t.Run("another job's file is not found", c.foreign)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

type artifactCases struct{ ports.Artifacts }

// result is a file that is about to be uploaded.
func result(job domain.ID, attempt int, path string) ports.Artifact {
	f := filled[ports.Artifact]()
	f.Job, f.Attempt, f.Path, f.Confirmed = job, attempt, path, false
	return f
}

func (c artifactCases) plan(t *testing.T, files ...ports.Artifact) []ports.Artifact {
	t.Helper()
	stored, err := c.Plan(t.Context(), files)
	require.NoError(t, err)
	require.Len(t, stored, len(files))
	return stored
}

func (c artifactCases) files(t *testing.T, job domain.ID, attempt int, planned bool) []ports.Artifact {
	t.Helper()
	list, err := c.List(t.Context(), job, attempt, planned)
	require.NoError(t, err)
	return list
}

func (c artifactCases) notFound(t *testing.T) {
	t.Parallel()
	_, err := c.Get(t.Context(), ids.New(), ids.New())
	assert.ErrorIs(t, err, domain.NotFound(""))
	assert.Empty(t, c.files(t, ids.New(), 1, true))
}

func (c artifactCases) planned(t *testing.T) {
	t.Parallel()
	want := []ports.Artifact{result(ids.New(), 3, "outputs/a"), result(ids.New(), 4, "outputs/b")}
	same(t, want, c.plan(t, want...))
	same(t, want[:1], c.files(t, want[0].Job, 3, true))
	require.NoError(t, c.Confirm(t.Context(), want[0].ID))
	want[0].Confirmed = true
	got, err := c.Get(t.Context(), want[0].Job, want[0].ID)
	require.NoError(t, err)
	same(t, want[0], got)
	same(t, want[:1], c.files(t, want[0].Job, 3, false))
	assert.Empty(t, c.plan(t))
}

func (c artifactCases) confirm(t *testing.T) {
	t.Parallel()
	job := ids.New()
	a, b := result(job, 1, "a"), result(job, 1, "b")
	c.plan(t, a, b)
	assert.Empty(t, c.files(t, job, 1, false))
	_, err := c.Get(t.Context(), job, a.ID)
	assert.ErrorIs(t, err, domain.NotFound(""))
	for range 2 {
		require.NoError(t, c.Confirm(t.Context(), a.ID))
		visible := c.files(t, job, 1, false)
		require.Len(t, visible, 1)
		assert.Equal(t, a.ID, visible[0].ID)
		assert.True(t, visible[0].Confirmed)
	}
	assert.Len(t, c.files(t, job, 1, true), 2, "the planned ones with the confirmed ones")
	require.NoError(t, c.Confirm(t.Context(), a.ID, b.ID))
	assert.Len(t, c.files(t, job, 1, false), 2)
}

func (c artifactCases) replaced(t *testing.T) {
	t.Parallel()
	job := ids.New()
	first, second := result(job, 1, "a"), result(job, 1, "a")
	c.plan(t, first, result(job, 1, "b"))
	same(t, []ports.Artifact{second}, c.plan(t, second))
	same(t, second, c.files(t, job, 1, true)[0])
	// An upload of what was planned before says nothing about the new plan.
	if err := c.Confirm(t.Context(), first.ID); err != nil {
		assert.ErrorIs(t, err, domain.NotFound(""))
	}
	assert.Empty(t, c.files(t, job, 1, false))
	require.NoError(t, c.Confirm(t.Context(), second.ID))
	assert.Len(t, c.files(t, job, 1, false), 1)
}

func (c artifactCases) confirmedStays(t *testing.T) {
	t.Parallel()
	job := ids.New()
	first, second, other := result(job, 1, "a"), result(job, 1, "a"), result(job, 1, "b")
	c.plan(t, first)
	require.NoError(t, c.Confirm(t.Context(), first.ID))
	first.Confirmed = true
	same(t, []ports.Artifact{first, other}, c.plan(t, second, other))
	same(t, []ports.Artifact{first, other}, c.files(t, job, 1, true))
	_, err := c.Get(t.Context(), job, second.ID)
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c artifactCases) planRace(t *testing.T) {
	t.Parallel()
	job, stored := ids.New(), make([]ports.Artifact, racers)
	for _, err := range race(racers, func(i int) error {
		list, err := c.Plan(t.Context(), []ports.Artifact{result(job, 1, "a")})
		if err == nil {
			stored[i] = list[0]
		}
		return err
	}) {
		require.NoError(t, err)
	}
	list := c.files(t, job, 1, true)
	require.Len(t, list, 1)
	assert.Contains(t, stored, list[0])
}

func (c artifactCases) list(t *testing.T) {
	t.Parallel()
	job := ids.New()
	// By their bytes: what a language thinks of letters would differ between databases.
	want := []string{"B", "a", "a b", "a-b", "a.b", "a/b", "aB", "ab", "b", "é"}
	for _, path := range slices.Backward(want) {
		c.plan(t, result(job, 1, path))
	}
	c.plan(t, result(job, 2, "of another attempt"), result(ids.New(), 1, "of another job"))
	var got []string
	for _, f := range c.files(t, job, 1, true) {
		got = append(got, f.Path)
	}
	assert.Equal(t, want, got)
}

func (c artifactCases) foreign(t *testing.T) {
	t.Parallel()
	f := result(ids.New(), 1, "a")
	c.plan(t, f)
	require.NoError(t, c.Confirm(t.Context(), f.ID))
	_, err := c.Get(t.Context(), ids.New(), f.ID)
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c artifactCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	job := ids.New()
	f := result(job, 1, "a")
	c.plan(t, f)
	require.ErrorIs(t, c.Confirm(ctx, f.ID), context.Canceled)
	_, err := c.Plan(ctx, []ports.Artifact{result(job, 1, "a"), result(job, 1, "b")})
	require.ErrorIs(t, err, context.Canceled)
	same(t, []ports.Artifact{f}, c.files(t, job, 1, true))
}

func (c artifactCases) calls() calls {
	return calls{
		"Plan": func(ctx context.Context) error {
			_, err := c.Plan(ctx, []ports.Artifact{result(ids.New(), 1, "a")})
			return err
		},
		"Confirm": func(ctx context.Context) error { return c.Confirm(ctx, ids.New()) },
		"List":    func(ctx context.Context) error { _, err := c.List(ctx, ids.New(), 1, true); return err },
		"Get":     func(ctx context.Context) error { _, err := c.Get(ctx, ids.New(), ids.New()); return err },
	}
}
