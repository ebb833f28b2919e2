package hosts

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

// Offer is the listed GPUs of one model at one price on one host.
type Offer struct {
	Host       hosts.Snapshot
	Model      string
	VRAMMB     int64
	Price      domain.Micros // per GPU-hour
	GPUs, Free int
	Driver     string

	CPUMilliPerGPU, MemoryMBPerGPU, DiskMBPerGPU int64

	TFLOPS      float64 // of the data sheet; 0: not known
	PerDollar   float64 // TFLOPS per unit of currency and hour; 0: not known
	Reliability float64
	Uptime      float64

	devices []domain.ID
	text    string // what a search looks in
}

// Key names the offer; it is what a page continues after.
func (o Offer) Key() string {
	return o.Host.ID.String() + "/" + o.Model + "/" + strconv.FormatInt(int64(o.Price), 10)
}

// Sort is an order of offers.
type Sort string

// The orders. Equal offers are ordered by Key.
const (
	ByPrice       Sort = "price" // rising; the others fall
	ByPerformance Sort = "performance"
	ByPerDollar   Sort = "performance_per_dollar"
	ByReliability Sort = "reliability"
)

// Search selects offers; zero values select all.
type Search struct {
	Words     []string
	Models    []string
	Regions   []string
	Tags      []string // all of them
	MinGPUs   int      // free
	MinVRAMMB int64
	MinPrice  domain.Micros
	MaxPrice  *domain.Micros
	Verified  bool
	Isolation hosts.Isolation // at least
	MinUptime float64
	Sort      Sort
	After     Position // of the last offer seen
	Limit     int
}

// Position is where a page ended.
type Position struct {
	Value float64
	Key   string
}

// Found is a page of offers and the facets of the whole search.
type Found struct {
	Offers []Offer
	Next   Position // Key "": the last page
	Total  int
	Facets Facets
}

// Facets counts what choosing a value of a filter would give, all other filters kept.
type Facets struct {
	Models, Regions, Tags, Isolations, VRAM, Verified []Count
	MinPrice, MaxPrice                                *domain.Micros
}

// Count is one value of a facet.
type Count struct {
	Value string
	Count int
}

// Market searches the public offers of connected hosts.
func (s *Service) Market(ctx context.Context, q Search) (Found, error) {
	all, err := s.offers(ctx)
	if err != nil {
		return Found{}, err
	}
	for i := range all {
		busy := s.Occupancy.Busy(all[i].devices...)
		all[i].Free = all[i].GPUs - len(busy)
	}
	var hits []Offer
	for _, o := range all {
		if q.refuses(o) == 0 {
			hits = append(hits, o)
		}
	}
	slices.SortFunc(hits, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(q.value(a), q.value(b)), strings.Compare(a.Key(), b.Key()))
	})
	f := Found{Total: len(hits), Facets: q.facets(all)}
	for _, o := range hits {
		if q.After.Key != "" && cmp.Or(cmp.Compare(q.value(o), q.After.Value), strings.Compare(o.Key(), q.After.Key)) <= 0 {
			continue
		}
		if len(f.Offers) == q.Limit {
			last := f.Offers[len(f.Offers)-1]
			f.Next = Position{q.value(last), last.Key()}
			break
		}
		f.Offers = append(f.Offers, o)
	}
	return f, nil
}

// value is what an order compares, rising.
func (q Search) value(o Offer) float64 {
	switch q.Sort {
	case ByPerformance:
		return -o.TFLOPS
	case ByPerDollar:
		return -o.PerDollar
	case ByReliability:
		return -o.Reliability
	case ByPrice:
	}
	return float64(o.Price)
}

// The filters, one bit each, so that a facet can leave its own out.
const (
	byModel = 1 << iota
	byRegion
	byTags
	byIsolation
	byVRAM
	byVerified
	byCost
	byOther
)

func (q Search) refuses(o Offer) int {
	set := 0
	add := func(refused bool, filter int) {
		if refused {
			set |= filter
		}
	}
	add(len(q.Models) > 0 && !slices.ContainsFunc(q.Models, func(m string) bool { return strings.EqualFold(Canonical(m), o.Model) }), byModel)
	add(len(q.Regions) > 0 && !slices.Contains(q.Regions, o.Host.Region), byRegion)
	for _, tag := range q.Tags {
		add(!slices.Contains(o.Host.Tags, tag), byTags)
	}
	add(strength(o.Host.Facts.Isolation) < strength(q.Isolation), byIsolation)
	add(o.VRAMMB < q.MinVRAMMB, byVRAM)
	add(q.Verified && !o.Host.Verified, byVerified)
	add(o.Price < q.MinPrice || q.MaxPrice != nil && o.Price > *q.MaxPrice, byCost)
	add(o.Free < q.MinGPUs || o.Uptime < q.MinUptime, byOther)
	for _, w := range q.Words {
		add(!strings.Contains(o.text, strings.ToLower(w)), byOther)
	}
	return set
}

// Isolations are all of them, from the weakest.
var Isolations = []hosts.Isolation{"none", "process", "container", "gvisor"}

func strength(i hosts.Isolation) int { return max(0, slices.Index(Isolations, i)) }

func (q Search) facets(all []Offer) Facets {
	var f Facets
	models, regions, tags, vram, isolations := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	verified := map[string]int{"true": 0, "false": 0}
	for _, o := range all {
		refused := q.refuses(o)
		passes := func(but int) bool { return refused&^but == 0 }
		if passes(byModel) {
			models[o.Model]++
		}
		if passes(byRegion) && o.Host.Region != "" {
			regions[o.Host.Region]++
		}
		for _, tag := range o.Host.Tags {
			if passes(byTags) {
				tags[tag]++
			}
		}
		if passes(byVRAM) {
			vram[strconv.FormatInt(o.VRAMMB, 10)]++
		}
		if passes(byVerified) {
			verified[strconv.FormatBool(o.Host.Verified)]++
		}
		for _, i := range Isolations {
			if passes(byIsolation) && strength(o.Host.Facts.Isolation) >= strength(i) {
				isolations[string(i)]++
			}
		}
		if passes(byCost) {
			if f.MinPrice == nil || o.Price < *f.MinPrice {
				f.MinPrice = &o.Price
			}
			if f.MaxPrice == nil || o.Price > *f.MaxPrice {
				f.MaxPrice = &o.Price
			}
		}
	}
	f.Models, f.Regions, f.Tags = frequent(models), frequent(regions), frequent(tags)
	f.Tags = f.Tags[:min(len(f.Tags), 50)]
	f.VRAM, f.Verified = frequent(vram), frequent(verified)
	slices.SortFunc(f.VRAM, func(a, b Count) int {
		return cmp.Or(cmp.Compare(len(a.Value), len(b.Value)), strings.Compare(a.Value, b.Value))
	})
	for _, i := range Isolations {
		if n := isolations[string(i)]; n > 0 {
			f.Isolations = append(f.Isolations, Count{string(i), n})
		}
	}
	return f
}

func frequent(counts map[string]int) []Count {
	list := make([]Count, 0, len(counts))
	for v, n := range counts {
		list = append(list, Count{v, n})
	}
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	return list
}
