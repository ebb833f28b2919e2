package runtime

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is the branch of the cgroup tree in which one agent keeps its jobs:
// one folder per controller on version 1, one folder for all on version 2. A
// nil *cgroups is a machine where none can be made; limits are then watched.
type cgroups struct {
	v2      bool
	name    string            // of our branch
	parents map[string]string // controller → the folder that our branch hangs in

	mu   sync.Mutex
	made int             // names are not used twice
	live map[string]bool // groups of this process
}

// cgroupLimits are what a job's group enforces; zero is no limit.
type cgroupLimits struct{ memory, pids, cpuMilli int64 }

// findCgroups looks for controllers below this process's own group that it may
// write to, by trying.
func findCgroups(name string) *cgroups {
	mounts, own := cgroupMounts(), ownCgroups()
	if len(mounts) == 0 {
		return nil
	}
	c := &cgroups{name: name, parents: map[string]string{}, live: map[string]bool{}}
	for _, controller := range []string{"memory", "pids", "cpu", "cpuacct"} {
		mount, ok := mounts[controller]
		if !ok {
			continue
		}
		// Inside a container the path may be the host's, and the mount's root
		// our own group.
		for _, parent := range []string{filepath.Join(mount, own[controller]), mount} {
			if c.writable(parent) {
				c.parents[controller] = parent
				break
			}
		}
	}
	if len(c.parents) == 0 {
		return findUnified(name, mounts[""], own[""])
	}
	return c
}

// findUnified does the same for version 2. A group with processes of its own
// cannot hand controllers down, so the agent needs a group that is delegated to
// it (Delegate=yes in its unit) with itself in a leaf, or to be root and take
// the top.
func findUnified(name, mount, own string) *cgroups {
	if mount == "" {
		return nil
	}
	parents := []string{filepath.Join(mount, own), filepath.Dir(filepath.Join(mount, own)), mount}
	for _, parent := range parents {
		have := strings.Fields(readString(filepath.Join(parent, "cgroup.subtree_control")))
		if !slices.Contains(have, "memory") || !slices.Contains(have, "pids") {
			want := filepath.Join(parent, "cgroup.subtree_control")
			if os.WriteFile(want, []byte("+memory +pids"), 0) != nil {
				continue
			}
			_ = os.WriteFile(want, []byte("+cpu"), 0)
		}
		c := &cgroups{v2: true, name: name, parents: map[string]string{"": parent}, live: map[string]bool{}}
		if c.writable(parent) {
			return c
		}
	}
	return nil
}

func (c *cgroups) writable(parent string) bool {
	probe := filepath.Join(parent, c.name+".probe")
	if err := os.Mkdir(probe, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return false
	}
	defer os.Remove(probe)
	return unix.Access(filepath.Join(probe, "cgroup.procs"), unix.W_OK) == nil
}

// has says whether a controller's limits can be set.
func (c *cgroups) has(controller string) bool {
	if c == nil {
		return false
	}
	if !c.v2 {
		return c.parents[controller] != ""
	}
	have := readString(filepath.Join(c.parents[""], "cgroup.subtree_control"))
	return slices.Contains(strings.Fields(have), controller)
}

// create makes an empty group. Its name says nothing of the job, since groups
// are made before there is one.
func (c *cgroups) create() (*cgroup, error) {
	c.mu.Lock()
	c.made++
	g := &cgroup{tree: c, name: fmt.Sprintf("run-%d-%d", os.Getpid(), c.made), dirs: map[string]string{}}
	c.live[g.name] = true
	c.mu.Unlock()
	for controller, parent := range c.parents {
		branch := filepath.Join(parent, c.name)
		if err := mkdir(branch); err != nil {
			return nil, errors.Join(err, g.remove())
		}
		if c.v2 {
			_ = os.WriteFile(filepath.Join(branch, "cgroup.subtree_control"), []byte("+memory +pids"), 0)
			_ = os.WriteFile(filepath.Join(branch, "cgroup.subtree_control"), []byte("+cpu"), 0)
		}
		dir := filepath.Join(branch, g.name)
		if err := mkdir(dir); err != nil {
			return nil, errors.Join(err, g.remove())
		}
		g.dirs[controller] = dir
	}
	return g, nil
}

// sweep kills and removes the groups of an earlier process.
func (c *cgroups) sweep() error {
	if c == nil {
		return nil
	}
	left := map[string]*cgroup{}
	for controller, parent := range c.parents {
		entries, _ := os.ReadDir(filepath.Join(parent, c.name))
		for _, e := range entries {
			c.mu.Lock()
			ours := c.live[e.Name()]
			c.mu.Unlock()
			if !e.IsDir() || ours {
				continue
			}
			g := left[e.Name()]
			if g == nil {
				g = &cgroup{tree: c, name: e.Name(), dirs: map[string]string{}}
				left[e.Name()] = g
			}
			g.dirs[controller] = filepath.Join(parent, c.name, e.Name())
		}
	}
	var errs []error
	for _, g := range left {
		g.kill(5 * time.Second)
		errs = append(errs, g.remove())
	}
	return errors.Join(errs...)
}

// close removes our branch, once no group is left in it.
func (c *cgroups) close() {
	for _, parent := range c.parents {
		_ = os.Remove(filepath.Join(parent, c.name))
	}
}

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
		if err := os.WriteFile(filepath.Join(dir, file), []byte(s[2]), 0); err != nil && !optional {
			return err
		}
	}
	return nil
}

// park moves the calling thread in, on version 1, where threads can be moved
// one by one: children that it forks are in the group from their first moment.
func (g *cgroup) park() error {
	for _, dir := range g.dirs {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0); err != nil {
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

// kill ends every process of the group and says whether none is left.
func (g *cgroup) kill(patience time.Duration) bool {
	if g == nil {
		return true
	}
	for deadline := monotonic() + patience; ; {
		pids := g.pids()
		if len(pids) == 0 {
			return true
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if monotonic() > deadline {
			return false
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
		return
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

// cgroupMounts maps version 1's controllers, and "" for version 2, to where
// they are mounted.
func cgroupMounts() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(readString("/proc/self/mountinfo")) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		switch g[0] {
		case "cgroup2":
			out[""] = f[4]
		case "cgroup":
			for _, controller := range strings.Split(g[2], ",") {
				out[controller] = f[4]
			}
		}
	}
	return out
}

// ownCgroups maps controllers to this process's group.
func ownCgroups() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(readString("/proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 {
			for _, controller := range strings.Split(f[1], ",") {
				out[controller] = f[2]
			}
		}
	}
	return out
}

func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
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
