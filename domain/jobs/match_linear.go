package jobs

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain"
)

// Linear finds where a request runs best by looking at every slot. It is slow and
// plainly right: the oracle that the index is tested against.
//
// On each host the cheapest slots that fit are taken (of equal price, the smaller
// device id), and the first of them speaks for the host's record. The least effective
// cost wins; of equal cost, the smaller host id. Hosts to avoid compete only when no
// other fits.
func Linear(slots []Slot, r Request) (Choice, bool) {
	var fitting, avoided []Choice
	costs := map[domain.ID]cost{}
	for host, of := range byHost(slots) {
		choice, c, ok := offer(of, &r)
		if !ok || r.declinedBy(host) {
			continue
		}
		costs[host] = c
		if r.avoids(host) {
			avoided = append(avoided, choice)
		} else {
			fitting = append(fitting, choice)
		}
	}
	if len(fitting) == 0 {
		fitting = avoided
	}
	if len(fitting) == 0 {
		return Choice{}, false
	}
	slices.SortFunc(fitting, func(a, b Choice) int {
		if c := costs[a.HostID].compare(costs[b.HostID]); c != 0 {
			return c
		}
		return compareIDs(a.HostID, b.HostID)
	})
	best := fitting[0]
	best.Sum.Considered = len(fitting)
	if len(fitting) > 1 {
		best.Sum.NextHost = fitting[1].HostID
		best.Sum.NextEffectiveMicros = costs[fitting[1].HostID].micros()
	}
	return best, true
}

func byHost(slots []Slot) map[domain.ID][]*Slot {
	hosts := map[domain.ID][]*Slot{}
	for i := range slots {
		hosts[slots[i].HostID] = append(hosts[slots[i].HostID], &slots[i])
	}
	return hosts
}

// offer is what one host, given all its slots, offers to a request.
func offer(slots []*Slot, r *Request) (Choice, cost, bool) {
	if !r.HostPin.IsZero() && r.HostPin != slots[0].HostID {
		return Choice{}, cost{}, false
	}
	var fitting []*Slot
	for _, s := range slots {
		if s.refuses(r) == 0 {
			fitting = append(fitting, s)
		}
	}
	k := r.Needs.count()
	if len(fitting) < k {
		return Choice{}, cost{}, false
	}
	slices.SortFunc(fitting, bySlotPrice)
	choice := Choice{HostID: slots[0].HostID}
	for _, s := range fitting[:k] {
		choice.Devices = append(choice.Devices, s.DeviceID)
		choice.Price = plus(choice.Price, s.Price)
	}
	by := fitting[0].record()
	c := effective(choice.Price, r.runMicros()+fetchMicros(r.FetchBytes, by.mbps), by)
	choice.Sum = explain(r, choice.Price, by, c)
	return choice, c, true
}

func bySlotPrice(a, b *Slot) int {
	if a.Price != b.Price {
		if a.Price < b.Price {
			return -1
		}
		return 1
	}
	return compareIDs(a.DeviceID, b.DeviceID)
}

// Exclusions says why hosts cannot run a request now, and what those ask that can.
type Exclusions struct {
	Hosts int // all that are known
	Fits  int // that could run it now, avoided ones included

	// By counts the hosts that a constraint excludes all alone, each under the first of
	// Constraints that does: one whose model is wrong does not count as busy. Zero counts
	// are left out. Two special counts: combination, the hosts that only several
	// constraints together exclude, and avoided, which are in Fits.
	By map[Constraint]int

	// Cheapest and Dearest are the least and the greatest price per GPU-hour among the
	// devices that fit, on hosts that fit; zero when none does.
	Cheapest, Dearest domain.Micros
}

// Explain tells for each constraint how many hosts it excludes from a request.
func Explain(slots []Slot, r Request) Exclusions {
	e := Exclusions{By: map[Constraint]int{}}
	for _, of := range byHost(slots) {
		e.count(of, &r)
	}
	return e
}

// count adds one host, given all its slots.
func (e *Exclusions) count(slots []*Slot, r *Request) {
	e.Hosts++
	k, fitting := r.Needs.count(), 0
	least, most := domain.Micros(0), domain.Micros(0)
	var refused [len(perSlot)]int
	for _, s := range slots {
		set := s.refuses(r)
		if set == 0 {
			if fitting == 0 || s.Price < least {
				least = s.Price
			}
			most = max(most, s.Price)
			fitting++
		}
		for ; set != 0; set &= set - 1 {
			refused[bits.TrailingZeros32(uint32(set))]++
		}
	}
	if why := excludes(slots, r, &refused); why != "" {
		e.By[why]++
		return
	}
	switch {
	case fitting < k:
		e.By[ConstraintCombination]++
		return
	case r.avoids(slots[0].HostID):
		e.By[ConstraintAvoided]++
	}
	if e.Fits == 0 || least < e.Cheapest {
		e.Cheapest = least
	}
	e.Fits++
	e.Dearest = max(e.Dearest, most)
}

// excludes is the first constraint that alone keeps a host from a request, if one does,
// given how many of its slots each refuses.
func excludes(slots []*Slot, r *Request, refused *[len(perSlot)]int) Constraint {
	k := r.Needs.count()
	switch host := slots[0].HostID; {
	case !r.HostPin.IsZero() && r.HostPin != host:
		return ConstraintHostID
	case r.declinedBy(host):
		return ConstraintDeclined
	case len(slots) < k:
		return ConstraintGPUs
	}
	for i, n := range refused {
		if len(slots)-n < k {
			return perSlot[i]
		}
	}
	return ""
}

// String says what keeps the hosts from a request, such as "of 5 hosts, gpu_model
// excludes 3, busy excludes 2"; empty when nothing does.
func (e Exclusions) String() string {
	if e.Hosts == 0 {
		return "no host is known"
	}
	var parts []string
	for _, c := range Constraints {
		if n := e.By[c]; n > 0 && c != ConstraintAvoided {
			parts = append(parts, fmt.Sprintf("%s excludes %d", c, n))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	hosts := "hosts"
	if e.Hosts == 1 {
		hosts = "host"
	}
	return fmt.Sprintf("of %d %s, %s", e.Hosts, hosts, strings.Join(parts, ", "))
}
