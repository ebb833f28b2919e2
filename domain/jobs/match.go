package jobs

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Request is a job as the match sees it.
type Request struct {
	Needs   Needs
	Renter  domain.ID
	HostPin domain.ID   // only this host; zero: any
	Avoid   []domain.ID // hosts that lost the job: taken if no other fits
	// Declined are hosts that refused the job a moment ago: they are not asked now.
	Declined []domain.ID

	// ExpectedRun is how long the command should take: the median of the job's reruns,
	// else the shorter of max_runtime and an hour. The caller decides.
	ExpectedRun time.Duration
	FetchBytes  int64 // bundle and inputs together
}

func (r *Request) avoids(host domain.ID) bool {
	return slices.Contains(r.Avoid, host) || r.declinedBy(host)
}

func (r *Request) declinedBy(host domain.ID) bool { return slices.Contains(r.Declined, host) }

// Choice is where a request runs best: all devices belong to the one host.
type Choice struct {
	HostID  domain.ID
	Devices []domain.ID   // as many as needed, the cheapest of the host that fit, in that order
	Price   domain.Micros // an hour of all of them together: the sum of their prices
	Sum     Explanation
}

// Explanation is the sum by which a host was chosen:
//
//	effective = price × (expected run + fetch) ÷ success
//
// where success = (OK + 9) ÷ (Runs + 10). The match compares it without rounding to
// money; what is shown is rounded down.
type Explanation struct {
	PriceMicros     domain.Micros `json:"price_micros"` // an hour of all GPUs together
	GPUs            int           `json:"gpus"`
	ExpectedRunMS   int64         `json:"expected_run_ms"`
	FetchMS         int64         `json:"fetch_ms"` // of bundle and inputs, at the host's bandwidth
	OK              int64         `json:"ok"`       // the host's attempts that went well
	Runs            int64         `json:"runs"`     // of so many
	SuccessPermille int64         `json:"success_permille"`
	EffectiveMicros domain.Micros `json:"effective_micros"`

	// Considered counts the hosts whose sum was worked out before the order of prices
	// proved that no better one could follow; it depends on the way of searching.
	Considered int `json:"considered"`

	// NextHost is the second best; zero when no other fits, or none but avoided ones.
	NextHost            domain.ID     `json:"next_host,omitzero"`
	NextEffectiveMicros domain.Micros `json:"next_effective_micros,omitzero"`
}

// The assumptions about a host that nothing is known about.
const (
	assumedMbps    = 100
	assumedOK      = 9
	assumedRuns    = 10
	mostRuns       = 1_000_000_000 // counts beyond tell nothing new, and products stay in range
	microsPerHour  = 3_600_000_000
	longestMicros  = 1 << 50 // 35 years
	microsPerMilli = 1000
)

// record is what a host has shown so far: everything about it, other than the price,
// that the sum depends on.
type record struct{ ok, runs, mbps int64 }

func (s *Slot) record() record {
	runs := min(max(s.Runs, 0), mostRuns)
	r := record{ok: min(max(s.OK, 0), runs), runs: runs, mbps: s.BandwidthMbps}
	if r.mbps <= 0 {
		r.mbps = assumedMbps
	}
	return r
}

// runMicros is the expected run in microseconds: one at least, so that price counts.
func (r *Request) runMicros() uint64 {
	return uint64(min(max(r.ExpectedRun.Microseconds(), 1), longestMicros))
}

// fetchMicros is the time in microseconds that bytes take at a bandwidth.
func fetchMicros(size, mbps int64) uint64 {
	if size <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(size), 8)
	if hi >= uint64(mbps) {
		return longestMicros
	}
	q, rest := bits.Div64(hi, lo, uint64(mbps))
	if rest > 0 {
		q++
	}
	return min(q, longestMicros)
}

// cost is an effective cost in millionths × µs ÷ h, rounded down, in 128 bits. Beyond
// that it is clamped, so that it never decreases with price or time.
type cost struct{ hi, lo uint64 }

var boundless = cost{math.MaxUint64, math.MaxUint64}

// effective is price × micros ÷ success.
func effective(price domain.Micros, micros uint64, by record) cost {
	hi, lo := bits.Mul64(uint64(max(price, 0)), micros)
	m := uint64(by.runs + assumedRuns)
	overflow, hiProduct := bits.Mul64(hi, m)
	carry, lo := bits.Mul64(lo, m)
	hi, c := bits.Add64(hiProduct, carry, 0)
	if overflow != 0 || c != 0 {
		return boundless
	}
	d := uint64(by.ok + assumedOK)
	q, rest := bits.Div64(0, hi, d)
	lo, _ = bits.Div64(rest, lo, d)
	return cost{q, lo}
}

// lead is price ÷ success, the part of the sum that no request changes, kept exactly.
type lead struct {
	rough    int64 // in 1,024ths of a millionth, rounded down: enough for most comparisons
	price    domain.Micros
	ok, runs int64
}

const roughBits = 10

func (s *Slot) lead() lead {
	by := s.record()
	l := lead{rough: math.MaxInt64, price: max(s.Price, 0), ok: by.ok, runs: by.runs}
	hi, lo := bits.Mul64(uint64(l.price), uint64(by.runs+assumedRuns)<<roughBits)
	if d := uint64(by.ok + assumedOK); hi < d {
		q, _ := bits.Div64(hi, lo, d)
		l.rough = int64(min(q, math.MaxInt64))
	}
	return l
}

func (l lead) compare(other lead) int {
	if c := cmp.Compare(l.rough, other.rough); c != 0 {
		return c
	}
	return l.times(other.ok).compare(other.times(l.ok))
}

// times is price × (runs + 10) × (ok + 9), of which the first two are l's.
func (l lead) times(ok int64) cost {
	counts := uint64(l.runs+assumedRuns) * uint64(ok+assumedOK) // mostRuns keeps it in range
	hi, lo := bits.Mul64(counts, uint64(l.price))
	return cost{hi, lo}
}

// bound is at most what k devices cost in a time, none of which is below l. It is much
// cheaper than least, and hardly less.
func (l *lead) bound(k int, micros uint64) cost {
	hi, lo := bits.Mul64(uint64(l.rough), uint64(k)*micros)
	return cost{hi >> roughBits, hi<<(64-roughBits) | lo>>roughBits}
}

// least is what k devices like l cost in a time.
func (l *lead) least(k int, micros uint64) cost {
	price := domain.Micros(math.MaxInt64)
	if hi, lo := bits.Mul64(uint64(l.price), uint64(k)); hi == 0 && lo < math.MaxInt64 {
		price = domain.Micros(lo)
	}
	return effective(price, micros, record{ok: l.ok, runs: l.runs})
}

// rough is the greatest lead.rough whose bound may be as little as c.
func (c cost) rough(k int, micros uint64) int64 {
	if c.hi>>(63-roughBits) != 0 {
		return math.MaxInt64
	}
	lo, carry := bits.Add64(c.lo, 1, 0)
	up := cost{(c.hi+carry)<<roughBits | lo>>(64-roughBits), lo << roughBits}
	return int64(up.over(uint64(k) * micros))
}

func (c cost) compare(other cost) int {
	switch {
	case c.hi != other.hi && c.hi < other.hi, c.hi == other.hi && c.lo < other.lo:
		return -1
	case c == other:
		return 0
	}
	return 1
}

// over is the whole part of c ÷ d, clamped to an amount of money.
func (c cost) over(d uint64) domain.Micros {
	if c.hi >= d {
		return math.MaxInt64
	}
	q, _ := bits.Div64(c.hi, c.lo, d)
	return domain.Micros(min(q, math.MaxInt64))
}

func (c cost) micros() domain.Micros { return c.over(microsPerHour) }

// plus adds prices and clamps: a price beyond int64 only has to be the dearest.
func plus(a, b domain.Micros) domain.Micros {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// explain sets out the sum of one host.
func explain(r *Request, price domain.Micros, by record, c cost) Explanation {
	return Explanation{
		PriceMicros:     price,
		GPUs:            r.Needs.count(),
		ExpectedRunMS:   int64(r.runMicros() / microsPerMilli),
		FetchMS:         int64(fetchMicros(r.FetchBytes, by.mbps) / microsPerMilli),
		OK:              by.ok,
		Runs:            by.runs,
		SuccessPermille: (by.ok + assumedOK) * 1000 / (by.runs + assumedRuns),
		EffectiveMicros: c.micros(),
	}
}
