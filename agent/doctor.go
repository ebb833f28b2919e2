package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/agent/transfer"
)

// doctorCommand looks for what would keep this host from working.
type doctorCommand struct{}

// Help is shown by peergpu-agent doctor --help.
func (doctorCommand) Help() string {
	return `It ends with 0 when jobs can run here and 1 when something has to be fixed first.

Examples:

  peergpu-agent doctor
  peergpu-agent --home /var/lib/peergpu-agent doctor`
}

// unfit is an error that was shown already.
type unfit struct{ failed int }

// Error counts them, for a log.
func (u *unfit) Error() string { return fmt.Sprintf("%d checks failed", u.failed) }

// examination writes findings and counts those that are bad.
type examination struct {
	p      *program
	failed int
}

// ok is for what is as it should be.
func (e *examination) ok(what, found string) { e.line("ok", what, found, "") }

// warn is for what works, and could work better.
func (e *examination) warn(what, found, fix string) { e.line("warn", what, found, fix) }

// fail is for what keeps jobs from running.
func (e *examination) fail(what string, err error, fix string) {
	e.failed++
	e.line("FAIL", what, err.Error(), fix)
}

// line shows one finding, and below it what to do about it.
func (e *examination) line(verdict, what, found, fix string) {
	fmt.Fprintf(e.p.stdout, "%-4s  %-9s %s\n", verdict, what, found)
	if fix != "" {
		fmt.Fprintf(e.p.stdout, "                → %s\n", fix)
	}
}

// Run makes each check that the ones before it allow.
func (doctorCommand) Run(p *program) error {
	e := &examination{p: p}
	s, err := loadSettings(p.home)
	s = s.chosen(p.ctx)
	switch {
	case errors.Is(err, daemon.ErrNotEnrolled):
		e.fail("config", err, "peergpu-agent enroll --server URL --token pgpu_enr_…")
	case err != nil:
		e.fail("config", err, "correct the file; every key but server may be left out")
	default:
		e.ok("config", filepath.Join(p.home, settingsFile))
	}
	id := e.identity()
	e.disk()
	switch {
	case err == nil:
		e.server(s, id)
		fallthrough
	case errors.Is(err, daemon.ErrNotEnrolled): // every setting has its default
		e.sandbox(s)
		e.gpus(s)
	default:
		for _, what := range []string{"server", "sandbox", "gpus"} {
			e.line("-", what, "not checked: it depends on "+settingsFile, "")
		}
	}
	if e.failed > 0 {
		fmt.Fprintf(p.stdout, "\n%d to fix.\n", e.failed)
		return &unfit{e.failed}
	}
	fmt.Fprintln(p.stdout, "\nThis host is fit: peergpu-agent run.")
	return nil
}

// identity checks that this folder belongs to a host, and that nobody else can read its
// key.
func (e *examination) identity() *daemon.Identity {
	id, err := daemon.LoadIdentity(e.p.home)
	switch {
	case errors.Is(err, daemon.ErrNotEnrolled):
		e.fail("key", err, "peergpu-agent enroll --server URL --token pgpu_enr_…")
	case errors.Is(err, daemon.ErrExposedKey):
		e.fail("key", err, "if somebody may have copied it, enrol anew with --force")
	case err != nil:
		e.fail("key", err, "restore the folder from a backup, or enrol anew with --force")
	default:
		e.ok("key", fmt.Sprintf("host %s, key %.12s…", id.HostID, id.Thumbprint()))
	}
	return id
}

// server checks that the server answers, that the clocks agree and that it knows the key.
func (e *examination) server(s settings, id *daemon.Identity) {
	ctx, cancel := context.WithTimeout(e.p.ctx, 20*time.Second)
	defer cancel()
	server, err := transfer.NewServer(s.Server, versionName())
	if err != nil {
		e.fail("server", err, "correct server in "+settingsFile)
		return
	}
	at, err := server.Ping(ctx)
	if err != nil {
		e.fail("server", err, advice(err, "check the URL, the network and, where there is one, HTTPS_PROXY"))
		return
	}
	// The server's clock comes in whole seconds.
	offset := daemon.SystemClock{}.Now().Sub(at).Round(time.Second)
	if offset.Abs() > 30*time.Second {
		e.warn("server", fmt.Sprintf("%s answers; this machine's clock is off by %s", s.Server, offset), "the agent goes by the server's clock, but TLS does not: set up NTP (timedatectl set-ntp true)")
	} else {
		e.ok("server", s.Server+" answers, the clocks agree")
	}
	if id == nil {
		return
	}
	assertion, err := id.Assertion(at)
	if err == nil {
		_, err = server.Token(ctx, assertion)
	}
	if err != nil {
		e.fail("account", err, advice(err, "look at the host in the marketplace, or enrol anew with --force"))
		return
	}
	e.ok("account", "the server knows this host's key")
}

// advice is what to do about an error of the server, or else what helps in general.
func advice(err error, otherwise string) string {
	if do := daemon.Advice(err); do != "" {
		return do
	}
	return otherwise
}

// folder is where things are tried out: beside what the agent works in, on the same disk and
// where the engine sees it too. Without a state folder, or in somebody else's, it is a
// temporary one.
func (e *examination) folder() (dir string, leave func(), err error) {
	dir = filepath.Join(e.p.home, ".peergpu-doctor")
	err = os.Mkdir(dir, 0o700)
	f, closed := os.Open(dir)
	if err != nil && !errors.Is(err, os.ErrExist) || closed != nil {
		dir, err = os.MkdirTemp("", "peergpu-doctor-")
		return dir, func() { _ = os.RemoveAll(dir) }, err
	}
	if err := daemon.Lock(f); err != nil {
		return "", nil, errors.Join(errors.New("another doctor is at work here"), f.Close())
	}
	return dir, func() { _ = errors.Join(os.RemoveAll(dir), f.Close()) }, nil
}

// sandbox runs something as a job would be run.
func (e *examination) sandbox(s settings) {
	ctx, cancel := context.WithTimeout(e.p.ctx, time.Minute)
	defer cancel()
	dir, leave, err := e.folder()
	if err != nil {
		e.fail("sandbox", err, "wait for the other doctor, or make room in the folder for temporary files")
		return
	}
	defer leave()
	rt, closeRuntime, err := newRuntime(ctx, s, dir)
	if err != nil {
		fix := "install bubblewrap (apt install bubblewrap) and allow user namespaces"
		if s.Runtime == "docker" {
			fix = "start the engine (systemctl start docker), let this user call it (usermod -aG docker USER), or correct docker.host in " + settingsFile
		}
		e.fail("sandbox", err, fix)
		return
	}
	defer func() {
		_ = rt.RemoveDir(dir)
		_ = closeRuntime()
	}()
	// What a doctor that was killed has left.
	if err := rt.Sweep(ctx); err != nil {
		e.fail("sandbox", err, "remove by hand what an earlier doctor left")
		return
	}
	d, inContainers := rt.(*runtime.Docker)
	gpu := ""
	if inContainers {
		if gpus, err := parseGPUs(s.GPUs, e.p.home); err == nil {
			gpu = realGPU(ctx, gpus)
		}
		e.examined(d.Examine(ctx, gpu != "")...)
	}
	report, err := rt.Probe(ctx)
	if err != nil {
		e.fail("sandbox", err, "run the agent where a job can run")
		return
	}
	e.ok("sandbox", strings.TrimSpace(fmt.Sprintf("%s, isolation %s %s", rt.Info().Name, rt.Info().Isolation, report.Version)))
	if rt.Info().Name == "simulated" {
		return
	}
	if v, found := report.Commands["python3"]; found {
		e.ok("python3", v)
	} else {
		fix := "apt install python3, or name the folder of one under prefixes in " + settingsFile
		if inContainers {
			fix = "jobs that need it name an image of their own, or docker.image in " + settingsFile + " is one that has it"
		}
		e.warn("python3", "jobs find no python3", fix)
	}
	if gpu != "" {
		e.examined(d.TryGPU(ctx, gpu))
	}
	if inContainers {
		e.examined(d.ExamineVolumes())
		return // its other limits are told above
	}
	if report.Memory == daemon.EnforcedCgroup {
		e.ok("cgroup", "the kernel keeps jobs to their memory")
	} else {
		e.warn("cgroup", "memory is watched instead of limited", "run the agent as a systemd unit with Delegate=yes, or as root")
	}
}

// examined shows what a runtime tells of itself.
func (e *examination) examined(found ...runtime.Finding) {
	for _, f := range found {
		switch f.Verdict {
		case runtime.Good:
			e.ok(f.What, f.Found)
		case runtime.Better:
			e.warn(f.What, f.Found, f.Fix)
		case runtime.Broken, runtime.Unsafe:
			e.fail(f.What, errors.New(f.Found), f.Fix)
		}
	}
}

// littleDisk is what a job hardly gets by with.
const littleDisk = 5 << 30

// disk checks the room for jobs.
func (e *examination) disk() {
	free, err := daemon.FreeDisk(e.p.home)
	switch {
	case err != nil:
		e.fail("disk", err, "peergpu-agent enroll makes the state folder; name another with --home or PEERGPU_AGENT_HOME")
	case free < littleDisk:
		e.warn("disk", fmt.Sprintf("%d MiB free in %s", free>>20, e.p.home), "free some: jobs with more disk than that go elsewhere")
	default:
		e.ok("disk", fmt.Sprintf("%d GiB free in %s", free>>30, e.p.home))
	}
}

// gpus lists the devices, and says where jobs would not get them.
func (e *examination) gpus(s settings) {
	ctx, cancel := context.WithTimeout(e.p.ctx, 30*time.Second)
	defer cancel()
	probe, err := parseGPUs(s.GPUs, e.p.home)
	if err != nil {
		e.fail("gpus", err, "correct gpus in "+settingsFile)
		return
	}
	gpus, err := probe.Probe(ctx)
	var broken *gpu.Error
	switch {
	case errors.As(err, &broken):
		e.fail("gpus", errors.New(broken.Reason), broken.Fix)
	case err != nil:
		e.fail("gpus", err, "see that nvidia-smi works")
	case len(gpus) == 0:
		e.fail("gpus", errors.New("there is none, so nothing to rent"), "install NVIDIA's driver; or, to try things out, gpus: simulated:1xNVIDIA GeForce RTX 4090")
	}
	exist := false
	for _, g := range gpus {
		e.ok("gpus", fmt.Sprintf("%s, %d GiB, driver %s", g.Model, g.MemoryBytes>>30, g.Driver))
		exist = exist || g.Driver != daemon.SimulatedDriver
	}
	if exist && s.Runtime == "process" && !s.Trusted {
		e.warn("gpus", "jobs get no GPU from the process runtime", "GPUs need a container; for your own jobs alone set trusted: true in "+settingsFile)
	}
}
