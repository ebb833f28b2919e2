// Package servers is for what the tests need beyond Go: it says whether a
// thing is on this machine, installs it where that is possible, starts it
// privately and stops it again. It knows nothing of package testing, so that
// the test runner can use it as well as the tests.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Need is one thing that some tests cannot do without.
type Need struct {
	// Name is how REQUIRE and the messages call it.
	Name string
	// Packages are the Debian packages that bring it.
	Packages []string
	// By is the command that brings it, where no package does.
	By string
	// Probe tries it, as far as that is cheap, and returns nil if it works.
	Probe func(context.Context) error
}

// The needs of today's tests.
var (
	PostgreSQL    = Need{Name: "postgres", Packages: []string{"postgresql"}, Probe: probePostgres}
	RedisServer   = Need{Name: "redis", Packages: []string{"redis-server"}, Probe: probeRedis}
	Bubblewrap    = Need{Name: "bubblewrap", Packages: []string{"bubblewrap"}, Probe: probeBubblewrap}
	Python        = Need{Name: "python3", Packages: []string{"python3"}, Probe: probePython}
	Chromium      = Need{Name: "chromium", Packages: []string{"chromium", "fonts-liberation"}, Probe: probeChromium}
	DockerEngine  = Need{Name: "docker", Packages: []string{"docker.io", "iptables", "iproute2", "busybox-static"}, Probe: probeDocker}
	ImageRegistry = Need{Name: "registry", Packages: []string{"docker-registry"}, Probe: probeRegistry}
	S3Server      = Need{Name: "s3", By: "make s3", Probe: probeS3}
	CCompiler     = Need{Name: "gcc", Packages: []string{"gcc", "libc6-dev"}, Probe: func(ctx context.Context) error { return try(ctx, "gcc", "--version") }}
	WebApp        = Need{Name: "webapp", By: "make web (with Node.js 20.19 or newer)", Probe: probeWebApp}
)

// All returns every need, in the order in which the runner reports them.
func All() []Need {
	return []Need{PostgreSQL, RedisServer, Bubblewrap, Python, DockerEngine, ImageRegistry, S3Server, CCompiler, Chromium, WebApp}
}

// Required reports whether tests that lack the need have to fail instead of
// being skipped: REQUIRE names it, or this is CI, where nothing may be skipped.
func (n Need) Required() bool {
	return InCI() || slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), n.Name)
}

// How says in one line how a person gets the need.
func (n Need) How() string {
	if n.By != "" {
		return n.By
	}
	return "apt-get install " + strings.Join(n.Packages, " ")
}

// InCI reports whether the run is one in which no test may be skipped.
func InCI() bool { return os.Getenv("CI") == "true" }

// Install brings the packages of the needs with apt. It fails with
// ErrCannotInstall where that takes rights or a system that are not there.
func Install(ctx context.Context, out io.Writer, needs ...Need) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", ErrCannotInstall)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%w: no apt-get here", ErrCannotInstall)
	}
	var packages []string
	for _, n := range needs {
		packages = append(packages, n.Packages...)
	}
	if len(packages) == 0 {
		return fmt.Errorf("%w: no package brings them", ErrCannotInstall)
	}
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)
	if apt(ctx, out, install...) == nil {
		return nil
	}
	// A fresh image has no package lists, or old ones.
	if err := apt(ctx, out, "update", "-q"); err != nil {
		return err
	}
	return apt(ctx, out, install...)
}

// ErrCannotInstall says that a person has to install the package.
var ErrCannotInstall = errors.New("cannot install packages")

func apt(ctx context.Context, out io.Writer, args ...string) error {
	// Another apt may be at work on a machine that has just booted.
	args = append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}

// probeBubblewrap makes the namespaces that a job's sandbox is made of:
// kernels and containers often have the program and refuse its calls.
func probeBubblewrap(ctx context.Context) error {
	return try(ctx, "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true")
}

func probePython(ctx context.Context) error {
	return try(ctx, "python3", "-c", "import zipfile, json")
}

// try runs a command that should end at once with status 0.
func try(ctx context.Context, name string, args ...string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s does not work here: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
