package runtime

import (
	"errors"
	"os"
	goruntime "runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// spawner starts the jobs' processes, from one thread that lives as long as the
// runtime. A child asks to be killed with its parent, and by parent the kernel
// means the thread that forked it, while Go lets threads come and go.
//
// On version 1 of cgroups that thread waits in the group that the next job will
// get. So no process ever has to be moved: a move waits for the kernel's RCU,
// often 10 ms, and what the process forked before it would escape. Version 2
// starts a process in its group to begin with.
type spawner struct {
	cgroups *cgroups
	work    chan func()
	ended   chan struct{}
	closing sync.Once
	parked  *cgroup // the spawner's thread alone uses it
}

func newSpawner(c *cgroups) *spawner {
	s := &spawner{cgroups: c, work: make(chan func()), ended: make(chan struct{})}
	go s.run()
	return s
}

// run keeps its thread locked to the end, so that the thread ends with it.
func (s *spawner) run() {
	goruntime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The process's first thread stands for the process: /proc and the
		// memory controller would see the whole agent parked. Another one is
		// sure to be another while this one is locked.
		other := make(chan struct{})
		go func() {
			goruntime.LockOSThread()
			close(other)
			s.serve()
		}()
		<-other
		goruntime.UnlockOSThread()
		return
	}
	s.serve()
}

func (s *spawner) serve() {
	defer close(s.ended)
	for f := range s.work {
		f()
	}
}

// start starts a process in a cgroup of its own, which the caller removes. The
// group is nil where there are none.
func (s *spawner) start(path string, argv []string, attr *os.ProcAttr, l cgroupLimits) (p *os.Process, g *cgroup, err error) {
	done := make(chan struct{})
	s.work <- func() {
		cpu := cgroupLimits{cpuMilli: l.cpuMilli}
		p, g, err = s.fork(path, argv, attr, cgroupLimits{memory: l.memory, pids: l.pids})
		group := g
		close(done)
		if group == nil || group.tree.v2 {
			return
		}
		_ = s.park() // the next fork tries again, and says why not
		if l.cpuMilli > 0 {
			_ = group.limit(cpu) // earlier, it would slow down this thread
		}
	}
	<-done
	return p, g, err
}

func (s *spawner) fork(path string, argv []string, attr *os.ProcAttr, l cgroupLimits) (*os.Process, *cgroup, error) {
	if s.cgroups == nil {
		p, err := os.StartProcess(path, argv, attr)
		return p, nil, err
	}
	if s.parked == nil {
		if err := s.park(); err != nil {
			return nil, nil, err
		}
	}
	g := s.parked
	s.parked = nil
	if !g.tree.v2 && l.pids > 0 {
		l.pids++ // this thread, until it moves on
	}
	if err := g.limit(l); err != nil {
		return nil, nil, errors.Join(err, s.park(), g.remove())
	}
	if g.tree.v2 {
		dir, err := os.Open(g.dirs[""])
		if err != nil {
			return nil, nil, errors.Join(err, g.remove())
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		if !g.tree.v2 {
			err = errors.Join(err, s.park())
		}
		return nil, nil, errors.Join(err, g.remove())
	}
	return p, g, nil
}

// park gets the next job's group ready.
func (s *spawner) park() error {
	g, err := s.cgroups.create()
	if err != nil {
		return err
	}
	if !s.cgroups.v2 {
		if err := g.park(); err != nil {
			return err
		}
	}
	s.parked = g
	return nil
}

// close ends the thread, and with it the jobs that it started.
func (s *spawner) close() error {
	var err error
	s.closing.Do(func() {
		close(s.work)
		<-s.ended
		if s.parked != nil {
			err = s.parked.remove()
		}
		if s.cgroups != nil {
			s.cgroups.close()
		}
	})
	return err
}
