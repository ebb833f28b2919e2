package gpu_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
)

const (
	h200  = "0, GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2, NVIDIA H200, 143771, 570.124.06, 9.0, 00000000:18:00.0, 700.00, Disabled"
	rtx   = "1, GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178, NVIDIA GeForce RTX 4090, 24564, 570.124.06, 8.9, 00000000:3B:00.0, 450.00, [N/A]"
	split = "2, GPU-2d540dd6-583b-cf11-80dd-cc28edc1dd62, NVIDIA A100-SXM4-80GB, 81920, 570.124.06, 8.0, 00000000:86:00.0, 400.00, Enabled"
	// A system on a chip has neither memory nor power limits of its own.
	spark = "0, GPU-35e7d800-5ca1-ab1e-0000-000000000001, NVIDIA GB10, [N/A], 580.95.05, 12.1, 0000000F:01:00.0, [N/A], [N/A]"
)

// fake is an SMI whose program runs the script.
func fake(t *testing.T, script string) gpu.SMI {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nvidia-smi")
	// Another process writes the file: one that this process had open for writing
	// could be inherited by a child of a parallel test, and then cannot be executed.
	cmd := exec.Command("sh", "-c", `cat >"$0" && chmod 755 "$0"`, path)
	cmd.Stdin = strings.NewReader("#!/bin/sh\n" + script)
	require.NoError(t, cmd.Run())
	return gpu.SMI{Path: path}
}

// says is an SMI whose program prints lines for queries and exits with a code.
func says(t *testing.T, code int, lines ...string) gpu.SMI {
	t.Helper()
	return fake(t, fmt.Sprintf("case \"$*\" in\n--query-gpu=*) cat <<'END'\n%s\nEND\nexit %d;;\n"+
		"*) echo '| NVIDIA-SMI 570.124.06    Driver Version: 570.124.06    CUDA Version: 12.8     |';;\nesac\n",
		strings.Join(lines, "\n"), code))
}

func TestGPUsAreReadFieldByField(t *testing.T) {
	t.Parallel()
	got, err := says(t, 0, h200, rtx, split).Probe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []daemon.GPU{
		{
			Index: 0, UUID: "GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2", Model: "NVIDIA H200", MemoryBytes: 143771 << 20,
			Driver: "570.124.06", CUDA: "12.8", Capability: "9.0", BusID: "00000000:18:00.0", PowerLimitW: 700,
		},
		{
			Index: 1, UUID: "GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178", Model: "NVIDIA GeForce RTX 4090", MemoryBytes: 24564 << 20,
			Driver: "570.124.06", CUDA: "12.8", Capability: "8.9", BusID: "00000000:3B:00.0", PowerLimitW: 450,
		},
		{
			Index: 2, UUID: "GPU-2d540dd6-583b-cf11-80dd-cc28edc1dd62", Model: "NVIDIA A100-SXM4-80GB", MemoryBytes: 81920 << 20,
			Driver: "570.124.06", CUDA: "12.8", Capability: "8.0", BusID: "00000000:86:00.0", PowerLimitW: 400, MIG: true,
		},
	}, got)
}

func TestWhatADriverDoesNotKnowIsZero(t *testing.T) {
	t.Parallel()
	got, err := says(t, 0, spark).Probe(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, "NVIDIA GB10", got[0].Model)
	assert.Zero(t, got[0].MemoryBytes)
	assert.Zero(t, got[0].PowerLimitW)

	loads, err := says(t, 0,
		"GPU-a, 97, 1024, 312.49, 61", "GPU-b, [N/A], [Not Supported], [Unknown Error], N/A", "GPU-c, 104, 0, -3, NaN").Load(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []daemon.GPULoad{
		{UUID: "GPU-a", Utilization: 97, MemoryUsed: 1 << 30, PowerW: 312, TempC: 61},
		{UUID: "GPU-b"},
		{UUID: "GPU-c", Utilization: 100},
	}, loads)
}

func TestALostGPUIsLeftOutAsLongAsOthersAnswer(t *testing.T) {
	t.Parallel()
	lost := "Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost.  Reboot the system to recover this GPU"
	got, err := says(t, 15, h200, lost, rtx).Probe(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 2)

	_, err = says(t, 15, lost).Probe(t.Context())
	var e *gpu.Error
	require.ErrorAs(t, err, &e)
	assert.Contains(t, e.Reason, "fell off the bus")
}

func TestFieldsThatAnOldDriverLacksAreDoneWithout(t *testing.T) {
	t.Parallel()
	s := fake(t, `case "$*" in
*compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
*mig.mode.current*) echo 'Field "mig.mode.current" is not a valid field to query.'; exit 2;;
--query-gpu=index,uuid,name,memory.total,driver_version,pci.bus_id,power.limit\ *)
  echo '0, GPU-1, Tesla V100-SXM2-16GB, 16160, 418.67, 00000000:00:1E.0, 300.00';;
*) exit 1;;
esac`)
	got, err := s.Probe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []daemon.GPU{{
		UUID: "GPU-1", Model: "Tesla V100-SXM2-16GB", MemoryBytes: 16160 << 20,
		Driver: "418.67", BusID: "00000000:00:1E.0", PowerLimitW: 300,
	}}, got)

	_, err = fake(t, `echo 'Field "uuid" is not a valid field to query.'; exit 2`).Probe(t.Context())
	require.Error(t, err)
}

func TestADriverOutOfOrderComesWithAFix(t *testing.T) {
	t.Parallel()
	for output, fix := range map[string]string{
		"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.": "modprobe",
		"Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.124":                                                       "reboot",
		"NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.":                                                                                "--gpus all",
		"Failed to initialize NVML: Insufficient Permissions":                                                                                             "/dev/nvidia",
		"Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error":                                                                       "Xid",
		"something \x1b[2Jnew": "run nvidia-smi",
	} {
		for _, err := range both(t, says(t, 9, output)) {
			var e *gpu.Error
			require.ErrorAs(t, err, &e, output)
			assert.Contains(t, e.Fix, fix)
			assert.NotEmpty(t, e.Reason)
			assert.NotContains(t, err.Error(), "\x1b")
		}
	}
	for _, err := range both(t, gpu.SMI{Path: t.TempDir()}) {
		require.ErrorContains(t, err, "execute")
	}
}

func both(t *testing.T, s gpu.SMI) []error {
	t.Helper()
	_, probe := s.Probe(t.Context())
	_, load := s.Load(t.Context())
	return []error{probe, load}
}

func TestAProgramThatHangsOrFloodsIsEnded(t *testing.T) {
	t.Parallel()
	s := fake(t, "exec tail -f /dev/null")
	s.Timeout = 20 * time.Millisecond
	for _, err := range both(t, s) {
		require.ErrorContains(t, err, "no answer within 20ms")
	}
	s = fake(t, "exec tail -f /dev/null")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Probe(ctx)
	require.ErrorIs(t, err, context.Canceled)

	_, err = fake(t, "head -c 5000000 /dev/zero; exit 1").Load(t.Context())
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 1000)
}

func TestTheProgramIsFoundOnPath(t *testing.T) {
	s := says(t, 0, h200)
	t.Setenv("PATH", filepath.Dir(s.Path)+string(os.PathListSeparator)+os.Getenv("PATH"))
	got, err := gpu.SMI{}.Probe(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 1)

	t.Setenv("PATH", t.TempDir())
	got, err = gpu.SMI{}.Probe(t.Context())
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestSimulatedLoadFollowsSeedAndClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seed uint64, d time.Duration) []daemon.GPULoad {
		s := gpu.Simulated{Count: 2, Seed: seed, Now: func() time.Time { return now.Add(d) }}
		loads, err := s.Load(t.Context())
		require.NoError(t, err)
		return loads
	}
	again := at(1, 0)
	assert.Equal(t, at(1, 0), again)
	assert.NotEqual(t, at(1, 0)[0].UUID, at(2, 0)[0].UUID)
	seen := map[int]bool{}
	for d := time.Duration(0); d < 10*time.Minute; d += time.Second {
		a, b := at(1, d)[0].Utilization, at(1, d+time.Second)[0].Utilization
		assert.InDelta(t, a, b, 7, "load moves, it does not jump")
		seen[a] = true
	}
	assert.Greater(t, len(seen), 30)
}
