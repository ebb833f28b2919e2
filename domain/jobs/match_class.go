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
	rows    blocks[row, reach] // of the lists that are not empty, by floor
	classes map[classKey]*class
}

// row is what a search reads of a list, packed, since it reads very many of them.
type row struct {
	floor    domain.Micros // the price of the cheapest
	ceiling  domain.Micros // none is dearer
	serial   uint64        // tells lists of equal floors apart
	tags     uint64        // one bit of 64 for each tag
	vram     int64
	list     *list
	region   uint32
	width    int8
	strength int8
	verified bool
}

// reach is what at least one row of a block brings, for each attribute by itself.
type reach struct {
	ceiling         domain.Micros
	tags            uint64
	vram            int64
	width, strength int8
	verified        bool
}

func (r row) compare(other row) int {
	if c := cmp.Compare(r.floor, other.floor); c != 0 {
		return c
	}
	return cmp.Compare(r.serial, other.serial)
}

func (r row) widen(to *reach) {
	to.ceiling = max(to.ceiling, r.ceiling)
	to.tags |= r.tags
	to.vram = max(to.vram, r.vram)
	to.width = max(to.width, r.width)
	to.strength = max(to.strength, r.strength)
	to.verified = to.verified || r.verified
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
	blocks[*entry, prospects]
	class *class
	row   row // as it lies in the shelf, while the list is not empty
}

// prospects is the best of everything in a block: no device in it beats this one.
type prospects struct {
	record             record
	cpus, memory, disk int64
	host               domain.ID // the smallest id, which wins a tie
	some               bool
}

// compare orders by price; where prices are equal, what makes the sum small leads.
func (e *entry) compare(other *entry) int {
	if e == other {
		return 0
	}
	if e.Price != other.Price {
		if e.Price < other.Price {
			return -1
		}
		return 1
	}
	mine, theirs := e.record(), other.record()
	if c := mine.compareSuccess(theirs); c != 0 {
		return c
	}
	if mine.mbps != theirs.mbps {
		if mine.mbps > theirs.mbps {
			return -1
		}
		return 1
	}
	if c := compareIDs(e.HostID, other.HostID); c != 0 {
		return c
	}
	return compareIDs(e.DeviceID, other.DeviceID)
}

func (e *entry) widen(p *prospects) {
	r := e.record()
	if !p.some || r.compareSuccess(p.record) < 0 {
		p.record.ok, p.record.runs = r.ok, r.runs
	}
	if !p.some || compareIDs(e.HostID, p.host) < 0 {
		p.host = e.HostID
	}
	p.some = true
	p.record.mbps = max(p.record.mbps, r.mbps)
	p.cpus = max(p.cpus, e.CPUMilli)
	p.memory = max(p.memory, e.MemoryMB)
	p.disk = max(p.disk, e.DiskMB)
}

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
	if l.size > 1 && l.row.floor <= e.Price && e.Price <= l.row.ceiling {
		return
	}
	if l.size > 1 {
		c.home.rows.remove(l.row)
		l.row.ceiling = max(l.row.ceiling, e.Price)
	} else {
		l.row.ceiling = e.Price
	}
	l.row.floor = l.first().Price
	c.home.rows.insert(l.row)
}

// take leaves the ceiling where it is: it may be too high, but never too low.
func (c *class) take(e *entry) {
	l := &c.lists[e.width]
	l.remove(e)
	e.lies = false
	if l.size > 0 && l.first().Price == l.row.floor {
		return
	}
	c.home.rows.remove(l.row)
	if l.size > 0 {
		l.row.floor = l.first().Price
		c.home.rows.insert(l.row)
	}
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
