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

// Presences is the contract of ports.Presences.
func Presences(t *testing.T, open func(*testing.T) Storage) {
	c := presenceCases{open(t).Presences()}
	t.Run("who never connected is not listed and was never online", c.unknown)
	t.Run("connecting begins an interval", c.connect)
	t.Run("disconnecting ends the interval, and connecting begins the next", c.disconnect)
	t.Run("a newer session ends the interval of an older one", c.takeOver)
	t.Run("an older session is fenced", c.fenced)
	t.Run("of sessions that connect at once, the newest stays", c.connectRace)
	t.Run("beats extend the open intervals of many hosts", c.beats)
	t.Run("a beat of an older session, or an earlier one, changes nothing", c.staleBeats)
	t.Run("presences are listed by host, or all of them", c.list)
	t.Run("intervals that end at or after a time are given, oldest first", c.intervals)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

type presenceCases struct{ ports.Presences }

// minute is a time of its own, cut coarser than its nanoseconds.
func minute(n int) time.Time {
	return time.Date(2026, 4, 1, 12, n, 0, 123_456_000, time.UTC)
}

// uncut is the same time as adapters may be given it.
func uncut(at time.Time) time.Time { return at.Add(789).In(time.FixedZone("", 3600)) }

func (c presenceCases) start(t *testing.T, host domain.ID, epoch int64, at time.Time) {
	t.Helper()
	require.NoError(t, c.Connect(t.Context(), host, epoch, uncut(at)))
}

func (c presenceCases) beat(t *testing.T, host domain.ID, epoch int64, at time.Time) {
	t.Helper()
	require.NoError(t, c.Beat(t.Context(), []hosts.Presence{{Host: host, Epoch: epoch, Connected: true, LastBeat: uncut(at)}}))
}

func (c presenceCases) of(t *testing.T, host domain.ID) hosts.Presence {
	t.Helper()
	list, err := c.List(t.Context(), host)
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

func (c presenceCases) online(t *testing.T, host domain.ID, from time.Time) []hosts.Interval {
	t.Helper()
	intervals, err := c.Intervals(t.Context(), host, from)
	require.NoError(t, err)
	return intervals
}

func (c presenceCases) unknown(t *testing.T) {
	t.Parallel()
	host := ids.New()
	require.NoError(t, c.Disconnect(t.Context(), host, 1, minute(0)))
	list, err := c.List(t.Context(), host)
	require.NoError(t, err)
	assert.Empty(t, list)
	assert.Empty(t, c.online(t, host, time.Time{}))
}

func (c presenceCases) connect(t *testing.T) {
	t.Parallel()
	host := ids.New()
	c.start(t, host, 3, minute(0))
	assert.Equal(t, hosts.Presence{Host: host, Epoch: 3, Connected: true, Since: minute(0), LastBeat: minute(0)}, c.of(t, host))
	assert.Equal(t, []hosts.Interval{{From: minute(0), To: minute(0)}}, c.online(t, host, minute(0)))
}

func (c presenceCases) disconnect(t *testing.T) {
	t.Parallel()
	host := ids.New()
	c.start(t, host, 1, minute(0))
	c.beat(t, host, 1, minute(1))
	require.NoError(t, c.Disconnect(t.Context(), host, 1, uncut(minute(2))))
	p := c.of(t, host)
	assert.False(t, p.Connected)
	assert.Equal(t, minute(0), p.Since, "of the latest interval")
	assert.Equal(t, minute(1), p.LastBeat)
	require.NoError(t, c.Disconnect(t.Context(), host, 1, minute(9)), "it has ended already")
	c.start(t, host, 2, minute(5))
	assert.Equal(t, minute(5), c.of(t, host).Since)
	assert.Equal(t, []hosts.Interval{{From: minute(0), To: minute(2)}, {From: minute(5), To: minute(5)}}, c.online(t, host, time.Time{}))
}

func (c presenceCases) takeOver(t *testing.T) {
	t.Parallel()
	host := ids.New()
	c.start(t, host, 1, minute(0))
	c.beat(t, host, 1, minute(2))
	c.start(t, host, 2, minute(7))
	c.beat(t, host, 2, minute(8))
	require.NoError(t, c.Disconnect(t.Context(), host, 1, minute(9)), "an older session's end changes nothing")
	assert.Equal(t, hosts.Presence{Host: host, Epoch: 2, Connected: true, Since: minute(7), LastBeat: minute(8)}, c.of(t, host))
	got := c.online(t, host, time.Time{})
	require.Len(t, got, 2)
	assert.Equal(t, minute(0), got[0].From)
	assert.False(t, got[0].To.Before(minute(2)) || got[0].To.After(minute(7)), "between its last beat and the takeover: %s", got[0].To)
	assert.Equal(t, hosts.Interval{From: minute(7), To: minute(8)}, got[1])
}

func (c presenceCases) fenced(t *testing.T) {
	t.Parallel()
	host := ids.New()
	c.start(t, host, 5, minute(0))
	before := c.of(t, host)
	assert.ErrorIs(t, c.Connect(t.Context(), host, 4, minute(1)), domain.Conflict("session_fenced", ""))
	assert.Equal(t, before, c.of(t, host))
	require.NoError(t, c.Disconnect(t.Context(), host, 5, minute(2)))
	assert.ErrorIs(t, c.Connect(t.Context(), host, 4, minute(3)), domain.Conflict("session_fenced", ""), "even when the newer one has left")
	assert.Len(t, c.online(t, host, time.Time{}), 1)
}

func (c presenceCases) connectRace(t *testing.T) {
	t.Parallel()
	host := ids.New()
	errs := race(racers, func(i int) error { return c.Connect(t.Context(), host, int64(i+1), minute(0)) })
	won := winners(t, errs, domain.Conflict("session_fenced", ""))
	assert.NoError(t, errs[racers-1])
	assert.Equal(t, int64(racers), c.of(t, host).Epoch)
	assert.Len(t, c.online(t, host, time.Time{}), won)
	c.beat(t, host, racers, minute(3))
	open := 0
	for _, i := range c.online(t, host, time.Time{}) {
		if i.To.Equal(minute(3)) {
			open++
		}
	}
	assert.Equal(t, 1, open, "one interval is open")
}

func (c presenceCases) beats(t *testing.T) {
	t.Parallel()
	var beats []hosts.Presence
	for i := range 5 {
		host := ids.New()
		c.start(t, host, int64(i+1), minute(0))
		beats = append(beats, hosts.Presence{Host: host, Epoch: int64(i + 1), LastBeat: uncut(minute(i + 1))})
	}
	require.NoError(t, c.Beat(t.Context(), beats))
	require.NoError(t, c.Beat(t.Context(), nil))
	for i, b := range beats {
		assert.Equal(t, hosts.Presence{Host: b.Host, Epoch: b.Epoch, Connected: true, Since: minute(0), LastBeat: minute(i + 1)}, c.of(t, b.Host))
		assert.Equal(t, []hosts.Interval{{From: minute(0), To: minute(i + 1)}}, c.online(t, b.Host, time.Time{}))
	}
}

func (c presenceCases) staleBeats(t *testing.T) {
	t.Parallel()
	host := ids.New()
	c.start(t, host, 2, minute(0))
	c.beat(t, host, 2, minute(5))
	c.beat(t, host, 1, minute(6))
	c.beat(t, host, 2, minute(4))
	assert.Equal(t, minute(5), c.of(t, host).LastBeat)
	assert.Equal(t, []hosts.Interval{{From: minute(0), To: minute(5)}}, c.online(t, host, time.Time{}))
	require.NoError(t, c.Disconnect(t.Context(), host, 2, minute(7)))
	c.beat(t, host, 2, minute(9))
	assert.False(t, c.of(t, host).Connected, "a beat that comes late connects nobody")
	assert.Equal(t, []hosts.Interval{{From: minute(0), To: minute(7)}}, c.online(t, host, time.Time{}))
}

func (c presenceCases) list(t *testing.T) {
	t.Parallel()
	a, b := ids.New(), ids.New()
	c.start(t, a, 1, minute(0))
	c.start(t, b, 1, minute(0))
	require.NoError(t, c.Disconnect(t.Context(), b, 1, minute(1)))
	hostsOf := func(ids ...domain.ID) (found []domain.ID) {
		list, err := c.List(t.Context(), ids...)
		require.NoError(t, err)
		for _, p := range list {
			found = append(found, p.Host)
		}
		return found
	}
	assert.ElementsMatch(t, []domain.ID{a, b}, hostsOf(b, a, ids.New()))
	assert.Subset(t, hostsOf(), []domain.ID{a, b}, "all that ever connected")
}

func (c presenceCases) intervals(t *testing.T) {
	t.Parallel()
	host := ids.New()
	var all []hosts.Interval
	for i := range 4 {
		c.start(t, host, int64(i), minute(10*i))
		require.NoError(t, c.Disconnect(t.Context(), host, int64(i), minute(10*i+5)))
		all = append(all, hosts.Interval{From: minute(10 * i), To: minute(10*i + 5)})
	}
	assert.Equal(t, all, c.online(t, host, time.Time{}))
	assert.Equal(t, all[1:], c.online(t, host, minute(15)), "the end belongs to it")
	assert.Equal(t, all[2:], c.online(t, host, minute(15).Add(time.Microsecond)))
	assert.Empty(t, c.online(t, host, minute(59)))
}

func (c presenceCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	host := ids.New()
	c.start(t, host, 1, minute(0))
	before := c.of(t, host)
	require.ErrorIs(t, c.Connect(ctx, host, 2, minute(1)), context.Canceled)
	require.ErrorIs(t, c.Beat(ctx, []hosts.Presence{{Host: host, Epoch: 1, LastBeat: minute(2)}}), context.Canceled)
	require.ErrorIs(t, c.Disconnect(ctx, host, 1, minute(3)), context.Canceled)
	assert.Equal(t, before, c.of(t, host))
}

func (c presenceCases) calls() calls {
	return calls{
		"Connect":    func(ctx context.Context) error { return c.Connect(ctx, ids.New(), 1, now()) },
		"Disconnect": func(ctx context.Context) error { return c.Disconnect(ctx, ids.New(), 1, now()) },
		"Beat": func(ctx context.Context) error {
			return c.Beat(ctx, []hosts.Presence{{Host: ids.New(), LastBeat: now()}})
		},
		"List":      func(ctx context.Context) error { _, err := c.List(ctx, ids.New()); return err },
		"Intervals": func(ctx context.Context) error { _, err := c.Intervals(ctx, ids.New(), now()); return err },
	}
}
