package jobs

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// fleet is this replica's picture of the market and of the jobs that wait. It is a
// hint: the database decides who gets a device. What is reserved here is occupied at
// once, so that the submits of one replica never race each other.
type fleet struct {
	mu      sync.Mutex
	index   *jobs.Index
	waiting *jobs.Waiting
	parked  map[domain.ID]placement              // who waits, with what it asks for
	offers  map[domain.ID]ports.Offer            // by device
	byHost  map[domain.ID]map[domain.ID]struct{} // host → devices
	jobs    map[domain.ID]domain.ID              // device → job that has it
	ready   map[domain.ID]struct{}               // hosts with news for those who wait
	later   []domain.ID                          // hosts that are looked at again at the next retry
	doubt   bool                                 // occupancy has to be read again
	touched map[domain.ID]struct{}               // devices that changed while it is read; nil: it is not
	ended   ended                                // attempts that gave their devices back
	news    chan struct{}
}

func newFleet() *fleet {
	return &fleet{
		index: jobs.NewIndex(), waiting: jobs.NewWaiting(), parked: map[domain.ID]placement{},
		offers: map[domain.ID]ports.Offer{}, byHost: map[domain.ID]map[domain.ID]struct{}{},
		jobs: map[domain.ID]domain.ID{}, ready: map[domain.ID]struct{}{}, news: make(chan struct{}, 1), ended: ended{known: map[Ref]struct{}{}},
	}
}

// reserve finds the best host and marks its devices as taken.
func (f *fleet) reserve(job domain.ID, r jobs.Request) (jobs.Lease, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.take(job, r)
}

// take is reserve under the lock.
func (f *fleet) take(job domain.ID, r jobs.Request) (jobs.Lease, bool) {
	choice, ok := f.index.Match(r)
	if !ok {
		return jobs.Lease{}, false
	}
	lease := jobs.Lease{Host: choice.HostID, HourlyPrice: choice.Price, Why: choice.Sum}
	for _, id := range choice.Devices {
		o := f.offers[id]
		lease.HostName, lease.HostOwner = o.HostName, o.Owner
		lease.Devices = append(lease.Devices, jobs.Device{ID: id, UUID: o.UUID, Model: o.GPUModel})
		f.jobs[id] = job
		f.touch(id)
	}
	f.index.Occupy(choice.Devices...)
	return lease, true
}

// slots gives what is known of the devices of a lease.
func (f *fleet) slots(devices []jobs.Device) []jobs.Slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var slots []jobs.Slot
	for _, d := range devices {
		if slot, ok := f.index.Lookup(d.ID); ok {
			slots = append(slots, slot)
		}
	}
	return slots
}

// refused notes that the database gave the devices to somebody else: they stay
// occupied here until occupancy is read again.
func (f *fleet) refused() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubt = true
}

// doubtful says whether occupancy has to be read again, and forgets it.
func (f *fleet) doubtful() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.doubt
	f.doubt = false
	return d
}

// recounting begins to note which devices change, because what is read of them
// meanwhile may be older.
func (f *fleet) recounting() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.touched = map[domain.ID]struct{}{}
}

// touch notes that what is known of a device is newer than what is being read.
func (f *fleet) touch(device domain.ID) {
	if f.touched != nil {
		f.touched[device] = struct{}{}
	}
}

// occupy marks exactly these devices as taken, and all others as free, but for those
// that changed since recounting.
func (f *fleet) occupy(devices map[domain.ID]domain.ID) {
	f.mu.Lock()
	for id := range f.touched {
		delete(devices, id)
		if job, taken := f.jobs[id]; taken {
			devices[id] = job
		}
	}
	f.jobs, f.touched = devices, nil
	for id, o := range f.offers {
		slot, _ := f.index.Lookup(id)
		if _, taken := devices[id]; taken != slot.Occupied {
			if taken {
				f.index.Occupy(id)
			} else {
				f.index.Free(id)
				f.ready[o.HostID] = struct{}{}
			}
		}
	}
	f.mu.Unlock()
	f.signal()
}

// postpone gives devices back; those who wait hear of it at the next retry.
func (f *fleet) postpone(host domain.ID, devices ...domain.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.yield(devices)
	f.later = append(f.later, host)
}

// retry lets those who wait have a look at the hosts that were postponed.
func (f *fleet) retry() {
	f.mu.Lock()
	for _, host := range f.later {
		f.ready[host] = struct{}{}
	}
	f.later = nil
	f.mu.Unlock()
	f.signal()
}

func (f *fleet) yield(devices []domain.ID) {
	f.index.Free(devices...)
	for _, id := range devices {
		delete(f.jobs, id)
		f.touch(id)
	}
}

// over gives back the devices of an attempt that ended, and lets those who wait have a look
// at the host.
func (f *fleet) over(a Ref, host domain.ID, devices ...domain.ID) {
	f.mu.Lock()
	f.ended.put(a)
	f.mu.Unlock()
	f.free(host, devices...)
}

// free gives devices back and lets those who wait have a look at the host.
func (f *fleet) free(host domain.ID, devices ...domain.ID) {
	f.mu.Lock()
	f.yield(devices)
	f.ready[host] = struct{}{}
	f.mu.Unlock()
	f.signal()
}

// hosts lists those of which something is known.
func (f *fleet) hosts() []domain.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.byHost))
}

// replace sets what is known of a host's devices; those that are not named are gone.
func (f *fleet) replace(host domain.ID, offers []ports.Offer) {
	f.mu.Lock()
	gone := f.byHost[host]
	delete(f.byHost, host)
	if len(offers) > 0 {
		f.byHost[host] = map[domain.ID]struct{}{}
	}
	for _, o := range offers {
		_, o.Occupied = f.jobs[o.DeviceID]
		f.index.Upsert(o.Slot)
		f.offers[o.DeviceID] = o
		f.byHost[host][o.DeviceID] = struct{}{}
		delete(gone, o.DeviceID)
	}
	for id := range gone {
		f.index.Remove(id)
		delete(f.offers, id)
	}
	f.ready[host] = struct{}{}
	f.mu.Unlock()
	f.signal()
}

// park lets a job wait. Because a device may have become free between the match that
// failed and this call, the hosts that could serve it are looked at again.
func (f *fleet) park(job domain.ID, r jobs.Request, since time.Time) {
	f.mu.Lock()
	f.waiting.Park(job, r, since)
	f.parked[job] = placement{job: job, request: r, since: since}
	if choice, ok := f.index.Match(r); ok {
		f.ready[choice.HostID] = struct{}{}
	}
	f.mu.Unlock()
	f.signal()
}

func (f *fleet) unpark(job domain.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leave(job)
}

func (f *fleet) leave(job domain.ID) {
	f.waiting.Unpark(job)
	delete(f.parked, job)
}

// parkedJobs lists who waits.
func (f *fleet) parkedJobs() []domain.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.parked))
}

func (f *fleet) waits(job domain.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting.Waits(job)
}

// placement is a job that waits, and once a host was reserved for it, the lease.
type placement struct {
	job     domain.ID
	request jobs.Request
	since   time.Time
	lease   jobs.Lease
}

// next takes a host with news and reserves hosts for the jobs that it could serve,
// longest waiting first, at most limit of them. They do not wait any more.
func (f *fleet) next(limit int) (placed []placement, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for host := range f.ready {
		delete(f.ready, host)
		for {
			p, ok := f.serve(host)
			if !ok {
				return placed, true
			}
			if placed = append(placed, p); len(placed) == limit {
				f.ready[host] = struct{}{} // it may serve more
				return placed, true
			}
		}
	}
	return nil, false
}

// serve reserves for the job that has waited longest of those that a host could serve.
// Reserving them one by one, and not when they are stored side by side, keeps the order.
func (f *fleet) serve(host domain.ID) (placement, bool) {
	for job := range f.waiting.Wake(f.index.FreeSlots(host)) {
		p := f.parked[job]
		lease, ok := f.take(job, p.request)
		if !ok {
			continue
		}
		f.leave(job)
		p.lease = lease
		return p, true
	}
	return placement{}, false
}

func (f *fleet) signal() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *fleet) explain(r jobs.Request) jobs.Exclusions {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index.Explain(r)
}

// dearest is the greatest price per GPU-hour that the request could have to pay: among
// what is free, or when nothing is, among what will be. Without any it is no_price.
func (f *fleet) dearest(r jobs.Request) (domain.Micros, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if price, ok := f.index.Dearest(r); ok {
		return price, nil
	}
	slots := make([]jobs.Slot, 0, len(f.offers))
	for _, o := range f.offers {
		o.Occupied = false
		slots = append(slots, o.Slot)
	}
	e := jobs.Explain(slots, r)
	if e.Fits > 0 {
		return e.Dearest, nil
	}
	return 0, &domain.Error{
		Kind: domain.KindInvalid, Code: "no_price",
		Detail: "no host fits now, so there is no price to hold the money by: " + e.String(),
		Fields: []domain.Field{{
			Pointer: "/limits/max_cost_micros", Code: "required",
			Detail: "set limits.max_cost_micros or needs.max_price_micros to let the job wait",
		}},
	}
}

// match finds the best host without taking it.
func (f *fleet) match(r jobs.Request) (jobs.Choice, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index.Match(r)
}

// busy tells which of the devices are taken.
func (f *fleet) busy(devices []domain.ID) map[domain.ID]domain.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := map[domain.ID]domain.ID{}
	for _, id := range devices {
		if slot, ok := f.index.Lookup(id); ok && slot.Occupied {
			taken[id] = f.jobs[id]
		}
	}
	return taken
}

// withdraw marks a host as not connected; what is read of it next decides again.
func (f *fleet) withdraw(host domain.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index.SetOnline(host, false)
}
