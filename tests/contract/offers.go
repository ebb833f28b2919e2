package contract

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Offers is the contract of ports.Offers. open also gives the storage with the hosts
// that are on the market.
func Offers(t *testing.T, open func(*testing.T) (ports.Offers, Storage)) {
	offers, s := open(t)
	c := offerCases{offers, hostCases{s.Hosts(), s.Jobs()}, presenceCases{s.Presences()}, jobCases{s.Jobs()}}
	t.Run("every device of every host that is not retired is on the market", c.all)
	t.Run("an offer has everything that the match needs", c.complete)
	t.Run("a device has its share of the machine", c.shares)
	t.Run("a device is online while its host is heard and it is in the machine", c.online)
	t.Run("what occupies a device is not in it", c.occupied)
	t.Run("an unknown host offers nothing", c.unknown)
	t.Run("several hosts are read at once", c.several)
	t.Run("a change shows at once", c.changes)
	t.Run("hosts were heard of when they connected or beat last", c.heard)
	t.Run("a host that was never heard of is missing", c.neverHeard)
	t.Run("what is returned is copied", c.copies)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("however many hosts there are, all are on the market", func(t *testing.T) {
		offers, s := open(t)
		offerCases{offers, hostCases{s.Hosts(), s.Jobs()}, presenceCases{s.Presences()}, jobCases{s.Jobs()}}.many(t)
	})
}

type offerCases struct {
	ports.Offers
	hosts     hostCases
	presences presenceCases
	jobs      jobCases
}

// host is a machine on the market, of which nothing was heard yet.
func (c offerCases) host(t *testing.T, change func(*hosts.Snapshot)) hosts.Snapshot {
	t.Helper()
	h := machine()
	if change != nil {
		change(&h)
	}
	return c.hosts.add(t, h)
}

// market is everything that is offered, by device.
func (c offerCases) market(t *testing.T) map[domain.ID]ports.Offer {
	t.Helper()
	all, err := c.All(t.Context())
	require.NoError(t, err)
	return byDevice(t, all)
}

func byDevice(t *testing.T, offers []ports.Offer) map[domain.ID]ports.Offer {
	t.Helper()
	found := map[domain.ID]ports.Offer{}
	for _, o := range offers {
		assert.NotContains(t, found, o.DeviceID, "a device is offered once")
		found[o.DeviceID] = o
	}
	return found
}

// of is what one host offers, which is the same as what the market has of it.
func (c offerCases) of(t *testing.T, host domain.ID) map[domain.ID]ports.Offer {
	t.Helper()
	list, err := c.Of(t.Context(), host)
	require.NoError(t, err)
	found, market := byDevice(t, list), c.market(t)
	for id, o := range market {
		if o.HostID != host {
			delete(market, id)
		}
	}
	assert.Equal(t, market, found)
	return found
}

func (c offerCases) several(t *testing.T) {
	t.Parallel()
	a, b, other := c.host(t, nil), c.host(t, nil), c.host(t, nil)
	list, err := c.Of(t.Context(), b.ID, ids.New(), a.ID)
	require.NoError(t, err)
	assert.Len(t, byDevice(t, list), len(a.Devices)+len(b.Devices))
	for _, o := range list {
		assert.NotEqual(t, other.ID, o.HostID)
	}
	list, err = c.Of(t.Context())
	require.NoError(t, err)
	assert.Empty(t, list)
}

func (c offerCases) all(t *testing.T) {
	t.Parallel()
	for _, standing := range []hosts.Standing{hosts.Pending, hosts.Active, hosts.Suspended} {
		h := c.host(t, func(h *hosts.Snapshot) {
			h.Standing = standing
			h.Devices[0].Listed, h.Devices[1].Present = false, false
		})
		offers := c.of(t, h.ID)
		require.Len(t, offers, len(h.Devices), standing)
		for _, d := range h.Devices {
			assert.Equal(t, h.ID, offers[d.ID].HostID)
			assert.Equal(t, d.Listed, offers[d.ID].Listed)
		}
	}
	retired := c.host(t, func(h *hosts.Snapshot) { h.Standing = hosts.Retired })
	assert.Empty(t, c.of(t, retired.ID))
}

func (c offerCases) complete(t *testing.T) {
	t.Parallel()
	h := c.host(t, func(h *hosts.Snapshot) { h.Facts.Isolation = hosts.Isolation(work.IsolationContainer) })
	c.presences.start(t, h.ID, 1, now())
	offers := c.of(t, h.ID)
	for _, d := range h.Devices {
		o := offers[d.ID]
		assert.Equal(t, ports.Offer{
			HostName: h.Name, UUID: d.UUID,
			Slot: work.Slot{
				DeviceID: d.ID, HostID: h.ID, Owner: h.Owner, GPUModel: d.Model, VRAMMB: d.VRAMMB, Price: d.Price,
				CPUMilli: o.CPUMilli, MemoryMB: o.MemoryMB, DiskMB: o.DiskMB, // see shares
				Tags: h.Tags, Region: h.Region, Verified: h.Verified, Isolation: work.IsolationContainer, Trusted: h.Facts.Trusted,
				OK: h.Succeeded, Runs: h.Runs, BandwidthMbps: h.BandwidthMbps, Online: true, Listed: true, Version: d.Version,
			},
		}, o)
		slot := reflect.ValueOf(o.Slot)
		for i := range slot.NumField() {
			name := slot.Type().Field(i).Name
			assert.Equal(t, name == "Occupied", slot.Field(i).IsZero(), "%s of a host with something in every field", name)
		}
	}
}

func (c offerCases) shares(t *testing.T) {
	t.Parallel()
	h := c.host(t, func(h *hosts.Snapshot) {
		h.Devices = append(h.Devices, machine().Devices...)
		h.Devices[3].Present = false // and therefore shares in nothing
		h.Facts.CPUs, h.Facts.MemoryMB, h.Facts.DiskMB = 8, 1000, 100
	})
	for _, o := range c.of(t, h.ID) {
		assert.Equal(t, [3]int64{2666, 333, 33}, [3]int64{o.CPUMilli, o.MemoryMB, o.DiskMB})
	}
	bare := c.host(t, func(h *hosts.Snapshot) {
		h.Devices = h.Devices[:1]
		h.Devices[0].Present = false
	})
	assert.Len(t, c.of(t, bare.ID), 1)
}

func (c offerCases) online(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		standing     hosts.Standing
		heard, leave bool
		silent       time.Duration
		online       bool
	}{
		"connected":              {standing: hosts.Active, heard: true, online: true},
		"never heard":            {standing: hosts.Active},
		"left":                   {standing: hosts.Active, heard: true, leave: true},
		"silent for a long time": {standing: hosts.Active, heard: true, silent: 24 * time.Hour},
		"suspended":              {standing: hosts.Suspended, heard: true},
	} {
		h := c.host(t, func(h *hosts.Snapshot) {
			h.Standing = x.standing
			h.Devices[1].Present = false
		})
		if x.heard {
			c.presences.start(t, h.ID, 1, now().Add(-x.silent))
		}
		if x.leave {
			require.NoError(t, c.presences.Disconnect(t.Context(), h.ID, 1, now()))
		}
		offers := c.of(t, h.ID)
		assert.Equal(t, x.online, offers[h.Devices[0].ID].Online, name)
		assert.False(t, offers[h.Devices[1].ID].Online, "%s, and the device is not in the machine", name)
	}
}

func (c offerCases) occupied(t *testing.T) {
	t.Parallel()
	h := c.host(t, nil)
	free := c.of(t, h.ID)
	j := waiting(ids.New())
	require.NoError(t, lease(j, h.Devices[0].ID, h.Devices[1].ID))
	c.jobs.add(t, j)
	assert.Equal(t, free, c.of(t, h.ID))
}

func (c offerCases) unknown(t *testing.T) {
	t.Parallel()
	assert.Empty(t, c.of(t, ids.New()))
	assert.Empty(t, c.of(t, domain.ID{}))
}

func (c offerCases) changes(t *testing.T) {
	t.Parallel()
	h := c.host(t, nil)
	before := c.of(t, h.ID)
	price, device := h.Devices[0].Price+5, h.Devices[0].ID
	_, err := c.hosts.Update(t.Context(), h.ID, func(h *hosts.Host) error { return h.Offer(device, &price, nil, now()) })
	require.NoError(t, err)
	after := c.of(t, h.ID)
	assert.Equal(t, price, after[device].Price)
	assert.Greater(t, after[device].Version, before[device].Version)
	assert.Equal(t, before[h.Devices[1].ID], after[h.Devices[1].ID])
	_, err = c.hosts.Update(t.Context(), h.ID, func(h *hosts.Host) error { return h.Retire(now()) })
	require.NoError(t, err)
	assert.Empty(t, c.of(t, h.ID))
}

func (c offerCases) heard(t *testing.T) {
	t.Parallel()
	a, b := c.host(t, nil).ID, c.host(t, nil).ID
	c.presences.start(t, a, 1, minute(1))
	c.presences.start(t, b, 1, minute(2))
	heard := func(hosts ...domain.ID) map[domain.ID]time.Time {
		times, err := c.Heard(t.Context(), hosts...)
		require.NoError(t, err)
		return times
	}
	assert.Equal(t, map[domain.ID]time.Time{a: minute(1), b: minute(2)}, heard(a, b))
	c.presences.beat(t, a, 1, minute(3))
	require.NoError(t, c.presences.Disconnect(t.Context(), a, 1, minute(4)))
	assert.Equal(t, map[domain.ID]time.Time{a: minute(3)}, heard(a, a), "leaving is no sign of life")
	c.presences.start(t, a, 2, minute(5))
	assert.Equal(t, map[domain.ID]time.Time{a: minute(5)}, heard(a))
}

func (c offerCases) neverHeard(t *testing.T) {
	t.Parallel()
	silent, loud := c.host(t, nil).ID, c.host(t, nil).ID
	c.presences.start(t, loud, 1, minute(1))
	times, err := c.Heard(t.Context(), silent, loud, ids.New())
	require.NoError(t, err)
	assert.Equal(t, map[domain.ID]time.Time{loud: minute(1)}, times)
	none, err := c.Heard(t.Context())
	require.NoError(t, err)
	assert.Empty(t, none, "nobody was asked about")
}

func (c offerCases) copies(t *testing.T) {
	t.Parallel()
	h := c.host(t, nil)
	given, err := c.Of(t.Context(), h.ID)
	require.NoError(t, err)
	was := frozen(given)
	scribble(&given[0].Tags)
	again, err := c.Of(t.Context(), h.ID)
	require.NoError(t, err)
	assert.Equal(t, was, frozen(again))
}

func (c offerCases) many(t *testing.T) {
	t.Parallel()
	const many = 1100
	added := map[domain.ID]bool{}
	machines := make([]hosts.Snapshot, many)
	for i := range machines {
		machines[i] = machine()
		machines[i].Devices = machines[i].Devices[:1]
		added[machines[i].Devices[0].ID] = true
	}
	for _, err := range race(many, func(i int) error {
		return c.hosts.Add(t.Context(), hosts.Restore(machines[i]))
	}) {
		require.NoError(t, err)
	}
	all, err := c.All(t.Context())
	require.NoError(t, err)
	require.Len(t, all, many)
	for _, o := range all {
		assert.True(t, added[o.DeviceID])
		delete(added, o.DeviceID) // it is offered once
	}
}

func (c offerCases) calls() calls {
	return calls{
		"All":   func(ctx context.Context) error { _, err := c.All(ctx); return err },
		"Of":    func(ctx context.Context) error { _, err := c.Of(ctx, ids.New()); return err },
		"Heard": func(ctx context.Context) error { _, err := c.Heard(ctx, ids.New()); return err },
	}
}
