package entry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialPause is between two tries to reach the agent.
const dialPause = 50 * time.Millisecond

// program is the entry at work.
type program struct {
	task  Task
	token string

	mu      sync.Mutex
	changed *sync.Cond
	kept    []byte // output from acked on
	acked   int64
	whole   bool // all output is in kept, or acknowledged
	end     *End
	child   int // 0 before the command was started
	closing bool
	timeout bool
}

// Main runs the task of Folder, and never ends by itself: the agent removes the container
// when it has everything. It answers an exit code where it cannot work at all.
func Main() int {
	// It signals every process that it can, which has to be those of its container.
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "peergpu-entry: it is process 1 of a job's container, and nothing else")
		return 2
	}
	// The job has the same user, and may not read the token out of it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "peergpu-entry:", err)
		return 2
	}
	runtime.GOMAXPROCS(1) // it leaves the job's CPUs alone
	p := &program{token: os.Getenv(TokenVariable)}
	p.changed = sync.NewCond(&p.mu)
	data, err := os.ReadFile(filepath.Join(Folder, Job))
	if err == nil {
		err = json.Unmarshal(data, &p.task)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peergpu-entry:", err)
		return 2
	}
	if v := p.task.Volume; v != nil {
		var s syscall.Stat_t
		if err := syscall.Stat(v.Path, &s); err != nil || s.Dev != v.Device || s.Ino != v.Inode {
			return WrongVolume
		}
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		for range terminate {
			p.signal(syscall.SIGTERM)
		}
	}()
	for {
		// What the agent does not know yet it is told by the next connection.
		_ = p.talk()
		time.Sleep(dialPause)
	}
}

// talk serves one connection to its end.
func (p *program) talk() error {
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", filepath.Join(Folder, Socket))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := Write(conn, Frame{Kind: Hello, Data: []byte(p.token)}); err != nil {
		return err
	}
	first, err := Read(conn)
	if err != nil {
		return err
	}
	if first.Kind != Resume {
		return fmt.Errorf("the agent began with %q", first.Kind)
	}
	p.start()
	broken := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		p.send(conn, first.Offset, broken)
		_ = conn.Close()
	}()
	for {
		f, err := Read(conn)
		if err != nil {
			p.mu.Lock()
			close(broken)
			p.changed.Broadcast()
			p.mu.Unlock()
			<-sent
			return err
		}
		switch f.Kind {
		case Over:
			os.Exit(0)
		case Ack:
			p.ack(f.Offset)
		case Term:
			p.signal(syscall.SIGTERM)
		case Kill:
			p.signal(syscall.SIGKILL)
		case Hello, Output, Ended, Whole, Resume:
		}
	}
}

// send brings everything from an offset on, until the connection breaks.
func (p *program) send(conn net.Conn, at int64, broken <-chan struct{}) {
	toldEnd, toldWhole := false, false
	for {
		var f Frame
		p.mu.Lock()
		for f.Kind == 0 {
			select {
			case <-broken:
				p.mu.Unlock()
				return
			default:
			}
			at = max(at, p.acked)
			last := p.acked + int64(len(p.kept))
			switch {
			case p.end != nil && !toldEnd:
				data, _ := json.Marshal(p.end) // of plain fields
				f, toldEnd = Frame{Kind: Ended, Data: data}, true
			case at < last:
				from := at - p.acked
				f = Frame{Kind: Output, Offset: at, Data: append([]byte(nil), p.kept[from:min(from+maxData, int64(len(p.kept)))]...)}
				at += int64(len(f.Data))
			case p.whole && !toldWhole:
				f, toldWhole = Frame{Kind: Whole, Offset: last}, true
			default:
				p.changed.Wait()
			}
		}
		p.mu.Unlock()
		if Write(conn, f) != nil {
			return
		}
	}
}

// ack forgets what the agent has for good.
func (p *program) ack(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := offset - p.acked; n > 0 && n <= int64(len(p.kept)) {
		p.kept, p.acked = append([]byte(nil), p.kept[n:]...), offset
		p.changed.Broadcast()
	}
}

// start starts the command, once.
func (p *program) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child != 0 || p.end != nil {
		return
	}
	began := time.Now()
	child, out, missing := p.fork()
	if missing != nil {
		missing.Duration = time.Since(began)
		p.end, p.whole = missing, true
		p.changed.Broadcast()
		return
	}
	p.child = child
	go p.collect(out)
	go p.reap(began)
}

// fork starts the command with its output in one pipe, or says why it cannot be.
func (p *program) fork() (int, *os.File, *End) {
	if i, err := os.Stat(p.task.Dir); err != nil || !i.IsDir() {
		return 0, nil, &End{Code: 127, NoDir: true, Missing: "no such folder"}
	}
	path, err := find(p.task)
	if err != nil {
		return 0, nil, missing(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, missing(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, missing(err)
	}
	defer w.Close()
	pid, err := syscall.ForkExec(path, p.task.Argv, &syscall.ProcAttr{
		Dir: p.task.Dir, Env: p.task.Env, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		_ = r.Close()
		return 0, nil, missing(err)
	}
	// Where memory runs out, the job goes and not its entry.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
	return pid, r, nil
}

// missing is the end of a command that did not start.
func missing(err error) *End {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &End{Code: 127, Missing: errno.Error()}
	}
	return &End{Code: 127, Missing: err.Error()}
}

// find looks a command up as the job's own shell would.
func find(t Task) (string, error) {
	name := t.Argv[0]
	if filepath.Base(name) != name {
		return name, nil // the kernel says what is wrong with it
	}
	path := ""
	for _, e := range t.Env {
		if len(e) > 5 && e[:5] == "PATH=" {
			path = e[5:]
		}
	}
	denied := false
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(t.Dir, dir)
		}
		full := filepath.Join(dir, name)
		i, err := os.Stat(full)
		if err != nil || i.IsDir() {
			continue
		}
		if unix.Access(full, unix.X_OK) == nil {
			return full, nil
		}
		denied = true
	}
	if denied {
		return "", syscall.EACCES
	}
	return "", syscall.ENOENT
}

// collect reads the pipe, as far as there is room for what it holds.
func (p *program) collect(out *os.File) {
	defer out.Close()
	buf := make([]byte, 32<<10)
	for {
		p.mu.Lock()
		for len(p.kept) >= Window {
			p.changed.Wait()
		}
		room := Window - len(p.kept)
		p.mu.Unlock()
		n, err := out.Read(buf[:min(room, len(buf))])
		p.mu.Lock()
		p.kept = append(p.kept, buf[:n]...)
		if err != nil { // nobody is left who could write
			p.whole = true
		}
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// reap buries whatever ends in the container. After the command nothing may be left.
func (p *program) reap(began time.Time) {
	var timers []*time.Timer
	if p.task.MaxRuntime > 0 {
		timers = append(timers, time.AfterFunc(p.task.MaxRuntime, func() {
			p.mu.Lock()
			p.timeout = p.end == nil && !p.closing
			p.mu.Unlock()
			p.signal(syscall.SIGTERM)
		}), time.AfterFunc(p.task.MaxRuntime+p.task.Grace, func() { p.signal(syscall.SIGKILL) }))
	}
	var e End
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil { // ECHILD: nobody is left
			break
		}
		if pid != p.child {
			continue
		}
		e.Duration = time.Since(began)
		e.Code = ws.ExitStatus()
		if ws.Signaled() {
			e.Code = 128 + int(ws.Signal())
		}
		p.mu.Lock()
		p.closing = true
		p.mu.Unlock()
		_ = syscall.Kill(-1, syscall.SIGKILL)
	}
	for _, t := range timers {
		t.Stop()
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u) == nil {
		e.CPUTime = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	e.PeakMemoryBytes, e.OOMKills = memory()
	e.ForksRefused = forksRefused()
	p.mu.Lock()
	e.TimedOut = p.timeout
	p.end = &e
	p.changed.Broadcast()
	p.mu.Unlock()
}

// signal goes to every process of the container but this one. One that is stopped would
// not see it.
func (p *program) signal(s syscall.Signal) {
	p.mu.Lock()
	started := p.child != 0
	p.mu.Unlock()
	if !started {
		return
	}
	_ = syscall.Kill(-1, s)
	_ = syscall.Kill(-1, syscall.SIGCONT)
}
