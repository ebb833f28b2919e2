package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// nobody is who a job is, inside and, where the agent is root, outside too. As
// root bubblewrap would map it to root outside, and a job whose files belong to
// root may write /proc/sys/kernel/core_pattern, which runs commands on the
// host; bubblewrap covers that folder only where it looks writable.
const nobody = 65534

// sandbox knows how to call bubblewrap on this machine.
type sandbox struct {
	bwrap, version string
	asRoot         bool
	seccomp        []byte
	path           string   // the jobs' PATH
	base           []string // the part of the arguments that no task changes
	prefixes       []string // mounted where they are on the host
}

// newSandbox looks at the machine once: which of /bin, /lib… are links, what of
// /etc an interpreter needs. The rest of /etc stays out of sight.
func newSandbox(ctx context.Context, o Options, extra prefix) (*sandbox, error) {
	bwrap := o.Bubblewrap
	if bwrap == "" {
		bwrap = "bwrap"
	}
	path, err := exec.LookPath(bwrap)
	if err != nil {
		return nil, errors.New("the process runtime needs bubblewrap (bwrap), which is not installed; " + installAdvice)
	}
	s := &sandbox{bwrap: path, asRoot: os.Geteuid() == 0, seccomp: seccompFilter(), path: extra.path}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	s.version = strings.TrimSpace(string(out))

	etc, err := writeEtc(filepath.Join(o.Dir, "etc"))
	if err != nil {
		return nil, err
	}
	s.add("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
		"--uid", strconv.Itoa(nobody), "--gid", strconv.Itoa(nobody), "--hostname", "job", "--clearenv",
		"--ro-bind", "/usr", "/usr")
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(dir); err == nil {
			s.add("--symlink", target, dir)
		} else {
			s.add("--ro-bind-try", dir, dir)
		}
	}
	s.add("--ro-bind", etc, "/etc",
		"--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache",
		"--ro-bind-try", "/etc/alternatives", "/etc/alternatives")
	s.add("--proc", "/proc", "--dev", "/dev", "--symlink", "/tmp", "/var/tmp")
	s.prefixes = extra.dirs
	return s, nil
}

// owner is who has to own what a job writes, -1 for the agent itself.
func (s *sandbox) owner() int {
	if s.asRoot {
		return nobody
	}
	return -1
}

func (s *sandbox) add(args ...string) { s.base = append(s.base, args...) }

// arguments are bubblewrap's for one task. They travel through a file, not the
// command line, which every user of the host can read.
func (s *sandbox) arguments(t daemon.Task) []string {
	args := append([]string(nil), s.base...)
	add := func(a ...string) { args = append(args, a...) }
	for _, e := range environment(t, map[string]string{
		"PATH": s.path, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
	}) {
		k, v, _ := strings.Cut(e, "=")
		add("--setenv", k, v)
	}
	// What lies in memory counts against the memory limit, and is bounded of
	// its own where that limit is only watched.
	tmp, shm := int64(1<<30), int64(64<<20)
	if t.Limits.MemoryBytes > 0 {
		tmp, shm = t.Limits.MemoryBytes/2, t.Limits.MemoryBytes/4
	}
	if t.Limits.DiskBytes > 0 {
		tmp = min(tmp, t.Limits.DiskBytes)
	}
	if t.Limits.ShmBytes > 0 {
		shm = t.Limits.ShmBytes
	}
	add("--perms", "1777", "--size", strconv.FormatInt(max(tmp, 1<<12), 10), "--tmpfs", "/tmp",
		"--perms", "1777", "--size", strconv.FormatInt(max(shm, 1<<12), 10), "--tmpfs", "/dev/shm",
		"--bind", t.Dir, daemon.WorkDir)
	for _, dir := range s.prefixes { // after /tmp, where one may lie
		add("--ro-bind", dir, dir)
	}
	for _, in := range t.Inputs {
		add("--ro-bind", in.Source, filepath.Join(daemon.WorkDir, in.Target))
	}
	add("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", filepath.Join(daemon.WorkDir, t.Workdir))
	return args
}

// admit opens the task's folder and inputs to the job's user. Below 0 it is the agent's own
// user, to whom they are open.
func admit(ctx context.Context, t daemon.Task, uid int) error {
	if uid < 0 {
		return nil
	}
	err := filepath.WalkDir(t.Dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, ctx.Err(), os.Lchown(path, uid, uid)) //nolint:gosec // no job runs here yet
	})
	for _, in := range t.Inputs {
		err = errors.Join(err, filepath.WalkDir(in.Source, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink != 0 {
				return errors.Join(err, ctx.Err())
			}
			i, err := d.Info()
			if err != nil {
				return err
			}
			open := i.Mode().Perm() | 0o444
			if d.IsDir() {
				open |= 0o111
			}
			if open == i.Mode().Perm() {
				return ctx.Err()
			}
			return errors.Join(ctx.Err(), os.Chmod(path, open)) //nolint:gosec // no job runs here yet
		}))
	}
	return err
}

// writeEtc makes the /etc that jobs see: themselves, and nobody of the host.
// The empty ones are where files of the host are mounted.
func writeEtc(dir string) (string, error) {
	files := map[string]string{
		"passwd":        "root:x:0:0:root:/:/usr/sbin/nologin\njob:x:65534:65534:job:/tmp:/bin/sh\n",
		"group":         "root:x:0:\njob:x:65534:\n",
		"hosts":         "127.0.0.1 localhost job\n::1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"ld.so.cache":   "",
	}
	if err := os.MkdirAll(filepath.Join(dir, "alternatives"), 0o755); err != nil { //nolint:gosec // the jobs read it
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // the jobs read it
			return "", err
		}
	}
	return dir, nil
}

// countsProcesses says whether RLIMIT_NPROC can be set and counts the sandbox
// alone, as kernels since 5.14 do, and not everything of the same user.
func (s *sandbox) countsProcesses() bool {
	if s.asRoot && !capable(unix.CAP_SYS_RESOURCE) {
		return false
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major > 5 || major == 5 && minor >= 14
}

const installAdvice = "install it (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)"

// advice says what usually stands in the way of a sandbox.
func (s *sandbox) advice() string {
	for file, fix := range map[string]string{
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "AppArmor keeps it from making user name spaces: " +
			"give bwrap a profile that allows userns, or set kernel.apparmor_restrict_unprivileged_userns=0",
		"/proc/sys/kernel/unprivileged_userns_clone": "set kernel.unprivileged_userns_clone=1",
		"/proc/sys/user/max_user_namespaces":         "raise user.max_user_namespaces",
	} {
		v := strings.TrimSpace(readString(file))
		if v == "1" && strings.Contains(file, "apparmor") || v == "0" && !strings.Contains(file, "apparmor") {
			return fix
		}
	}
	return "bubblewrap needs user name spaces, which containers usually forbid: run the agent on the machine itself"
}
