package contract

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Hosts is the contract of ports.Hosts.
func Hosts(t *testing.T, open func(*testing.T) Storage) {
	s := open(t)
	c := hostCases{s.Hosts(), s.Jobs()}
	t.Run("what is not there is not found", c.notFound)
	t.Run("another owner's host is not found", c.foreign)
	t.Run("every field comes back as it was added", c.added)
	t.Run("every field comes back as it was changed", c.changed)
	t.Run("devices keep their order and may grow in number", c.devices)
	t.Run("what is given and what is returned is copied", c.copies)
	t.Run("a public key belongs to one host", c.keyRace)
	t.Run("a failed change stores nothing, not even its events", c.failedChange)
	t.Run("concurrent changes of one host lose nothing", c.concurrentChanges)
	t.Run("hosts are listed by owner, and retired ones on demand", c.filters)
	t.Run("hosts that were stored since a time are listed", c.changedSince)
	t.Run("pages go on where they ended, whatever was added", c.pages)
	calls := c.calls()
	t.Run("a cancelled context ends a call with its error", calls.cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
	t.Run("a call from within a change fails at once", calls.nested(func(ctx context.Context, change func()) error {
		h := c.add(t, machine())
		_, err := c.Update(ctx, h.ID, func(*hosts.Host) error { change(); return nil })
		return err
	}))
}

type hostCases struct {
	ports.Hosts
	jobs ports.Jobs // for the events of any aggregate
}

// machine is a host with something in every field.
func machine() hosts.Snapshot {
	h := filled[hosts.Snapshot]()
	h.Version, h.Standing, h.PublicKey = 1, hosts.Active, make([]byte, 32)
	_, _ = rand.Read(h.PublicKey)
	return h
}

func (c hostCases) add(t *testing.T, h hosts.Snapshot) hosts.Snapshot {
	t.Helper()
	require.NoError(t, c.Add(t.Context(), hosts.Restore(h)))
	return c.get(t, h.ID)
}

func (c hostCases) get(t *testing.T, id domain.ID) hosts.Snapshot {
	t.Helper()
	h, err := c.Get(t.Context(), id, domain.ID{})
	require.NoError(t, err)
	return h
}

func (c hostCases) list(t *testing.T, f ports.HostFilter, p ports.Page) (found []domain.ID) {
	t.Helper()
	list, err := c.List(t.Context(), f, p)
	require.NoError(t, err)
	for _, h := range list {
		found = append(found, h.ID)
	}
	return found
}

func (c hostCases) events(t *testing.T, id domain.ID) []domain.Event {
	t.Helper()
	events, err := c.jobs.Events(t.Context(), id, 0, 1000)
	require.NoError(t, err)
	return events
}

func (c hostCases) notFound(t *testing.T) {
	t.Parallel()
	_, err := c.Get(t.Context(), ids.New(), domain.ID{})
	assert.ErrorIs(t, err, domain.NotFound(""))
	_, err = c.Update(t.Context(), ids.New(), func(*hosts.Host) error { t.Error("there is nothing to change"); return nil })
	assert.ErrorIs(t, err, domain.NotFound(""))
	assert.Empty(t, c.list(t, ports.HostFilter{Owner: ids.New()}, ports.Page{Limit: 10}))
}

func (c hostCases) foreign(t *testing.T) {
	t.Parallel()
	h := c.add(t, machine())
	own, err := c.Get(t.Context(), h.ID, h.Owner)
	require.NoError(t, err)
	assert.Equal(t, h, own)
	_, err = c.Get(t.Context(), h.ID, ids.New())
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c hostCases) added(t *testing.T) {
	t.Parallel()
	want := machine()
	same(t, want, c.add(t, want))
	list, err := c.List(t.Context(), ports.HostFilter{Owner: want.Owner}, ports.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 1)
	same(t, want, list[0])
	bare := hosts.Snapshot{ID: ids.New(), Owner: ids.New(), Version: 1, PublicKey: machine().PublicKey}
	same(t, bare, c.add(t, bare))
}

func (c hostCases) changed(t *testing.T) {
	t.Parallel()
	first, want := machine(), machine()
	c.add(t, first)
	want.ID, want.Owner, want.PublicKey, want.CreatedAt, want.Verified = first.ID, first.Owner, first.PublicKey, first.CreatedAt, false
	for i := range want.Devices {
		want.Devices[i].ID, want.Devices[i].UUID, want.Devices[i].Listed = first.Devices[i].ID, first.Devices[i].UUID, false
	}
	returned, err := c.Update(t.Context(), first.ID, func(h *hosts.Host) error {
		*h = *hosts.Restore(want)
		return nil
	})
	require.NoError(t, err)
	want.Version = 2
	same(t, want, returned)
	same(t, want, c.get(t, first.ID))
}

func (c hostCases) devices(t *testing.T) {
	t.Parallel()
	h := machine()
	h.Devices = nil
	h = c.add(t, h)
	for n := range 3 {
		_, err := c.Update(t.Context(), h.ID, func(host *hosts.Host) error {
			s := host.Snapshot()
			s.Devices = append(s.Devices, filled[hosts.Device]())
			// The order is the host's own, not that of the ids.
			s.Devices[0], s.Devices[n] = s.Devices[n], s.Devices[0]
			h = s
			*host = *hosts.Restore(s)
			return nil
		})
		require.NoError(t, err)
		h.Version++
		same(t, h, c.get(t, h.ID))
	}
}

func (c hostCases) copies(t *testing.T) {
	t.Parallel()
	given := machine()
	c.add(t, given)
	updated, err := c.Update(t.Context(), given.ID, func(h *hosts.Host) error { h.Judge(ids.New(), true); return nil })
	require.NoError(t, err)
	list, err := c.List(t.Context(), ports.HostFilter{Owner: given.Owner}, ports.Page{Limit: 1})
	require.NoError(t, err)
	got, id := c.get(t, given.ID), given.ID
	was := frozen(got)
	for _, h := range []*hosts.Snapshot{&given, &updated, &list[0], &got} {
		scribble(h)
	}
	assert.Equal(t, was, frozen(c.get(t, id)))
}

func (c hostCases) keyRace(t *testing.T) {
	t.Parallel()
	key, contenders := machine().PublicKey, make([]hosts.Snapshot, racers)
	errs := race(racers, func(i int) error {
		contenders[i] = machine()
		contenders[i].PublicKey = key
		h := hosts.Restore(contenders[i])
		h.Judge(ids.New(), true)
		h.Record("hosts.tried", contenders[i].ID, now(), nil)
		return c.Add(t.Context(), h)
	})
	assert.Equal(t, 1, winners(t, errs, domain.Conflict("key_taken", "")))
	for i, err := range errs {
		if err != nil {
			_, missing := c.Get(t.Context(), contenders[i].ID, domain.ID{})
			assert.ErrorIs(t, missing, domain.NotFound(""), "a loser stores nothing")
			assert.Empty(t, c.events(t, contenders[i].ID), "not even its events")
		}
	}
}

func (c hostCases) failedChange(t *testing.T) {
	t.Parallel()
	before, refused := c.add(t, machine()), errors.New("refused")
	_, err := c.Update(t.Context(), before.ID, func(h *hosts.Host) error {
		require.NoError(t, h.Retire(now()))
		return refused
	})
	require.ErrorIs(t, err, refused)
	assert.Equal(t, before, c.get(t, before.ID))
	assert.Empty(t, c.events(t, before.ID))
}

func (c hostCases) concurrentChanges(t *testing.T) {
	t.Parallel()
	h := c.add(t, machine())
	epochs := make([]int64, racers)
	for _, err := range race(racers, func(i int) error {
		_, err := c.Update(t.Context(), h.ID, func(h *hosts.Host) (err error) {
			h.Judge(ids.New(), true)
			epochs[i], err = h.Connect(now())
			return err
		})
		return err
	}) {
		require.NoError(t, err)
	}
	after := c.get(t, h.ID)
	assert.Equal(t, h.Runs+racers, after.Runs)
	assert.Equal(t, h.Epoch+racers, after.Epoch)
	assert.Equal(t, h.Devices[1].Version+racers, after.Devices[1].Version)
	assert.Len(t, c.events(t, h.ID), racers)
	seen := map[int64]bool{}
	for _, e := range epochs {
		seen[e] = true
	}
	assert.Len(t, seen, racers, "no two sessions have one epoch")
}

func (c hostCases) filters(t *testing.T) {
	t.Parallel()
	owner := ids.New()
	own := func(standing hosts.Standing) domain.ID {
		h := machine()
		h.Owner, h.Standing = owner, standing
		return c.add(t, h).ID
	}
	pending, retired, active, suspended := own(hosts.Pending), own(hosts.Retired), own(hosts.Active), own(hosts.Suspended)
	other := c.add(t, machine()).ID
	page := ports.Page{Limit: 100_000}
	assert.Equal(t, []domain.ID{pending, active, suspended}, c.list(t, ports.HostFilter{Owner: owner}, page))
	assert.Equal(t, []domain.ID{pending, retired, active, suspended}, c.list(t, ports.HostFilter{Owner: owner, Retired: true}, page))
	some := []domain.ID{retired, active, other, ids.New()}
	assert.ElementsMatch(t, []domain.ID{active, other}, c.list(t, ports.HostFilter{IDs: some}, page))
	assert.Equal(t, []domain.ID{retired, active}, c.list(t, ports.HostFilter{IDs: some, Owner: owner, Retired: true}, page))
	assert.Empty(t, c.list(t, ports.HostFilter{IDs: []domain.ID{}}, page), "none at all")
	all := c.list(t, ports.HostFilter{}, page)
	assert.Subset(t, all, []domain.ID{pending, active, suspended, other})
	assert.NotContains(t, all, retired)
	assert.Equal(t, hosts.Retired, c.get(t, retired).Standing, "its history stays")
}

func (c hostCases) changedSince(t *testing.T) {
	t.Parallel()
	owner := ids.New()
	var all []domain.ID
	var times []time.Time
	for range 3 {
		h := machine()
		h.Owner = owner
		times = append(times, tick())
		all = append(all, c.add(t, h).ID)
	}
	since := func(at time.Time) []domain.ID {
		return c.list(t, ports.HostFilter{Owner: owner, ChangedSince: at}, ports.Page{Limit: 10})
	}
	assert.Equal(t, all, since(times[0]))
	assert.Equal(t, all[1:], since(times[1]))
	assert.Equal(t, all[2:], since(times[2]))
	last := tick()
	assert.Empty(t, since(last))
	_, err := c.Update(t.Context(), all[1], func(h *hosts.Host) error { h.Judge(ids.New(), true); return nil })
	require.NoError(t, err)
	assert.Equal(t, all[1:2], since(last))
}

func (c hostCases) pages(t *testing.T) {
	t.Parallel()
	owner := ids.New()
	add := func() domain.ID {
		h := machine()
		h.Owner = owner
		return c.add(t, h).ID
	}
	var want, got []domain.ID
	for range 7 {
		want = append(want, add())
	}
	for page := (ports.Page{Limit: 2}); len(got) < 9; page.After = got[len(got)-1] {
		list := c.list(t, ports.HostFilter{Owner: owner}, page)
		require.NotEmpty(t, list)
		require.LessOrEqual(t, len(list), page.Limit)
		got = append(got, list...)
		want = append(want, add())
	}
	assert.Equal(t, want[:len(got)], got, "new hosts come last")
}

func (c hostCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before, fresh := c.add(t, machine()), machine()
	require.ErrorIs(t, c.Add(ctx, hosts.Restore(fresh)), context.Canceled)
	_, err := c.Update(ctx, before.ID, func(h *hosts.Host) error { h.Judge(ids.New(), true); return nil })
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Get(t.Context(), fresh.ID, domain.ID{})
	assert.ErrorIs(t, err, domain.NotFound(""))
	assert.Equal(t, before, c.get(t, before.ID))
}

func (c hostCases) calls() calls {
	return calls{
		"Add": func(ctx context.Context) error { return c.Add(ctx, hosts.Restore(machine())) },
		"Update": func(ctx context.Context) error {
			_, err := c.Update(ctx, ids.New(), func(*hosts.Host) error { return nil })
			return err
		},
		"Get": func(ctx context.Context) error { _, err := c.Get(ctx, ids.New(), domain.ID{}); return err },
		"List": func(ctx context.Context) error {
			_, err := c.List(ctx, ports.HostFilter{Owner: ids.New()}, ports.Page{Limit: 1})
			return err
		},
	}
}
