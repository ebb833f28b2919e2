package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

const (
	// leastToolkit is the oldest NVIDIA Container Toolkit in which an image cannot run
	// programs of its own on the host (CVE-2025-23266, CVE-2024-0132).
	leastToolkit = "1.17.8"
	// littleImageDisk is what a CUDA image hardly gets by with.
	littleImageDisk = 20 << 30
	toolkitTime     = 10 * time.Second
)

// Examine looks for what would keep containers from running, or from being safe, on a
// machine that has GPUs or none. It starts no container.
func (d *Docker) Examine(ctx context.Context, gpus bool) []Finding {
	found := []Finding{d.examineEngine(), d.examineLimits()}
	if d.o.Runtime != "" {
		found = append(found, d.examineRuntime())
	}
	if f, local := d.examineDisk(); local {
		found = append(found, f)
	}
	if gpus {
		found = append(found, examineToolkit(ctx))
	}
	return found
}

func (d *Docker) examineEngine() Finding {
	e := d.engine
	f := Finding{What: "engine", Verdict: Good, Found: fmt.Sprintf("Docker %s at %s, %s, cgroup v%s", e.ServerVersion, d.api.DaemonHost(), e.Driver, e.CgroupVersion)}
	filtered := slices.ContainsFunc(e.SecurityOptions, func(o string) bool {
		return strings.Contains(o, "name=seccomp") && !strings.Contains(o, "unconfined")
	})
	switch {
	case !filtered:
		f.Verdict, f.Found = Unsafe, f.Found+": it filters no system calls (seccomp)"
		f.Fix = `use a kernel with seccomp, and take "seccomp-profile": "unconfined" out of /etc/docker/daemon.json`
	case !e.LiveRestoreEnabled:
		f.Verdict, f.Found = Better, f.Found+": jobs end when it is restarted"
		f.Fix = `write "live-restore": true into /etc/docker/daemon.json and reload the engine (systemctl reload docker)`
	}
	return f
}

func (d *Docker) examineLimits() Finding {
	f := Finding{What: "limits", Verdict: Good, Found: "the kernel keeps jobs to their memory, processes and CPUs"}
	switch e := d.engine; {
	case !e.MemoryLimit:
		f.Verdict, f.Found, f.Fix = Unsafe, "a job could take all memory of this machine", "enable the memory cgroup (kernel parameter cgroup_enable=memory)"
	case !e.PidsLimit:
		f.Verdict, f.Found, f.Fix = Unsafe, "a job could fork without end", "enable the pids cgroup (kernel option CONFIG_CGROUP_PIDS)"
	case !e.CPUCfsQuota:
		f.Verdict, f.Found, f.Fix = Better, "a job can take CPU time of others", "enable CPU quotas (kernel option CONFIG_CFS_BANDWIDTH)"
	}
	return f
}

func (d *Docker) examineRuntime() Finding {
	if _, known := d.engine.Runtimes[d.o.Runtime]; known {
		return Finding{What: "runtime", Verdict: Good, Found: d.o.Runtime}
	}
	known := slices.Sorted(maps.Keys(d.engine.Runtimes))
	return Finding{
		What: "runtime", Verdict: Broken, Found: fmt.Sprintf("the engine has no runtime %q; it has %s", d.o.Runtime, strings.Join(known, ", ")),
		Fix: `install it and name it under "runtimes" in /etc/docker/daemon.json, or correct docker.runtime in agent.yaml`,
	}
}

// examineDisk looks at where images go, if that is on this machine.
func (d *Docker) examineDisk() (Finding, bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(d.engine.DockerRootDir, &s) != nil {
		return Finding{}, false
	}
	free := int64(s.Bavail) * s.Bsize
	f := Finding{What: "images", Verdict: Good, Found: fmt.Sprintf("%d GiB free in %s", free>>30, d.engine.DockerRootDir)}
	if free < littleImageDisk {
		f.Verdict, f.Fix = Better, "free some (docker system prune): images with CUDA have 10 GiB and more"
	}
	return f, true
}

var toolkitVersion = regexp.MustCompile(`\b(\d+)\.(\d+)\.(\d+)\b`)

func examineToolkit(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, toolkitTime)
	defer cancel()
	const install = "install nvidia-container-toolkit " + leastToolkit + " or newer, nvidia-ctk runtime configure --runtime=docker, systemctl restart docker"
	f := Finding{What: "toolkit", Verdict: Better, Fix: install}
	said, err := exec.CommandContext(ctx, "nvidia-ctk", "--version").CombinedOutput()
	version := toolkitVersion.FindString(string(said))
	switch {
	case errors.Is(err, exec.ErrNotFound):
		f.Found = "the version of the NVIDIA Container Toolkit is not known: there is no nvidia-ctk here"
	case err != nil || version == "":
		f.Found = "nvidia-ctk does not tell its version"
	case olderVersion(version, leastToolkit):
		f.Verdict, f.Found = Unsafe, fmt.Sprintf("NVIDIA Container Toolkit %s: an image could run programs as root on this machine (CVE-2025-23266)", version)
	default:
		f.Verdict, f.Found, f.Fix = Good, "NVIDIA Container Toolkit "+version, ""
	}
	return f
}

// olderVersion compares versions of three numbers.
func olderVersion(a, b string) bool {
	numbers := func(v string) (n [3]int) {
		for i, m := range toolkitVersion.FindStringSubmatch(v)[1:] {
			n[i], _ = strconv.Atoi(m) // digits
		}
		return n
	}
	x, y := numbers(a), numbers(b)
	return slices.Compare(x[:], y[:]) < 0
}

// TryGPU runs something in a container that has the GPU.
func (d *Docker) TryGPU(ctx context.Context, gpu string) Finding {
	if d.o.Image == "" {
		return Finding{What: "gpu", Verdict: Better, Found: "no GPU was tried in a container", Fix: "name an image in agent.yaml: docker: {image: …}"}
	}
	f := Finding{What: "gpu", Verdict: Good, Found: "containers get " + gpu}
	if err := d.tryGPU(ctx, gpu); err != nil {
		f.Verdict, f.Found = Broken, "no container starts with "+gpu+": "+err.Error()
		f.Fix = "see that docker run --rm --gpus all IMAGE true works: nvidia-ctk runtime configure --runtime=docker, systemctl restart docker"
	}
	return f
}

func (d *Docker) tryGPU(ctx context.Context, gpu string) error {
	dir, err := os.MkdirTemp(d.tries(), "probe-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	t := daemon.Task{JobID: filepath.Base(dir), Attempt: 1, Argv: []string{"sh", "-c", "exit 0"}, Dir: dir, Trusted: true, GPUs: []string{gpu}}
	if err := d.Prepare(ctx, t, nil); err != nil {
		return err
	}
	run, err := d.Start(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = run.Cleanup() }()
	defer context.AfterFunc(ctx, func() { _ = run.Stop(ctx, 0) })()
	exit, err := run.Wait(ctx)
	if err == nil && (exit.Reason != "" || exit.Code != 0) {
		err = fmt.Errorf("it ended with %d: %s", exit.Code, exit.Detail)
	}
	return err
}
