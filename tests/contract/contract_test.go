package contract

import (
	"testing"
	"time"

	"github.com/peergpu/peergpu/adapters/memory"
)

// storages is every adapter that stores: one line each.
var storages = map[string]func(*testing.T) Storage{
	"memory": func(*testing.T) Storage { return memory.New(memory.Options{Clock: clock{}, IDs: &ids}) },
}

// clock is the real one.
type clock struct{}

func (clock) Now() time.Time { return now() }

func TestStorage(t *testing.T) {
	t.Parallel()
	for suite, run := range map[string]func(*testing.T, func(*testing.T) Storage){
		"Users": Users, "Sessions": Sessions, "APITokens": APITokens,
		"Hosts": Hosts, "Enrollments": Enrollments, "Presences": Presences,
		"Jobs": Jobs, "Logs": Logs, "Artifacts": Artifacts, "Ledger": Ledger, "Outbox": Outbox,
	} {
		for adapter, open := range storages {
			t.Run(suite+" in "+adapter, func(t *testing.T) {
				t.Parallel()
				run(t, open)
			})
		}
	}
}
