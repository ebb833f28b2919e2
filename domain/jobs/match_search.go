package jobs

import (
	"math"

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
		x.shelvesFor(&r, q.scan)
	}
	if q.best.host == nil {
		for _, id := range r.Avoid {
			h, known := x.hosts[id]
			if known && !r.declinedBy(id) && (r.HostPin.IsZero() || r.HostPin == id) {
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
// the same as Exclusions.Dearest but found without looking at every host. Hosts that
// declined the job count here: they may be asked again. It is quick as long as
// the request has no maximum price of its own.
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
	x.shelvesFor(&r, func(s *shelf) {
		if price, ok := q.dearestOf(s, most, some); ok {
			most, some = price, true
		}
	})
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

	most       domain.Micros // per GPU-hour
	cut        int64         // a device whose rough lead is beyond this cannot lead to best or next
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
		most:     math.MaxInt64,
		cut:      math.MaxInt64,
	}
	q.least = q.run + fetchMicros(r.FetchBytes, x.fastest)
	if r.Needs.MaxPrice > 0 {
		q.most = r.Needs.MaxPrice
	}
	if r.Needs.Region != "" {
		q.region = noRegion
		if n, known := x.regions[r.Needs.Region]; known {
			q.region = n
		}
	}
	return q
}

// shelvesFor visits the shelves that may hold devices for a request, the one with the
// cheapest device first, because a good sum found early spares most of the others.
func (x *Index) shelvesFor(r *Request, visit func(*shelf)) {
	var first *shelf
	if r.Needs.GPUModel != "" {
		first = x.models[r.Needs.GPUModel]
	} else {
		for _, s := range x.shelves {
			if s.rows.size > 0 && (first == nil || s.rows.first().best.lead.rough < first.rows.first().best.lead.rough) {
				first = s
			}
		}
	}
	if first != nil {
		visit(first)
	}
	if own := x.owned[r.Renter]; own != nil {
		visit(own)
	}
	if r.Needs.GPUModel == "" {
		for _, s := range x.shelves {
			if s != first {
				visit(s)
			}
		}
	}
}

// mayHold says that one of the rows of a block may be what is asked for.
func (q *search) mayHold(r *span) bool {
	return q.within(&r.best) && r.vram >= q.r.Needs.MinVRAMMB && r.width >= q.width && r.tags&q.tags == q.tags &&
		r.strength >= q.strength && (!q.r.Needs.Verified || r.verified)
}

// wants says that the attributes of a row are what is asked for.
func (q *search) wants(r *row) bool {
	n := &q.r.Needs
	if !q.within(&r.best) || r.vram < n.MinVRAMMB || r.width < q.width || r.tags&q.tags != q.tags || r.strength < q.strength ||
		q.region != 0 && r.region != q.region || n.Verified && !r.verified {
		return false
	}
	class := r.list.class
	return (len(n.Tags) == 0 || carries(class.tags, n.Tags)) && (n.GPUModel == "" || class.key.model == n.GPUModel)
}

// scan looks at the lists of a shelf in the order of their leading devices, until none
// that follows can lead to a better sum.
func (q *search) scan(s *shelf) {
	for _, run := range s.rows.runs {
		if run.items[0].best.lead.rough > q.cut {
			return
		}
		if !q.mayHold(&run.summary) || !q.promises(&run.summary.best.lead, run.summary.best.mbps, &run.summary.best.host) {
			continue
		}
		for i := range run.items {
			row := &run.items[i]
			if row.best.lead.rough > q.cut {
				return
			}
			if q.wants(row) && q.promises(&row.best.lead, row.best.mbps, &row.best.host) {
				q.scanList(row.list)
			}
		}
	}
}

// scanList looks at the devices of a list in their order.
func (q *search) scanList(l *list) {
	for _, run := range l.runs {
		if run.summary.lead.rough > q.cut {
			return
		}
		if !q.within(&run.summary) || !q.promises(&run.summary.lead, run.summary.mbps, &run.summary.host) {
			continue
		}
		for _, e := range run.items {
			if e.lead.rough > q.cut {
				return
			}
			if q.promises(&e.lead, e.mbps, &e.HostID) && e.host.round != q.round && !q.r.avoids(e.HostID) {
				q.consider(e.host)
			}
		}
	}
}

// within says that one of several devices may bring the amounts for the price.
func (q *search) within(p *prospect) bool {
	return p.cheapest <= q.most && p.cpus >= q.cpus && p.memory >= q.memory && p.disk >= q.disk
}

// promises says that one of several devices may lead to a better sum than the second
// best. Where many devices are alike only the exact comparison tells ties.
func (q *search) promises(l *lead, mbps int64, host *domain.ID) bool {
	if q.next.host == nil {
		return true
	}
	micros := q.run + fetchMicros(q.r.FetchBytes, mbps)
	if l.bound(q.k, micros).compare(q.next.cost) > 0 {
		return false
	}
	c := l.least(q.k, micros).compare(q.next.cost)
	return c < 0 || c == 0 && compareIDs(*host, q.next.host.id) < 0
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
		q.cut = min(q.cut, q.next.cost.rough(q.k, q.least))
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

// dearestOf finds the dearest device of a shelf that fits, if it is dearer than most.
func (q *search) dearestOf(s *shelf, most domain.Micros, some bool) (domain.Micros, bool) {
	better := false
	for _, run := range s.rows.runs {
		if some && run.summary.best.dearest <= most || !q.mayHold(&run.summary) {
			continue
		}
		for i := range run.items {
			row := &run.items[i]
			if some && row.best.dearest <= most || !q.wants(row) {
				continue
			}
			if price, ok := q.dearestIn(row.list, most, some); ok {
				most, some, better = price, true, true
			}
		}
	}
	return most, better
}

func (q *search) dearestIn(l *list, most domain.Micros, some bool) (domain.Micros, bool) {
	better := false
	for _, run := range l.runs {
		if some && run.summary.dearest <= most || !q.within(&run.summary) {
			continue
		}
		for _, e := range run.items {
			if (!some || e.Price > most) && e.refuses(q.r) == 0 && (q.k == 1 || q.fitsOn(e.host)) {
				most, some, better = e.Price, true, true
			}
		}
	}
	return most, better
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
