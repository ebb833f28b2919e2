package gpu

import (
	"context"
	"fmt"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Simulated makes up GPUs whose load rises and falls as a pure function of seed and
// time. Their driver is daemon.SimulatedDriver, by which everybody can tell them
// from real ones.
type Simulated struct {
	Count       int
	Model       string // as nvidia-smi would print it; "" is an RTX 4090
	MemoryBytes int64  // 0 is 24 GiB
	Seed        uint64 // tells one machine's devices from another's
	Now         func() time.Time
}

var _ daemon.GPUs = Simulated{}

const (
	simulatedIdleW, simulatedMaxW = 25, 350
	simulatedIdleC, simulatedMaxC = 34, 76
	// The load moves in straight lines between points this far apart.
	simulatedStep = 20 * time.Second
)

// Probe lists the devices.
func (s Simulated) Probe(ctx context.Context) ([]daemon.GPU, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	model := s.Model
	if model == "" {
		model = "NVIDIA GeForce RTX 4090"
	}
	gpus := make([]daemon.GPU, 0, max(s.Count, 0))
	for i := range s.Count {
		gpus = append(gpus, daemon.GPU{
			Index: i, UUID: s.uuid(i), Model: model, MemoryBytes: s.memory(), Driver: daemon.SimulatedDriver,
			BusID: fmt.Sprintf("00000000:%02X:00.0", i+1), PowerLimitW: simulatedMaxW,
		})
	}
	return gpus, nil
}

// Load samples every device at the present moment.
func (s Simulated) Load(ctx context.Context) ([]daemon.GPULoad, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := s.Now()
	loads := make([]daemon.GPULoad, 0, max(s.Count, 0))
	for i := range s.Count {
		busy := s.busy(i, now)
		loads = append(loads, daemon.GPULoad{
			UUID: s.uuid(i), Utilization: busy,
			MemoryUsed: s.memory() / 100 * int64(busy),
			PowerW:     simulatedIdleW + (simulatedMaxW-simulatedIdleW)*busy/100,
			TempC:      simulatedIdleC + (simulatedMaxC-simulatedIdleC)*busy/100,
		})
	}
	return loads, nil
}

func (s Simulated) memory() int64 {
	if s.MemoryBytes == 0 {
		return 24 << 30
	}
	return s.MemoryBytes
}

// uuid has the form of the driver's.
func (s Simulated) uuid(i int) string {
	a, b := s.draw(i, 0), s.draw(i, 1)
	return fmt.Sprintf("GPU-%08x-%04x-%04x-%04x-%012x", uint32(a>>32), uint16(a>>16), uint16(a), uint16(b>>48), b&(1<<48-1))
}

// busy is the utilisation in percent.
func (s Simulated) busy(i int, now time.Time) int {
	step := uint64(now.UnixNano()) / uint64(simulatedStep)
	into := now.UnixNano() % int64(simulatedStep)
	from, to := int64(s.draw(i, step)%101), int64(s.draw(i, step+1)%101)
	return int(from + (to-from)*into/int64(simulatedStep))
}

// draw is the n-th pseudo-random number of a device (the mixer of SplitMix64).
func (s Simulated) draw(i int, n uint64) uint64 {
	z := s.Seed
	for _, v := range []uint64{uint64(i), n} {
		z += v + 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
	}
	return z
}
