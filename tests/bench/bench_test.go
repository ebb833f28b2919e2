// Package bench measures what performance.md promises: each figure is printed beside
// its floor or its peer, taken in the same run, because on a machine that client, server
// and database share only ratios mean something.
package bench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/e2e"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// How much is measured, each to be set after -args.
var (
	jobCount   = flag.Int("jobs", 10_000, "E2: trivial jobs")
	agentCount = flag.String("agents", "1000,5000,10000", "E3: idle agents")
	lineCount  = flag.Int("lines", 100_000, "E4: lines as fast as they go")
	idleTime   = flag.Duration("idle", 20*time.Second, "E3: how long heartbeats are measured")
	paceTime   = flag.Duration("pace", 10*time.Second, "E4: how long 1,000 lines a second are measured")
)

func TestMain(m *testing.M) {
	if os.Getenv(bareVariable) != "" {
		serveBare()
		return
	}
	e2e.Main(tabled{m})
}

// tabled ends a run with its table.
type tabled struct{ m *testing.M }

// Run implements what e2e.Main asks for.
func (t tabled) Run() int {
	code := t.m.Run()
	table.Lock()
	defer table.Unlock()
	if err := printTable(os.Stdout, table.rows); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// parts are what a server is measured on.
type parts struct {
	e2e.Profile
	postgres *servers.Postgres // nil: SQLite
}

// profiles are the embedded parts, and those of servers that are replicas.
var profiles = []struct {
	name string
	open func(*testing.B) parts
}{
	{"on=embedded", func(*testing.B) parts { return parts{Profile: e2e.Embedded} }},
	{"on=Postgres+Redis+S3", shared},
}

// shared has an empty database of a PostgreSQL that waits for the disk at each commit,
// unlike the one that tests share.
func shared(b *testing.B) parts {
	b.Helper()
	testkit.Need(b, servers.PostgreSQL)
	server, err := servers.StartPostgres(b.Context(), "fsync=on", "synchronous_commit=on", "full_page_writes=on")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, server.Stop()) })
	return parts{e2e.Profile{Database: server.URL, Events: testkit.Redis(b), Bucket: testkit.S3(b)}, server}
}

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
	fields, err := stat(fmt.Sprintf("/proc/%d/stat", p.Pid))
	require.NoError(b, err)
	return ticks(b, fields[11:15])
}

// cpuOf is that of a PostgreSQL with its backends.
func cpuOf(b *testing.B, p *servers.Postgres) (sum time.Duration) {
	b.Helper()
	if p == nil {
		return 0
	}
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(b, err)
	for _, path := range all {
		fields, err := stat(path)
		if err != nil {
			continue // it has ended
		}
		if own := fmt.Sprintf("/proc/%d/stat", p.PID()); path == own || fields[1] == fmt.Sprint(p.PID()) {
			sum += ticks(b, fields[11:15])
		}
	}
	return sum
}

// stat is what the kernel says of a process, from the third field on: the second, a name
// in parentheses, may hold anything.
func stat(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:])), nil
}

// ticks sums up times of the kernel. A tick is 10 ms on every Linux that Go knows.
func ticks(b *testing.B, fields []string) time.Duration {
	b.Helper()
	var one, sum int64
	for _, f := range fields {
		_, err := fmt.Sscan(f, &one)
		require.NoError(b, err)
		sum += one
	}
	return time.Duration(sum) * 10 * time.Millisecond
}
