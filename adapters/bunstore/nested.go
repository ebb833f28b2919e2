package bunstore

import (
	"runtime"
	"sync/atomic"

	"github.com/peergpu/peergpu/domain"
)

var errNested = domain.NewError(domain.KindInternal, "nested_call",
	"a change called the storage: load before Update, and let the change work in memory alone")

// nesting tells calls from within a change. Such a call would wait for the writer
// that waits for it. A change takes no context by which it could be recognised, but it
// runs on the stack of change below, so a call that finds that frame beneath itself is
// nested. The walk takes about a microsecond and is only made while a change runs.
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
		if frame.Func != nil && frame.Function == changeFrame {
			return errNested
		}
		if !more {
			return nil
		}
	}
}

const changeFrame = "github.com/peergpu/peergpu/adapters/bunstore.(*nesting).change"
