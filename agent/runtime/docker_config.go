package runtime

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime/entry"
)

// ContainerPolicy is what this machine adds to a task.
type ContainerPolicy struct {
	User    string // who a job is, as uid:gid
	Entry   string // the host's folder with the entry, its task and its socket
	CPUs    int    // of the engine's machine; it refuses to give more
	Files   int64  // that a process may have open; an engine without rights to raise it refuses more than it has
	Runtime string // the engine's runtime, such as runsc; "" is its default
	// AppArmor says that the engine confines containers by its profile docker-default.
	AppArmor bool
	// Volumes are folders that the image declares as volumes. Each would be a folder of the
	// host without a limit.
	Volumes []string
}

// What the entry needs beside the job.
const (
	entryPIDs   = 16
	entryMemory = 24 << 20
)

// leastMemory is what the engine gives a container at least.
const leastMemory = 8 << 20

// BuildHostConfig turns a task into what the engine may give it. It decides by its
// arguments alone.
func BuildHostConfig(t daemon.Task, p ContainerPolicy) *container.HostConfig {
	l := t.Limits
	// What lies in memory counts against the memory limit.
	tmp, shm := int64(1<<30), int64(64<<20)
	if l.MemoryBytes > 0 {
		tmp, shm = l.MemoryBytes/2, l.MemoryBytes/4
	}
	if l.ShmBytes > 0 {
		shm = l.ShmBytes
	}
	h := &container.HostConfig{
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges:true"}, // seccomp: the engine's own profile
		ReadonlyRootfs: true,
		NetworkMode:    container.NetworkMode("none"),
		IpcMode:        container.IPCModePrivate,
		CgroupnsMode:   container.CgroupnsModePrivate,
		OomScoreAdj:    500, // should the whole machine run out of memory, a job goes first
		ShmSize:        max(shm, 1<<12),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      container.LogConfig{Type: "none"}, // the entry brings the output
		Runtime:        p.Runtime,
		Tmpfs:          map[string]string{},
		Mounts: []mount.Mount{
			{Type: mount.TypeBind, Source: t.Dir, Target: daemon.WorkDir},
			{Type: mount.TypeBind, Source: p.Entry, Target: entry.Folder, ReadOnly: true},
		},
		Resources: container.Resources{
			Ulimits: []*container.Ulimit{
				{Name: "core", Soft: 0, Hard: 0}, {Name: "nofile", Soft: p.Files, Hard: p.Files},
			},
		},
	}
	if p.AppArmor {
		h.SecurityOpt = append(h.SecurityOpt, "apparmor=docker-default")
	}
	owner := "uid=" + strings.Replace(p.User, ":", ",gid=", 1)
	for _, dir := range slices.Concat([]string{"/tmp", "/run", "/var/tmp"}, p.Volumes) {
		size := tmp
		if dir == "/run" {
			size = min(tmp, 16<<20)
		}
		h.Tmpfs[dir] = fmt.Sprintf("rw,nosuid,nodev,exec,size=%d,mode=1777,%s", max(size, 1<<16), owner)
	}
	for _, in := range t.Inputs {
		h.Mounts = append(h.Mounts, mount.Mount{
			Type: mount.TypeBind, Source: in.Source, Target: path.Join(daemon.WorkDir, in.Target), ReadOnly: true,
		})
	}
	if l.MemoryBytes > 0 {
		// As much with swap as without: there is none.
		h.Memory = max(l.MemoryBytes, leastMemory) + entryMemory
		h.MemorySwap = h.Memory
	}
	pids := int64(512)
	if l.PIDs > 0 {
		pids = l.PIDs
	}
	pids += entryPIDs
	h.PidsLimit = &pids
	if l.DiskBytes > 0 {
		// Of one file, and so far beyond the limit that the watch sees it.
		most := l.DiskBytes + l.DiskBytes/64 + 1<<20
		h.Ulimits = append(h.Ulimits, &container.Ulimit{Name: "fsize", Soft: most, Hard: most})
	}
	if l.CPUMilli > 0 {
		h.NanoCPUs = l.CPUMilli * 1_000_000
		if p.CPUs > 0 {
			h.NanoCPUs = min(h.NanoCPUs, int64(p.CPUs)*1_000_000_000)
		}
	}
	if len(t.GPUs) > 0 {
		// By name: a count would be the first ones, whoever has them.
		h.DeviceRequests = []container.DeviceRequest{{
			Driver: "nvidia", DeviceIDs: slices.Clone(t.GPUs), Capabilities: [][]string{{"gpu", "compute", "utility"}},
		}}
	}
	return h
}

// volumes are the paths that an image declares as volumes and that nothing else covers.
func volumes(i image.InspectResponse) []string {
	var list []string
	if i.Config == nil {
		return nil
	}
	for dir := range i.Config.Volumes {
		dir = path.Clean("/" + dir)
		covered := slices.ContainsFunc([]string{"/tmp", "/run", "/var/tmp", daemon.WorkDir, entry.Folder, "/dev", "/proc", "/sys"}, func(own string) bool {
			return dir == own || strings.HasPrefix(dir, own+"/")
		})
		if !covered && dir != "/" {
			list = append(list, dir)
		}
	}
	slices.Sort(list)
	return list
}

// imageEnvironment is what an image sets, without what chooses GPUs, which is not its
// choice.
func imageEnvironment(i image.InspectResponse) map[string]string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if i.Config == nil {
		return env
	}
	for _, e := range i.Config.Env {
		if k, v, ok := strings.Cut(e, "="); ok && k != "" && !strings.HasPrefix(k, "NVIDIA_") {
			env[k] = v
		}
	}
	return env
}

// containerEnvironment is what the engine, its runtime and their hooks see: nothing that
// the image or the job says, for hooks run on the host with it (CVE-2025-23266). The
// entry gives the command its own. A name without a value takes it out of the image's.
func containerEnvironment(i image.InspectResponse, gpus bool, token string) []string {
	var env []string
	if i.Config != nil {
		for _, e := range i.Config.Env {
			if k, _, _ := strings.Cut(e, "="); k != "" {
				env = append(env, k)
			}
		}
	}
	slices.Sort(env)
	env = slices.Compact(env)
	env = slices.DeleteFunc(env, func(k string) bool { return k == "NVIDIA_VISIBLE_DEVICES" || k == entry.TokenVariable })
	env = append(env, entry.TokenVariable+"="+token)
	if gpus {
		return append(env, "NVIDIA_VISIBLE_DEVICES") // the engine sets it for the device request
	}
	return append(env, "NVIDIA_VISIBLE_DEVICES=void")
}
