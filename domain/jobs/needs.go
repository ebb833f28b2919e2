package jobs

import (
	"slices"

	"github.com/peergpu/peergpu/domain"
)

// Needs is what a job asks of the place where it runs. Zero values ask for nothing.
// Amounts are those of the whole job; on k GPUs each slot has to bring its k-th part,
// rounded up.
type Needs struct {
	GPUs      int           // slots of one host, 1 to 16; a job that uses no GPU takes one
	GPUModel  string        // the canonical name, as in Slot.GPUModel; empty: any
	MinVRAMMB int64         // MiB on each of the GPUs
	MemoryMB  int64         // MiB of main memory
	DiskMB    int64         // MiB of disk; 0: DefaultDiskMB, or the slots' share if that is less
	CPUMilli  int64         // thousandths of a CPU
	Tags      []string      // every one of them must be among the slot's
	Region    string        // exactly this one
	Verified  bool          // only hosts that the operator has verified
	Isolation Isolation     // at least this strong
	MaxPrice  domain.Micros // per GPU-hour; 0: any
}

// DefaultDiskMB is the disk, in MiB, of a job that names none. It holds the largest
// bundle unpacked; results are bounded by it too, because delivering them keeps the
// GPUs and is not billed.
const DefaultDiskMB = 10 << 10

// count is the number of slots that the job takes.
func (n *Needs) count() int { return max(n.GPUs, 1) }

// share is the part of a whole amount that each of count slots has to bring.
func share(whole int64, count int) int64 {
	if count == 1 {
		return whole
	}
	part := whole / int64(count)
	if whole%int64(count) > 0 {
		part++
	}
	return part
}

// Isolation is how a host keeps a job from the rest of its machine. The strengths are
// ordered; what is asked for is a minimum, and empty asks for nothing.
type Isolation string

// The isolations, from the weakest.
const (
	// IsolationNone is a host in trusted mode: it takes jobs of its own owner alone.
	IsolationNone      Isolation = "none"
	IsolationProcess   Isolation = "process"   // bubblewrap, seccomp, cgroup
	IsolationContainer Isolation = "container" // an OCI container with its own namespaces
	IsolationGVisor    Isolation = "gvisor"    // a container on a kernel of its own
)

var strengths = []Isolation{IsolationNone, IsolationProcess, IsolationContainer, IsolationGVisor}

// Known says that i is empty or one of the isolations.
func (i Isolation) Known() bool { return i == "" || slices.Contains(strengths, i) }

// AtLeast says that i is as strong as what is asked for. An isolation that nobody
// knows is as weak as none, and asking for one asks for more than any host has.
func (i Isolation) AtLeast(asked Isolation) bool {
	return asked == "" || asked.Known() && i.strength() >= asked.strength()
}

func (i Isolation) strength() int { return max(0, slices.Index(strengths, i)) }
