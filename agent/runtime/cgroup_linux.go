package runtime

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup holds the processes of one job. A nil *cgroup holds none.
type cgroup struct {
	tree *cgroups
	name string
	dirs map[string]string // controller → folder; "" on version 2
}

// limit sets limits; zeroes leave what is set.
func (g *cgroup) limit(l cgroupLimits) error {
	const period = 100_000 // µs, the kernel's default
	var settings [][3]string
	set := func(controller, file string, n int64) {
		settings = append(settings, [3]string{controller, file, strconv.FormatInt(n, 10)})
	}
	switch {
	case g.tree.v2:
		if l.memory > 0 {
			set("", "memory.max", l.memory)
			set("", "?memory.swap.max", 0)
		}
		if l.pids > 0 {
			set("", "pids.max", l.pids)
		}
		if l.cpuMilli > 0 && g.tree.has("cpu") {
			settings = append(settings, [3]string{"", "cpu.max", strconv.FormatInt(l.cpuMilli*period/1000, 10) + " 100000"})
		}
	default:
		if l.memory > 0 {
			set("memory", "memory.limit_in_bytes", l.memory)
			set("memory", "?memory.memsw.limit_in_bytes", l.memory)
			set("memory", "?memory.swappiness", 0)
		}
		if l.pids > 0 {
			set("pids", "pids.max", l.pids)
		}
		if l.cpuMilli > 0 {
			set("cpu", "cpu.cfs_quota_us", max(l.cpuMilli*period/1000, 1000))
		}
	}
	for _, s := range settings {
		dir, ok := g.dirs[s[0]]
		if !ok {
			continue
		}
		file, optional := strings.CutPrefix(s[1], "?") // kernels without swap accounting lack these
		if err := os.WriteFile(filepath.Join(dir, file), []byte(s[2]), 0o600); err != nil && !optional {
			return err
		}
	}
	return nil
}

// park moves the calling thread in, on version 1, where threads can be moved
// one by one: children that it forks are in the group from their first moment.
func (g *cgroup) park() error {
	for _, dir := range g.dirs {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// pids lists the processes in the group, in any of its folders, but never this
// one, which is listed while a thread of it is parked there.
func (g *cgroup) pids() []int {
	if g == nil {
		return nil
	}
	var out []int
	for _, dir := range g.dirs {
		for _, s := range strings.Fields(readString(filepath.Join(dir, "cgroup.procs"))) {
			if pid, err := strconv.Atoi(s); err == nil && pid != os.Getpid() {
				out = append(out, pid)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// kill ends every process of the group, or as many as it can while it has patience.
func (g *cgroup) kill(patience time.Duration) {
	if g == nil {
		return
	}
	for deadline := monotonic() + patience; ; {
		pids := g.pids()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if monotonic() > deadline {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// remove deletes the group; its processes have to be gone.
func (g *cgroup) remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, dir := range g.dirs {
		// The kernel lets go of a group a moment after its last process.
		for deadline := monotonic() + 2*time.Second; ; time.Sleep(time.Millisecond) {
			err := os.Remove(dir)
			if err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			if monotonic() > deadline {
				errs = append(errs, err)
				break
			}
		}
	}
	g.tree.mu.Lock()
	delete(g.tree.live, g.name)
	g.tree.mu.Unlock()
	return errors.Join(errs...)
}

// forksRefused counts the processes that the kernel did not let be for their number.
func (g *cgroup) forksRefused() int64 {
	switch {
	case g == nil:
		return 0
	case g.tree.v2:
		return refused(g.dirs[""])
	}
	return refused(g.dirs["pids"])
}

// refused counts by the group's own limit, where the kernel tells that apart (6.11).
func refused(dir string) int64 {
	if _, err := os.Stat(filepath.Join(dir, "pids.events.local")); err == nil {
		return keyed(filepath.Join(dir, "pids.events.local"), "max")
	}
	return keyed(filepath.Join(dir, "pids.events"), "max")
}

// oomKills counts the processes that the kernel killed for the memory limit.
func (g *cgroup) oomKills() int64 {
	if g == nil {
		return 0
	}
	if g.tree.v2 {
		return keyed(filepath.Join(g.dirs[""], "memory.events"), "oom_kill")
	}
	return keyed(filepath.Join(g.dirs["memory"], "memory.oom_control"), "oom_kill")
}

// usage reads the group's counters; those that are not kept are 0.
func (g *cgroup) usage() (memory, peak int64, cpu time.Duration, pids int64) {
	if g == nil {
		return 0, 0, 0, 0
	}
	if g.tree.v2 {
		d := g.dirs[""]
		cpu = time.Duration(keyed(filepath.Join(d, "cpu.stat"), "usage_usec")) * time.Microsecond
		return number(filepath.Join(d, "memory.current")), number(filepath.Join(d, "memory.peak")),
			cpu, number(filepath.Join(d, "pids.current"))
	}
	return number(filepath.Join(g.dirs["memory"], "memory.usage_in_bytes")),
		number(filepath.Join(g.dirs["memory"], "memory.max_usage_in_bytes")),
		time.Duration(number(filepath.Join(g.dirs["cpuacct"], "cpuacct.usage"))),
		number(filepath.Join(g.dirs["pids"], "pids.current"))
}

func readString(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

func number(file string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(readString(file)), 10, 64)
	return n
}

// keyed reads one number of a file of "key value" lines.
func keyed(file, key string) int64 {
	s := bufio.NewScanner(strings.NewReader(readString(file)))
	for s.Scan() {
		if k, v, ok := strings.Cut(s.Text(), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}
