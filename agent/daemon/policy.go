package daemon

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// Policy is what the owner of this machine allows. The server can only tighten it. A
// zero limit is no limit.
type Policy struct {
	Kinds          []string // command, bundle, image; empty: all
	Networks       []string // none, proxy, full; empty: none
	MaxRuntime     time.Duration
	MaxMemoryMB    int64
	MaxDiskMB      int64
	MaxConcurrent  int
	MinHourlyPrice int64    // of all GPUs of a job together, millionths
	BlockedRenters []string // usr_…
}

// withDefaults fills in what the owner left open.
func (p Policy) withDefaults() Policy {
	if len(p.Kinds) == 0 {
		p.Kinds = []string{string(wire.ManifestClaimsKindCommand), string(wire.ManifestClaimsKindBundle), string(wire.ManifestClaimsKindImage)}
	}
	if len(p.Networks) == 0 {
		p.Networks = []string{string(wire.ManifestNetworkModeNone)}
	}
	return p
}

// judge says why the owner's rules refuse a job, or nil.
func (p Policy) judge(c *wire.ManifestClaims, trusted bool) *rejection {
	over := func(asked, limit int64) bool { return limit > 0 && (asked == 0 || asked > limit) }
	switch {
	case trusted && !c.Renter.Owner:
		return reject(wire.RejectReasonPolicy, "this host is in trusted mode and takes its owner's jobs alone")
	case slices.Contains(p.BlockedRenters, c.Renter.ID):
		return reject(wire.RejectReasonPolicy, "the host blocks this renter")
	case !slices.Contains(p.Kinds, string(c.Kind)):
		return reject(wire.RejectReasonPolicy, "the host takes no jobs of kind %s", c.Kind)
	case !slices.Contains(p.Networks, string(c.Network.Mode)):
		return reject(wire.RejectReasonPolicy, "the host gives no network of mode %s", c.Network.Mode)
	case over(c.Limits.MaxRuntimeMs, p.MaxRuntime.Milliseconds()):
		return reject(wire.RejectReasonPolicy, "the host lets jobs run for at most %s", p.MaxRuntime)
	case over(c.Limits.MemoryBytes, p.MaxMemoryMB*mib):
		return reject(wire.RejectReasonPolicy, "the host gives at most %d MiB of memory", p.MaxMemoryMB)
	case over(c.Limits.DiskBytes, p.MaxDiskMB*mib):
		return reject(wire.RejectReasonPolicy, "the host gives at most %d MiB of disk", p.MaxDiskMB)
	case c.Price.HourlyMicros < p.MinHourlyPrice:
		return reject(wire.RejectReasonPolicy, "the host asks for at least %d millionths an hour", p.MinHourlyPrice)
	}
	return nil
}

// strengths orders isolation from the weakest.
var strengths = []string{IsolationNone, IsolationProcess, IsolationContainer, IsolationGVisor}

// able says why this host cannot run a job, whatever its owner allows, or nil.
func able(c *wire.ManifestClaims, info RuntimeInfo, gpus []GPU, trusted bool) *rejection {
	has, needs := slices.Index(strengths, info.Isolation), slices.Index(strengths, string(c.Isolation.Min))
	switch {
	case has < needs:
		return reject(wire.RejectReasonUnsupported, "the job wants isolation %s and this host has %s", c.Isolation.Min, info.Isolation)
	case c.Kind == wire.ManifestClaimsKindImage && has < slices.Index(strengths, IsolationContainer):
		return reject(wire.RejectReasonUnsupported, "this host runs no container images")
	case has < slices.Index(strengths, IsolationContainer) && info.Name == "process" && !trusted && realGPU(gpus, c.GPUs.UUIDs):
		return reject(wire.RejectReasonUnsupported, "GPUs need a container: without one, only a trusted host gives them, to its owner's jobs")
	case !hasGPUs(gpus, c.GPUs.UUIDs):
		return reject(wire.RejectReasonUnsupported, "this host has not all of the job's GPUs")
	}
	return nil
}

// sensible checks what the claims mean, beyond their shape.
func sensible(c *wire.ManifestClaims) *rejection {
	bad := func(what string) *rejection { return reject(wire.RejectReasonMalformed, "%s", what) }
	switch {
	case !wire.ValidJobID(c.JobID):
		return bad("job_id is no job id")
	case c.Attempt < 1 || int64(c.Attempt) > 1<<32-1:
		return bad("attempt is out of range")
	case !c.Kind.Valid() || !c.Network.Mode.Valid() || !c.Isolation.Min.Valid():
		return bad("kind, network.mode or isolation.min is unknown")
	case (c.Kind == wire.ManifestClaimsKindBundle) != (c.Bundle != nil):
		return bad("kind bundle and no other has a bundle")
	case c.Kind == wire.ManifestClaimsKindImage && c.Image == nil:
		return bad("kind image has an image")
	case len(c.Argv) == 0 && c.Kind != wire.ManifestClaimsKindImage, len(c.Argv) > 0 && c.Argv[0] == "":
		return bad("argv is empty")
	case c.Limits.MaxRuntimeMs < 1 || c.ReassignAfterMs < 1 || c.LeaseTTLMs < 1:
		return bad("max_runtime_ms, lease_ttl_ms and reassign_after_ms are at least 1")
	case min(c.Limits.CPUMilli, c.Limits.MemoryBytes, c.Limits.PIDs, c.Limits.ShmBytes, c.Limits.DiskBytes,
		c.Limits.LogBytes, c.Limits.ArtifactBytes, int64(c.Limits.ArtifactFiles)) < 0:
		return bad("a limit is negative")
	case c.Workdir != "" && !filepath.IsLocal(c.Workdir):
		return bad("workdir leaves the working folder")
	}
	for _, in := range c.Inputs {
		if !filepath.IsLocal(in.Path) || filepath.Clean(in.Path) == "." {
			return bad("an input leaves the working folder")
		}
	}
	for _, glob := range c.Outputs {
		if !validGlob(glob) {
			return bad("an output is no glob below the working folder")
		}
	}
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return bad("a variable has an impossible name")
		}
	}
	return nil
}
