package hosts_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// countedHosts counts how often a host is read.
type countedHosts struct {
	ports.Hosts
	gets atomic.Int64
}

func (c *countedHosts) Get(ctx context.Context, id, owner domain.ID) (domainhosts.Snapshot, error) {
	c.gets.Add(1)
	return c.Hosts.Get(ctx, id, owner)
}

func TestManyWhoFollowTheirHostsCostAsMuchAsOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		reads := &countedHosts{}
		m := market.Open(t, market.Options{HostDeps: func(d *hosts.Deps) {
			reads.Hosts = d.Hosts
			d.Hosts = reads
		}})
		bob, eve := m.Person("bob", 0), m.Person("eve", 0)
		h := m.Host(bob, market.Machine{})
		news, cancel := m.Live.Subscribe(hosts.OwnerTopic(bob.User))
		defer cancel()
		told := func(message []byte) hosts.View {
			t.Helper()
			id, change, ok := hosts.ReadChange(message)
			require.True(t, ok)
			require.Equal(t, h.ID, id)
			before := reads.gets.Load()
			var v hosts.View
			for range 20 {
				var handle string
				var err error
				v, handle, err = m.Hosts.Told(t.Context(), bob, id, change)
				require.NoError(t, err)
				assert.Equal(t, "bob", handle)
			}
			assert.LessOrEqual(t, reads.gets.Load()-before, int64(1))
			return v
		}
		assert.True(t, told(h.ID[:]).Online)
		pass(time.Second)
		for len(news) > 0 {
			<-news
		}

		h.Offer(7)
		require.Len(t, news, 1)
		assert.Equal(t, domain.Micros(7), told(<-news).Devices[0].Price, "what changed is read again")
		assert.Equal(t, domain.Micros(7), told(h.ID[:]).Devices[0].Price)
		h.Offer(8)
		assert.Equal(t, domain.Micros(8), told(h.ID[:]).Devices[0].Price, "nobody who asks sees what was before")
		<-news
		h.Disconnect()
		require.Len(t, news, 1)
		assert.False(t, told(<-news).Online)
		require.NoError(t, m.Hosts.Retire(t.Context(), bob, h.ID))
		require.NotEmpty(t, news)
		var last []byte
		for len(news) > 0 {
			last = <-news
		}
		assert.Equal(t, domainhosts.Retired, told(last).Standing)
		_, _, ok := hosts.ReadChange(nil)
		assert.False(t, ok, "messages were lost")

		_, _, err := m.Hosts.Told(t.Context(), eve, h.ID, domain.ID{})
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
	})
}

func TestASilentHostIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		v, _, err := m.Hosts.Told(t.Context(), bob, h.ID, domain.ID{})
		require.NoError(t, err)
		require.True(t, v.Online)
		news, cancel := m.Live.Subscribe(hosts.OwnerTopic(bob.User))
		defer cancel()
		h.Silence()
		pass(2 * time.Minute)
		require.NotEmpty(t, news)
		v, _, err = m.Hosts.Told(t.Context(), bob, h.ID, domain.ID{})
		require.NoError(t, err)
		assert.False(t, v.Online)
	})
}

func TestTheLoadOfTenMinutesIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob, eve, root := m.Person("bob", 0), m.Person("eve", 0), m.Admin("root")
		h := m.Host(bob, market.Machine{GPUs: 2})
		live, cancel := m.Live.Subscribe(hosts.LoadTopic(bob.User))
		defer cancel()
		telemetry := func(who domain.Actor) []hosts.DeviceTelemetry {
			t.Helper()
			list, err := m.Hosts.Telemetry(t.Context(), who, h.ID)
			require.NoError(t, err)
			return list
		}
		assert.Empty(t, telemetry(bob))
		beat := func(percent int) {
			h.Beat(hosts.Load{UUID: h.GPUs[1].UUID, Utilization: percent, MemoryUsedMB: 5, TemperatureC: 70, PowerW: 300}, hosts.Load{UUID: "unknown"})
		}
		beat(50)
		v, err := m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		got := telemetry(bob)
		require.Len(t, got, 1, "what the host has, and what was heard of")
		assert.Equal(t, v.Devices[1].ID, got[0].Device)
		assert.Equal(t, []hosts.Sample{{At: m.Clock.Now(), Load: hosts.Load{UUID: h.GPUs[1].UUID, Utilization: 50, MemoryUsedMB: 5, TemperatureC: 70, PowerW: 300}}}, got[0].Samples)
		var loads hosts.Loads
		require.NoError(t, json.Unmarshal(<-live, &loads))
		assert.Equal(t, h.ID, loads.Host)
		require.Len(t, loads.Devices, 1)
		assert.Equal(t, v.Devices[1].ID, loads.Devices[0].Device)
		assert.Equal(t, 50, loads.Devices[0].Utilization)

		for range 4 {
			pass(250 * time.Millisecond)
			beat(60)
		}
		assert.Len(t, telemetry(root)[0].Samples, 2, "one a second")
		for range 100 {
			pass(10 * time.Second)
			beat(70)
		}
		kept := telemetry(bob)[0].Samples
		assert.Len(t, kept, 61)
		assert.Equal(t, 10*time.Minute, kept[60].At.Sub(kept[0].At))
		_, err = m.Hosts.Telemetry(t.Context(), eve, h.ID)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))

		older := h.Session
		h.Connect()
		m.Hosts.Heartbeat(older, []hosts.Load{{UUID: h.GPUs[0].UUID}})
		assert.Len(t, telemetry(bob), 1, "a session that is over tells nothing")
		pass(11 * time.Minute)
		assert.Empty(t, telemetry(bob))
	})
}

func TestTheMarketInNumbers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, all := town(t)
		bob, ada := m.Person("more", 0), m.Person("ada", 10*market.Dollar)
		m.Host(bob, market.Machine{Name: "dear", Price: 900_000, GPUs: 3})
		m.Host(bob, market.Machine{Name: "his own", Price: 1, Isolation: "none"})
		stats := func() hosts.Stats {
			t.Helper()
			pass(time.Second)
			s, err := m.Hosts.Stats(t.Context())
			require.NoError(t, err)
			return s
		}
		s := stats()
		assert.Equal(t, [3]int{5, 8, 8}, [3]int{s.Hosts, s.GPUs, s.Free}, "neither what is unlisted nor what is away")
		var cheapest []string
		for _, o := range s.Cheapest {
			cheapest = append(cheapest, o.Host.Name)
		}
		assert.Equal(t, []string{"den", "barn", "attic", "cellar"}, cheapest)
		assert.Equal(t, 4, s.Cheapest[2].Free, "of the model, on all hosts")

		spec := market.Spec()
		spec.HostPin = all["attic"].ID
		m.Submit(ada, spec)
		s = stats()
		assert.Equal(t, [3]int{5, 8, 7}, [3]int{s.Hosts, s.GPUs, s.Free})
		assert.Equal(t, "dear", s.Cheapest[3].Host.Name, "what is not free is no offer")
		assert.Equal(t, 3, s.Cheapest[3].Free)
	})
}

// toOthers is a fan-out between replicas that all hear everything, until it is lost.
type toOthers struct {
	ports.Live
	lost *atomic.Bool
}

func (l toOthers) Elsewhere(topic string, data []byte) {
	if !l.lost.Load() {
		l.Publish(topic, data)
	}
}

func TestAReplicaFollowsTheHostsOfAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lost atomic.Bool
		m := market.Open(t, market.Options{HostDeps: func(d *hosts.Deps) { d.Live = toOthers{d.Live, &lost} }})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		there := hosts.New(m.Hosts.Deps, m.Hosts.Settings())
		go func() { _ = there.Follow(t.Context()) }()
		synctest.Wait()
		price := func() domain.Micros {
			t.Helper()
			v, _, err := there.Told(t.Context(), bob, h.ID, domain.ID{})
			require.NoError(t, err)
			return v.Devices[0].Price
		}
		cheapest := func() domain.Micros {
			t.Helper()
			stats, err := there.Stats(t.Context())
			require.NoError(t, err)
			return stats.Cheapest[0].Price
		}
		require.Equal(t, market.DefaultPrice, price())
		require.Equal(t, market.DefaultPrice, cheapest())
		h.Offer(7)
		synctest.Wait()
		assert.Equal(t, domain.Micros(7), price())
		assert.Equal(t, domain.Micros(7), cheapest(), "at once")
		lost.Store(true)
		h.Offer(8)
		synctest.Wait()
		require.Equal(t, domain.Micros(7), price(), "nobody told")
		lost.Store(false)
		m.Live.LoseAll()
		synctest.Wait()
		assert.Equal(t, domain.Micros(8), price())

		h.Beat(hosts.Load{UUID: h.GPUs[0].UUID, Utilization: 50})
		synctest.Wait()
		got, err := there.Telemetry(t.Context(), bob, h.ID)
		require.NoError(t, err)
		require.Len(t, got, 1)
		assert.Equal(t, 50, got[0].Samples[0].Utilization)
	})
}
