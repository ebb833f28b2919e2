package jobs

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// The fleets and jobs of experiment E5: 1,440 combinations of model, VRAM and tags;
// jobs with mixed constraints. All is seeded, so that runs can be compared.

var benchSizes = []int{1_000, 10_000, 100_000}

func benchID(kind byte, n int) domain.ID {
	return domain.ID{0: kind, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

func benchTags(n int) []string {
	all := []string{"cuda12", "ecc", "nvlink", "quiet", "nvme"}
	var tags []string
	for i, tag := range all {
		if n&(1<<i) != 0 {
			tags = append(tags, tag)
		}
	}
	return tags
}

func benchModel(n int) string { return fmt.Sprintf("GPU %02d", n) }

// benchFleet is d devices on hosts of one, two, four and eight.
func benchFleet(d int) []Slot {
	rng := rand.New(rand.NewPCG(5, uint64(d)))
	slots := make([]Slot, 0, d)
	for host := 0; len(slots) < d; host++ {
		runs := rng.Int64N(200)
		shared := Slot{
			HostID: benchID('h', host), Owner: benchID('u', host),
			GPUModel: benchModel(rng.IntN(20)), VRAMMB: 16_000 << rng.IntN(3),
			CPUMilli: 4000 << rng.IntN(3), MemoryMB: 16_000 << rng.IntN(4), DiskMB: 50_000 + rng.Int64N(1_000_000),
			Tags: benchTags(rng.IntN(24)), Isolation: IsolationContainer,
			Price: domain.Micros(100_000 + 1000*rng.IntN(2000)),
			OK:    runs - rng.Int64N(runs/20+1), Runs: runs, BandwidthMbps: 50 + rng.Int64N(950),
			Online: true, Listed: true,
		}
		gpus := 1
		switch n := rng.IntN(100); {
		case n < 5:
			gpus = 8
		case n < 15:
			gpus = 4
		case n < 30:
			gpus = 2
		}
		for range min(gpus, d-len(slots)) {
			s := shared
			s.DeviceID = benchID('d', len(slots))
			slots = append(slots, s)
		}
	}
	return slots
}

// benchJobs is q requests: half of them name a model, half a VRAM, half a price, a
// quarter tags, a tenth several GPUs.
func benchJobs(q int) []Request {
	rng := rand.New(rand.NewPCG(7, uint64(q)))
	requests := make([]Request, q)
	for i := range requests {
		r := &requests[i]
		r.Renter = benchID('r', rng.IntN(1000))
		r.ExpectedRun = time.Duration(1+rng.IntN(3600)) * time.Second
		r.FetchBytes = rng.Int64N(100 << 20)
		r.Needs = Needs{GPUs: 1, CPUMilli: 2000, MemoryMB: 8000, DiskMB: 20_000}
		if rng.IntN(2) == 0 {
			r.Needs.GPUModel = benchModel(rng.IntN(20))
		}
		if rng.IntN(2) == 0 {
			r.Needs.MinVRAMMB = 16_000 << rng.IntN(3)
		}
		if rng.IntN(2) == 0 {
			r.Needs.MaxPrice = domain.Micros(200_000 + rng.IntN(2_000_000))
		}
		if rng.IntN(4) == 0 {
			r.Needs.Tags = benchTags(1 << rng.IntN(4))
		}
		if rng.IntN(10) == 0 {
			r.Needs.GPUs = 2 << rng.IntN(2)
		}
	}
	return requests
}

func benchIndex(slots []Slot) *Index {
	x := NewIndex()
	for _, s := range slots {
		x.Upsert(s)
	}
	return x
}

// latencies collects how long single operations take.
type latencies []time.Duration

func (l *latencies) time(op func()) {
	start := time.Now()
	op()
	*l = append(*l, time.Since(start))
}

func (l latencies) report(b *testing.B, name string) {
	b.Helper()
	if len(l) == 0 {
		return
	}
	slices.Sort(l)
	b.ReportMetric(float64(l[len(l)/2])/1e3, name+"-p50-µs")
	b.ReportMetric(float64(l[len(l)*99/100])/1e3, name+"-p99-µs")
}

// BenchmarkMatch brings q jobs to d devices, all of them free at first: each job is
// matched and leased, or parked. Then the leases end one after the other, and each
// device that becomes free takes the jobs that waited for it.
func BenchmarkMatch(b *testing.B) {
	for _, d := range benchSizes {
		for _, q := range benchSizes {
			b.Run(fmt.Sprintf("devices=%d/jobs=%d", d, q), func(b *testing.B) {
				slots, requests := benchFleet(d), benchJobs(q)
				var arrive, wake latencies
				ran := 0
				for b.Loop() {
					b.StopTimer()
					f := newDrain(slots, requests)
					runtime.GC()
					b.StartTimer()
					for i := range requests {
						arrive.time(func() { f.arrive(i) })
					}
					for len(f.leases) > 0 {
						wake.time(f.release)
					}
					ran = f.ran
				}
				arrive.report(b, "match+lease")
				wake.report(b, "release+wake")
				b.ReportMetric(float64(q-ran), "unservable")
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*q), "µs/job")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// drain is a scheduler without a database.
type drain struct {
	index    *Index
	waiting  *Waiting
	requests []Request
	leases   [][]domain.ID // of devices, the oldest first
	ran      int
}

func newDrain(slots []Slot, requests []Request) *drain {
	return &drain{index: benchIndex(slots), waiting: NewWaiting(), requests: requests}
}

func (f *drain) lease(i int) bool {
	choice, ok := f.index.Match(f.requests[i])
	if ok {
		f.index.Occupy(choice.Devices...)
		f.leases = append(f.leases, choice.Devices)
		f.ran++
	}
	return ok
}

func (f *drain) arrive(i int) {
	if !f.lease(i) {
		f.waiting.Park(benchID('j', i), f.requests[i], time.UnixMicro(int64(i)))
	}
}

func (f *drain) release() {
	devices := f.leases[0]
	f.leases = f.leases[1:]
	f.index.Free(devices...)
	slot, _ := f.index.Lookup(devices[0])
	for woken := true; woken; {
		woken = false
		for job := range f.waiting.Wake(f.index.FreeSlots(slot.HostID)) {
			i := int(job[12])<<24 | int(job[13])<<16 | int(job[14])<<8 | int(job[15])
			woken = f.lease(i)
			f.waiting.Unpark(job)
			break
		}
	}
}

// BenchmarkMatchAlone matches and leases in a fleet that stays half free, and next to
// it what a linear scan takes, which leases nothing: the peer of match.
func BenchmarkMatchAlone(b *testing.B) {
	requests := benchJobs(100_000)
	for _, d := range benchSizes {
		slots := benchFleet(d)
		b.Run(fmt.Sprintf("devices=%d/index", d), func(b *testing.B) {
			x := benchIndex(slots)
			var match, lease latencies
			var leases [][]domain.ID
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				var choice Choice
				match.time(func() { choice, _ = x.Match(requests[i%len(requests)]) })
				lease.time(func() { x.Occupy(choice.Devices...) })
				leases = append(leases, choice.Devices)
				if len(leases) > d/2 {
					x.Free(leases[0]...)
					leases = leases[1:]
				}
			}
			match.report(b, "match")
			lease.report(b, "lease")
		})
		b.Run(fmt.Sprintf("devices=%d/scan", d), func(b *testing.B) {
			var each latencies
			i := 0
			for b.Loop() {
				each.time(func() { scanOnce(slots, &requests[i%len(requests)]) })
				i++
			}
			each.report(b, "scan")
		})
	}
}

// scanOnce is the leanest linear search for one device that is exact: what fails most
// often is asked first, and a sum is worked out only for what may beat the best.
func scanOnce(slots []Slot, r *Request) *Slot {
	var best *Slot
	least, cut := boundless, domain.Micros(1<<62)
	n, run := &r.Needs, r.runMicros()
	if n.MaxPrice > 0 {
		cut = n.MaxPrice
	}
	for i := range slots {
		s := &slots[i]
		if s.Price > cut || s.Occupied || s.VRAMMB < n.MinVRAMMB || n.GPUModel != "" && s.GPUModel != n.GPUModel {
			continue
		}
		if s.refuses(r) != 0 {
			continue
		}
		by := s.record()
		if c := effective(s.Price, run+fetchMicros(r.FetchBytes, by.mbps), by); c.compare(least) < 0 {
			best, least, cut = s, c, min(cut, c.over(run))
		}
	}
	return best
}

// BenchmarkIndexChange is what happens to a device other than a lease.
func BenchmarkIndexChange(b *testing.B) {
	for _, d := range benchSizes {
		slots := benchFleet(d)
		rng := rand.New(rand.NewPCG(9, 9))
		for name, change := range map[string]func(*Index, *Slot){
			"price": func(x *Index, s *Slot) {
				s.Price = domain.Micros(100_000 + 1000*rng.IntN(2000))
				x.Upsert(*s)
			},
			"lease+release": func(x *Index, s *Slot) {
				x.Occupy(s.DeviceID)
				x.Free(s.DeviceID)
			},
			"offline+online": func(x *Index, s *Slot) {
				x.SetOnline(s.HostID, false)
				x.SetOnline(s.HostID, true)
			},
		} {
			b.Run(fmt.Sprintf("devices=%d/%s", d, name), func(b *testing.B) {
				x := benchIndex(slots)
				var each latencies
				b.ReportAllocs()
				for b.Loop() {
					s := &slots[rng.IntN(d)]
					each.time(func() { change(x, s) })
				}
				each.report(b, "change")
			})
		}
	}
}

// BenchmarkStarved frees one device in a fleet without a free one, on which q jobs
// wait: which of them runs? "served" devices serve some; "dear" ones cost more than any
// job pays, so that a linear scan has to read them all.
func BenchmarkStarved(b *testing.B) {
	for _, q := range benchSizes {
		requests := benchJobs(q)
		w := NewWaiting()
		for i := range requests {
			if requests[i].Needs.MaxPrice == 0 {
				requests[i].Needs.MaxPrice = 2_200_000
			}
			w.Park(benchID('j', i), requests[i], time.UnixMicro(int64(i)))
		}
		for _, price := range []struct {
			name string
			add  domain.Micros
		}{{"served", 0}, {"dear", 10_000_000}} {
			slots := benchFleet(1000)
			for i := range slots {
				slots[i].Price += price.add
			}
			b.Run(fmt.Sprintf("jobs=%d/%s/waiting", q, price.name), func(b *testing.B) {
				var each latencies
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					free := slots[i%len(slots):][:1]
					each.time(func() {
						for range w.Wake(free) {
							break
						}
					})
				}
				each.report(b, "wake")
			})
			b.Run(fmt.Sprintf("jobs=%d/%s/scan", q, price.name), func(b *testing.B) {
				var each latencies
				for i := 0; b.Loop(); i++ {
					slot := &slots[i%len(slots)]
					each.time(func() {
						scanWaiting(requests, slot)
					})
				}
				each.report(b, "scan")
			})
		}
	}
}

func scanWaiting(requests []Request, slot *Slot) int {
	for i := range requests {
		if requests[i].Needs.GPUs == 1 && slot.refuses(&requests[i]) == 0 {
			return i
		}
	}
	return -1
}

// BenchmarkExplain tells a renter why a job waits, and what to hold for one.
func BenchmarkExplain(b *testing.B) {
	requests := benchJobs(1000)
	for i := range requests {
		requests[i].Needs.MaxPrice = 0
	}
	for _, d := range benchSizes {
		x := benchIndex(benchFleet(d))
		b.Run(fmt.Sprintf("devices=%d/explain", d), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				x.Explain(requests[i%len(requests)])
			}
		})
		b.Run(fmt.Sprintf("devices=%d/dearest", d), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				x.Dearest(requests[i%len(requests)])
			}
		})
	}
}

// BenchmarkIndexBuild is a start: every device is added. It reports what one takes.
func BenchmarkIndexBuild(b *testing.B) {
	for _, d := range benchSizes {
		b.Run(fmt.Sprintf("devices=%d", d), func(b *testing.B) {
			slots := benchFleet(d)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			x := benchIndex(slots)
			runtime.GC()
			runtime.ReadMemStats(&after)
			for b.Loop() {
				benchIndex(slots)
			}
			b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(x.Len()), "B/device")
		})
	}
}
