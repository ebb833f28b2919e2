package daemon

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/peergpu/peergpu/openapi/wire"
)

const mib = 1 << 20

// hostFacts looks at this machine. What cannot be found out is left empty.
func hostFacts(dir, version string, p Policy) wire.HostFacts {
	hostname, _ := os.Hostname()
	memory := memoryBytes() / mib
	if p.MaxMemoryMB > 0 {
		memory = min(memory, p.MaxMemoryMB)
	}
	disk := freeBytes(dir) / mib
	if p.MaxDiskMB > 0 {
		disk = min(disk, p.MaxDiskMB)
	}
	return wire.HostFacts{
		Hostname: plain(hostname, 255), Os: plain(osName(), 255), Kernel: plain(kernel(), 255), Arch: runtime.GOARCH,
		MachineID: machineID(), AgentVersion: version, CPUModel: plain(keyed("/proc/cpuinfo", "model name"), 255),
		// What this process may use: affinity and cgroups of containers count.
		Cpus: runtime.GOMAXPROCS(0), MemoryMB: max(1, memory), DiskMB: disk,
	}
}

// plain is what the machine says of itself, as the protocol takes it: without control
// characters, and not too long.
func plain(s string, longest int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest-1]) + "…"
	}
	return s
}

// osName is the operating system as it calls itself.
func osName() string {
	if f, err := os.Open("/etc/os-release"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if v, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"`)
			}
		}
	}
	return runtime.GOOS
}

// bootID tells one boot of the machine from another; "" where it cannot be told.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// machineID tells two machines apart without telling which they are.
func machineID() string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(id) == 0 {
		// Containers often have none. A hardware address is as good here.
		name, _ := os.Hostname()
		id = []byte(name)
		interfaces, _ := net.Interfaces()
		for _, i := range interfaces {
			id = append(id, i.HardwareAddr...)
		}
	}
	sum := sha256.Sum256(append([]byte("peergpu-machine\n"), id...))
	return hex.EncodeToString(sum[:])
}

// memoryBytes is what jobs can have: the machine's memory, or less when the agent
// itself is confined.
func memoryBytes() int64 {
	total := kilobytes(keyed("/proc/meminfo", "MemTotal"))
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && limit < total {
			return limit
		}
	}
	return total
}

// keyed finds "key : value" in a file of /proc.
func keyed(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, found := strings.Cut(lines.Text(), ":")
		if found && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// kilobytes reads "123 kB" of /proc as bytes.
func kilobytes(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(s, " kB"), 10, 64)
	return n << 10
}

// cpuTimes are the ticks of all CPUs, and those that were idle.
func cpuTimes() (total, idle uint64) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			continue
		}
		// Guest time, from the ninth on, is counted in user time already.
		if i <= 8 {
			total += n
		}
		if i == 4 || i == 5 {
			idle += n
		}
	}
	return total, idle
}

// wireGPUs puts devices into the words of the protocol.
func wireGPUs(gpus []GPU) []wire.GPU {
	out := make([]wire.GPU, len(gpus))
	for i, g := range gpus {
		out[i] = wire.GPU{
			Index: g.Index, UUID: g.UUID, Model: plain(g.Model, 128), VRAMMB: g.MemoryBytes / mib, Driver: plain(g.Driver, 64),
			CUDA: plain(g.CUDA, 32), Capability: plain(g.Capability, 16), BusID: plain(g.BusID, 32), PowerLimitW: g.PowerLimitW, MIG: g.MIG,
			Simulated: g.Driver == SimulatedDriver,
		}
	}
	return out
}

// SimulatedDriver is the driver of GPUs that are made up, so that nobody takes them for
// real ones.
const SimulatedDriver = "simulated"

// runtimeFacts says how jobs run here, and what the owner allows them.
func runtimeFacts(info RuntimeInfo, r Report, cfg Config) wire.RuntimeFacts {
	f := wire.RuntimeFacts{
		Name: info.Name, Isolation: wire.RuntimeFactsIsolation(info.Isolation), Version: plain(r.Version, 128),
		Trusted: cfg.Trusted, MemoryLimit: wire.RuntimeFactsMemoryLimit(r.Memory),
		PIDsLimit: wire.RuntimeFactsPIDsLimit(r.PIDs), Commands: map[string]string{},
	}
	for name, version := range r.Commands {
		f.Commands[name] = plain(version, 128)
	}
	for _, w := range r.Warnings {
		f.Warnings = append(f.Warnings, plain(w, 512))
	}
	for _, n := range cfg.Policy.Networks {
		f.Networks = append(f.Networks, wire.RuntimeFactsNetworks(n))
	}
	return f
}

// inventoryOf puts together what the server is told, with a hash that changes with it.
// Free disk space moves all the time and is in heartbeats; here it counts in steps of
// 10 GiB.
func inventoryOf(host wire.HostFacts, gpus []GPU, runtimes ...wire.RuntimeFacts) wire.Inventory {
	inv := wire.Inventory{Host: host, GPUs: wireGPUs(gpus), Runtimes: runtimes}
	coarse := inv
	coarse.Host.DiskMB /= 10 << 10
	data, _ := json.Marshal(coarse) // plain structs always marshal
	sum := sha256.Sum256(data)
	inv.Hash = hex.EncodeToString(sum[:16])
	return inv
}

// loadOf is what a heartbeat says about the GPUs.
func loadOf(loads []GPULoad) []wire.GPULoad {
	out := make([]wire.GPULoad, 0, len(loads))
	for _, l := range loads {
		out = append(out, wire.GPULoad{
			UUID: l.UUID, UtilPct: l.Utilization, MemoryUsedMB: l.MemoryUsed / mib, PowerW: l.PowerW, TempC: l.TempC,
		})
	}
	return out
}

// realGPU says whether one of the devices exists.
func realGPU(have []GPU, want []string) bool {
	return slices.ContainsFunc(have, func(g GPU) bool {
		return g.Driver != SimulatedDriver && slices.Contains(want, g.UUID)
	})
}

// hasGPUs says whether all the devices are among those that this host has.
func hasGPUs(have []GPU, want []string) bool {
	return !slices.ContainsFunc(want, func(uuid string) bool {
		return !slices.ContainsFunc(have, func(g GPU) bool { return g.UUID == uuid && !g.MIG })
	})
}

// FreeDisk is how many bytes can still be written below a folder that exists.
func FreeDisk(dir string) (int64, error) {
	if _, err := os.Stat(dir); err != nil {
		return 0, err
	}
	return freeBytes(dir), nil
}
