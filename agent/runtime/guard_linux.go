package runtime

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Guard is the process of a Watchdog: it obeys the orders until they end, which is when
// the agent did, and then kills what is still watched. It answers first that it is one.
func Guard(orders io.Reader, answer io.Writer) error {
	// A signal for the whole group asks the agent to end; it may drain for hours.
	// Nor must it end because nobody reads any more what it has to say.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	if _, err := io.WriteString(answer, watchdogAnswer); err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	g := &guard{agent: os.Getppid(), watched: map[string]watchdogOrder{}}
	told := make(chan watchdogOrder)
	var broken error
	go func() {
		defer close(told)
		lines := bufio.NewScanner(orders)
		for lines.Scan() {
			var o watchdogOrder
			if broken = json.Unmarshal(lines.Bytes(), &o); broken != nil {
				broken = fmt.Errorf("watchdog: an order is not understood: %w", broken)
				return
			}
			told <- o
		}
		broken = lines.Err()
	}()
	for {
		timer := time.NewTimer(g.tick())
		select {
		case o, more := <-told:
			if !more {
				g.strike(func(o watchdogOrder) bool { return o.Processes.Charge == "" })
				told = nil
				g.leave()
				break
			}
			g.obey(o)
		case <-timer.C:
			now := daemon.SystemClock{}.Boot()
			g.strike(func(o watchdogOrder) bool { return now >= g.deadline(o) })
			if told == nil {
				g.leave()
			}
		}
		timer.Stop()
		if told == nil && len(g.watched) == 0 {
			return broken
		}
	}
}

// guard is what a watchdog's process knows.
type guard struct {
	agent   int // never killed
	pet     watchdogOrder
	watched map[string]watchdogOrder
}

func (g *guard) obey(o watchdogOrder) {
	switch {
	case o.Name == "":
		if o.At >= g.pet.At {
			g.pet = o
		}
	case o.Processes == nil:
		delete(g.watched, o.Name)
	default:
		g.watched[o.Name] = o
		if o.Processes.Charge != "" {
			_ = os.WriteFile(o.Processes.Charge, []byte(charge(os.Getpid())), 0o600) // without it, two have charge
		}
	}
}

// charge names a process for as long as it lives.
func charge(pid int) string {
	p, ok := lookup(pid)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d %d", pid, p.started)
}

// leave forgets, after the agent's end, what does not need this watchdog any more: what
// has ended, and what another agent has taken up.
func (g *guard) leave() {
	for name, o := range g.watched {
		if _, alive := lookup(o.Processes.First); o.Processes.Charge == "" || !alive || g.relieved(o) {
			delete(g.watched, name)
		}
	}
}

// relieved says that another watchdog has charge.
func (g *guard) relieved(o watchdogOrder) bool {
	if o.Processes.Charge == "" {
		return false
	}
	said, err := os.ReadFile(o.Processes.Charge)
	pid, _ := strconv.Atoi(strings.SplitN(string(said), " ", 2)[0])
	return err == nil && pid != 0 && pid != os.Getpid() && string(said) == charge(pid)
}

// deadline is when a watched run is killed, by the time since boot.
func (g *guard) deadline(o watchdogOrder) time.Duration {
	within := o.Within
	if g.pet.Within > 0 {
		within = min(within, g.pet.Within)
	}
	return g.pet.At + within
}

// tick is how long it may look away. A timer stands still in suspend but the time since
// boot does not, so it never is for long.
func (g *guard) tick() time.Duration {
	tick := time.Second
	for _, o := range g.watched {
		tick = min(tick, max(10*time.Millisecond, o.Within/50))
	}
	return tick
}

// strike kills the chosen runs. They stay watched: an agent that wakes up in the middle of
// starting one would start it all the same.
func (g *guard) strike(chosen func(watchdogOrder) bool) {
	for name, o := range g.watched {
		if chosen(o) && !g.relieved(o) && killProcesses(*o.Processes, g.agent) {
			fmt.Fprintf(os.Stderr, "peergpu-agent watchdog: the agent gave no sign of life in time; %s was killed\n", name)
		}
	}
}

// killProcesses ends what is found of a run, for as long as something is, and says whether
// anything was.
func killProcesses(p daemon.Processes, never int) (killed bool) {
	group := &cgroup{dirs: p.Cgroup}
	for deadline := monotonic() + 5*time.Second; ; {
		left := group.pids()
		first := 0
		if found, ok := lookup(p.First); ok && found.started == p.Started {
			first = p.First
		}
		if p.Mark != "" || first != 0 && !p.Sandbox {
			left = append(left, family(first, p.Mark)...)
		}
		alive := first != 0 && killExactly(first, p.Started)
		for _, pid := range left {
			if pid != never && pid != os.Getpid() {
				alive = unix.Kill(pid, unix.SIGKILL) == nil || alive
			}
		}
		killed = killed || alive
		if !alive || monotonic() > deadline {
			return killed
		}
		time.Sleep(time.Millisecond)
	}
}

// killExactly kills a process unless its pid is another's by now.
func killExactly(pid int, started uint64) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	if p, ok := lookup(pid); !ok || p.started != started {
		return false
	}
	return !errors.Is(unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0), unix.ESRCH)
}
