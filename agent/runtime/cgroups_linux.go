package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
			if os.WriteFile(want, []byte("+memory +pids"), 0o600) != nil {
				continue
			}
			_ = os.WriteFile(want, []byte("+cpu"), 0o600)
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
	if err := os.Mkdir(probe, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return false
	}
	defer func() { _ = os.Remove(probe) }()
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
			_ = os.WriteFile(filepath.Join(branch, "cgroup.subtree_control"), []byte("+memory +pids"), 0o600)
			_ = os.WriteFile(filepath.Join(branch, "cgroup.subtree_control"), []byte("+cpu"), 0o600)
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
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
