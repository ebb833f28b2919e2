package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
	"github.com/peergpu/peergpu/agent/runtime"
)

// settings is agent.yaml: what the owner of this machine decides. The server can
// tighten none of it away.
type settings struct {
	Server      string        `yaml:"server"`
	GPUs        string        `yaml:"gpus"`
	Runtime     string        `yaml:"runtime"`
	Trusted     bool          `yaml:"trusted"`
	Unsandboxed bool          `yaml:"unsandboxed"`
	Prefixes    []string      `yaml:"prefixes"`
	DrainFor    duration      `yaml:"drain_for"`
	LogLevel    string        `yaml:"log_level"`
	Policy      policySection `yaml:"policy"`
}

// policySection is daemon.Policy as it is written in the file.
type policySection struct {
	Kinds          []string `yaml:"kinds"`
	Networks       []string `yaml:"networks"`
	MaxRuntime     duration `yaml:"max_runtime"`
	MaxMemoryMB    int64    `yaml:"max_memory_mb"`
	MaxDiskMB      int64    `yaml:"max_disk_mb"`
	MaxConcurrent  int      `yaml:"max_concurrent"`
	MinHourlyPrice int64    `yaml:"min_hourly_price_micros"`
	BlockedRenters []string `yaml:"blocked_renters"`
}

// duration is a time.Duration in words such as 24h.
type duration time.Duration

// UnmarshalYAML reads what time.ParseDuration does.
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	t, err := time.ParseDuration(node.Value)
	if err != nil || t < 0 {
		return fmt.Errorf("line %d: %q is no duration such as 90s or 24h", node.Line, node.Value)
	}
	*d = duration(t)
	return nil
}

// settingsFile is the name of the file in the state folder.
const settingsFile = "agent.yaml"

// template is the file as enroll writes it.
const template = `# The agent of this PeerGPU host. Every key but server may be left out.
server: %s

# auto asks nvidia-smi; none offers no GPU; simulated:1xNVIDIA GeForce RTX 4090 makes
# one up, for trying things out.
gpus: %q

# process runs jobs in a sandbox of this machine (bubblewrap); simulated only acts.
runtime: process

# true: run the owner's own jobs alone, and let those use GPUs without a container.
trusted: false

# Folders such as /opt/python3.12 that jobs may read, in the same place.
# prefixes: []

# How long jobs may go on when the agent is told to stop; then they are given back.
# drain_for: 0s

# What this machine gives. The server can only tighten it. 0 is no limit.
policy:
  kinds: [command, bundle]
  networks: [none]
  max_runtime: 24h
  # max_memory_mb: 0
  # max_disk_mb: 0
  # max_concurrent: 0
  # min_hourly_price_micros: 0   # millionths, of all GPUs of a job together
  # blocked_renters: []          # usr_…
`

// loadSettings reads agent.yaml. A key that is not known is an error: a misspelt limit
// would be none.
func loadSettings(home string) (settings, error) {
	s := settings{GPUs: "auto", Runtime: "process", LogLevel: "info"}
	path := filepath.Join(home, settingsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("%w (there is no %s)", daemon.ErrNotEnrolled, path)
	}
	if err != nil {
		return s, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if err := s.check(); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// check finds what is well-formed and makes no sense.
func (s settings) check() error {
	if s.Server == "" {
		return errors.New("server is missing")
	}
	if s.Runtime != "process" && s.Runtime != "simulated" {
		return fmt.Errorf("runtime is process or simulated, not %q", s.Runtime)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, s.LogLevel) {
		return fmt.Errorf("log_level is debug, info, warn or error, not %q", s.LogLevel)
	}
	if s.Unsandboxed && !s.Trusted {
		return errors.New("unsandboxed needs trusted: without a sandbox only the owner's own jobs may run")
	}
	if _, err := parseGPUs(s.GPUs, ""); err != nil {
		return err
	}
	for _, list := range []struct {
		key     string
		values  []string
		allowed string
	}{{"policy.kinds", s.Policy.Kinds, "command bundle image"}, {"policy.networks", s.Policy.Networks, "none proxy full"}} {
		for _, v := range list.values {
			if !strings.Contains(" "+list.allowed+" ", " "+v+" ") {
				return fmt.Errorf("%s: %q is none of %s", list.key, v, list.allowed)
			}
		}
	}
	if min(s.Policy.MaxMemoryMB, s.Policy.MaxDiskMB, s.Policy.MinHourlyPrice, int64(s.Policy.MaxConcurrent)) < 0 {
		return errors.New("a limit of policy is negative")
	}
	return nil
}

// policy is the section as the daemon takes it.
func (p policySection) policy() daemon.Policy {
	return daemon.Policy{
		Kinds: p.Kinds, Networks: p.Networks, MaxRuntime: time.Duration(p.MaxRuntime), MaxMemoryMB: p.MaxMemoryMB,
		MaxDiskMB: p.MaxDiskMB, MaxConcurrent: p.MaxConcurrent, MinHourlyPrice: p.MinHourlyPrice, BlockedRenters: p.BlockedRenters,
	}
}

var simulatedSpec = regexp.MustCompile(`^simulated:([0-9]{1,2})x([^@]{1,100})(?:@([0-9]{1,4}))?$`)

// parseGPUs reads auto, none, or simulated:COUNTxMODEL[@GIB]. The folder tells the
// made-up devices of two agents apart.
func parseGPUs(spec, home string) (daemon.GPUs, error) {
	simulated := gpu.Simulated{Now: daemon.SystemClock{}.Now}
	switch spec {
	case "auto", "":
		return gpu.SMI{}, nil
	case "none":
		return simulated, nil
	}
	m := simulatedSpec.FindStringSubmatch(spec)
	if m == nil {
		return nil, fmt.Errorf("gpus is auto, none or like simulated:1xNVIDIA GeForce RTX 4090@24, not %q", spec)
	}
	seed := fnv.New64a()
	_, _ = io.WriteString(seed, home)
	simulated.Seed = seed.Sum64()
	simulated.Count, _ = strconv.Atoi(m[1])
	simulated.Model = m[2]
	gib, _ := strconv.ParseInt(m[3], 10, 64)
	simulated.MemoryBytes = gib << 30
	return simulated, nil
}

// newRuntime makes the runtime that the file names, and says how to close it.
func newRuntime(ctx context.Context, s settings, home string) (daemon.Runtime, func() error, error) {
	if s.Runtime == "simulated" {
		return runtime.NewSimulated(daemon.SystemClock{}.Now), func() error { return nil }, nil
	}
	p, err := runtime.NewProcess(ctx, runtime.Options{
		Dir: filepath.Join(home, "runtime"), Prefixes: s.Prefixes, Unsandboxed: s.Unsandboxed,
	})
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}
