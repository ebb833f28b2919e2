package main

import (
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
	"github.com/peergpu/peergpu/agent/transfer"
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
	Docker      dockerSection `yaml:"docker"`
	Policy      policySection `yaml:"policy"`
}

// dockerSection is where the engine of runtime docker is, and how it runs jobs.
type dockerSection struct {
	Host    string `yaml:"host"`
	Image   string `yaml:"image"`
	Runtime string `yaml:"runtime"`
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
	if err == nil && t < 0 {
		err = errors.New("a time is not negative")
	}
	*d = duration(t)
	return err
}

// settingsFile is the name of the file in the state folder.
const settingsFile = "agent.yaml"

// template is the file as enroll writes it.
const template = `# The agent of this PeerGPU host. Every key but server may be left out.
server: %s

# auto asks nvidia-smi; none offers no GPU; simulated:1xNVIDIA GeForce RTX 4090 makes
# one up, for trying things out.
gpus: %q

# auto is docker where an engine answers, and process elsewhere. docker runs jobs in
# containers, with GPUs; process runs them in a sandbox of this machine (bubblewrap),
# without; simulated only acts.
runtime: auto

# docker:
#   host: unix:///run/docker.sock   # the engine; DOCKER_HOST when it is left out
#   image: python@sha256:…          # what jobs run in that name no image, where the marketplace has no default either; by digest or image id
#   runtime: runsc                  # the engine's runtime; its default when it is left out

# true: run the owner's own jobs alone, and let those use GPUs without a container.
trusted: false

# Folders such as /opt/python3.12 that jobs may read, in the same place.
# prefixes: []

# How long jobs may go on when the agent is told to stop; then they are given back.
# drain_for: 0s

# What this machine gives. The server can only tighten it. 0 is no limit.
policy:
  kinds: [command, bundle, image]   # image: with the runtime docker
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
	s := settings{GPUs: "auto", Runtime: "auto", LogLevel: "info"}
	path := filepath.Join(home, settingsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("%w (there is no %s)", daemon.ErrNotEnrolled, path)
	}
	if err != nil {
		return s, err
	}
	d, err := readDocument(data, &s)
	if err == nil {
		err = s.check(d)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// check finds what is well-formed and makes no sense.
func (s settings) check(d *document) error {
	if s.Server == "" {
		return errors.New("server is missing: give it the marketplace's URL, such as https://peergpu.example")
	}
	var wrong []error
	add := func(bad bool, key, format string, args ...any) {
		if bad {
			wrong = append(wrong, d.at(key, fmt.Errorf(format, args...)))
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		add(!slices.Contains(allowed, value), key, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
	_, err := transfer.NewServer(s.Server, "")
	add(err != nil, "server", "%v", err)
	oneOf("runtime", s.Runtime, "auto", "docker", "process", "simulated")
	add(s.Docker.Image != "" && !runtime.Pinned(s.Docker.Image), "docker.image", "%q is not pinned: write repository@sha256:… or the id of an image (docker images --digests --no-trunc tells both)", s.Docker.Image)
	oneOf("log_level", s.LogLevel, "debug", "info", "warn", "error")
	add(s.Unsandboxed && !s.Trusted, "unsandboxed", "it needs trusted: true, because without a sandbox only the owner's own jobs may run")
	_, err = parseGPUs(s.GPUs, "")
	add(err != nil, "gpus", "%v", err)
	for _, kind := range s.Policy.Kinds {
		oneOf("policy.kinds", kind, "command", "bundle", "image")
	}
	for _, network := range s.Policy.Networks {
		oneOf("policy.networks", network, "none", "proxy", "full")
	}
	for key, limit := range map[string]int64{
		"max_memory_mb": s.Policy.MaxMemoryMB, "max_disk_mb": s.Policy.MaxDiskMB,
		"max_concurrent": int64(s.Policy.MaxConcurrent), "min_hourly_price_micros": s.Policy.MinHourlyPrice,
	} {
		add(limit < 0, "policy."+key, "%d is negative; 0 is no limit", limit)
	}
	return errors.Join(wrong...)
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
		return automatic(), nil
	case "none":
		return simulated, nil
	}
	m := simulatedSpec.FindStringSubmatch(spec)
	if m == nil {
		return nil, fmt.Errorf("%q is none of auto, none, or simulated:COUNTxMODEL[@GIB] such as simulated:1xNVIDIA GeForce RTX 4090@24", spec)
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

// realGPU is one of the GPUs that exist; empty: there is none.
func realGPU(ctx context.Context, gpus daemon.GPUs) string {
	found, _ := gpus.Probe(ctx) // what keeps it from that is told elsewhere
	for _, g := range found {
		if g.Driver != daemon.SimulatedDriver {
			return g.UUID
		}
	}
	return ""
}

// safe refuses a runtime in which jobs could do harm.
func safe(found []runtime.Finding) error {
	var wrong []error
	for _, f := range found {
		if f.Verdict == runtime.Unsafe {
			wrong = append(wrong, fmt.Errorf("%s: %s\n→ %s", f.What, f.Found, f.Fix))
		}
	}
	if len(wrong) > 0 {
		return errors.Join(append([]error{errors.New("jobs are not safe to run here (peergpu-agent doctor tells more)")}, wrong...)...)
	}
	return nil
}

// chosen is the runtime that auto means on this machine.
func (s settings) chosen(ctx context.Context) settings {
	if s.Runtime != "auto" {
		return s
	}
	s.Runtime = "process"
	if runtime.EngineAnswers(ctx, s.Docker.Host) {
		s.Runtime = "docker"
	}
	return s
}

// newRuntime makes the runtime that was chosen, and says how to close it.
func newRuntime(ctx context.Context, s settings, home string) (runtime.Machine, func() error, error) {
	if s.Runtime == "simulated" {
		return runtime.NewSimulated(daemon.SystemClock{}.Now), func() error { return nil }, nil
	}
	if s.Runtime == "docker" {
		program, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		d, err := runtime.NewDocker(ctx, runtime.DockerOptions{
			Dir: filepath.Join(home, "docker"), Host: s.Docker.Host, Image: s.Docker.Image, Runtime: s.Docker.Runtime,
			Entry: filepath.Join(filepath.Dir(program), "peergpu-entry"),
		})
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	}
	p, err := runtime.NewProcess(ctx, runtime.Options{
		Dir: filepath.Join(home, "runtime"), Prefixes: s.Prefixes, Unsandboxed: s.Unsandboxed,
	})
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}
