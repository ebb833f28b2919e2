package bunstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
)

// kind is how one kind of aggregate is kept. A is the aggregate, S its snapshot.
type kind[A interface{ Facts() []domain.Fact }, S any] struct {
	name     string
	table    string
	restore  func(S) A
	snapshot func(A) S
	// load finds one; none is sql.ErrNoRows.
	load func(ctx context.Context, db bun.IDB, id domain.ID) (S, error)
	// insert stores a new one, and gives it as it will be read.
	insert func(t *tx, s S) (stored S, err error)
	// replace stores what became of old if its version is still the stored one, and
	// gives the new state as it will be read; else found is false.
	replace func(t *tx, old, next S) (stored S, found bool, err error)
}

// add stores a new aggregate with its events.
func (k *kind[A, S]) add(ctx context.Context, s *Store, id domain.ID, a A) error {
	snapshot := k.snapshot(a)
	events, err := s.eventRows(a.Facts())
	if err != nil {
		return err
	}
	var stored S
	err = s.commit(ctx, id, func(t *tx) (err error) {
		if stored, err = k.insert(t, snapshot); err != nil {
			return err
		}
		return t.record(events)
	})
	if err == nil {
		k.keep(s, id, stored)
	}
	return err
}

// keep remembers what was stored, for the next update; callers may do with theirs what
// they like.
func (k *kind[A, S]) keep(s *Store, id domain.ID, stored S) {
	s.copies.put(id, k.snapshot(k.restore(stored)))
}

// update loads, changes and stores an aggregate. It works on a copy that it has, or loads
// beforehand, so that the writer has nothing to wait for; if somebody else was faster,
// the change runs again within the transaction, on a row that nobody else can change.
func (k *kind[A, S]) update(ctx context.Context, s *Store, id domain.ID, change func(A) error) (stored S, err error) {
	var zero S
	db, err := s.reader()
	if err != nil {
		return zero, err
	}
	first, had := s.copies.find(id).(S)
	var ahead outcome[S]
	if had {
		// That it is refused or changes nothing is not for an old copy to say.
		ahead, err = k.apply(s, first, change)
		had = err == nil && ahead.changes(first)
	}
	if !had {
		if first, err = k.load(ctx, db, id); err != nil {
			return zero, s.missing(ctx, k.name, err)
		}
		if ahead, err = k.apply(s, first, change); err != nil {
			return zero, err
		}
		if !ahead.changes(first) {
			return first, nil
		}
	}
	err = s.commit(ctx, id, func(t *tx) error {
		old, changed := first, ahead
		var found bool
		if stored, found, err = k.replace(t, old, changed.next); err == nil && !found {
			if old, err = k.locked(t, id); err != nil {
				return s.missing(t.ctx, k.name, err)
			}
			if changed, err = k.apply(s, old, change); err != nil {
				return &changeError{err}
			}
			stored, found, err = k.replace(t, old, changed.next)
		}
		if err != nil {
			return err
		}
		if !found {
			return domain.NewError(domain.KindInternal, "version", "a locked row changed its version")
		}
		return t.record(changed.events)
	})
	if err != nil {
		s.copies.forget(id)
		return zero, err
	}
	k.keep(s, id, stored)
	return stored, nil
}

// outcome is what a change made of an aggregate.
type outcome[S any] struct {
	next   S
	events []outboxRow
}

func (o outcome[S]) changes(old S) bool {
	return len(o.events) > 0 || !reflect.DeepEqual(old, o.next)
}

func (k *kind[A, S]) apply(s *Store, old S, change func(A) error) (outcome[S], error) {
	a := k.restore(old)
	if err := s.nested.change(func() error { return change(a) }); err != nil {
		return outcome[S]{}, err
	}
	events, err := s.eventRows(a.Facts())
	return outcome[S]{next: k.snapshot(a), events: events}, err
}

// locked loads an aggregate that nobody else can change until the transaction ends.
// The lock is a statement of its own, because one that waits for a lock sees the other
// tables as they were before it waited.
func (k *kind[A, S]) locked(t *tx, id domain.ID) (S, error) {
	if lock := t.store.dialect.lock; lock != "" {
		if err := t.later(t.store.write.NewRaw("SELECT id FROM ? WHERE id = ? "+lock, bun.Ident(k.table), key(id))); err != nil {
			var zero S
			return zero, err
		}
	}
	db, err := t.rows()
	if err != nil {
		var zero S
		return zero, err
	}
	return k.load(t.ctx, db, id)
}

// get loads an aggregate for reading.
func (k *kind[A, S]) get(ctx context.Context, s *Store, id domain.ID) (S, error) {
	db, err := s.reader()
	if err != nil {
		var zero S
		return zero, err
	}
	snapshot, err := k.load(ctx, db, id)
	return snapshot, s.missing(ctx, k.name, err)
}

// missing translates an error of a query that should have found one row.
func (s *Store) missing(ctx context.Context, what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) && ctx.Err() == nil {
		return domain.NotFound(what)
	}
	return s.failed(ctx, err)
}

// eventRows makes events of what an aggregate recorded.
func (s *Store) eventRows(facts []domain.Fact) ([]outboxRow, error) {
	if len(facts) == 0 {
		return nil, nil
	}
	rows := make([]outboxRow, len(facts))
	for i, f := range facts {
		data, err := json.Marshal(f.Data)
		if err != nil {
			return nil, domain.NewError(domain.KindInternal, "event", "an event of type "+f.Type+" has no JSON form").With(err)
		}
		rows[i] = outboxRow{ID: key(s.IDs.New()), Type: f.Type, V: 1, Key: key(f.Key), Time: stamp(f.Time), Data: data}
	}
	return rows, nil
}
