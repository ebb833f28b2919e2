// Package invariants is for finding what a fault has broken: it reads the database and
// the folder of the objects after everything has come to rest, by its own means, and
// tells every rule that does not hold.
//
// The rules have the names of the table in ARCHITECTURE.md: J for jobs, C for capacity,
// M for money, L for logs, A for artifacts, E for events.
package invariants

import (
	"context"
	"fmt"
	"testing"
)

// World is what is looked at.
type World struct {
	Database string // sqlite:///path or postgres://…
	Blobs    string // the folder of the objects
	// Acknowledged are the jobs that the server said it had taken.
	Acknowledged []string
	// Logs tells what the runner printed in the attempt that counts: by job, the sha256.
	Logs map[string]string
	// Runs is when each attempt had a process, by the clock of the tests.
	Runs []Run
	// Swept says that a later sweep takes an object that nothing refers to. Nil: no
	// sweep is still to come.
	Swept func(key string) bool
}

// Violation is a rule that does not hold, and the evidence.
type Violation struct{ Rule, Evidence string }

// String puts both into a line.
func (v Violation) String() string { return v.Rule + ": " + v.Evidence }

// Find looks at everything and tells what is wrong.
func Find(ctx context.Context, w World) ([]Violation, error) {
	d, err := read(ctx, w)
	if err != nil {
		return nil, err
	}
	c := &check{World: w, data: d}
	for _, j := range d.jobs {
		c.job(j)
		c.attempts(j)
		c.timeline(j)
		c.money(j)
		c.logs(j)
		c.artifacts(j)
	}
	c.acknowledged()
	c.devices()
	c.runs()
	c.ledger()
	c.holds()
	c.orphans()
	c.outbox()
	return c.found, nil
}

// Clean fails the test for each rule that does not hold.
func Clean(t testing.TB, w World) {
	t.Helper()
	found, err := Find(context.WithoutCancel(t.Context()), w)
	if err != nil {
		t.Errorf("the invariants cannot be checked: %v", err)
	}
	for _, v := range found {
		t.Errorf("broken invariant %s", v)
	}
}

type check struct {
	World
	*data
	found []Violation
}

func (c *check) broken(rule, format string, args ...any) {
	c.found = append(c.found, Violation{rule, fmt.Sprintf(format, args...)})
}
