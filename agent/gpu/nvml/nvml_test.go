//go:build nvml && linux && cgo

package nvml

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
	"github.com/peergpu/peergpu/tests/contract"
)

// at work is a machine whose GPUs do something.
func atWork(s *server.Server) *server.Server {
	for i, d := range s.Devices {
		d := d.(*server.Device)
		d.MemoryInfo = nvml.Memory{Total: 80 << 30, Used: uint64(i) << 30}
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: uint32(10 * i)}, nvml.SUCCESS }
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 300_500, nvml.SUCCESS }
		d.GetPowerManagementLimitFunc = func() (uint32, nvml.Return) { return 700_000, nvml.SUCCESS }
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 61, nvml.SUCCESS }
		d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
			return []nvml.ProcessInfo{{Pid: 17}}, nvml.SUCCESS
		}
		d.GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.ERROR_NOT_SUPPORTED }
	}
	return s
}

func TestNVMLGPUs(t *testing.T) {
	t.Parallel()
	contract.GPUs(t, contract.GPUsCase{
		Open: func(*testing.T) daemon.GPUs { return Of(atWork(dgxa100.New())) },
		None: map[string]func(*testing.T) daemon.GPUs{
			"with a driver and no GPU": func(*testing.T) daemon.GPUs { return Of(dgxa100.NewWithGPUs()) },
		},
	})
}

func TestEverythingThatTheLibraryTellsIsTaken(t *testing.T) {
	t.Parallel()
	s := atWork(dgxh200.New())
	s.Devices[1].(*server.Device).MigMode = nvml.DEVICE_MIG_ENABLE
	g := Of(s)
	gpus, err := g.Probe(t.Context())
	require.NoError(t, err)
	require.Len(t, gpus, 8)
	one := gpus[2]
	assert.Equal(t, s.Devices[2].(*server.Device).UUID, one.UUID)
	assert.Equal(t, daemon.GPU{
		Index: 2, UUID: one.UUID, Model: s.Devices[2].(*server.Device).Config.Name, MemoryBytes: 80 << 30, Driver: s.DriverVersion,
		CUDA: "12.4", Capability: "9.0", PowerLimitW: 700,
	}, one)
	assert.True(t, gpus[1].MIG)
	loads, err := g.Load(t.Context())
	require.NoError(t, err)
	assert.Equal(t, daemon.GPULoad{UUID: one.UUID, Utilization: 20, MemoryUsed: 2 << 30, PowerW: 300, TempC: 61, Processes: []int{17}}, loads[2])
}

func TestAGPUThatFellOffTheBusIsLeftOut(t *testing.T) {
	t.Parallel()
	s := atWork(dgxa100.New())
	lose := func(i int) {
		s.Devices[i].(*server.Device).GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	}
	lose(3)
	gpus, err := Of(s).Probe(t.Context())
	require.NoError(t, err)
	require.Len(t, gpus, 7)
	assert.Equal(t, 4, gpus[3].Index)
	for i := range s.Devices {
		lose(i)
	}
	_, err = Of(s).Probe(t.Context())
	var broken *gpu.Error
	require.ErrorAs(t, err, &broken, "none is not the same as no answer")
	assert.Contains(t, broken.Fix, "fell off the bus")
}

func TestWithoutADriverNothingElseIsCalled(t *testing.T) {
	t.Parallel()
	for ret, want := range map[nvml.Return]func(error) bool{
		nvml.ERROR_LIBRARY_NOT_FOUND: func(err error) bool { return errors.Is(err, ErrNone) },
		nvml.ERROR_DRIVER_NOT_LOADED: func(err error) bool { return errors.Is(err, ErrNone) },
		nvml.ERROR_LIB_RM_VERSION_MISMATCH: func(err error) bool {
			var broken *gpu.Error
			return errors.As(err, &broken) && broken.Fix == "the driver was updated while it ran: restart the machine"
		},
	} {
		s := &server.Server{}
		s.InitFunc = func() nvml.Return { return ret } // any other call panics
		_, err := Of(s).Probe(t.Context())
		assert.True(t, want(err), "%v: %v", ret, err)
	}
}

func TestADriverThatHangsIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, hangs, calls := atWork(dgxa100.New()), make(chan struct{}), 0
		s.InitFunc = func() nvml.Return {
			calls++
			<-hangs
			return nvml.SUCCESS
		}
		g := Of(s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := g.Probe(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		again, cancelAgain := context.WithTimeout(t.Context(), time.Second)
		defer cancelAgain()
		_, err = g.Load(again)
		require.ErrorContains(t, err, "has not answered")
		assert.Equal(t, 1, calls)
		close(hangs)
		synctest.Wait()
		_, err = g.Probe(t.Context())
		require.NoError(t, err)
	})
}
