package bench

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// matches is how many jobs each of the ways is asked for; the scan, which is slow, for
// fewer of them.
const (
	matches = 100_000
	scans   = 400
)

// BenchmarkE5 matches and leases in a fleet that stays half free. Beside it stand a plain
// linear scan, which leases nothing (the peer), and a heap of prices for each combination
// of model, VRAM and tags, which knows no record, no bandwidth, and no host with several
// GPUs (the floor). domain/jobs has more of this.
func BenchmarkE5(b *testing.B) {
	for _, d := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("devices=%d", d), func(b *testing.B) {
			slots, requests := devices(d), wishes()
			half := slices.Clone(slots)
			for i := range half {
				half[i].Occupied = i%2 == 0
			}
			var index, scan, floor samples
			var drain time.Duration
			for b.Loop() {
				drain += matchAll(b, d, slots, requests, &index)
				leaseClasses(d, slots, requests, &floor)
				for i := range scans {
					scan = append(scan, timed(func() { best(half, &requests[i]) }))
				}
			}
			b.ReportMetric(0, "ns/op")
			micros := func(s samples, p int, name string) { b.ReportMetric(s.at(p)*1e3, name) }
			micros(index, 50, "match-p50-µs")
			micros(index, 99, "match-p99-µs")
			micros(floor, 50, "match-floor-p50-µs")
			micros(floor, 99, "match-floor-p99-µs")
			micros(scan, 50, "scan-p50-µs")
			b.ReportMetric(index.at(50)/floor.at(50), "match/floor")
			b.ReportMetric(scan.at(50)/index.at(50), "scan/match")
			b.ReportMetric(drain.Seconds()/float64(b.N), "drain-s")
			b.ReportMetric(load(b), "load")
			aim(b, "match p50, µs", index.at(50)*1e3, floor.at(50)*1e3, atMost(10), timesAtMost(1.5))
			aim(b, "match p99, µs", index.at(99)*1e3, floor.at(99)*1e3, atMost(50))
			if d >= 100_000 {
				aim(b, "match beside a linear scan p50, µs", index.at(50)*1e3, scan.at(50)*1e3, timesAtMost(0.02))
			}
			aim(b, "drain of 100,000 jobs, s", drain.Seconds()/float64(b.N), 0, atMost(1))
		})
	}
}

// matchAll matches and leases for each request; once half of the devices are taken, the
// oldest lease ends for each new one. It tells how long all of it took.
func matchAll(b *testing.B, d int, slots []jobs.Slot, requests []jobs.Request, each *samples) time.Duration {
	b.Helper()
	x := jobs.NewIndex()
	for _, s := range slots {
		x.Upsert(s)
	}
	runtime.GC()
	var leases [][]domain.ID
	began := time.Now()
	for i := range requests {
		*each = append(*each, timed(func() {
			choice, ok := x.Match(requests[i])
			if !ok {
				return
			}
			x.Occupy(choice.Devices...)
			leases = append(leases, choice.Devices)
		}))
		if len(leases) > d/2 {
			x.Free(leases[0]...)
			leases = leases[1:]
		}
	}
	took := time.Since(began)
	require.NotEmpty(b, leases)
	return took
}

// devices are d of them with as many models, sizes and tags as make 1,440 combinations.
func devices(d int) []jobs.Slot {
	rng := rand.New(rand.NewPCG(5, uint64(d)))
	slots := make([]jobs.Slot, d)
	for i := range slots {
		slots[i] = jobs.Slot{
			DeviceID: id('d', i), HostID: id('h', i), Owner: id('u', i),
			GPUModel: model(rng.IntN(20)), VRAMMB: 16_000 << rng.IntN(3), Tags: tags(rng.IntN(24)),
			CPUMilli: 8000, MemoryMB: 64_000, DiskMB: 500_000, Isolation: jobs.IsolationContainer,
			Price: domain.Micros(100_000 + 1000*rng.IntN(2000)), BandwidthMbps: 100, Online: true, Listed: true,
		}
	}
	return slots
}

// wishes are what jobs ask for: half of them name a model, half a VRAM, half a price, a
// quarter tags.
func wishes() []jobs.Request {
	rng := rand.New(rand.NewPCG(7, 7))
	requests := make([]jobs.Request, matches)
	for i := range requests {
		n := jobs.Needs{GPUs: 1}
		if rng.IntN(2) == 0 {
			n.GPUModel = model(rng.IntN(20))
		}
		if rng.IntN(2) == 0 {
			n.MinVRAMMB = 16_000 << rng.IntN(3)
		}
		if rng.IntN(2) == 0 {
			n.MaxPrice = domain.Micros(200_000 + rng.IntN(2_000_000))
		}
		if rng.IntN(4) == 0 {
			n.Tags = tags(1 << rng.IntN(4))
		}
		requests[i] = jobs.Request{Needs: n, Renter: id('r', i%1000), ExpectedRun: time.Duration(1+rng.IntN(3600)) * time.Second}
	}
	return requests
}

func id(kind byte, n int) domain.ID {
	return domain.ID{0: kind, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

func model(n int) string { return fmt.Sprintf("GPU %02d", n) }

func tags(n int) []string {
	var some []string
	for i, tag := range []string{"cuda12", "ecc", "nvlink", "quiet", "nvme"} {
		if n&(1<<i) != 0 {
			some = append(some, tag)
		}
	}
	return some
}

// fits says whether devices that are alike in everything but the price are what a job
// needs.
func fits(s *jobs.Slot, n *jobs.Needs) bool {
	return s.VRAMMB >= n.MinVRAMMB && (n.GPUModel == "" || s.GPUModel == n.GPUModel) &&
		!slices.ContainsFunc(n.Tags, func(tag string) bool { return !slices.Contains(s.Tags, tag) })
}

// best looks at every device, and weighs price, run and the host's record.
func best(slots []jobs.Slot, r *jobs.Request) (best *jobs.Slot) {
	var least int64
	for i := range slots {
		s := &slots[i]
		if s.Occupied || !s.Online || !s.Listed || !fits(s, &r.Needs) || r.Needs.MaxPrice > 0 && s.Price > r.Needs.MaxPrice {
			continue
		}
		cost := int64(s.Price) * (r.ExpectedRun.Milliseconds() + r.FetchBytes*8/1000/s.BandwidthMbps) * (s.Runs + 10) / (s.OK + 9)
		if best == nil || cost < least {
			best, least = s, cost
		}
	}
	return best
}

// class is the free devices of one combination, by price.
type class []*jobs.Slot

func (c class) Len() int           { return len(c) }
func (c class) Less(i, j int) bool { return c[i].Price < c[j].Price }
func (c class) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *class) Push(x any)        { *c = append(*c, x.(*jobs.Slot)) }
func (c *class) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// leaseClasses does with heaps what matchAll does with the index.
func leaseClasses(d int, slots []jobs.Slot, requests []jobs.Request, each *samples) {
	byName := map[string]*class{}
	var classes []*class
	of := func(s *jobs.Slot) *class {
		name := fmt.Sprint(s.GPUModel, s.VRAMMB, s.Tags)
		if byName[name] == nil {
			byName[name] = &class{}
			classes = append(classes, byName[name])
		}
		return byName[name]
	}
	homes := make(map[*jobs.Slot]*class, d)
	for i := range slots {
		homes[&slots[i]] = of(&slots[i])
		heap.Push(homes[&slots[i]], &slots[i])
	}
	runtime.GC()
	var leases []*jobs.Slot
	for i := range requests {
		*each = append(*each, timed(func() {
			var best *class
			limit := cmp.Or(requests[i].Needs.MaxPrice, 1<<62)
			for _, c := range classes {
				if len(*c) > 0 && (*c)[0].Price <= limit && fits((*c)[0], &requests[i].Needs) {
					best, limit = c, (*c)[0].Price-1
				}
			}
			if best != nil {
				leases = append(leases, heap.Pop(best).(*jobs.Slot))
			}
		}))
		if len(leases) > d/2 {
			heap.Push(homes[leases[0]], leases[0])
			leases = leases[1:]
		}
	}
}
