package contract

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// Users is the contract of ports.Users.
func Users(t *testing.T, open func(*testing.T) Storage) {
	s := open(t)
	c := userCases{s.Users(), s.Jobs()}
	t.Run("what is not there is not found", c.notFound)
	t.Run("every field comes back as it was added", c.added)
	t.Run("every field comes back as it was changed", c.changed)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("an e-mail address belongs to one account", func(t *testing.T) {
		c.taken(t, func(u *identity.Snapshot) { u.Email = "ada@example.org" }, domain.Conflict("email_taken", ""))
	})
	t.Run("a handle belongs to one account", func(t *testing.T) {
		c.taken(t, func(u *identity.Snapshot) { u.Handle = "ada" }, domain.Conflict("handle_taken", ""))
	})
	t.Run("a failed change stores nothing, not even its events", c.failedChange)
	t.Run("concurrent changes of one account lose nothing", c.concurrentChanges)
	calls := c.calls()
	t.Run("a cancelled context ends a call with its error", calls.cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
	t.Run("a call from within a change fails at once", calls.nested(func(ctx context.Context, change func()) error {
		u := c.add(t, filled[identity.Snapshot]())
		_, err := c.Update(ctx, u.ID, func(*identity.User) error { change(); return nil })
		return err
	}))
}

type userCases struct {
	ports.Users
	jobs ports.Jobs // for the events of any aggregate
}

func (c userCases) add(t *testing.T, u identity.Snapshot) identity.Snapshot {
	t.Helper()
	require.NoError(t, c.Add(t.Context(), identity.Restore(u)))
	return c.get(t, u.ID)
}

func (c userCases) get(t *testing.T, id domain.ID) identity.Snapshot {
	t.Helper()
	u, err := c.Get(t.Context(), id)
	require.NoError(t, err)
	return u
}

func (c userCases) notFound(t *testing.T) {
	t.Parallel()
	_, err := c.Get(t.Context(), ids.New())
	assert.ErrorIs(t, err, domain.NotFound(""))
	_, err = c.ByEmail(t.Context(), "nobody@example.org")
	assert.ErrorIs(t, err, domain.NotFound(""))
	_, err = c.Update(t.Context(), ids.New(), func(*identity.User) error { t.Error("there is nobody to change"); return nil })
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c userCases) added(t *testing.T) {
	t.Parallel()
	want := filled[identity.Snapshot]()
	c.add(t, want)
	want.Version = 1
	same(t, want, c.get(t, want.ID))
	found, err := c.ByEmail(t.Context(), want.Email)
	require.NoError(t, err)
	same(t, want, found)
}

func (c userCases) changed(t *testing.T) {
	t.Parallel()
	first, want := filled[identity.Snapshot](), filled[identity.Snapshot]()
	c.add(t, first)
	want.ID, want.CreatedAt, want.Disabled = first.ID, first.CreatedAt, false
	returned, err := c.Update(t.Context(), first.ID, func(u *identity.User) error {
		*u = *identity.Restore(want)
		return nil
	})
	require.NoError(t, err)
	want.Version = 2
	same(t, want, returned)
	same(t, want, c.get(t, first.ID))
	_, err = c.ByEmail(t.Context(), first.Email)
	assert.ErrorIs(t, err, domain.NotFound(""), "the address was given up")
}

func (c userCases) copies(t *testing.T) {
	t.Parallel()
	given := filled[identity.Snapshot]()
	c.add(t, given)
	updated, err := c.Update(t.Context(), given.ID, func(u *identity.User) error { u.Rehash("x"); return nil })
	require.NoError(t, err)
	found, err := c.ByEmail(t.Context(), given.Email)
	require.NoError(t, err)
	got, id := c.get(t, given.ID), given.ID
	was := frozen(got)
	for _, u := range []*identity.Snapshot{&given, &updated, &found, &got} {
		scribble(u)
	}
	assert.Equal(t, was, frozen(c.get(t, id)))
}

func (c userCases) taken(t *testing.T, same func(*identity.Snapshot), want error) {
	t.Parallel()
	contenders := make([]identity.Snapshot, racers)
	errs := race(racers, func(i int) error {
		contenders[i] = filled[identity.Snapshot]()
		same(&contenders[i])
		u := identity.Restore(contenders[i])
		u.Record("identity.tried", contenders[i].ID, now(), nil)
		return c.Add(t.Context(), u)
	})
	require.Equal(t, 1, winners(t, errs, want))
	for i, err := range errs {
		events, eventsErr := c.jobs.Events(t.Context(), contenders[i].ID, 0, 10)
		require.NoError(t, eventsErr)
		if err == nil {
			assert.Len(t, events, 1)
			continue
		}
		_, missing := c.Get(t.Context(), contenders[i].ID)
		assert.ErrorIs(t, missing, domain.NotFound(""), "a loser stores nothing")
		assert.Empty(t, events, "not even its events")
	}
	// What a change takes is checked too.
	other := c.add(t, filled[identity.Snapshot]())
	_, err := c.Update(t.Context(), other.ID, func(u *identity.User) error {
		s := u.Snapshot()
		same(&s)
		*u = *identity.Restore(s)
		return nil
	})
	assert.ErrorIs(t, err, want)
	assert.Equal(t, other, c.get(t, other.ID))
}

func (c userCases) failedChange(t *testing.T) {
	t.Parallel()
	before := c.add(t, filled[identity.Snapshot]())
	refused := errors.New("refused")
	_, err := c.Update(t.Context(), before.ID, func(u *identity.User) error {
		require.NoError(t, u.Rename("Ada", now()))
		return refused
	})
	require.ErrorIs(t, err, refused)
	assert.Equal(t, before, c.get(t, before.ID))
	events, err := c.jobs.Events(t.Context(), before.ID, 0, 10)
	require.NoError(t, err)
	assert.Empty(t, events)
}

func (c userCases) concurrentChanges(t *testing.T) {
	t.Parallel()
	u := c.add(t, filled[identity.Snapshot]())
	for _, err := range race(racers, func(i int) error {
		_, err := c.Update(t.Context(), u.ID, func(u *identity.User) error {
			u.Grant(domain.Role(fmt.Sprint("role", i)), now())
			return nil
		})
		return err
	}) {
		require.NoError(t, err)
	}
	roles := map[domain.Role]bool{}
	for _, r := range c.get(t, u.ID).Roles {
		roles[r] = true
	}
	assert.Len(t, roles, len(u.Roles)+racers)
	events, err := c.jobs.Events(t.Context(), u.ID, 0, 2*racers)
	require.NoError(t, err)
	assert.Len(t, events, racers)
}

func (c userCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before, fresh := c.add(t, filled[identity.Snapshot]()), filled[identity.Snapshot]()
	require.ErrorIs(t, c.Add(ctx, identity.Restore(fresh)), context.Canceled)
	_, err := c.Update(ctx, before.ID, func(u *identity.User) error { return u.Rename("Ada", now()) })
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Get(t.Context(), fresh.ID)
	assert.ErrorIs(t, err, domain.NotFound(""))
	assert.Equal(t, before, c.get(t, before.ID))
}

func (c userCases) calls() calls {
	return calls{
		"Add": func(ctx context.Context) error { return c.Add(ctx, identity.Restore(filled[identity.Snapshot]())) },
		"Update": func(ctx context.Context) error {
			_, err := c.Update(ctx, ids.New(), func(*identity.User) error { return nil })
			return err
		},
		"Get":     func(ctx context.Context) error { _, err := c.Get(ctx, ids.New()); return err },
		"ByEmail": func(ctx context.Context) error { _, err := c.ByEmail(ctx, "nobody@example.org"); return err },
	}
}
