package jobs

import (
	"math"
	"math/bits"

	"github.com/peergpu/peergpu/domain"
)

// Match finds where a request runs best, without leasing it.
func (x *Index) Match(r Request) (Choice, bool) {
	x.round++
	q := x.search(&r)
	switch {
	case !r.HostPin.IsZero():
		if h, known := x.hosts[r.HostPin]; known && !r.avoids(h.id) {
			q.consider(h)
		}
	default:
		x.scan(&q)
	}
	if q.best.host == nil {
		for _, id := range r.Avoid {
			h, known := x.hosts[id]
			if known && (r.HostPin.IsZero() || r.HostPin == id) {
				q.consider(h)
			}
		}
	}
	if q.best.host == nil {
		return Choice{}, false
	}
	return q.choice(), true
}

// Dearest is the greatest price per GPU-hour among the devices that fit a request now,
// the same as Exclusions.Dearest but found without looking at every host.
func (x *Index) Dearest(r Request) (domain.Micros, bool) {
	q := x.search(&r)
	most, some := domain.Micros(0), false
	if !r.HostPin.IsZero() {
		if h, known := x.hosts[r.HostPin]; known && q.fitsOn(h) {
			for _, e := range h.free {
				if e.refuses(&r) == 0 {
					most = max(most, e.Price)
				}
			}
			return most, true
		}
		return 0, false
	}
	x.gather(&q)
	for _, c := range x.found {
		if price, ok := q.dearest(c.list, most, some); ok {
			most, some = price, true
		}
	}
	return most, some
}

// search is one request on its way through the index.
type search struct {
	r                  *Request
	round              uint64
	k                  int
	run                uint64 // µs
	cpus, memory, disk int64  // of each slot
	tags               uint64
	region             uint32 // 0: any
	width, strength    int8
	least              uint64 // the least time in µs that the job can take anywhere

	cut        domain.Micros // a device dearer than this cannot lead to best or next
	best, next option
	considered int
}

// option is a host that fits, with its sum.
type option struct {
	host  *machine
	price domain.Micros
	by    record
	cost  cost
}

// candidates is a list that the attributes of a request do not rule out.
type candidates struct {
	floor domain.Micros
	list  *list
}

func (x *Index) search(r *Request) search {
	k := r.Needs.count()
	q := search{
		r: r, round: x.round, k: k, run: r.runMicros(),
		cpus:     share(r.Needs.CPUMilli, k),
		memory:   share(r.Needs.MemoryMB, k),
		disk:     share(r.Needs.DiskMB, k),
		tags:     tagBits(r.Needs.Tags),
		width:    widthOf(k),
		strength: int8(r.Needs.Isolation.strength()),
		cut:      math.MaxInt64,
	}
	q.least = q.run + fetchMicros(r.FetchBytes, x.fastest)
	if r.Needs.MaxPrice > 0 {
		q.cut = r.Needs.MaxPrice
	}
	if r.Needs.Region != "" {
		q.region = noRegion
		if n, known := x.regions[r.Needs.Region]; known {
			q.region = n
		}
	}
	return q
}

// gather collects the lists to search into x.found, the one with the cheapest device
// first, because a good sum found early spares most of the others.
func (x *Index) gather(q *search) {
	x.found = x.found[:0]
	if model := q.r.Needs.GPUModel; model == "" {
		for _, s := range x.shelves {
			x.sift(s, q)
		}
	} else if s, known := x.models[model]; known {
		x.sift(s, q)
	}
	if s, known := x.owned[q.r.Renter]; known {
		x.sift(s, q)
	}
	least := 0
	for i := range x.found {
		if x.found[i].floor < x.found[least].floor {
			least = i
		}
	}
	if least > 0 {
		x.found[0], x.found[least] = x.found[least], x.found[0]
	}
}

func (x *Index) sift(s *shelf, q *search) {
	n := &q.r.Needs
	for i := range s.rows {
		row := &s.rows[i]
		if row.floor > q.cut || row.vram < n.MinVRAMMB || row.width < q.width ||
			row.tags&q.tags != q.tags || row.strength < q.strength ||
			q.region != 0 && row.region != q.region || n.Verified && !row.verified {
			continue
		}
		class := row.list.class
		if len(n.Tags) > 0 && !carries(class.tags, n.Tags) || n.GPUModel != "" && class.key.model != n.GPUModel {
			continue
		}
		x.found = append(x.found, candidates{row.floor, row.list})
	}
}

// scan looks at devices in the order of their price, list by list, until none that
// follows can lead to a better sum.
func (x *Index) scan(q *search) {
	x.gather(q)
	for _, c := range x.found {
		if c.floor <= q.cut {
			q.scan(c.list)
		}
	}
}

func (q *search) scan(l *list) {
	for _, run := range l.runs {
		price := run.items[0].Price
		if price > q.cut {
			return
		}
		if !q.within(&run.summary) || !q.promises(price, &run.summary) {
			continue
		}
		for _, e := range run.items {
			if e.Price > q.cut {
				return
			}
			if e.host.round != q.round && !q.r.avoids(e.HostID) {
				q.consider(e.host)
			}
		}
	}
}

// within says that the amounts asked for may be in a block.
func (q *search) within(p *prospects) bool {
	return p.cpus >= q.cpus && p.memory >= q.memory && p.disk >= q.disk
}

// promises says that a block, of whose prices the least is given, may hold a device
// that leads to a better sum than the second best.
func (q *search) promises(least domain.Micros, p *prospects) bool {
	if q.next.host == nil {
		return true
	}
	price := domain.Micros(math.MaxInt64)
	if hi, lo := bits.Mul64(uint64(least), uint64(q.k)); hi == 0 && lo < math.MaxInt64 {
		price = domain.Micros(lo)
	}
	bound := effective(price, q.run+fetchMicros(q.r.FetchBytes, p.record.mbps), p.record)
	c := bound.compare(q.next.cost)
	return c < 0 || c == 0 && compareIDs(p.host, q.next.host.id) < 0
}

// consider works out the sum of a host, once in a search.
func (q *search) consider(h *machine) {
	if h.round == q.round {
		return
	}
	h.round = q.round
	if len(h.free) < q.k {
		return
	}
	o := option{host: h}
	found := 0
	for _, e := range h.free {
		if e.refuses(q.r) != 0 {
			continue
		}
		if found == 0 {
			o.by = e.record()
		}
		o.price = plus(o.price, e.Price)
		if found++; found == q.k {
			break
		}
	}
	if found < q.k {
		return
	}
	q.considered++
	o.cost = effective(o.price, q.run+fetchMicros(q.r.FetchBytes, o.by.mbps), o.by)
	switch {
	case q.best.host == nil || o.beats(&q.best):
		q.best, q.next = o, q.best
	case q.next.host == nil || o.beats(&q.next):
		q.next = o
	default:
		return
	}
	if q.next.host != nil {
		// Nothing costs less than its price times the least time, on k devices.
		q.cut = min(q.cut, q.next.cost.over(uint64(q.k)*q.least))
	}
}

func (o *option) beats(other *option) bool {
	c := o.cost.compare(other.cost)
	return c < 0 || c == 0 && compareIDs(o.host.id, other.host.id) < 0
}

func (q *search) choice() Choice {
	best := &q.best
	c := Choice{HostID: best.host.id, Price: best.price, Devices: make([]domain.ID, 0, q.k)}
	for _, e := range best.host.free {
		if len(c.Devices) < q.k && e.refuses(q.r) == 0 {
			c.Devices = append(c.Devices, e.DeviceID)
		}
	}
	c.Sum = explain(q.r, best.price, best.by, best.cost)
	c.Sum.Considered = q.considered
	if q.next.host != nil {
		c.Sum.NextHost = q.next.host.id
		c.Sum.NextEffectiveMicros = q.next.cost.micros()
	}
	return c
}

// dearest finds the dearest device of a list that fits, if it is dearer than most.
func (q *search) dearest(l *list, most domain.Micros, some bool) (domain.Micros, bool) {
	for i := len(l.runs) - 1; i >= 0; i-- {
		run := l.runs[i]
		if some && run.items[len(run.items)-1].Price <= most {
			return 0, false
		}
		if !q.within(&run.summary) {
			continue
		}
		for j := len(run.items) - 1; j >= 0; j-- {
			e := run.items[j]
			if some && e.Price <= most {
				return 0, false
			}
			if e.refuses(q.r) == 0 && (q.k == 1 || q.fitsOn(e.host)) {
				return e.Price, true
			}
		}
	}
	return 0, false
}

// fitsOn says that a host has free devices enough that fit.
func (q *search) fitsOn(h *machine) bool {
	found := 0
	for _, e := range h.free {
		if e.refuses(q.r) == 0 {
			found++
		}
	}
	return found >= q.k
}
