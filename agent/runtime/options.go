package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Options set up the process runtime.
type Options struct {
	// Dir is a folder of this runtime alone, for what it has to remember.
	Dir string
	// Bubblewrap is the path of bwrap; "" looks on PATH.
	Bubblewrap string
	// Prefixes are folders such as /opt/python3.12 that jobs may read, in the
	// same place; their bin comes first on the jobs' PATH. Without any that
	// has a python3, and with none in /usr, the prefix of the agent's own
	// python3 is taken.
	Prefixes []string
	// Unsandboxed runs jobs without isolation, and then trusted ones alone.
	Unsandboxed bool
}

// DockerOptions set up the Docker runtime.
type DockerOptions struct {
	// Dir is a folder of this runtime alone, on the engine's machine: containers mount
	// from it. Agents with different folders leave each other's containers alone.
	Dir string
	// Host is the engine, such as unix:///run/docker.sock; "" is what DOCKER_HOST says, or
	// the engine's default.
	Host string
	// Entry is the path of peergpu-entry, the program that containers begin with.
	Entry string
	// Image is what jobs run in that name none, pinned by digest or by image id; "" refuses
	// them.
	Image string
	// Runtime is the engine's runtime, such as runsc; "" is its default.
	Runtime string
	// PullIdle is how long a pull may bring nothing before it is given up; 0 is 2 minutes.
	PullIdle time.Duration
}

// Pinned says whether a reference means one image for ever: by digest, or by its id.
func Pinned(image string) bool {
	_, digest, found := strings.Cut(image, "sha256:")
	before := strings.TrimSuffix(image, "sha256:"+digest)
	b, err := hex.DecodeString(digest)
	return found && err == nil && len(b) == sha256.Size && (before == "" || strings.HasSuffix(before, "@") && len(before) > 1)
}
