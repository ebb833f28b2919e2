package memory

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Outbox is the events that are still to be published.
func (s *Store) Outbox() ports.Outbox { return outbox{s} }

type outbox struct{ s *Store }

// queued is an event in the outbox. It stays when it is done, because the events of a
// job are its timeline.
type queued struct {
	domain.Event
	done bool
}

// render makes events of facts; they get their ids and places when they are stored.
func render(facts []domain.Fact) ([]domain.Event, error) {
	var events []domain.Event
	for _, f := range facts {
		data, err := json.Marshal(f.Data)
		if err != nil {
			return nil, domain.NewError(domain.KindInternal, "event", "an event of type %s has no JSON form", f.Type).With(err)
		}
		events = append(events, domain.Event{Type: f.Type, V: 1, Key: f.Key, Time: domain.Time(f.Time), Data: data})
	}
	return events, nil
}

// record stores events behind all others. The store is locked.
func (s *Store) record(events []domain.Event) {
	if len(events) == 0 {
		return
	}
	for _, e := range events {
		e.ID, e.Seq = s.IDs.New(), int64(len(s.outbox)+1)
		s.timelines[e.Key] = append(s.timelines[e.Key], len(s.outbox))
		s.outbox = append(s.outbox, queued{Event: e})
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (o outbox) Pending(ctx context.Context, limit int) ([]domain.Event, error) {
	if err := o.s.enter(ctx); err != nil {
		return nil, err
	}
	defer o.s.mu.Unlock()
	var events []domain.Event
	for _, q := range o.s.outbox[o.s.undone:] {
		if len(events) == max(limit, 1) {
			break
		}
		if !q.done {
			events = append(events, kept(q.Event))
		}
	}
	return events, nil
}

func (o outbox) Done(ctx context.Context, ids ...domain.ID) error {
	if err := o.s.enter(ctx); err != nil {
		return err
	}
	defer o.s.mu.Unlock()
	for i := o.s.undone; i < len(o.s.outbox); i++ {
		if slices.Contains(ids, o.s.outbox[i].ID) {
			o.s.outbox[i].done = true
		}
	}
	for o.s.undone < len(o.s.outbox) && o.s.outbox[o.s.undone].done {
		o.s.undone++
	}
	return nil
}

func (o outbox) Wake() <-chan struct{} { return o.s.wake }
