package jobs

import (
	"cmp"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
)

func (c cost) big() *big.Int {
	b := new(big.Int).SetUint64(c.hi)
	return b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(c.lo))
}

func TestEffectiveCostIsExactOrClamped(t *testing.T) {
	t.Parallel()
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.Int64Min(0).Draw(t, "price")
		micros := rapid.Uint64Max(1<<51).Draw(t, "micros")
		s := Slot{OK: rapid.Int64().Draw(t, "ok"), Runs: rapid.Int64().Draw(t, "runs")}
		by := s.record()
		require.LessOrEqual(t, by.ok, by.runs)
		product := new(big.Int).Mul(big.NewInt(price), new(big.Int).SetUint64(micros))
		product.Mul(product, big.NewInt(by.runs+10))
		got := effective(domain.Micros(price), micros, by)
		if product.Cmp(limit) >= 0 {
			require.Equal(t, boundless, got)
			return
		}
		want := product.Div(product, big.NewInt(by.ok+9))
		require.Zero(t, want.Cmp(got.big()), "%v, not %v", got.big(), want)
	})
}

func TestCostsCompareLikeNumbers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := cost{rapid.Uint64Max(2).Draw(t, "a.hi"), rapid.Uint64Max(3).Draw(t, "a.lo")}
		b := cost{rapid.Uint64Max(2).Draw(t, "b.hi"), rapid.Uint64Max(3).Draw(t, "b.lo")}
		require.Equal(t, a.big().Cmp(b.big()), a.compare(b))
	})
}

func TestFetchTimeIsRoundedUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size, mbps int64
		want       uint64
	}{{0, 100, 0}, {-1, 100, 0}, {1, 100, 1}, {25, 100, 2}, {26, 100, 3}, {125_000_000, 1000, 1_000_000}, {1 << 62, 1, longestMicros}} {
		assert.Equal(t, c.want, fetchMicros(c.size, c.mbps), "%d bytes at %d Mbit/s", c.size, c.mbps)
	}
}

func TestARunOfNoLengthStillHasACost(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{-time.Second, 0, time.Nanosecond} {
		assert.EqualValues(t, 1, (&Request{ExpectedRun: d}).runMicros())
	}
}

// number is an element for the tests of blocks.
type number int

type extent struct {
	some        bool
	least, most number
}

func (n number) compare(o number) int { return cmp.Compare(n, o) }

func (n number) marks(s *extent) bool { return n == s.most }

func (n number) widen(s *extent) {
	if !s.some {
		*s = extent{true, n, n}
	}
	s.least, s.most = min(s.least, n), max(s.most, n)
}

func TestBlocksKeepOrderAndSummaries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b blocks[number, extent]
		want := []number{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 700), 0, 1500).Draw(t, "numbers") {
			at, found := slices.BinarySearch(want, number(n))
			if found {
				want = slices.Delete(want, at, at+1)
				b.remove(number(n))
			} else {
				want = slices.Insert(want, at, number(n))
				b.insert(number(n))
			}
		}
		got := []number{}
		for _, run := range b.runs {
			require.NotEmpty(t, run.items)
			require.LessOrEqual(t, len(run.items), blockSize)
			require.LessOrEqual(t, run.summary.least, run.items[0])
			require.GreaterOrEqual(t, run.summary.most, run.items[len(run.items)-1])
			got = append(got, run.items...)
		}
		require.Equal(t, want, got)
		require.Equal(t, len(want), b.size)
		if len(want) > 0 {
			require.Equal(t, want[0], b.first())
		}
	})
}
