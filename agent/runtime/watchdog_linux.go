package runtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Watchdog is daemon.Watchdog as a process of its own, which reads its orders from a
// pipe. It is started again, and told everything again, should it end.
type Watchdog struct {
	command []string
	log     *slog.Logger
	ended   chan struct{} // closed when no process is left

	mu      sync.Mutex
	process *os.Process // nil while none runs
	pipe    *os.File
	pet     watchdogOrder
	watched map[string]watchdogOrder
	closed  bool
}

// watchdogOrder is one line of what a watchdog's process is told. With Processes a name
// is watched, without it is forgotten; without Name it is a pet.
type watchdogOrder struct {
	Name      string            `json:"name,omitempty"`
	Processes *daemon.Processes `json:"processes,omitempty"`
	At        time.Duration     `json:"at,omitempty"` // by the time since boot
	Within    time.Duration     `json:"within,omitempty"`
}

var _ daemon.Watchdog = (*Watchdog)(nil)

var (
	errNoWatchdog  = errors.New("the watchdog does not run")
	errNotWatchdog = errors.New("what was started as the watchdog is none")
)

const (
	watchdogPatience = time.Second     // for a process that does not read
	watchdogPause    = time.Second     // before it is started again
	watchdogStart    = 5 * time.Second // until it answers for the first time

	// watchdogMark is in the environment of what is started as a watchdog: a program that
	// does not know that it is to be one, and starts another, would do so without end.
	watchdogMark   = "PEERGPU_AGENT_WATCHDOG"
	watchdogAnswer = "the watchdog watches\n"
)

// NewWatchdog starts the process: a command that calls Guard. It fails for one that does
// not, and in such a process.
func NewWatchdog(log *slog.Logger, command ...string) (*Watchdog, error) {
	if os.Getenv(watchdogMark) != "" {
		return nil, fmt.Errorf("this process was started as a watchdog and may not start one (%s is set)", watchdogMark)
	}
	w := &Watchdog{command: command, log: log, ended: make(chan struct{}), watched: map[string]watchdogOrder{}}
	cmd, err := w.start()
	if err != nil {
		return nil, err
	}
	go w.keep(cmd)
	return w, nil
}

// start starts the process and tells it what is known.
func (w *Watchdog) start() (*exec.Cmd, error) {
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	answer, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	defer answer.Close()
	cmd := exec.CommandContext(context.Background(), w.command[0], w.command[1:]...)
	cmd.Env = append(os.Environ(), watchdogMark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, stdout, os.Stderr
	// What stops the agent's process group, such as Ctrl-Z, must not stop it too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = stdout.Close()
	if err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	if err := answered(answer); err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with whatever it started
		_ = cmd.Wait()                                      // it was killed
		return nil, errors.Join(err, pipe.Close())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.process, w.pipe = cmd.Process, pipe
	if w.closed {
		_ = pipe.Close()
		return cmd, nil
	}
	orders := []watchdogOrder{w.pet}
	for _, o := range w.watched {
		orders = append(orders, o)
	}
	for _, o := range orders {
		_ = w.send(o) // a failure ends the process, and keep sees that
	}
	return cmd, nil
}

// answered waits for the word of a process that it is a watchdog.
func answered(answer *os.File) error {
	if err := answer.SetReadDeadline(time.Now().Add(watchdogStart)); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(answer, int64(len(watchdogAnswer)))).ReadString('\n')
	if line != watchdogAnswer {
		return errors.Join(errNotWatchdog, err)
	}
	return nil
}

// keep sees that there is a process until Close.
func (w *Watchdog) keep(cmd *exec.Cmd) {
	defer close(w.ended)
	for {
		var err error
		if cmd != nil {
			err = cmd.Wait()
		}
		w.mu.Lock()
		w.process = nil
		_ = w.pipe.Close()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return
		}
		w.log.Error("the watchdog ended and is started again", "error", err)
		time.Sleep(watchdogPause)
		if cmd, err = w.start(); errors.Is(err, errNotWatchdog) {
			w.log.Error("the watchdog is not started again; no job starts without it: restart the agent", "error", err)
			return
		} else if err != nil {
			cmd = nil
			w.log.Error("the watchdog cannot be started; no job starts without it", "error", err)
		}
	}
}

// send writes an order; the lock is held.
func (w *Watchdog) send(o watchdogOrder) error {
	if w.process == nil || w.closed {
		return errNoWatchdog
	}
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err = w.pipe.SetWriteDeadline(time.Now().Add(watchdogPatience)); err == nil {
		_, err = w.pipe.Write(append(line, '\n'))
	}
	if err != nil {
		// It hangs, or half an order is in the pipe: the next process gets it whole.
		_ = w.process.Kill()
	}
	return err
}

// Watch implements daemon.Watchdog.
func (w *Watchdog) Watch(name string, within time.Duration, p daemon.Processes) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := watchdogOrder{Name: name, Processes: &p, Within: within}
	if err := w.send(o); err != nil {
		return err
	}
	w.watched[name] = o
	return nil
}

// Pet implements daemon.Watchdog.
func (w *Watchdog) Pet(at, within time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at < w.pet.At {
		return nil
	}
	w.pet = watchdogOrder{At: at, Within: within}
	return w.send(w.pet)
}

// Forget implements daemon.Watchdog.
func (w *Watchdog) Forget(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, watched := w.watched[name]; !watched {
		return nil
	}
	delete(w.watched, name)
	return w.send(watchdogOrder{Name: name})
}

// Close ends the process, which kills what is still watched. With runs that outlive the
// agent it stays until their time, or until another has charge of them.
func (w *Watchdog) Close() error {
	w.mu.Lock()
	w.closed = true
	err := w.pipe.Close()
	stays := false
	for _, o := range w.watched {
		stays = stays || o.Processes.Charge != ""
	}
	w.mu.Unlock()
	if !stays {
		<-w.ended
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
