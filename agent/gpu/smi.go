// Package gpu looks at a machine's GPUs: through the driver's own program
// nvidia-smi, which every host with a driver has, or made up, for demos and tests.
package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

// SMI asks nvidia-smi. A machine that lacks the program has no driver and no GPUs;
// one that has it and cannot use it answers an *Error that says what to do. A GPU
// that fell off the bus is left out as long as others answer.
type SMI struct {
	Path    string        // of the program; "" looks for nvidia-smi on PATH
	Timeout time.Duration // for one run of it; 0 is 10 seconds
}

var _ daemon.GPUs = SMI{}

// Error is why nvidia-smi gave no answer.
type Error struct {
	Reason string // one sentence, without a full stop
	Fix    string // what the owner of the machine can do
}

// Error gives reason and fix in one line.
func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Reason
	}
	return e.Reason + "; " + e.Fix
}

// What is asked for. Drivers older than a field refuse the whole query and name the
// field, which is then left out.
var (
	describing = []string{
		"index", "uuid", "name", "memory.total", "driver_version", "compute_cap", "pci.bus_id", "power.limit", "mig.mode.current",
	}
	sampling = []string{"uuid", "utilization.gpu", "memory.used", "power.draw", "temperature.gpu"}
)

// Probe lists the GPUs in the driver's order.
func (s SMI) Probe(ctx context.Context) ([]daemon.GPU, error) {
	rows, err := s.query(ctx, describing)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	// It is missing from what can be queried, and a listing does without it.
	cuda := ""
	if banner, err := s.run(ctx); err == nil {
		if m := cudaVersion.FindSubmatch(banner); m != nil {
			cuda = string(m[1])
		}
	}
	gpus := make([]daemon.GPU, 0, len(rows))
	for _, r := range rows {
		gpus = append(gpus, daemon.GPU{
			Index:       r.number("index"),
			UUID:        r["uuid"],
			Model:       r.text("name"),
			MemoryBytes: int64(r.number("memory.total")) << 20,
			Driver:      r.text("driver_version"),
			CUDA:        cuda,
			Capability:  r.text("compute_cap"),
			BusID:       r.text("pci.bus_id"),
			PowerLimitW: r.number("power.limit"),
			MIG:         r.text("mig.mode.current") == "Enabled",
		})
	}
	return gpus, nil
}

// Load samples every GPU once.
func (s SMI) Load(ctx context.Context) ([]daemon.GPULoad, error) {
	rows, err := s.query(ctx, sampling)
	if err != nil {
		return nil, err
	}
	loads := make([]daemon.GPULoad, 0, len(rows))
	for _, r := range rows {
		loads = append(loads, daemon.GPULoad{
			UUID:        r["uuid"],
			Utilization: min(r.number("utilization.gpu"), 100),
			MemoryUsed:  int64(r.number("memory.used")) << 20,
			PowerW:      r.number("power.draw"),
			TempC:       r.number("temperature.gpu"),
		})
	}
	return loads, nil
}

var (
	cudaVersion  = regexp.MustCompile(`CUDA (?:[A-Z]+ )?Version\s*:\s*([0-9]+\.[0-9]+)`)
	unknownField = regexp.MustCompile(`Field "([^"]+)" is not a valid field to query`)
)

// query answers one row per GPU.
func (s SMI) query(ctx context.Context, fields []string) ([]row, error) {
	fields = slices.Clone(fields)
	for {
		out, err := s.run(ctx, "--query-gpu="+strings.Join(fields, ","), "--format=csv,noheader,nounits")
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil
		}
		if m := unknownField.FindSubmatch(out); m != nil {
			at := slices.Index(fields, string(m[1]))
			if at < 0 || fields[at] == "uuid" {
				return nil, diagnose(out, err)
			}
			fields = slices.Delete(fields, at, at+1)
			continue
		}
		// Rows count even when the program failed: its exit code speaks for the worst
		// of the GPUs.
		rows := parse(out, fields)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case len(rows) > 0:
			return rows, nil
		case bytes.Contains(out, []byte("No devices were found")):
			return nil, nil
		case err == nil && len(bytes.TrimSpace(out)) == 0:
			return nil, nil
		}
		return nil, diagnose(out, err)
	}
}

// mostOutput bounds what is kept of an answer; that of a machine with 16 GPUs has
// some 10 KiB.
const mostOutput = 1 << 20

// run answers what the program wrote, also when it failed.
func (s SMI) run(ctx context.Context, args ...string) ([]byte, error) {
	path, timeout := s.Path, s.Timeout
	if path == "" {
		found, err := exec.LookPath("nvidia-smi")
		if err != nil {
			return nil, exec.ErrNotFound
		}
		path = found
	}
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := &capped{left: mostOutput}
	cmd := exec.CommandContext(limited, path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	// A process that the driver holds in the kernel cannot be killed; it must not
	// hold the agent as well.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, &Error{
			Reason: fmt.Sprintf("nvidia-smi gave no answer within %s", timeout),
			Fix:    "a GPU may hang: look for Xid messages in dmesg, and reboot if it stays so",
		}
	}
	return out.Bytes(), err
}

// capped is a buffer that forgets what is too much.
type capped struct {
	bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	kept := p[:min(len(p), c.left)]
	c.left -= len(kept)
	c.Buffer.Write(kept)
	return len(p), nil
}
