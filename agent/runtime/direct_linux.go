package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// direct is a job outside the sandbox: the owner's own, started by fork and
// exec with nothing between. It leads a session, by which its children are
// found; those that start a session of their own are found by the cgroup, or
// else by mark, the run's folder, which they inherit as TMPDIR.
type direct struct {
	process *os.Process
	mark    string
}

func (r *processRun) startDirect(out *os.File) error {
	tmp := r.folder()
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	env := environment(r.task, map[string]string{
		"PATH": r.p.python.path, "HOME": tmp, "TMPDIR": tmp, "LANG": "C.UTF-8",
	})
	cwd := filepath.Join(r.task.Dir, r.task.Workdir)
	path, err := resolve(r.task.Argv[0], cwd, env)
	if err != nil {
		r.conclude(notFound(commandDetail(r.task.Argv[0], err.Error())), nil)
		return nil
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	if err := r.task.Guarded(daemon.Processes{Mark: tmp}); err != nil {
		return err
	}
	r.began = monotonic()
	p, group, err := r.p.spawner.start(path, r.task.Argv, &os.ProcAttr{
		Dir: cwd, Env: env, Files: []*os.File{null, out, out},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}, r.groupLimits())
	if err != nil {
		var why syscall.Errno
		if errors.As(err, &why) && (why == unix.ENOENT || why == unix.EACCES || why == unix.ENOEXEC || why == unix.ENOTDIR) {
			r.conclude(notFound(commandDetail(r.task.Argv[0], why.Error())), nil)
			return nil
		}
		return err
	}
	// The command runs already. These limits follow within microseconds, which
	// is good enough for the owner's own job.
	r.group, r.direct = group, &direct{process: p, mark: tmp}
	r.limitProcess(p.Pid)
	me, _ := lookup(p.Pid)
	found := daemon.Processes{First: p.Pid, Started: me.started, Mark: tmp}
	if group != nil {
		found.Cgroup = group.dirs
	}
	if err := r.task.Guarded(found); err != nil {
		return err
	}
	if group != nil {
		return nil // by which the next agent finds the job, should this one be killed
	}
	return os.WriteFile(tmp+recordSuffix, fmt.Appendf(nil, "%d %d", p.Pid, me.started), 0o600)
}

// kill ends the given processes and the job's process group at once.
func (d *direct) kill(pids []int) {
	_ = d.process.Kill()
	_ = unix.Kill(-d.process.Pid, unix.SIGKILL)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// wait waits for the command and ends what it left running.
func (d *direct) wait(group *cgroup, began time.Duration) (*os.ProcessState, time.Duration, error) {
	// The dead leader is kept until its group has been killed: its pid cannot
	// be somebody else's until then.
	for {
		err := unix.Waitid(unix.P_PID, d.process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	took := monotonic() - began
	_ = unix.Kill(-d.process.Pid, unix.SIGKILL)
	state, err := d.process.Wait()
	group.kill(time.Minute)
	if group == nil {
		killFamily(d.process.Pid, d.mark)
	}
	return state, took, err
}

// killFamily ends whoever came of a job until none is left.
func killFamily(leader int, mark string) {
	for deadline := monotonic() + time.Minute; monotonic() < deadline; time.Sleep(time.Millisecond) {
		left := family(leader, mark)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// recordSuffix makes the name of a run's record out of that of its folder.
const recordSuffix = ".pid"

// killRecorded ends the processes of a run that an earlier agent recorded. The
// leader itself died with that agent, so its pid may be somebody else's by now.
func killRecorded(dir string) {
	var pid int
	var started uint64
	if n, _ := fmt.Sscan(readString(dir+recordSuffix), &pid, &started); n != 2 || pid < 2 {
		pid = 0
	} else if p, ok := lookup(pid); ok && p.started != started {
		pid = 0
	}
	killFamily(pid, dir)
}

// resolve finds a command as execvp would in the job's own folder and PATH.
func resolve(command, cwd string, env []string) (string, error) {
	if strings.Contains(command, "/") {
		if !filepath.IsAbs(command) {
			command = filepath.Join(cwd, command)
		}
		return command, nil
	}
	why := error(unix.ENOENT)
	for _, e := range env {
		list, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(cwd, dir)
			}
			path := filepath.Join(dir, command)
			if _, err := exec.LookPath(path); err == nil {
				return path, nil
			} else if errors.Is(err, fs.ErrPermission) {
				why = unix.EACCES
			}
		}
	}
	return "", why
}
