//go:build nvml && linux && cgo

package main

import (
	"context"
	"errors"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
	"github.com/peergpu/peergpu/agent/gpu/nvml"
)

// automatic asks the driver's library, and nvidia-smi where that is not to be found.
func automatic() daemon.GPUs { return either{nvml.New(), gpu.SMI{}} }

type either struct{ library, program daemon.GPUs }

// Probe implements daemon.GPUs.
func (e either) Probe(ctx context.Context) ([]daemon.GPU, error) {
	found, err := e.library.Probe(ctx)
	if errors.Is(err, nvml.ErrNone) {
		return e.program.Probe(ctx)
	}
	return found, err
}

// Load implements daemon.GPUs.
func (e either) Load(ctx context.Context) ([]daemon.GPULoad, error) {
	loads, err := e.library.Load(ctx)
	if errors.Is(err, nvml.ErrNone) {
		return e.program.Load(ctx)
	}
	return loads, err
}
