package jobs

import (
	"bytes"
	"slices"

	"github.com/peergpu/peergpu/domain"
)

// Slot is one device as the match sees it: a GPU with 1/n of its host's CPU, memory
// and disk. Facts of the host are repeated on each of its slots.
type Slot struct {
	DeviceID, HostID domain.ID
	Owner            domain.ID     // the account that the host belongs to
	GPUModel         string        // the canonical name
	VRAMMB           int64         // MiB
	Price            domain.Micros // per GPU-hour

	CPUMilli, MemoryMB, DiskMB int64 // the slot's share, in the units of Needs

	Tags      []string // owned by the slot; nobody changes it in place
	Region    string
	Verified  bool
	Isolation Isolation
	Trusted   bool // runs jobs without isolation, and therefore its owner's alone

	OK, Runs      int64 // the host's attempts: how many went well, of how many
	BandwidthMbps int64 // measured on fetches; 0 until then, which counts as 100

	Online   bool // connected
	Listed   bool // offered by its owner
	Occupied bool // held by an attempt

	Version int64 // of the device's row; grows with every change
}

// Free says that the slot can be leased at this moment.
func (s *Slot) Free() bool { return s.Online && s.Listed && !s.Occupied }

// ownerOnly says that the slot takes nobody's jobs but its owner's. A host that
// reports no isolation that we know is treated like one that reports none.
func (s *Slot) ownerOnly() bool { return s.Trusted || s.Isolation.strength() == 0 }

// Constraint names a reason for which a host does not run a job.
type Constraint string

// The constraints, in the order in which they are shown: what most tells first, because a
// host counts under the first that excludes it.
const (
	ConstraintHostID Constraint = "host_id" // another host was asked for
	// ConstraintDeclined: refused the job a moment ago and is not asked now.
	ConstraintDeclined  Constraint = "declined"
	ConstraintGPUs      Constraint = "gpus"       // fewer devices than asked for
	ConstraintOwner     Constraint = "owner_only" // trusted mode, and another's job
	ConstraintUnlisted  Constraint = "unlisted"
	ConstraintGPUModel  Constraint = "gpu_model"
	ConstraintVRAM      Constraint = "vram"
	ConstraintCPUs      Constraint = "cpus"
	ConstraintMemory    Constraint = "memory"
	ConstraintDisk      Constraint = "disk"
	ConstraintTags      Constraint = "tags"
	ConstraintRegion    Constraint = "region"
	ConstraintVerified  Constraint = "verified"
	ConstraintIsolation Constraint = "isolation"
	ConstraintPrice     Constraint = "price" // dearer than the maximum
	ConstraintOffline   Constraint = "offline"
	ConstraintBusy      Constraint = "busy"
	// ConstraintCombination: each constraint leaves devices enough, all together do not.
	ConstraintCombination Constraint = "combination"
	// ConstraintAvoided: fits, but lost the job before and is taken last.
	ConstraintAvoided Constraint = "avoided"
)

// Constraints lists them all, in the order in which they are shown.
var Constraints = slices.Concat(
	[]Constraint{ConstraintHostID, ConstraintDeclined, ConstraintGPUs}, perSlot[:],
	[]Constraint{ConstraintCombination, ConstraintAvoided},
)

// refusals is a set of constraints, one bit each.
type refusals uint32

const (
	refusesOwner refusals = 1 << iota
	refusesUnlisted
	refusesModel
	refusesVRAM
	refusesCPUs
	refusesMemory
	refusesDisk
	refusesTags
	refusesRegion
	refusesVerified
	refusesIsolation
	refusesPrice
	refusesOffline
	refusesBusy
)

// perSlot names the bits of refusals, from the lowest.
var perSlot = [...]Constraint{
	ConstraintOwner, ConstraintUnlisted, ConstraintGPUModel, ConstraintVRAM, ConstraintCPUs, ConstraintMemory,
	ConstraintDisk, ConstraintTags, ConstraintRegion, ConstraintVerified, ConstraintIsolation,
	ConstraintPrice, ConstraintOffline, ConstraintBusy,
}

// refuses tells every constraint for which the slot cannot be one of the slots of a
// request; none means that it can. It asks nothing about the slot's host.
func (s *Slot) refuses(r *Request) refusals {
	var set refusals
	n, k := &r.Needs, r.Needs.count()
	add := func(cond bool, why refusals) {
		if cond {
			set |= why
		}
	}
	add(n.GPUModel != "" && n.GPUModel != s.GPUModel, refusesModel)
	add(s.VRAMMB < n.MinVRAMMB, refusesVRAM)
	add(s.CPUMilli < share(n.CPUMilli, k), refusesCPUs)
	add(s.MemoryMB < share(n.MemoryMB, k), refusesMemory)
	add(s.DiskMB < share(n.DiskMB, k), refusesDisk)
	add(!carries(s.Tags, n.Tags), refusesTags)
	add(n.Region != "" && n.Region != s.Region, refusesRegion)
	add(n.Verified && !s.Verified, refusesVerified)
	add(!s.Isolation.AtLeast(n.Isolation), refusesIsolation)
	add(s.ownerOnly() && s.Owner != r.Renter, refusesOwner)
	add(n.MaxPrice > 0 && s.Price > n.MaxPrice, refusesPrice)
	add(!s.Listed, refusesUnlisted)
	add(!s.Online, refusesOffline)
	add(s.Occupied, refusesBusy)
	return set
}

// carries says that every tag asked for is among a slot's.
func carries(tags, asked []string) bool {
	for _, tag := range asked {
		if !slices.Contains(tags, tag) {
			return false
		}
	}
	return true
}

func compareIDs(a, b domain.ID) int { return bytes.Compare(a[:], b[:]) }
