//go:build !linux

package runtime

import (
	"context"
	"errors"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Process cannot be had here.
type Process struct{ daemon.Runtime }

// NewProcess fails: sandboxes as we need them exist on Linux alone.
func NewProcess(context.Context, Options) (*Process, error) {
	return nil, errors.New("the process runtime needs Linux")
}

// Close does nothing.
func (*Process) Close() error { return nil }
