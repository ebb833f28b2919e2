//go:build !nvml || !linux || !cgo

package main

import (
	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
)

// automatic asks nvidia-smi.
func automatic() daemon.GPUs { return gpu.SMI{} }
