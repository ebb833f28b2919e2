package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

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
}

// newSandbox looks at the machine once: which of /bin, /lib… are links, what of
// /etc an interpreter needs. The rest of /etc stays out of sight.
func newSandbox(o Options, extra prefix) (*sandbox, error) {
	bwrap := o.Bubblewrap
	if bwrap == "" {
		bwrap = "bwrap"
	}
	path, err := exec.LookPath(bwrap)
	if err != nil {
		return nil, errors.New("the process runtime needs bubblewrap (bwrap), which is not installed; " + installAdvice)
	}
	s := &sandbox{bwrap: path, asRoot: os.Geteuid() == 0, seccomp: seccompFilter(), path: extra.path}
	out, err := exec.Command(path, "--version").Output()
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
	for _, dir := range extra.dirs {
		s.add("--ro-bind", dir, dir)
	}
	s.add("--proc", "/proc", "--dev", "/dev", "--symlink", "/tmp", "/var/tmp")
	return s, nil
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
	for _, in := range t.Inputs {
		add("--ro-bind", in.Source, filepath.Join(daemon.WorkDir, in.Target))
	}
	add("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", filepath.Join(daemon.WorkDir, t.Workdir))
	return args
}

// The descriptors that bubblewrap inherits.
const (
	fdArgs = 3 + iota
	fdSeccomp
	fdStatus
	fdGo
	fdInfo
	fdMapped
)

// launched is a sandbox that is built and waits for release to run its command.
type launched struct {
	monitor *os.Process // bubblewrap outside; ends with the command's exit code
	first   int         // pid of the sandbox's process 1: killing it kills all
	pidfd   int
	release *os.File
	status  *json.Decoder // says, once it ended, whether the command ever ran
	pipes   []*os.File
}

// status is what bubblewrap reports, one document after the other.
type status struct {
	Child *int `json:"child-pid"`
	Exit  *int `json:"exit-code"`
}

// launch builds the sandbox around a run, its output going to out.
func (s *sandbox) launch(ctx context.Context, r *processRun, out *os.File) (_ *launched, err error) {
	l, t := &launched{pidfd: -1}, r.task
	defer func() {
		if err != nil {
			l.abandon()
		}
	}()
	args := append(s.arguments(t), "--seccomp", strconv.Itoa(fdSeccomp),
		"--json-status-fd", strconv.Itoa(fdStatus), "--block-fd", strconv.Itoa(fdGo))
	if s.asRoot {
		args = append(args, "--info-fd", strconv.Itoa(fdInfo), "--userns-block-fd", strconv.Itoa(fdMapped))
	}
	argsFile, err := memory("args", []byte(strings.Join(args, "\x00")+"\x00"))
	if err != nil {
		return nil, err
	}
	defer argsFile.Close()
	filter, err := memory("seccomp", s.seccomp)
	if err != nil {
		return nil, err
	}
	defer filter.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()

	// Odd ends are the child's: closed here as soon as it has them.
	var ends [8]*os.File
	for i := 0; i < len(ends); i += 2 {
		if ends[i], ends[i+1], err = os.Pipe(); err != nil {
			return nil, err
		}
		l.pipes = append(l.pipes, ends[i], ends[i+1])
	}
	statusR, statusW, goR, goW, infoR, infoW, mappedR, mappedW := ends[0], ends[1], ends[2], ends[3], ends[4], ends[5], ends[6], ends[7]
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{},
		Files: []*os.File{null, out, out, argsFile, filter, statusW, goR, infoW, mappedR},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if s.asRoot {
		attr.Sys.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	argv := append([]string{"bwrap", "--args", strconv.Itoa(fdArgs), "--"}, t.Argv...)
	if l.monitor, r.group, err = r.p.spawner.start(s.bwrap, argv, attr, r.groupLimits()); err != nil {
		return nil, err
	}
	for _, f := range []*os.File{statusW, goR, infoW, mappedR} {
		_ = f.Close()
	}
	l.release, l.status = goW, json.NewDecoder(statusR)
	// bubblewrap may hang on a dead network mount; ctx bounds that.
	defer context.AfterFunc(ctx, func() { _ = l.monitor.Kill() })()

	var said status
	if s.asRoot {
		if err := json.NewDecoder(infoR).Decode(&said); err != nil || said.Child == nil {
			return nil, errNoSandbox
		}
		// Root is mapped as well, so that bubblewrap can look into folders
		// that are root's; the job cannot become it.
		for _, file := range []string{"uid_map", "gid_map"} {
			m := fmt.Sprintf("0 0 1\n%d %d 1\n", nobody, nobody)
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", *said.Child, file), []byte(m), 0); err != nil {
				return nil, err
			}
		}
		if _, err := mappedW.Write([]byte{1}); err != nil {
			return nil, err
		}
	} else if err := l.status.Decode(&said); err != nil || said.Child == nil {
		return nil, errNoSandbox
	}
	l.first = *said.Child
	if l.pidfd, err = unix.PidfdOpen(l.first, 0); err != nil {
		return nil, err
	}
	return l, nil
}

// errNoSandbox is completed with bubblewrap's own words, which stand in the
// job's output.
var errNoSandbox = errors.New("bubblewrap could not build the sandbox")

// exitCode reads what bubblewrap reported in the end; false means that the
// command never ran.
func (l *launched) exitCode() (int, bool) {
	for {
		var said status
		if err := l.status.Decode(&said); err != nil {
			return 0, false
		}
		if said.Exit != nil {
			return *said.Exit, true
		}
	}
}

// kill ends the whole sandbox at once: the kernel kills a pid name space with
// its first process.
func (l *launched) kill() {
	if l.pidfd >= 0 {
		_ = unix.PidfdSendSignal(l.pidfd, unix.SIGKILL, nil, 0)
	}
}

// gone waits until the kernel has removed the last process of the sandbox.
func (l *launched) gone() {
	if l.pidfd < 0 {
		return
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.pidfd), Events: unix.POLLIN}}, -1)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	// As process 1 of a container the agent inherits it, and has to bury it.
	_, _ = unix.Wait4(l.first, nil, unix.WNOHANG, nil)
}

func (l *launched) close() {
	for _, f := range l.pipes {
		_ = f.Close()
	}
	if l.pidfd >= 0 {
		_ = unix.Close(l.pidfd)
		l.pidfd = -1
	}
}

// abandon undoes a launch that failed half-way.
func (l *launched) abandon() {
	if l.monitor != nil {
		l.kill()
		_ = l.monitor.Kill()
		_, _ = l.monitor.Wait()
		l.gone()
	}
	l.close()
}

// admit opens the task's folder and inputs to the job's user. Only root has to:
// else the job is the agent's own user outside.
func (s *sandbox) admit(ctx context.Context, t daemon.Task) error {
	if !s.asRoot {
		return nil
	}
	err := filepath.WalkDir(t.Dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, ctx.Err(), os.Lchown(path, nobody, nobody))
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
			return errors.Join(ctx.Err(), os.Chmod(path, open))
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
	if err := os.MkdirAll(filepath.Join(dir, "alternatives"), 0o755); err != nil {
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// memory is an unnamed file in memory that reads as data.
func memory(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
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
