package contract

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
)

// Outbox is the contract of ports.Outbox. Most of its cases have a storage of their own,
// because there is one outbox for all.
func Outbox(t *testing.T, open func(*testing.T) Storage) {
	o := outboxCases{open}
	t.Run("events are pending in the order of their Seq until they are done", o.pending)
	t.Run("events come back as they were recorded", o.fields)
	t.Run("what is done stays in the timeline", o.done)
	t.Run("events of one key keep their order, however many write", o.order)
	t.Run("storing events wakes the relay", o.wakes)
	t.Run("what is returned is copied", o.copies)
	s := open(t)
	calls := calls{
		"Pending": func(ctx context.Context) error { _, err := s.Outbox().Pending(ctx, 1); return err },
		"Done":    func(ctx context.Context) error { return s.Outbox().Done(ctx, ids.New()) },
	}
	t.Run("a cancelled context ends a call with its error", calls.cancelled)
	t.Run("a cancelled context has no effect", o.cancelledEffect)
	t.Run("a call from within a change fails at once", calls.nested(func(ctx context.Context, change func()) error {
		id := jobCases{s.Jobs()}.add(t, draft(ids.New()))
		_, err := s.Jobs().Update(ctx, id, func(*work.Job) error { change(); return nil })
		return err
	}))
}

type outboxCases struct {
	open func(*testing.T) Storage
}

func pendingIn(t *testing.T, s Storage, limit int) []domain.Event {
	t.Helper()
	events, err := s.Outbox().Pending(t.Context(), limit)
	require.NoError(t, err)
	for i := 1; i < len(events); i++ {
		require.Less(t, events[i-1].Seq, events[i].Seq)
	}
	return events
}

func (o outboxCases) pending(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	assert.Empty(t, pendingIn(t, s, 10))
	c := jobCases{s.Jobs()}
	first, second := c.add(t, waiting(ids.New())), c.add(t, waiting(ids.New()))
	all := pendingIn(t, s, 100)
	require.Len(t, all, 4)
	for i, key := range []domain.ID{first, first, second, second} {
		assert.Equal(t, key, all[i].Key)
	}
	assert.Equal(t, all[:3], pendingIn(t, s, 3), "the oldest ones")
	require.NoError(t, s.Outbox().Done(t.Context(), all[0].ID, all[2].ID))
	assert.Equal(t, []domain.Event{all[1], all[3]}, pendingIn(t, s, 100))
	require.NoError(t, s.Outbox().Done(t.Context(), all[0].ID), "marking twice changes nothing")
	require.NoError(t, s.Outbox().Done(t.Context()))
	require.NoError(t, s.Outbox().Done(t.Context(), ids.New()))
	assert.Equal(t, []domain.Event{all[1], all[3]}, pendingIn(t, s, 100))
	third := c.add(t, draft(ids.New()))
	rest := pendingIn(t, s, 100)
	require.Len(t, rest, 3)
	assert.Equal(t, third, rest[2].Key)
	require.NoError(t, s.Outbox().Done(t.Context(), rest[0].ID, rest[1].ID, rest[2].ID))
	assert.Empty(t, pendingIn(t, s, 100))
}

func (o outboxCases) fields(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	at := time.Date(2026, 5, 6, 7, 8, 9, 123_456_789, time.FixedZone("", -3600))
	data := map[string]any{"text": `é "漢" \ 🙂 <&>`, "number": 9_007_199_254_740_993, "list": []any{true, nil}}
	j := draft(ids.New())
	j.Facts()
	key := ids.New()
	j.Record("tests.recorded", key, at, data)
	j.Record("tests.bare", key, at, nil)
	jobCases{s.Jobs()}.add(t, j)
	events := pendingIn(t, s, 10)
	require.Len(t, events, 2)
	want, err := json.Marshal(data)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(events[0].Data))
	assert.Contains(t, string(events[0].Data), "9007199254740993", "no number goes through a float")
	assert.JSONEq(t, "null", string(events[1].Data))
	e := events[0]
	assert.False(t, e.ID.IsZero())
	assert.NotEqual(t, e.ID, events[1].ID)
	e.ID, e.Seq, e.Data = domain.ID{}, 0, nil
	assert.Equal(t, domain.Event{Type: "tests.recorded", V: 1, Key: key, Time: domain.Time(at)}, e)
}

func (o outboxCases) done(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	c := jobCases{s.Jobs()}
	id := c.add(t, waiting(ids.New()))
	before := c.events(t, id)
	require.Len(t, before, 2)
	assert.Equal(t, before, pendingIn(t, s, 10), "the same events with the same Seq")
	require.NoError(t, s.Outbox().Done(t.Context(), before[0].ID, before[1].ID))
	assert.Empty(t, pendingIn(t, s, 10))
	assert.Equal(t, before, c.events(t, id))
}

func (o outboxCases) order(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	c := jobCases{s.Jobs()}
	keys := []domain.ID{c.add(t, draft(ids.New())), c.add(t, draft(ids.New())), c.add(t, draft(ids.New()))}
	const times = 4
	for _, err := range race(racers, func(i int) error {
		id := keys[i%len(keys)]
		for range times {
			if _, err := c.Update(t.Context(), id, func(j *work.Job) error {
				s := j.Snapshot()
				s.Losses++
				*j = *work.Restore(s)
				j.Record("tests.first", id, now(), 2*s.Losses)
				j.Record("tests.second", id, now(), 2*s.Losses+1)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	// A relay reads while others write; here it reads after them, in small portions.
	next, seen := map[domain.ID]int{}, 0
	for events := pendingIn(t, s, 7); len(events) > 0; events = pendingIn(t, s, 7) {
		for _, e := range events {
			require.NoError(t, s.Outbox().Done(t.Context(), e.ID))
			if e.Type == work.EventSubmitted {
				next[e.Key] = 2
				continue
			}
			var n int
			require.NoError(t, json.Unmarshal(e.Data, &n))
			require.Equal(t, next[e.Key], n)
			next[e.Key]++
			seen++
		}
	}
	assert.Equal(t, 2*racers*times, seen)
}

func (o outboxCases) wakes(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	c := jobCases{s.Jobs()}
	woken := func() {
		t.Helper()
		select {
		case <-s.Outbox().Wake():
		case <-time.After(patience):
			require.Fail(t, "nobody woke the relay")
		}
	}
	id := c.add(t, draft(ids.New()))
	woken()
	_, err := c.Update(t.Context(), id, func(j *work.Job) error { return j.Enqueue(1, now()) })
	require.NoError(t, err)
	woken()
	// Nobody has to listen.
	for range 5 {
		c.add(t, draft(ids.New()))
	}
	woken()
}

func (o outboxCases) copies(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	jobCases{s.Jobs()}.add(t, draft(ids.New()))
	returned := pendingIn(t, s, 10)
	was := frozen(returned)
	returned[0].Type = "spoilt"
	copy(returned[0].Data, `{"renter":"spoilt"}`)
	assert.Equal(t, was, frozen(pendingIn(t, s, 10)))
}

func (o outboxCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	s := o.open(t)
	jobCases{s.Jobs()}.add(t, draft(ids.New()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := pendingIn(t, s, 10)
	require.ErrorIs(t, s.Outbox().Done(ctx, before[0].ID), context.Canceled)
	assert.Equal(t, before, pendingIn(t, s, 10))
}
