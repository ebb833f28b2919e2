package runtime

import (
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
)

// How often the limits are looked at that no kernel enforces here. A folder
// that takes long to count is counted less often, to at most a tenth of one CPU.
const (
	watchMemoryEvery = 100 * time.Millisecond
	watchDiskEvery   = 300 * time.Millisecond
)

// watch kills the job when it exceeds a limit; the answer ends the watching and
// waits for it. Limits with a kernel behind them cost nothing here.
func (r *processRun) watch() (stop func()) {
	var wg sync.WaitGroup
	quit := make(chan struct{})
	loop := func(every time.Duration, look func() (spent time.Duration)) {
		wg.Go(func() {
			for t := time.NewTimer(every); ; t.Reset(every) {
				select {
				case <-quit:
					t.Stop()
					return
				case <-t.C:
					spent := look()
					every = max(every, 10*spent)
				}
			}
		})
	}
	l := r.task.Limits
	if l.DiskBytes > 0 {
		loop(watchDiskEvery, r.lookAtDisk)
	}
	memory := l.MemoryBytes > 0 && !r.p.cgroups.has("memory")
	pids := l.PIDs > 0 && !r.p.cgroups.has("pids") && (r.box == nil || !r.p.box.countsProcesses())
	if memory || pids {
		loop(watchMemoryEvery, func() time.Duration { return r.lookAtProcesses(memory, pids) })
	}
	return func() {
		close(quit)
		wg.Wait()
	}
}

func (r *processRun) lookAtDisk() time.Duration {
	began := monotonic()
	used := diskUsage(r.task.Dir)
	r.mu.Lock()
	r.seen.DiskBytes = used
	r.mu.Unlock()
	if used > r.task.Limits.DiskBytes {
		r.end(daemon.ReasonDiskFull, diskDetail(r.task.Limits), 0, nil)
	}
	return monotonic() - began
}

func (r *processRun) lookAtProcesses(memory, pids bool) time.Duration {
	began := monotonic()
	var u daemon.Usage
	for _, pid := range r.pids() {
		u.MemoryBytes += privateMemory(pid)
		u.PIDs++
	}
	r.mu.Lock()
	r.seen.MemoryBytes, r.seen.PIDs = u.MemoryBytes, u.PIDs
	r.seen.PeakMemoryBytes = max(r.seen.PeakMemoryBytes, u.MemoryBytes)
	r.mu.Unlock()
	if memory && u.MemoryBytes > r.task.Limits.MemoryBytes {
		r.end(daemon.ReasonOutOfMemory, memoryDetail(r.task.Limits), 0, nil)
	}
	if pids && u.PIDs > r.task.Limits.PIDs {
		r.end(daemon.ReasonTooManyPIDs, processesDetail(r.task.Limits), 0, nil)
	}
	return monotonic() - began
}

// diskUsage is what a folder takes on disk. Where it is no file system of its own, hard
// links count once each, which errs against the job.
func diskUsage(dir string) (n int64) {
	if fs, own := volume(dir); own {
		return written(fs)
	}
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile, or closed by the job: not ours to fail
		}
		if i, err := d.Info(); err == nil {
			if s, ok := i.Sys().(*syscall.Stat_t); ok {
				n += s.Blocks * 512
			}
		}
		return nil
	})
	return n
}
