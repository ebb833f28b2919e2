//go:build !linux

package runtime

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Process cannot be had here.
type Process struct{ Machine }

// NewProcess fails: sandboxes as we need them exist on Linux alone.
func NewProcess(context.Context, Options) (*Process, error) {
	return nil, errors.New("the process runtime needs Linux")
}

// Close does nothing.
func (*Process) Close() error { return nil }

// Docker cannot be had here.
type Docker struct{ Machine }

// NewDocker fails: the entry of containers speaks to an agent on the engine's own machine.
func NewDocker(context.Context, DockerOptions) (*Docker, error) {
	return nil, errors.New("the docker runtime needs Linux")
}

// Close does nothing.
func (*Docker) Close() error { return nil }

// Watchdog cannot be had here.
type Watchdog struct{ daemon.Watchdog }

// NewWatchdog fails: without a process runtime there is nothing to watch.
func NewWatchdog(*slog.Logger, ...string) (*Watchdog, error) {
	return nil, errors.New("the watchdog needs Linux")
}

// Close does nothing.
func (*Watchdog) Close() error { return nil }

// Guard fails: nothing starts it.
func Guard(io.Reader, io.Writer) error { return errors.New("the watchdog needs Linux") }

// EngineAnswers says no: it would be of no use.
func EngineAnswers(context.Context, string) bool { return false }

// Examine finds nothing: there is no Docker.
func (*Docker) Examine(context.Context, bool) []Finding { return nil }

// ExamineVolumes finds nothing either.
func (*Docker) ExamineVolumes() Finding { return Finding{} }

// TryGPU finds nothing either.
func (*Docker) TryGPU(context.Context, string) Finding { return Finding{} }
