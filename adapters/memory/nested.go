package memory

import (
	"runtime"
	"sync/atomic"

	"github.com/peergpu/peergpu/domain"
)

var errNested = domain.NewError(domain.KindInternal, "nested_call",
	"a change called the storage: load before Update, and let the change work in memory alone")

// nesting finds calls from within a change. Here they would do no harm, but on a
// database they would wait for the transaction that waits for them, and tests have to
// see that. Such a call has the frame of change beneath it on its stack.
type nesting struct{ running atomic.Int64 }

// change runs a caller's change.
//
//go:noinline
func (n *nesting) change(change func() error) error {
	n.running.Add(1)
	defer n.running.Add(-1)
	return change()
}

// check refuses a call that a change makes.
func (n *nesting) check() error {
	if n.running.Load() == 0 {
		return nil
	}
	var stack [64]uintptr
	frames := runtime.CallersFrames(stack[:runtime.Callers(2, stack[:])])
	for {
		frame, more := frames.Next()
		if frame.Function == changeFrame {
			return errNested
		}
		if !more {
			return nil
		}
	}
}

const changeFrame = "github.com/peergpu/peergpu/adapters/memory.(*nesting).change"
