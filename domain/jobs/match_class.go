package jobs

import (
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
	rows    []row // of the lists that are not empty
	classes map[classKey]*class
}

// row is what a search reads of a list, packed, since it reads very many of them.
type row struct {
	floor    domain.Micros // the price of the cheapest
	tags     uint64        // one bit of 64 for each tag
	vram     int64
	list     *list
	region   uint32
	width    int8
	strength int8
	verified bool
}

// class is the devices that share all attributes which a request can rule out, other
// than amounts.
type class struct {
	key     classKey
	row     row
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
	row   int // its place in the shelf's rows
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
		c = &class{key: key, tags: tags, home: home, row: row{
			tags: tagBits(tags), vram: key.vram, region: x.number(key.region),
			strength: key.strength, verified: key.verified,
		}}
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
	if l.size == 0 {
		l.class, l.row = c, len(c.home.rows)
		r := c.row
		r.list, r.width = l, e.width
		c.home.rows = append(c.home.rows, r)
	}
	l.insert(e)
	e.lies = true
	c.home.rows[l.row].floor = l.first().Price
}

func (c *class) take(e *entry) {
	l := &c.lists[e.width]
	l.remove(e)
	e.lies = false
	rows := c.home.rows
	if l.size > 0 {
		rows[l.row].floor = l.first().Price
		return
	}
	last := len(rows) - 1
	rows[l.row] = rows[last]
	rows[l.row].list.row = l.row
	rows[last] = row{}
	c.home.rows = rows[:last]
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
