package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

var (
	errKilled     = errors.New("killed")
	errTerminated = errors.New("terminated")
)

// act plays one step; an Exit ends the script.
func (r *simulatedRun) act(root *os.Root, verb, args string) (*daemon.Exit, error) {
	switch verb {
	case "log":
		return nil, r.print(args + "\n")
	case "burst":
		n, err := count(args)
		for i := int64(1); i <= n && err == nil; i++ {
			err = r.print(fmt.Sprintf("line %d\n", i))
		}
		return nil, err
	case "bytes":
		n, err := count(args)
		if err != nil {
			return nil, err
		}
		return nil, r.print(string(Numbered(n)))
	case "env":
		for _, e := range r.environ() {
			if v, ok := strings.CutPrefix(e, args+"="); ok {
				return nil, r.print(v + "\n")
			}
		}
		return nil, r.print("\n")
	case "environ":
		return nil, r.print(strings.Join(r.environ(), "\n") + "\n")
	case "cwd":
		return nil, r.print(path.Join(daemon.WorkDir, filepath.ToSlash(r.task.Workdir)) + "\n")
	case "cat":
		b, err := root.ReadFile(args)
		if err != nil {
			return nil, err
		}
		return nil, r.print(string(b))
	case "write":
		return r.write(root, args)
	case "wait":
		d, err := time.ParseDuration(args)
		if err != nil {
			return nil, err
		}
		return nil, r.pass(d)
	case "memory":
		return r.use(args)
	case "ignore-term":
		r.mu.Lock()
		r.deaf = true
		r.mu.Unlock()
		return nil, nil
	case "hang":
		return nil, r.pass(-1)
	case "exit":
		n, err := count(args)
		return &daemon.Exit{Code: int(n)}, err
	case "signal":
		n, err := count(args)
		return &daemon.Exit{Code: 128 + int(n)}, err
	case "oom":
		return r.outOfMemory(), nil
	case "phase", "refuse", "repeat":
		return nil, nil
	}
	return nil, errors.New("no such verb")
}

// Numbered is n bytes of numbered lines, the output of "bytes n", in which a
// lost, doubled or swapped byte shows.
func Numbered(n int64) []byte {
	var b bytes.Buffer
	for i := 1; int64(b.Len()) < n; i++ {
		fmt.Fprintf(&b, "%d\n", i)
	}
	return b.Bytes()[:n]
}

func (r *simulatedRun) environ() []string {
	return environment(r.task, map[string]string{
		"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
	})
}

func (r *simulatedRun) print(s string) error {
	if _, err := io.WriteString(r.out, s); err != nil {
		return errKilled
	}
	return nil
}

func (r *simulatedRun) write(root *os.Root, args string) (*daemon.Exit, error) {
	name, size, _ := strings.Cut(args, " ")
	n, err := count(size)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.usage.DiskBytes += n
	used := r.usage.DiskBytes
	r.mu.Unlock()
	if limit := r.task.Limits.DiskBytes; limit > 0 && used > limit {
		return &daemon.Exit{Code: 128 + 9, Reason: daemon.ReasonDiskFull,
			Detail: fmt.Sprintf("The job wrote more than its %d MiB of disk: ask for more with needs.disk_mb.", limit>>20)}, nil
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return nil, root.WriteFile(name, Numbered(n), 0o644)
}

func (r *simulatedRun) use(args string) (*daemon.Exit, error) {
	n, err := count(args)
	r.mu.Lock()
	r.usage.MemoryBytes = n
	r.usage.PeakMemoryBytes = max(r.usage.PeakMemoryBytes, n)
	r.mu.Unlock()
	if limit := r.task.Limits.MemoryBytes; limit > 0 && n > limit {
		return r.outOfMemory(), err
	}
	return nil, err
}

func (r *simulatedRun) outOfMemory() *daemon.Exit {
	return &daemon.Exit{Code: 128 + 9, Reason: daemon.ReasonOutOfMemory,
		Detail: fmt.Sprintf("The job needed more than its %d MiB of memory: ask for more with needs.memory_mb.", r.task.Limits.MemoryBytes>>20)}
}

// pass lets time go by, for ever when d is negative, until a signal ends it.
func (r *simulatedRun) pass(d time.Duration) error {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	r.mu.Lock()
	term := r.term
	if r.deaf {
		term = nil
	}
	r.mu.Unlock()
	select {
	case <-timer:
		return nil
	case <-term:
		return errTerminated
	case <-r.killed:
		return errKilled
	}
}

// over says whether a signal has arrived between two steps.
func (r *simulatedRun) over() error {
	select {
	case <-r.killed:
		return errKilled
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.term:
		if !r.deaf {
			return errTerminated
		}
	default:
	}
	return nil
}

func signalOf(err error) int {
	if errors.Is(err, errTerminated) {
		return 128 + 15
	}
	return 128 + 9
}

func step(line string) (verb, args string) {
	verb, args, _ = strings.Cut(line, " ")
	return verb, args
}

// back is where a script goes on that repeats the steps before the last one: next is
// the one after it.
func back(next int, args string) (int, error) {
	n, err := count(args)
	if err == nil && (n < 1 || n > int64(next-2)) {
		err = errors.New("there are not so many steps before it")
	}
	return next - 1 - int(n), err
}

func count(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("a negative number")
	}
	return n, err
}
