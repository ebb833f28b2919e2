package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The descriptors that bubblewrap inherits.
const (
	fdArgs = 3 + iota
	fdSeccomp
	fdStatus
	fdGo
	fdInfo
)

// launched is a sandbox that is built and waits for release to run its command.
type launched struct {
	monitor *os.Process // bubblewrap outside; ends with the command's exit code
	first   int         // pid of the sandbox's process 1: killing it kills all
	mu      sync.Mutex  // of kill against close: the number may be another process's then
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
		// It waits twice at one pipe: for its user map, then for the word to go.
		args = append(args, "--info-fd", strconv.Itoa(fdInfo), "--userns-block-fd", strconv.Itoa(fdGo))
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
	var ends [3][2]*os.File
	for i := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ends[i] = [2]*os.File{r, w}
		l.pipes = append(l.pipes, r, w)
	}
	statusR, statusW, goR, goW, infoR, infoW := ends[0][0], ends[0][1], ends[1][0], ends[1][1], ends[2][0], ends[2][1]
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{},
		Files: []*os.File{null, out, out, argsFile, filter, statusW, goR},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if s.asRoot {
		attr.Files = append(attr.Files, infoW)
		attr.Sys.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	argv := append([]string{"bwrap", "--args", strconv.Itoa(fdArgs), "--"}, t.Argv...)
	if l.monitor, r.group, err = r.p.spawner.start(s.bwrap, argv, attr, r.groupLimits()); err != nil {
		return nil, err
	}
	for _, f := range []*os.File{statusW, goR, infoW} {
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
		// Everybody is mapped to himself, so that bubblewrap can pass through
		// folders that are closed to nobody, root's or a user's. The job can
		// become none of them.
		for _, file := range []string{"uid_map", "gid_map"} {
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", *said.Child, file), []byte("0 0 4294967295\n"), 0); err != nil {
				return nil, err
			}
		}
		if _, err := goW.Write([]byte{1}); err != nil {
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
	l.mu.Lock()
	defer l.mu.Unlock()
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
	l.mu.Lock()
	defer l.mu.Unlock()
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

// memory is an unnamed file in memory that reads as data.
func memory(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
