//go:build nvml && linux && cgo

// Package nvml is for looking at a machine's GPUs through the driver's own library. It
// knows what nvidia-smi tells and which processes use a GPU, and starts no program. It
// needs a C compiler, and is in agents that are built with the tag nvml.
package nvml

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
)

// GPUs asks the library libnvidia-ml.so.1, which comes with the driver.
type GPUs struct {
	lib  nvml.Interface
	turn chan struct{} // full while somebody asks: a driver can hang
}

var _ daemon.GPUs = (*GPUs)(nil)

// ErrNone says that this machine has no such library, and so no driver.
var ErrNone = errors.New("there is no NVIDIA driver")

// New looks for the library when it is first asked.
func New() *GPUs { return Of(nvml.New()) }

// Of asks a library that is there.
func Of(lib nvml.Interface) *GPUs { return &GPUs{lib: lib, turn: make(chan struct{}, 1)} }

// Probe implements daemon.GPUs. Without the library it answers ErrNone.
func (g *GPUs) Probe(ctx context.Context) (found []daemon.GPU, err error) {
	err = g.ask(ctx, func() error {
		driver, ret := g.lib.SystemGetDriverVersion()
		if ret != nvml.SUCCESS {
			return failure("the driver's version", ret)
		}
		cuda := ""
		if v, ret := g.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
			cuda = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
		}
		return g.each(func(index int, d nvml.Device) error {
			one, err := describe(d)
			one.Index, one.Driver, one.CUDA = index, driver, cuda
			if err == nil {
				found = append(found, one)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Load implements daemon.GPUs. Without the library it answers ErrNone.
func (g *GPUs) Load(ctx context.Context) (loads []daemon.GPULoad, err error) {
	err = g.ask(ctx, func() error {
		return g.each(func(_ int, d nvml.Device) error {
			l, err := sample(d)
			if err == nil {
				loads = append(loads, l)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return loads, nil
}

// ask opens the library, does something with it and closes it. Nothing may be called when
// it could not be opened. A driver that hangs keeps its caller no longer than the context,
// and is not asked again before it has answered.
func (g *GPUs) ask(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return &gpu.Error{Reason: "the driver has not answered for some time", Fix: "look into the kernel's log (dmesg | grep NVRM); most often the machine has to be restarted"}
	}
	answered := make(chan error, 1)
	go func() {
		defer func() { <-g.turn }()
		switch ret := g.lib.Init(); ret {
		case nvml.SUCCESS:
		case nvml.ERROR_LIBRARY_NOT_FOUND, nvml.ERROR_DRIVER_NOT_LOADED:
			answered <- ErrNone
			return
		default:
			answered <- failure("the driver", ret)
			return
		}
		err := do()
		_ = g.lib.Shutdown() // what was asked is known
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// each goes through the GPUs in the driver's order. One that fell off the bus is left out
// as long as others answer.
func (g *GPUs) each(do func(index int, d nvml.Device) error) error {
	n, ret := g.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return failure("the number of GPUs", ret)
	}
	var lost error
	answered := false
	for i := range n {
		d, ret := g.lib.DeviceGetHandleByIndex(i)
		err := failure(fmt.Sprintf("GPU %d", i), ret)
		if err == nil {
			err = do(i, d)
		}
		if err != nil {
			lost = err
			continue
		}
		answered = true
	}
	if answered {
		return nil
	}
	return lost
}

func describe(d nvml.Device) (g daemon.GPU, err error) {
	var ret nvml.Return
	if g.UUID, ret = d.GetUUID(); ret != nvml.SUCCESS {
		return g, failure("a GPU's name", ret)
	}
	if g.Model, ret = d.GetName(); ret != nvml.SUCCESS {
		return g, failure(g.UUID, ret)
	}
	memory, ret := d.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return g, failure(g.UUID, ret)
	}
	g.MemoryBytes = int64(memory.Total) //nolint:gosec // of a GPU
	// What a model or an old driver does not have is left out.
	if major, minor, ret := d.GetCudaComputeCapability(); ret == nvml.SUCCESS {
		g.Capability = fmt.Sprintf("%d.%d", major, minor)
	}
	if pci, ret := d.GetPciInfo(); ret == nvml.SUCCESS {
		g.BusID = text(pci.BusId[:])
	}
	if milliwatts, ret := d.GetPowerManagementLimit(); ret == nvml.SUCCESS {
		g.PowerLimitW = int(milliwatts / 1000)
	}
	if mode, _, ret := d.GetMigMode(); ret == nvml.SUCCESS {
		g.MIG = mode == nvml.DEVICE_MIG_ENABLE
	}
	return g, nil
}

func sample(d nvml.Device) (l daemon.GPULoad, err error) {
	var ret nvml.Return
	if l.UUID, ret = d.GetUUID(); ret != nvml.SUCCESS {
		return l, failure("a GPU's name", ret)
	}
	memory, ret := d.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return l, failure(l.UUID, ret)
	}
	l.MemoryUsed = int64(memory.Used) //nolint:gosec // of a GPU
	if busy, ret := d.GetUtilizationRates(); ret == nvml.SUCCESS {
		l.Utilization = min(int(busy.Gpu), 100)
	}
	if milliwatts, ret := d.GetPowerUsage(); ret == nvml.SUCCESS {
		l.PowerW = int(milliwatts / 1000)
	}
	if celsius, ret := d.GetTemperature(nvml.TEMPERATURE_GPU); ret == nvml.SUCCESS {
		l.TempC = int(celsius)
	}
	for _, list := range []func() ([]nvml.ProcessInfo, nvml.Return){d.GetComputeRunningProcesses, d.GetGraphicsRunningProcesses} {
		if running, ret := list(); ret == nvml.SUCCESS {
			for _, p := range running {
				l.Processes = append(l.Processes, int(p.Pid))
			}
		}
	}
	return l, nil
}

// text is a string of C, whose characters are signed on some machines.
func text[B int8 | uint8](c []B) string {
	var b strings.Builder
	for _, x := range c {
		if x == 0 {
			break
		}
		b.WriteByte(byte(x))
	}
	return b.String()
}

// fixes are what to do about errors that owners can do something about.
var fixes = map[nvml.Return]string{
	nvml.ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated while it ran: restart the machine",
	nvml.ERROR_NO_PERMISSION:           "give the agent's user the right to use /dev/nvidia*",
	nvml.ERROR_GPU_IS_LOST:             "a GPU fell off the bus: restart the machine, and look at its power and seating",
	nvml.ERROR_RESET_REQUIRED:          "reset the GPU (nvidia-smi --gpu-reset) or restart the machine",
}

// failure is what a return code means; nil for success.
func failure(what string, ret nvml.Return) error {
	if ret == nvml.SUCCESS {
		return nil
	}
	fix := fixes[ret]
	if fix == "" {
		fix = "run nvidia-smi in a terminal to see what is wrong"
	}
	return &gpu.Error{Reason: fmt.Sprintf("%s cannot be read: %s", what, ret), Fix: fix}
}
