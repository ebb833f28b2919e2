package jobs_test

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// id makes small ids of distinct kinds, so that a failed case is easy to read.
func id(kind byte, n int) domain.ID { return domain.ID{0: kind, 14: byte(n >> 8), 15: byte(n)} }

func hostID(n int) domain.ID   { return id('h', n) }
func deviceID(n int) domain.ID { return id('d', n) }
func userID(n int) domain.ID   { return id('u', n) }
func jobID(n int) domain.ID    { return id('j', n) }

var (
	someModels     = []string{"H100", "RTX 4090", "T4"}
	someTags       = []string{"cuda12", "nvlink", "quiet"}
	someRegions    = []string{"", "eu", "us"}
	someIsolations = []jobs.Isolation{
		"", jobs.IsolationNone, jobs.IsolationProcess, jobs.IsolationProcess,
		jobs.IsolationContainer, jobs.IsolationContainer, jobs.IsolationGVisor,
	}
	// Few values and near ones, so that ties and almost-ties are common.
	somePrices   = []domain.Micros{0, 1, 199_999, 200_000, 200_000, 200_001, 210_000, 350_000, 2_490_000}
	someRecords  = [][2]int64{{0, 0}, {0, 0}, {9, 10}, {10, 10}, {18, 20}, {0, 40}, {1000, 1000}, {5, 3}}
	someMbps     = []int64{0, 0, 50, 100, 101, 1000}
	someAmounts  = []int64{0, 1000, 1001, 4000, 8000, 16000}
	someVRAM     = []int64{16_000, 24_000, 80_000}
	someRuntimes = []time.Duration{0, time.Microsecond, time.Second, time.Minute, time.Hour}
	someSizes    = []int64{0, 0, 1, 1 << 20, 1 << 30}
)

func pick[T any](t *rapid.T, name string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, name)]
}

func someOf(t *rapid.T, name string, from []string, odds int) []string {
	var some []string
	for _, s := range from {
		if rapid.IntRange(1, odds).Draw(t, name) == 1 {
			some = append(some, s)
		}
	}
	return some
}

// drawSlot draws device n of a fleet. Facts of a host differ between its devices now
// and then, as they do while a change of them is under way.
func drawSlot(t *rapid.T, n, hosts int) jobs.Slot {
	record := pick(t, "record", someRecords)
	return jobs.Slot{
		DeviceID: deviceID(n), HostID: hostID(rapid.IntRange(1, hosts).Draw(t, "host")),
		Owner:    userID(rapid.IntRange(1, 3).Draw(t, "owner")),
		GPUModel: pick(t, "model", someModels), VRAMMB: pick(t, "vram", someVRAM),
		Price: pick(t, "price", somePrices), CPUMilli: pick(t, "cpus", someAmounts),
		MemoryMB: pick(t, "memory", someAmounts), DiskMB: pick(t, "disk", someAmounts),
		Tags: someOf(t, "tag", someTags, 2), Region: pick(t, "region", someRegions),
		Verified:  rapid.Bool().Draw(t, "verified"),
		Isolation: pick(t, "isolation", someIsolations),
		Trusted:   rapid.IntRange(1, 8).Draw(t, "trusted") == 1,
		OK:        record[0], Runs: record[1], BandwidthMbps: pick(t, "mbps", someMbps),
		Online:   rapid.IntRange(1, 6).Draw(t, "online") > 1,
		Listed:   rapid.IntRange(1, 6).Draw(t, "listed") > 1,
		Occupied: rapid.IntRange(1, 6).Draw(t, "occupied") == 1,
		Version:  int64(rapid.IntRange(1, 4).Draw(t, "version")),
	}
}

// drawRequest draws a request in which each constraint is rare enough that many fit.
func drawRequest(t *rapid.T, hosts int) jobs.Request {
	var r jobs.Request
	seldom := func(name string) bool { return rapid.IntRange(1, 4).Draw(t, name) == 1 }
	r.Renter = userID(rapid.IntRange(1, 3).Draw(t, "renter"))
	r.Needs.GPUs = pick(t, "gpus", []int{0, 1, 1, 1, 1, 2, 2, 3, 4})
	if seldom("by model") {
		r.Needs.GPUModel = pick(t, "model", someModels)
	}
	if seldom("by vram") {
		r.Needs.MinVRAMMB = pick(t, "vram", someVRAM)
	}
	if seldom("by amounts") {
		r.Needs.CPUMilli = pick(t, "cpus", someAmounts)
		r.Needs.MemoryMB = pick(t, "memory", someAmounts)
		r.Needs.DiskMB = pick(t, "disk", someAmounts)
	}
	r.Needs.Tags = someOf(t, "tag", someTags, 8)
	if seldom("by region") {
		r.Needs.Region = pick(t, "region", append(slices.Clone(someRegions), "nowhere"))
	}
	r.Needs.Verified = seldom("verified")
	if seldom("by isolation") {
		r.Needs.Isolation = pick(t, "isolation", append(slices.Clone(someIsolations), "unheard of"))
	}
	if seldom("by price") {
		r.Needs.MaxPrice = pick(t, "max price", somePrices)
	}
	if rapid.IntRange(1, 10).Draw(t, "pinned") == 1 {
		r.HostPin = hostID(rapid.IntRange(1, hosts+1).Draw(t, "pin"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "avoided") {
		r.Avoid = append(r.Avoid, hostID(rapid.IntRange(1, hosts+1).Draw(t, "avoid")))
		if rapid.Bool().Draw(t, "has declined") {
			r.Declined = append(r.Declined, hostID(rapid.IntRange(1, hosts+1).Draw(t, "declined")))
		}
	}
	r.ExpectedRun = pick(t, "run", someRuntimes)
	r.FetchBytes = pick(t, "fetch", someSizes)
	return r
}

// fleet keeps an index and, as plainly as can be, what it should hold.
type fleet struct {
	index *jobs.Index
	slots map[domain.ID]jobs.Slot
	hosts int // their ids are 1 … hosts
	size  int // device ids are 1 … size
}

func drawFleet(t *rapid.T, hosts, size int) *fleet {
	f := &fleet{index: jobs.NewIndex(), slots: map[domain.ID]jobs.Slot{}, hosts: hosts, size: size}
	for n := range rapid.IntRange(0, size).Draw(t, "devices") {
		f.upsert(drawSlot(t, n+1, hosts))
	}
	return f
}

func (f *fleet) upsert(s jobs.Slot) bool {
	old, known := f.slots[s.DeviceID]
	if !known || s.Version >= old.Version {
		f.slots[s.DeviceID] = s
	}
	return f.index.Upsert(s) == (!known || s.Version >= old.Version)
}

func (f *fleet) change(device domain.ID, change func(*jobs.Slot)) {
	if s, known := f.slots[device]; known {
		change(&s)
		f.slots[device] = s
	}
}

func (f *fleet) setOccupied(occupied bool, devices ...domain.ID) {
	if occupied {
		f.index.Occupy(devices...)
	} else {
		f.index.Free(devices...)
	}
	for _, d := range devices {
		f.change(d, func(s *jobs.Slot) { s.Occupied = occupied })
	}
}

func (f *fleet) setOnline(host domain.ID, online bool) {
	f.index.SetOnline(host, online)
	for d, s := range f.slots {
		if s.HostID == host {
			f.change(d, func(s *jobs.Slot) { s.Online = online })
		}
	}
}

func (f *fleet) remove(device domain.ID) bool {
	_, known := f.slots[device]
	delete(f.slots, device)
	return f.index.Remove(device) == known
}

// step does one random thing to the fleet.
func (f *fleet) step(t *rapid.T) bool {
	device := deviceID(rapid.IntRange(1, f.size).Draw(t, "device"))
	host := hostID(rapid.IntRange(1, f.hosts).Draw(t, "host"))
	switch rapid.IntRange(0, 6).Draw(t, "operation") {
	case 0:
		return f.upsert(drawSlot(t, rapid.IntRange(1, f.size).Draw(t, "upsert"), f.hosts))
	case 1:
		if s, known := f.slots[device]; known {
			s.Price = pick(t, "new price", somePrices)
			s.Version++
			return f.upsert(s)
		}
	case 2:
		f.setOnline(host, rapid.Bool().Draw(t, "online"))
	case 3:
		f.setOccupied(true, device, deviceID(rapid.IntRange(1, f.size).Draw(t, "also")))
	case 4:
		f.setOccupied(false, device, deviceID(rapid.IntRange(1, f.size).Draw(t, "also")))
	case 5:
		return f.remove(device)
	case 6: // what the scheduler does
		if choice, ok := f.index.Match(drawRequest(t, f.hosts)); ok {
			f.setOccupied(true, choice.Devices...)
		}
	}
	return true
}

// list is all slots, in the order of their ids.
func (f *fleet) list() []jobs.Slot {
	all := make([]jobs.Slot, 0, len(f.slots))
	for n := range f.size {
		if s, known := f.slots[deviceID(n+1)]; known {
			all = append(all, s)
		}
	}
	return all
}
