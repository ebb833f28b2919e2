package domain

import (
	"encoding/json"
	"time"
)

// Event is a fact that an aggregate recorded while it changed: stored with the
// change in one transaction, published later by the relay. Versions are additive
// only; a breaking change is a new type.
type Event struct {
	ID   ID              `json:"id"`
	Type string          `json:"type"` // <context>.<fact>, such as jobs.queued
	V    int             `json:"v"`    // version of Data's schema
	Key  ID              `json:"key"`  // the aggregate; order is kept per key
	Seq  int64           `json:"seq"`  // position in the outbox, given by storage
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// Fact is an event as an aggregate records it, before storage gives it an id and
// its place. Data holds no secret: it is stored and published as it is.
type Fact struct {
	Type string
	Key  ID
	Time time.Time
	Data any
}

// Recorder collects the facts of one change. Aggregates embed it.
type Recorder struct{ facts []Fact }

// Record notes a fact.
func (r *Recorder) Record(typ string, key ID, at time.Time, data any) {
	r.facts = append(r.facts, Fact{Type: typ, Key: key, Time: at, Data: data})
}

// Facts hands the facts over to storage, in the order in which they happened, and
// forgets them.
func (r *Recorder) Facts() []Fact {
	facts := r.facts
	r.facts = nil
	return facts
}
