// Package bench measures what performance.md promises: each figure is printed beside
// its floor or its peer, taken in the same run, because on a machine that client, server
// and database share only ratios mean something.
package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }

// samples are how long the same thing took again and again.
type samples []time.Duration

// at is the p-th percentile, in milliseconds.
func (s samples) at(p int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[(len(sorted)-1)*p/100].Seconds() * 1e3
}

// report prints p50 and p99 as name-p50-ms and name-p99-ms.
func (s samples) report(b *testing.B, name string) {
	b.Helper()
	b.ReportMetric(s.at(50), name+"-p50-ms")
	b.ReportMetric(s.at(99), name+"-p99-ms")
}

// timed is how long do took.
func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// load is the machine's load over the last minute. A figure that was taken while it is
// far over 1 is noisy.
func load(b *testing.B) (one float64) {
	b.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	require.NoError(b, err)
	_, err = fmt.Sscan(string(data), &one)
	require.NoError(b, err)
	return one
}

// cpu is the processor time that a process and its dead children have used.
func cpu(b *testing.B, p *os.Process) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	require.NoError(b, err)
	// The second field, a name in parentheses, may hold anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var ticks, sum int64
	for _, f := range fields[11:15] {
		_, err := fmt.Sscan(f, &ticks)
		require.NoError(b, err)
		sum += ticks
	}
	return time.Duration(sum) * 10 * time.Millisecond // a tick is 10 ms on every Linux that Go knows
}
