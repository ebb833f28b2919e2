package contract

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
)

func TestSimulatedGPUs(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	GPUs(t, GPUsCase{
		Open: func(*testing.T) daemon.GPUs { return gpu.Simulated{Count: 4, Seed: 7, Now: now} },
		None: map[string]func(*testing.T) daemon.GPUs{
			"without GPUs": func(*testing.T) daemon.GPUs { return gpu.Simulated{Now: now} },
		},
	})
}

func TestSMIGPUs(t *testing.T) {
	// On a PATH of its own, so that a driver of the machine that tests cannot answer.
	t.Setenv("PATH", t.TempDir())
	GPUs(t, GPUsCase{
		Open: smi(`case "$*" in
--query-gpu=index*) cat <<'END'
0, GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2, NVIDIA H200, 143771, 570.124.06, 9.0, 00000000:18:00.0, 700.00, Disabled
1, GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178, NVIDIA GeForce RTX 4090, 24564, 570.124.06, 8.9, 00000000:3B:00.0, 450.00, [N/A]
2, GPU-2d540dd6-583b-cf11-80dd-cc28edc1dd62, NVIDIA A100-SXM4-80GB, 81920, 570.124.06, 8.0, 00000000:86:00.0, 400.00, Enabled
END
;;
--query-gpu=uuid*) cat <<'END'
GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2, 100, 131072, 688.31, 71
GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178, 0, 1, 21.90, 33
GPU-2d540dd6-583b-cf11-80dd-cc28edc1dd62, [N/A], 87, 55.02, 29
END
;;
*) echo '| NVIDIA-SMI 570.124.06    Driver Version: 570.124.06    CUDA Version: 12.8     |';;
esac`),
		None: map[string]func(*testing.T) daemon.GPUs{
			"with a driver and no GPU": smi("echo 'No devices were found'; exit 6"),
			"without a driver":         func(*testing.T) daemon.GPUs { return gpu.SMI{} },
		},
	})
}

// smi is an adapter whose nvidia-smi is a script.
func smi(script string) func(t *testing.T) daemon.GPUs {
	return func(t *testing.T) daemon.GPUs {
		t.Helper()
		path := filepath.Join(t.TempDir(), "nvidia-smi")
		// Another process writes the file: one that this process had open for
		// writing could be inherited by a child of a parallel test, and then
		// cannot be executed.
		cmd := exec.Command("/bin/sh", "-c", `PATH=/usr/bin:/bin; cat >"$0" && chmod 755 "$0"`, path)
		cmd.Stdin = strings.NewReader("#!/bin/sh\nPATH=/usr/bin:/bin\n" + script)
		require.NoError(t, cmd.Run())
		return gpu.SMI{Path: path}
	}
}
