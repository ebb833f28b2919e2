package runtime

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the kernel's clock for durations. Real processes live by it, so
// nothing here takes a clock.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// process is one line of the machine's process table.
type process struct {
	pid, parent, session int
	state                byte
	started              uint64 // ticks since boot; with pid it names a process for good
}

// processes reads the process table.
func processes() []process {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	out := make([]process, 0, len(names))
	for _, n := range names {
		if n[0] < '1' || n[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(n); err == nil {
			if p, ok := lookup(pid); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

// lookup finds one process; the dead that wait for their parent count as gone.
func lookup(pid int) (process, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	// The name stands in brackets and may itself contain brackets and blanks.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return process{}, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return process{}, false
	}
	p := process{pid: pid, state: f[0][0]}
	p.parent, _ = strconv.Atoi(f[1])
	p.session, _ = strconv.Atoi(f[3])
	p.started, _ = strconv.ParseUint(f[19], 10, 64)
	return p, true
}

// family lists root's descendants, whoever shares its session, which finds
// orphans, and whoever has mark in its environment, which finds those that left
// the session, all without root itself.
func family(root int, mark string) []int {
	all := processes()
	in := map[int]bool{}
	if root > 0 {
		in[root] = true
	}
	for _, p := range all {
		if mark != "" && p.pid != os.Getpid() && strings.Contains(readString("/proc/"+strconv.Itoa(p.pid)+"/environ"), mark) {
			in[p.pid] = true
		}
	}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if !in[p.pid] && (in[p.parent] || root > 0 && p.session == root) {
				in[p.pid], grew = true, true
			}
		}
	}
	delete(in, root)
	return slices.Collect(maps.Keys(in))
}

// privateMemory is what a process holds for itself alone.
func privateMemory(pid int) int64 {
	f := strings.Fields(readString("/proc/" + strconv.Itoa(pid) + "/statm"))
	if len(f) < 3 {
		return 0
	}
	resident, _ := strconv.ParseInt(f[1], 10, 64)
	shared, _ := strconv.ParseInt(f[2], 10, 64)
	return max(resident-shared, 0) * int64(os.Getpagesize())
}

// rlimit sets both bounds of a limit of pid, as far as we may.
func rlimit(pid, resource int, value uint64) {
	if unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: value}, nil) == nil {
		return
	}
	var now unix.Rlimit // raising the upper bound takes a capability
	if unix.Prlimit(pid, resource, nil, &now) == nil {
		value = min(value, now.Max)
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: value}, nil)
	}
}

// capable says whether this process has a capability.
func capable(c uint) bool {
	for line := range strings.Lines(readString("/proc/self/status")) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && caps>>c&1 == 1
		}
	}
	return false
}
