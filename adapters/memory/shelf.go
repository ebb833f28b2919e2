package memory

import (
	"context"
	"reflect"
	"slices"

	"github.com/peergpu/peergpu/domain"
)

// shelf keeps the aggregates of one kind. A is the aggregate, S its snapshot.
type shelf[A interface{ Facts() []domain.Fact }, S any] struct {
	store    *Store
	name     string
	restore  func(S) A
	snapshot func(A) S
	row      func(*S) (id domain.ID, version *int64)
	// admit checks what is unique before next takes the place of old, which is nil for
	// a new one, and keeps the indexes up to date when it returns nil.
	admit func(old, next *S) error
	rows  map[domain.ID]S
}

// add stores a new aggregate with its events.
func (k *shelf[A, S]) add(ctx context.Context, a A) error {
	next, facts := kept(k.snapshot(a)), a.Facts()
	events, err := render(facts)
	if err != nil {
		return err
	}
	if err := k.store.enter(ctx); err != nil {
		return err
	}
	defer k.store.mu.Unlock()
	id, version := k.row(&next)
	if _, exists := k.rows[id]; exists {
		return domain.Conflict("exists", "there is such a "+k.name+" already")
	}
	if err := k.admit(nil, &next); err != nil {
		return err
	}
	*version = 1
	k.rows[id] = next
	k.store.record(events)
	return nil
}

// update lets change work on a copy while nobody is locked out, and starts again when
// somebody else was faster: exactly what a database makes of it.
func (k *shelf[A, S]) update(ctx context.Context, id domain.ID, change func(A) error) (S, error) {
	for {
		var zero S
		old, err := k.get(ctx, id)
		if err != nil {
			return zero, err
		}
		a := k.restore(kept(old))
		if err := k.store.nested.change(func() error { return change(a) }); err != nil {
			return zero, err
		}
		events, err := render(a.Facts())
		if err != nil {
			return zero, err
		}
		next := kept(k.snapshot(a))
		if len(events) == 0 && reflect.DeepEqual(old, next) {
			return old, nil
		}
		stored, err := k.replace(ctx, &old, &next, events)
		if err != nil {
			return zero, err
		}
		if stored {
			return kept(next), nil
		}
	}
}

// replace stores what became of old with its events, unless old is old no longer.
func (k *shelf[A, S]) replace(ctx context.Context, old, next *S, events []domain.Event) (bool, error) {
	if err := k.store.enter(ctx); err != nil {
		return false, err
	}
	defer k.store.mu.Unlock()
	id, was := k.row(old)
	present := k.rows[id]
	if _, is := k.row(&present); *is != *was {
		return false, nil
	}
	if err := k.admit(&present, next); err != nil {
		return false, err
	}
	_, version := k.row(next)
	*version = *was + 1
	k.rows[id] = *next
	k.store.record(events)
	return true, nil
}

func (k *shelf[A, S]) get(ctx context.Context, id domain.ID) (S, error) {
	var zero S
	if err := k.store.enter(ctx); err != nil {
		return zero, err
	}
	defer k.store.mu.Unlock()
	s, found := k.rows[id]
	if !found {
		return zero, domain.NotFound(k.name)
	}
	return kept(s), nil
}

// list gives copies of those that match, in an order, at most limit of them.
func (k *shelf[A, S]) list(ctx context.Context, match func(*S) bool, order func(a, b *S) int, limit int) ([]S, error) {
	if err := k.store.enter(ctx); err != nil {
		return nil, err
	}
	defer k.store.mu.Unlock()
	var found []*S
	for _, s := range k.rows {
		if match(&s) {
			found = append(found, &s)
		}
	}
	slices.SortFunc(found, order)
	list := make([]S, 0, min(len(found), max(limit, 1)))
	for _, s := range found[:cap(list)] {
		list = append(list, kept(*s))
	}
	return list, nil
}

func compareIDs(a, b domain.ID) int { return slices.Compare(a[:], b[:]) }

// after says that a page that begins behind an id holds this one.
func after(id, page domain.ID) bool { return page.IsZero() || compareIDs(id, page) > 0 }

// head is the first part of a list that is no longer than limit.
func head[T any](list []T, limit int) []T { return list[:min(len(list), max(limit, 1))] }
