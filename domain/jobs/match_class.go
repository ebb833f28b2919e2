package jobs

import (
	"cmp"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain"
)

// widths is the number of widths: how many free devices a host has, by powers of two.
// A request for eight GPUs thus never meets the many hosts with one.
const widths = 5

func widthOf(free int) int8 { return int8(min(max(bits.Len(uint(free))-1, 0), widths-1)) }

// shelf holds the classes of one GPU model, or those of one owner.
type shelf struct {
	rows    blocks[row, span] // of the lists that are not empty, by floor
	classes map[classKey]*class
}

// row is what a search reads of a list, packed, since it reads very many of them.
type row struct {
	best     prospect // of its devices
	serial   uint64   // tells lists of equal prospects apart
	tags     uint64   // one bit of 64 for each tag
	vram     int64
	list     *list
	region   uint32
	width    int8
	strength int8
	verified bool
}

// span is what at least one row of a block brings, for each attribute by itself.
type span struct {
	best            prospect
	tags            uint64
	vram            int64
	width, strength int8
	verified        bool
}

func (r row) compare(other row) int {
	if c := r.best.lead.compare(other.best.lead); c != 0 {
		return c
	}
	if c := compareIDs(r.best.host, other.best.host); c != 0 {
		return c
	}
	return cmp.Compare(r.serial, other.serial)
}

func (r row) widen(to *span) {
	to.best.widen(r.best)
	to.tags |= r.tags
	to.vram = max(to.vram, r.vram)
	to.width = max(to.width, r.width)
	to.strength = max(to.strength, r.strength)
	to.verified = to.verified || r.verified
}

func (r row) marks(of *span) bool { return r.best.cheapest == of.best.cheapest }

// prospect is the best of several devices in each respect, and none of them is better.
type prospect struct {
	lead               lead // the least
	cheapest, dearest  domain.Micros
	mbps               int64
	cpus, memory, disk int64
	host               domain.ID // the smallest id, which wins a tie
	some               bool      // there is a device
}

func (p *prospect) widen(by prospect) {
	if !p.some {
		*p = by
		return
	}
	if by.lead.compare(p.lead) < 0 {
		p.lead = by.lead
	}
	p.cheapest, p.dearest = min(p.cheapest, by.cheapest), max(p.dearest, by.dearest)
	p.mbps = max(p.mbps, by.mbps)
	p.cpus, p.memory, p.disk = max(p.cpus, by.cpus), max(p.memory, by.memory), max(p.disk, by.disk)
	if compareIDs(by.host, p.host) < 0 {
		p.host = by.host
	}
}

// class is the devices that share all attributes which a request can rule out, other
// than amounts.
type class struct {
	key     classKey
	tags    []string
	home    *shelf
	members int // free or not
	lists   [widths]list
}

type classKey struct {
	owner    domain.ID // of devices for their owner alone
	model    string
	tags     string
	region   string
	vram     int64
	strength int8
	verified bool
}

// list is the free devices of a class on hosts of a width, by price.
type list struct {
	blocks[*entry, prospect]
	class *class
	row   row // as it lies in the shelf, while the list is not empty
}

// compare orders by the part of the sum that no request changes, then by what makes the
// rest small, then as ties are broken.
func (e *entry) compare(other *entry) int {
	if c := e.lead.compare(other.lead); c != 0 {
		return c
	}
	if c := cmp.Compare(other.mbps, e.mbps); c != 0 {
		return c
	}
	if c := compareIDs(e.HostID, other.HostID); c != 0 {
		return c
	}
	return compareIDs(e.DeviceID, other.DeviceID)
}

func (e *entry) prospect() prospect {
	return prospect{e.lead, e.Price, e.Price, e.mbps, e.CPUMilli, e.MemoryMB, e.DiskMB, e.HostID, true}
}

func (e *entry) widen(to *prospect) { to.widen(e.prospect()) }

func (e *entry) marks(of *prospect) bool { return e.Price == of.cheapest }

func sameClass(a, b *Slot) bool {
	return a.ownerOnly() == b.ownerOnly() && (!a.ownerOnly() || a.Owner == b.Owner) &&
		a.GPUModel == b.GPUModel && a.Region == b.Region && a.VRAMMB == b.VRAMMB &&
		a.Isolation.strength() == b.Isolation.strength() && a.Verified == b.Verified &&
		slices.Equal(a.Tags, b.Tags)
}

// classOf finds or makes the class of a slot, and counts the slot in.
func (x *Index) classOf(s *Slot) *class {
	tags := slices.Compact(slices.Sorted(slices.Values(s.Tags)))
	key := classKey{
		model: s.GPUModel, tags: strings.Join(tags, "\x00"), region: s.Region, vram: s.VRAMMB,
		strength: int8(s.Isolation.strength()), verified: s.Verified,
	}
	var home *shelf
	if s.ownerOnly() {
		key.owner = s.Owner
		if home = x.owned[s.Owner]; home == nil {
			home = &shelf{classes: map[classKey]*class{}}
			x.owned[s.Owner] = home
		}
	} else if home = x.models[s.GPUModel]; home == nil {
		home = &shelf{classes: map[classKey]*class{}}
		x.models[s.GPUModel] = home
		x.shelves = append(x.shelves, home)
	}
	c, known := home.classes[key]
	if !known {
		c = &class{key: key, tags: tags, home: home}
		for width := range c.lists {
			x.serial++
			l := &c.lists[width]
			l.class = c
			l.row = row{
				serial: x.serial, tags: tagBits(tags), vram: key.vram, list: l,
				region: x.number(key.region), width: int8(width),
				strength: key.strength, verified: key.verified,
			}
		}
		home.classes[key] = c
	}
	c.members++
	return c
}

// leave counts a slot out of its class, and forgets what nobody is in any more.
func (x *Index) leave(c *class) {
	if c.members--; c.members > 0 {
		return
	}
	delete(c.home.classes, c.key)
	switch {
	case len(c.home.classes) > 0:
	case x.models[c.key.model] == c.home:
		delete(x.models, c.key.model)
		x.shelves = slices.DeleteFunc(x.shelves, func(s *shelf) bool { return s == c.home })
	default:
		delete(x.owned, c.key.owner)
	}
}

func (x *Index) number(region string) uint32 {
	n, known := x.regions[region]
	if !known {
		n = uint32(len(x.regions) + 1)
		x.regions[region] = n
	}
	return n
}

// intern lets equal strings of many slots share their memory.
func (c *class) intern(s *Slot) {
	s.GPUModel, s.Region = c.key.model, c.key.region
	if slices.Equal(s.Tags, c.tags) && s.Tags != nil {
		s.Tags = c.tags
	}
}

func (c *class) put(e *entry) {
	l := &c.lists[e.width]
	l.insert(e)
	e.lies = true
	best := l.row.best
	if best.widen(e.prospect()); best == l.row.best {
		return
	}
	if l.size > 1 {
		c.home.rows.remove(l.row)
	}
	l.row.best = best
	c.home.rows.insert(l.row)
}

// take leaves the row as it is unless the device that leads or the cheapest one goes: a
// prospect may be better than what is there, but never worse.
func (c *class) take(e *entry) {
	l := &c.lists[e.width]
	l.remove(e)
	e.lies = false
	if e.lead != l.row.best.lead && e.Price > l.row.best.cheapest {
		return
	}
	c.home.rows.remove(l.row)
	if l.size == 0 {
		l.row.best = prospect{}
		return
	}
	// Long lists keep a prospect that is too good rather than read many summaries.
	if len(l.runs) <= 4 {
		l.row.best = prospect{}
		for _, run := range l.runs {
			l.row.best.widen(run.summary)
		}
	}
	l.row.best.lead = l.first().lead
	c.home.rows.insert(l.row)
}

// noRegion is the number of a region that no device is in.
const noRegion = math.MaxUint32

var tagSeed = maphash.MakeSeed()

// tagBits gives each tag one of 64 bits. Two tags may share one, so that a set whose
// bits are there is a set that may be there.
func tagBits(tags []string) uint64 {
	var set uint64
	for _, tag := range tags {
		set |= 1 << (maphash.String(tagSeed, tag) % 64)
	}
	return set
}
