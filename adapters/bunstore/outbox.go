package bunstore

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Outbox is the events that are still to be published. Its rows stay: those of jobs
// are their timeline.
func (s *Store) Outbox() ports.Outbox { return outbox{s} }

type outbox struct{ s *Store }

type outboxRow struct {
	bun.BaseModel `bun:"table:outbox,alias:o"`

	Seq    int64 `bun:",pk,autoincrement"`
	ID     key
	Type   string
	V      int
	Key    key
	Time   stamp
	Data   json.RawMessage
	DoneAt stamp
}

func (r *outboxRow) event() domain.Event {
	return domain.Event{
		ID: domain.ID(r.ID), Type: r.Type, V: r.V, Key: domain.ID(r.Key), Seq: r.Seq,
		Time: time.Time(r.Time), Data: r.Data,
	}
}

// record stores events with the change that made them. The database numbers them in
// the order in which they are written; since a key's changes wait for each other, so
// do its numbers.
func (t *tx) record(events []outboxRow) error {
	if len(events) == 0 {
		return nil
	}
	t.events = true
	return t.later(t.store.write.NewInsert().Model(&events).ExcludeColumn("seq"))
}

// stir tells the relay that there are events.
func (s *Store) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (o outbox) Pending(ctx context.Context, limit int) ([]domain.Event, error) {
	return o.s.events(ctx, limit, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("done_at IS NULL") })
}

func (o outbox) Done(ctx context.Context, ids ...domain.ID) error {
	if len(ids) == 0 {
		return ctx.Err()
	}
	now := stamp(o.s.Clock.Now())
	// An event that is lost as done is published again, as after any crash.
	return o.s.commitLazily(ctx, domain.ID{}, func(t *tx) error {
		return t.later(o.s.write.NewUpdate().Model((*outboxRow)(nil)).Set("done_at = ?", now).
			Where("id IN (?)", bun.List(keys(ids))).Where("done_at IS NULL"))
	})
}

func (o outbox) Wake() <-chan struct{} { return o.s.wake }

// events gives rows of the outbox in the order of their numbers.
func (s *Store) events(ctx context.Context, limit int, where func(*bun.SelectQuery) *bun.SelectQuery) ([]domain.Event, error) {
	db, err := s.reader()
	if err != nil {
		return nil, err
	}
	var rows []outboxRow
	if err := where(db.NewSelect().Model(&rows)).Order("seq").Limit(int64(max(limit, 1))).Scan(ctx); err != nil {
		return nil, s.failed(ctx, err)
	}
	events := make([]domain.Event, len(rows))
	for i := range rows {
		events[i] = rows[i].event()
	}
	return events, nil
}
