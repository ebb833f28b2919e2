package contract

import (
	"testing"

	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/ports"
)

// storages is every adapter that stores.
var storages = map[string]func(*testing.T) Storage{
	"memory": func(*testing.T) Storage { return memory.New(memory.Options{Clock: system.Clock{}, IDs: &ids}) },
}

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

func TestMemoryLeader(t *testing.T) {
	t.Parallel()
	Leader(t, func(*testing.T) (a, b ports.Leader) {
		l := memory.NewLeader()
		return l, l
	})
}

func TestMemoryLimiter(t *testing.T) {
	t.Parallel()
	Limiter(t, func(*testing.T) ports.Limiter { return memory.NewLimiter(system.Clock{}) })
}

func TestMemoryLive(t *testing.T) {
	t.Parallel()
	Live(t, func(*testing.T) ports.Live { return memory.NewLive() })
}

func TestSystemClock(t *testing.T) {
	t.Parallel()
	Clock(t, func(*testing.T) ports.Clock { return system.Clock{} })
}

func TestSystemIDs(t *testing.T) {
	t.Parallel()
	IDs(t, func(*testing.T) ports.IDs { return system.IDs{} })
}
