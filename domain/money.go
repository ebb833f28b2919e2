package domain

import (
	"fmt"
	"math/bits"
)

// Micros is an amount of money in millionths of the installation's currency. One
// cent is 10,000; the range reaches 9.2 × 10¹² units. There are no floats in money.
type Micros int64

// String shows the amount in units with six decimals and no currency.
func (m Micros) String() string {
	sign := ""
	u := uint64(m)
	if m < 0 {
		sign, u = "-", uint64(-m)
	}
	return fmt.Sprintf("%s%d.%06d", sign, u/1_000_000, u%1_000_000)
}

const msPerHour = 3_600_000

// Cost is floor(perHour × count × ms ÷ 3,600,000), in 128 bits because the product
// of a price and a run of months does not fit into 64. A result beyond int64 is
// clamped to the largest amount: it can only be refused, never paid.
func Cost(perHour Micros, count int, ms int64) Micros {
	if perHour <= 0 || count <= 0 || ms <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(perHour), uint64(count))
	if hi != 0 {
		return maxMicros
	}
	return MulDiv(lo, uint64(ms), msPerHour)
}

const maxMicros = Micros(1<<63 - 1)

// MulDiv is floor(a × b ÷ c) in 128 bits, clamped to the largest amount.
func MulDiv(a, b, c uint64) Micros {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return maxMicros
	}
	q, _ := bits.Div64(hi, lo, c)
	if q > uint64(maxMicros) {
		return maxMicros
	}
	return Micros(q)
}

// Affordable is the longest run in milliseconds that a hold pays for at a price, so
// that a job never costs more than was held. A price of zero affords everything.
func Affordable(hold, perHour Micros, count int) int64 {
	if perHour <= 0 || count <= 0 {
		return 1<<63 - 1
	}
	if hold <= 0 {
		return 0
	}
	return int64(MulDiv(uint64(hold), msPerHour, uint64(perHour)*uint64(count)))
}
