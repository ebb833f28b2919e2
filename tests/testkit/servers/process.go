package servers

import (
	"fmt"
	"os/exec"
	"runtime"
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
