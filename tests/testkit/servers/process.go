package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child that is waited for from the moment it starts.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended
}

// start runs the command on a thread of its own. The kernel sends the death
// signal of a child when the *thread* that made it ends, so that thread is
// kept until the child has gone.
func (p *process) start(cmd *exec.Cmd) error {
	p.cmd, p.done = cmd, make(chan struct{})
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is of no interest
		}
		close(p.done)
	}()
	return <-started
}

// run starts a program, which writes its own words into a file, and returns once it
// answers. It dies with the calling process, even if that is killed.
func (p *process) run(ctx context.Context, cmd *exec.Cmd, file string, answers func(context.Context) error) error {
	log, err := os.Create(file)
	if err != nil {
		return err
	}
	defer log.Close() // the program has its own handle
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.start(cmd); err != nil {
		return err
	}
	if err := p.await(ctx, 30*time.Second, answers); err != nil {
		said, _ := os.ReadFile(file)
		_ = p.stop(syscall.SIGKILL, time.Second)
		return fmt.Errorf("%s does not start: %w\n%s", filepath.Base(cmd.Path), err, said)
	}
	return nil
}

// answers asks a server of HTTP for something that it has.
func answers(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

// stop asks the child to end, and kills it if it has not after the grace.
func (p *process) stop(ask syscall.Signal, grace time.Duration) error {
	_ = p.cmd.Process.Signal(ask)
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %s", p.cmd.Path, grace)
	}
}

// freeze stops the child where it is, and returns when all its threads stand.
func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	threads := fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid)
	return p.await(context.Background(), 10*time.Second, func(context.Context) error {
		found, err := filepath.Glob(threads)
		for _, path := range found {
			stat, gone := os.ReadFile(path)
			if gone == nil && !strings.Contains(string(stat), ") T ") {
				err = errors.New("it goes on")
			}
		}
		return err
	})
}

// onFreePort starts something at addresses until it does. A port that is free now may be
// gone when a server takes it. Below 32768 it is not given to who connects to somebody, and
// so is free still when the server comes back.
func onFreePort(ctx context.Context, start func(addr string) error) (err error) {
	for range 5 {
		if err = start(net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// await tries until the child does what it was started for, has ended, or had its time.
func (p *process) await(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
