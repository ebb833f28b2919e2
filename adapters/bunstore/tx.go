package bunstore

import (
	"context"
	"database/sql/driver"
	"fmt"
	"runtime/debug"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/peergpu/peergpu/domain"
)

// tx is a transaction of the writer. What is only said waits, and goes to the database
// together with the next statement whose answer is needed, because on PostgreSQL each
// answer costs a round trip.
type tx struct {
	store   *Store
	ctx     context.Context // the writer's: a caller that leaves does not break a batch
	conn    bun.Conn
	pending []byte
	sent    bool // something of the present unit was sent
	begun   bool // something was sent
	events  bool
}

// say adds a statement whose answer does not matter unless it fails.
func (t *tx) say(sql string) {
	t.pending = append(append(t.pending, sql...), ";\n"...)
}

// later is say for a query.
func (t *tx) later(q schema.QueryAppender) error {
	b, err := q.AppendQuery(t.store.write.QueryGen(), t.pending)
	if err != nil {
		return err
	}
	t.pending = append(b, ";\n"...)
	return nil
}

// flush sends what waits.
func (t *tx) flush() error {
	_, err := t.send()
	return err
}

// exec sends what waits and the query, and tells how many rows it changed.
func (t *tx) exec(q schema.QueryAppender) (int64, error) {
	if err := t.later(q); err != nil {
		return 0, err
	}
	return t.send()
}

// rows sends what waits and gives the connection, for queries that give rows.
func (t *tx) rows() (bun.Conn, error) { return t.conn, t.flush() }

func (t *tx) send() (int64, error) {
	if len(t.pending) == 0 {
		return 0, nil
	}
	t.sent, t.begun = true, true
	r, err := t.conn.ExecContext(t.ctx, string(t.pending))
	t.pending = t.pending[:0]
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// run does a unit's work. A panic belongs to the caller, not to the writer.
func (t *tx) run(u *unit) (err error) {
	u.panic = nil
	defer func() {
		if p := recover(); p != nil {
			u.panic = fmt.Sprintf("%v\n%s", p, debug.Stack())
			err = domain.NewError(domain.KindInternal, "panic", "a change panicked")
		}
	}()
	return u.work(t)
}

// alone does a unit's work as the only one of the transaction, without a savepoint.
// Its error is one that may be another's fault; the unit's own stands in the unit.
func (t *tx) alone(u *unit) error {
	if u.err = t.run(u); u.err != nil {
		t.rollback()
	} else {
		// What the unit said last goes to the database together with the COMMIT.
		u.err = t.commit()
	}
	return t.store.dialect.fatal(u.err)
}

// among does a unit's work so that it can be taken back without the others' work. Its
// error is one that takes all with it.
func (t *tx) among(u *unit) error {
	before := len(t.pending)
	t.sent = false
	t.say("SAVEPOINT unit")
	if u.err = t.run(u); u.err == nil {
		u.err = t.flush()
	}
	switch {
	case u.err == nil:
		t.say("RELEASE SAVEPOINT unit")
		return nil
	case t.store.dialect.fatal(u.err) != nil:
		return u.err
	case !t.sent:
		t.pending = t.pending[:before]
		return nil
	}
	t.pending = t.pending[:0]
	t.say("ROLLBACK TO SAVEPOINT unit")
	t.say("RELEASE SAVEPOINT unit")
	return t.flush()
}

func (t *tx) commit() error {
	t.say("COMMIT")
	if err := t.flush(); err != nil {
		t.rollback()
		return err
	}
	if t.events {
		t.store.stir()
	}
	return nil
}

// rollback ends the transaction without effect. A connection on which even that fails
// is not used again.
func (t *tx) rollback() {
	if !t.begun {
		return
	}
	if _, err := t.conn.ExecContext(t.ctx, "ROLLBACK"); err != nil {
		_ = t.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}
