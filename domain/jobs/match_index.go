package jobs

import (
	"slices"

	"github.com/peergpu/peergpu/domain"
)

// Index finds where a request runs best among very many devices, and chooses exactly
// as Linear does. Devices lie by GPU model, then by class (the attributes that a
// request can rule out), then by price ÷ success, which is all of the sum that does not
// depend on the request; what it leaves out can only add, so that a search ends early.
//
// It is not safe for concurrent use, reading included: the application guards it with
// a mutex. It is a hint besides: the database decides whether a device can be leased.
type Index struct {
	devices map[domain.ID]*entry
	hosts   map[domain.ID]*machine
	all     []*machine           // the values of hosts
	models  map[string]*shelf    // devices for everybody
	owned   map[domain.ID]*shelf // devices for their owner alone
	shelves []*shelf             // the values of models, for requests of any model
	regions map[string]uint32    // numbers instead of names, from 1
	fastest int64                // the greatest bandwidth ever seen
	round   uint64               // the search that goes on
	serial  uint64               // the last one given to a list
	scratch []*Slot
}

// NewIndex is an index without devices.
func NewIndex() *Index {
	return &Index{
		devices: map[domain.ID]*entry{},
		hosts:   map[domain.ID]*machine{},
		models:  map[string]*shelf{},
		owned:   map[domain.ID]*shelf{},
		regions: map[string]uint32{},
		fastest: assumedMbps,
	}
}

// entry is a device in the index.
type entry struct {
	Slot
	lead  lead  // as Slot.lead
	mbps  int64 // as Slot.record
	host  *machine
	class *class
	width int8 // of the list that it lies in, see widthOf
	lies  bool // in a list
}

// machine is a host with its devices.
type machine struct {
	id    domain.ID
	at    int // its place in Index.all
	all   []*entry
	free  []*entry // by price, then id
	round uint64   // the last search that looked at it
}

// Len is the number of devices.
func (x *Index) Len() int { return len(x.devices) }

// Lookup is what the index knows of a device.
func (x *Index) Lookup(device domain.ID) (Slot, bool) {
	if e, ok := x.devices[device]; ok {
		return e.Slot, true
	}
	return Slot{}, false
}

// FreeSlots are the free devices of a host, the cheapest first: what Waiting wants.
func (x *Index) FreeSlots(host domain.ID) []Slot {
	h, ok := x.hosts[host]
	if !ok {
		return nil
	}
	slots := make([]Slot, len(h.free))
	for i, e := range h.free {
		slots[i] = e.Slot
	}
	return slots
}

// Upsert adds a device or replaces all that is known about it, occupancy and presence
// included. A version older than the known one changes nothing and gives false.
func (x *Index) Upsert(s Slot) bool {
	e, known := x.devices[s.DeviceID]
	if known {
		if s.Version < e.Version {
			return false
		}
		if s.HostID != e.HostID {
			x.Remove(s.DeviceID)
			known = false
		}
	}
	if !known {
		h, ok := x.hosts[s.HostID]
		if !ok {
			h = &machine{id: s.HostID, at: len(x.all)}
			x.hosts[s.HostID] = h
			x.all = append(x.all, h)
		}
		e = &entry{host: h}
		h.all = append(h.all, e)
		x.devices[s.DeviceID] = e
	}
	x.withdraw(e)
	if old := e.class; old == nil || !sameClass(&e.Slot, &s) {
		e.class = x.classOf(&s)
		if old != nil {
			x.leave(old)
		}
	}
	e.Slot, e.lead, e.mbps = s, s.lead(), s.record().mbps
	e.class.intern(&e.Slot)
	x.fastest = max(x.fastest, s.BandwidthMbps)
	x.offer(e)
	x.settle(e.host)
	return true
}

// Remove forgets a device and says whether it was known.
func (x *Index) Remove(device domain.ID) bool {
	e, known := x.devices[device]
	if !known {
		return false
	}
	x.withdraw(e)
	x.settle(e.host)
	x.leave(e.class)
	delete(x.devices, device)
	h := e.host
	h.all = slices.DeleteFunc(h.all, func(o *entry) bool { return o == e })
	if len(h.all) == 0 {
		delete(x.hosts, h.id)
		last := len(x.all) - 1
		x.all[h.at], x.all[last].at = x.all[last], h.at
		x.all[last] = nil
		x.all = x.all[:last]
	}
	return true
}

// Occupy marks devices as leased. Unknown ones are passed over.
func (x *Index) Occupy(devices ...domain.ID) { x.setOccupied(devices, true) }

// Free marks devices as not leased. Unknown ones are passed over.
func (x *Index) Free(devices ...domain.ID) { x.setOccupied(devices, false) }

func (x *Index) setOccupied(devices []domain.ID, occupied bool) {
	var last *machine
	for _, id := range devices {
		e, known := x.devices[id]
		if !known || e.Occupied == occupied {
			continue
		}
		// The devices of one lease are all on one host, which settles once.
		if last != nil && last != e.host {
			x.settle(last)
		}
		last = e.host
		x.withdraw(e)
		e.Occupied = occupied
		x.offer(e)
	}
	if last != nil {
		x.settle(last)
	}
}

// SetOnline marks all devices of a host as connected or not.
func (x *Index) SetOnline(host domain.ID, online bool) {
	h, known := x.hosts[host]
	if !known {
		return
	}
	for _, e := range h.all {
		if e.Online != online {
			x.withdraw(e)
			e.Online = online
			x.offer(e)
		}
	}
	x.settle(h)
}

// Explain is the function Explain on the slots of the index. It looks at every
// device, 40 to 100 ns each: a page about one job may ask, a submit should not.
func (x *Index) Explain(r Request) Exclusions {
	e := Exclusions{By: map[Constraint]int{}}
	for _, h := range x.all {
		x.scratch = x.scratch[:0]
		for _, of := range h.all {
			x.scratch = append(x.scratch, &of.Slot)
		}
		e.count(x.scratch, &r)
	}
	return e
}

// withdraw takes a device out of what can be matched, before it changes.
func (x *Index) withdraw(e *entry) {
	if e.lies {
		e.class.take(e)
	}
	if at := slices.Index(e.host.free, e); at >= 0 {
		e.host.free = slices.Delete(e.host.free, at, at+1)
	}
}

// offer counts a changed device among its host's free ones, if it is.
func (x *Index) offer(e *entry) {
	if !e.Free() {
		return
	}
	at, _ := slices.BinarySearchFunc(e.host.free, e, func(a, b *entry) int {
		return bySlotPrice(&a.Slot, &b.Slot)
	})
	e.host.free = slices.Insert(e.host.free, at, e)
}

// settle puts the free devices of a host into the lists of its present width.
func (x *Index) settle(h *machine) {
	width := widthOf(len(h.free))
	for _, e := range h.free {
		if e.lies && e.width == width {
			continue
		}
		if e.lies {
			e.class.take(e)
		}
		e.width = width
		e.class.put(e)
	}
}
