package jobs

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Waiting holds the jobs that no free device fits, parked by class (the attributes that
// they ask for), so that a device that was freed, added or made cheaper wakes only jobs
// that it can serve. Like Index it is for one goroutine at a time.
type Waiting struct {
	jobs    map[domain.ID]*parked
	lines   map[lineKey]*line
	groups  map[groupKey][]*line
	renters map[domain.ID]*line // every job of a renter, for devices of their own
}

// NewWaiting holds no jobs.
func NewWaiting() *Waiting {
	return &Waiting{
		jobs:    map[domain.ID]*parked{},
		lines:   map[lineKey]*line{},
		groups:  map[groupKey][]*line{},
		renters: map[domain.ID]*line{},
	}
}

// Len is the number of jobs that wait.
func (w *Waiting) Len() int { return len(w.jobs) }

// Park lets a job wait. since is when it was first queued, which a requeued job keeps.
// A job that waits already waits by the new request from now on.
func (w *Waiting) Park(job domain.ID, r Request, since time.Time) {
	w.Unpark(job)
	p := &parked{id: job, r: r, since: since.UnixMicro(), asks: demandsOf(&r.Needs)}
	p.line = w.lineOf(&p.r)
	p.line.insert(p)
	own := w.renters[r.Renter]
	if own == nil {
		own = &line{}
		w.renters[r.Renter] = own
	}
	own.insert(p)
	w.jobs[job] = p
}

// Unpark forgets a job, and says whether it waited.
func (w *Waiting) Unpark(job domain.ID) bool {
	p, waits := w.jobs[job]
	if !waits {
		return false
	}
	delete(w.jobs, job)
	own := w.renters[p.r.Renter]
	if own.remove(p); own.size == 0 {
		delete(w.renters, p.r.Renter)
	}
	l := p.line
	if l.remove(p); l.size == 0 {
		delete(w.lines, l.key)
		rest := slices.DeleteFunc(w.groups[l.key.groupKey], func(o *line) bool { return o == l })
		if w.groups[l.key.groupKey] = rest; len(rest) == 0 {
			delete(w.groups, l.key.groupKey)
		}
	}
	return true
}

// Waits says whether a job is parked.
func (w *Waiting) Waits(job domain.ID) bool {
	_, waits := w.jobs[job]
	return waits
}

// Wake goes through the jobs that the free devices of one host can run, the job that
// has waited longest first. A host that a job avoids counts too: it waits, so no other
// fits. The body of the loop may park and unpark jobs; when the devices change, it
// leaves the loop and asks again.
func (w *Waiting) Wake(free []Slot) iter.Seq[domain.ID] {
	return func(yield func(domain.ID) bool) {
		var last *parked
		for {
			last = w.next(free, last)
			if last == nil || !yield(last.id) {
				return
			}
		}
	}
}

// parked is a job that waits.
type parked struct {
	id    domain.ID
	r     Request
	asks  demands
	since int64 // µs since 1970
	line  *line
}

func (p *parked) compare(other *parked) int {
	if c := cmp.Compare(p.since, other.since); c != 0 {
		return c
	}
	return compareIDs(p.id, other.id)
}

// line is jobs that ask for the same attributes, the oldest first.
type line struct {
	blocks[*parked, demands]
	key  lineKey
	asks Request // the attributes alone
}

type groupKey struct {
	pin   domain.ID
	model string
}

type lineKey struct {
	groupKey
	gpus         int
	vram         int64
	tags, region string
	isolation    Isolation
	verified     bool
}

// demands is the least of each amount that any of several jobs asks for.
type demands struct {
	gpus                     int
	vram, cpus, memory, disk int64         // of one slot
	price                    domain.Micros // the most that any pays
}

func demandsOf(n *Needs) demands {
	k := n.count()
	d := demands{
		gpus: k, vram: n.MinVRAMMB, cpus: share(n.CPUMilli, k), memory: share(n.MemoryMB, k),
		disk: share(n.DiskMB, k), price: n.MaxPrice,
	}
	if d.price <= 0 {
		d.price = math.MaxInt64
	}
	return d
}

func (p *parked) widen(d *demands) {
	if d.gpus == 0 {
		*d = p.asks
		return
	}
	d.gpus = min(d.gpus, p.asks.gpus)
	d.vram = min(d.vram, p.asks.vram)
	d.cpus = min(d.cpus, p.asks.cpus)
	d.memory = min(d.memory, p.asks.memory)
	d.disk = min(d.disk, p.asks.disk)
	d.price = max(d.price, p.asks.price)
}

func (p *parked) marks(d *demands) bool { return p.asks.price == d.price }

// metBy says that one of the slots may be what one of the jobs asks for.
func (d *demands) metBy(free []Slot) bool {
	if len(free) < d.gpus {
		return false
	}
	for i := range free {
		s := &free[i]
		if s.Price <= d.price && s.VRAMMB >= d.vram && s.CPUMilli >= d.cpus &&
			s.MemoryMB >= d.memory && s.DiskMB >= d.disk {
			return true
		}
	}
	return false
}

// servedBy says that the slots of one host are enough for the job.
func (p *parked) servedBy(free []Slot) bool {
	k := p.r.Needs.count()
	if !p.asks.metBy(free) || !p.r.HostPin.IsZero() && p.r.HostPin != free[0].HostID || p.r.declinedBy(free[0].HostID) {
		return false
	}
	for i := range free {
		if free[i].refuses(&p.r) == 0 {
			if k--; k == 0 {
				return true
			}
		}
	}
	return false
}

func (w *Waiting) lineOf(r *Request) *line {
	n := &r.Needs
	tags := slices.Compact(slices.Sorted(slices.Values(n.Tags)))
	key := lineKey{
		groupKey: groupKey{pin: r.HostPin, model: n.GPUModel}, gpus: n.count(), vram: n.MinVRAMMB,
		tags: strings.Join(tags, "\x00"), region: n.Region, isolation: n.Isolation, verified: n.Verified,
	}
	l, known := w.lines[key]
	if !known {
		l = &line{key: key, asks: Request{Needs: Needs{
			GPUModel: n.GPUModel, MinVRAMMB: n.MinVRAMMB, Tags: tags, Region: n.Region,
			Verified: n.Verified, Isolation: n.Isolation,
		}}}
		w.lines[key] = l
		w.groups[key.groupKey] = append(w.groups[key.groupKey], l)
	}
	return l
}

// next is the oldest job after last that the slots can run, or nil.
func (w *Waiting) next(free []Slot, last *parked) *parked {
	var best *parked
	shared := false
	for i := range free {
		s := &free[i]
		if !s.ownerOnly() {
			shared = true
		} else if own := w.renters[s.Owner]; own != nil {
			best = own.next(free, last, best)
		}
	}
	if !shared {
		return best
	}
	for i := range free {
		model := free[i].GPUModel
		if slices.ContainsFunc(free[:i], func(s Slot) bool { return s.GPUModel == model }) {
			continue
		}
		best = w.nextOf(groupKey{model: model}, free, last, best)
		best = w.nextOf(groupKey{pin: free[0].HostID, model: model}, free, last, best)
	}
	best = w.nextOf(groupKey{}, free, last, best)
	return w.nextOf(groupKey{pin: free[0].HostID}, free, last, best)
}

func (w *Waiting) nextOf(group groupKey, free []Slot, last, best *parked) *parked {
	for _, l := range w.groups[group] {
		if l.key.gpus > len(free) || best != nil && l.first().compare(best) >= 0 {
			continue
		}
		for i := range free {
			if free[i].refuses(&l.asks)&^refusesOwner == 0 {
				best = l.next(free, last, best)
				break
			}
		}
	}
	return best
}

// next is the oldest job of the line after last that the slots can run, if it is older
// than best; otherwise best.
func (l *line) next(free []Slot, last, best *parked) *parked {
	run, item := 0, 0
	if last != nil {
		run, item = l.find(last)
	}
	for ; run < len(l.runs); run, item = run+1, 0 {
		b := l.runs[run]
		if !b.summary.metBy(free) {
			continue
		}
		for _, p := range b.items[item:] {
			if best != nil && p.compare(best) >= 0 {
				return best
			}
			if last != nil && p.compare(last) <= 0 {
				continue
			}
			if p.servedBy(free) {
				return p
			}
		}
	}
	return best
}
