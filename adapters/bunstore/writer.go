package bunstore

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// writer commits what callers write. There is one lane on SQLite, which has one
// writer, and there are some on PostgreSQL. A lane takes all the units that gathered
// while its last commit was under way, and commits them together: one that comes alone
// waits for nobody, and under load the cost of a commit is shared. Units of one key use
// one lane and keep their order.
type writer struct {
	store *Store
	lanes []*lane
	done  sync.WaitGroup
}

// lane runs one transaction at a time.
type lane struct {
	mu     sync.Mutex
	queue  []*unit
	closed bool
	signal chan struct{} // of capacity 1
}

// The bounds of a transaction.
const (
	maxUnits = 128
	maxTime  = 30 * time.Second
	maxTries = 20
)

// unit is what one caller writes: all of it or nothing.
type unit struct {
	ticket
	key domain.ID
	// lazy work may be lost with the machine, though not with a process.
	lazy bool
	// work may run several times; each time it starts from what is committed, and from
	// what earlier units of the same transaction wrote.
	work func(*tx) error
}

// ticket is a caller that waits for a commit. It can be withdrawn until it is taken.
type ticket struct {
	state atomic.Int32
	done  chan struct{}
	err   error
	panic any // of the caller's own change
}

const (
	waiting int32 = iota
	underWay
	withdrawn
)

func newTicket() ticket { return ticket{done: make(chan struct{})} }

// take says that the work will be done now; false that the caller has gone.
func (t *ticket) take() bool { return t.state.CompareAndSwap(waiting, underWay) }

func (t *ticket) finish(err error) {
	t.err = err
	close(t.done)
}

// wait returns when the work is committed or was refused. A context that ends has no
// effect any more once the work is taken: then what was done is the answer.
func (t *ticket) wait(ctx context.Context) error {
	select {
	case <-t.done:
	case <-ctx.Done():
		if t.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		<-t.done
	}
	if t.panic != nil {
		panic(t.panic)
	}
	return t.err
}

func newWriter(s *Store) *writer {
	w := &writer{store: s}
	for range s.dialect.lanes {
		l := &lane{signal: make(chan struct{}, 1)}
		w.lanes = append(w.lanes, l)
		w.done.Go(func() { w.run(l) })
	}
	return w
}

func (w *writer) close() {
	for _, l := range w.lanes {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.wake()
	}
	w.done.Wait()
}

// commit runs work in a transaction and returns when that is durable. Work for the
// same key keeps its order. It refuses calls from within a change.
func (s *Store) commit(ctx context.Context, key domain.ID, work func(*tx) error) error {
	return s.hand(ctx, &unit{ticket: newTicket(), key: key, work: work})
}

// commitLazily is commit for work that is done again if it should be lost: it does not
// wait for the disk. What is committed later is never kept without it.
func (s *Store) commitLazily(ctx context.Context, key domain.ID, work func(*tx) error) error {
	return s.hand(ctx, &unit{ticket: newTicket(), key: key, work: work, lazy: true})
}

// hand gives a unit to the writer and waits for it.
func (s *Store) hand(ctx context.Context, u *unit) error {
	if err := s.nested.check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.writer.lane(u.key).add(u) {
		return closed
	}
	err := u.wait(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	return translate(s.dialect, err)
}

// lane chooses by the end of the id, which is random; ids begin with the time.
func (w *writer) lane(key domain.ID) *lane {
	return w.lanes[(int(key[14])<<8|int(key[15]))%len(w.lanes)]
}

func (l *lane) add(u *unit) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, u)
	l.wake()
	return true
}

func (l *lane) wake() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// next gives what waits, at most maxUnits of it.
func (l *lane) next() (batch []*unit, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), maxUnits)
	batch, l.queue = l.queue[:n:n], l.queue[n:]
	return batch, l.closed
}

func (w *writer) run(l *lane) {
	for range l.signal {
		for {
			batch, closed := l.next()
			if len(batch) == 0 && closed {
				return
			}
			if len(batch) == 0 {
				break
			}
			w.execute(slices.DeleteFunc(batch, func(u *unit) bool { return !u.take() }))
		}
	}
}

// execute commits a batch. When the database gives the whole transaction up because
// of others (a deadlock, a serialization failure, a busy file), each unit is tried
// again by itself.
func (w *writer) execute(batch []*unit) {
	if len(batch) == 0 {
		return
	}
	// Servers that write the same rows take them in the same order.
	slices.SortStableFunc(batch, func(a, b *unit) int { return bytes.Compare(a.key[:], b.key[:]) })
	whole := w.attempt(batch)
	for _, u := range batch {
		err := whole
		for try := 1; err != nil && w.store.dialect.transient(err) && try < maxTries; try++ {
			pause := time.NewTimer(rand.N(time.Duration(try) * time.Millisecond))
			<-pause.C
			err = w.attempt([]*unit{u})
		}
		if err == nil {
			err = u.err
		}
		u.finish(err)
	}
}

// attempt runs a batch in one transaction. Its error means that nothing was stored;
// the error of a unit that failed alone stands in the unit.
func (w *writer) attempt(batch []*unit) error {
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	conn, err := w.store.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	t := &tx{store: w.store, ctx: ctx, conn: conn}
	t.say(w.store.dialect.begin)
	if lazy := w.store.dialect.lazy; lazy != "" && !slices.ContainsFunc(batch, func(u *unit) bool { return !u.lazy }) {
		t.say(lazy)
	}
	if len(batch) == 1 {
		return t.alone(batch[0])
	}
	for _, u := range batch {
		if err := t.among(u); err != nil {
			t.rollback()
			return err
		}
	}
	return t.commit()
}
