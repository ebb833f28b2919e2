package runtime

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// output is the reading end of a job's one pipe. The pipe is the back-pressure:
// the kernel holds 64 KiB, then the job waits.
type output struct {
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	head    []byte // the first bytes of the stream, for diagnosis
	pending []byte // taken out for diagnosis, or held back, and not yet read
	ended   bool
}

const headSize = 2 << 10

// newOutput answers the stream and the end to hand to the job.
func newOutput() (*output, *os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	// Ours waits in Go's poller; the job's stays an ordinary blocking pipe.
	_ = unix.SetNonblock(fds[0], true)
	o := &output{file: os.NewFile(uintptr(fds[0]), "output")}
	raw, err := o.file.SyscallConn()
	o.raw = raw
	return o, os.NewFile(uintptr(fds[1]), "output"), err
}

// Read implements io.Reader.
func (o *output) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var errno error
	err = o.raw.Read(func(fd uintptr) bool {
		n, errno = o.take(int(fd), b)
		return !errors.Is(errno, unix.EAGAIN)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The job is over. What it wrote is still in the pipe; its end is our
		// word, for a process that escaped may hold the other side open.
		err = o.raw.Control(func(fd uintptr) { n, errno = o.take(int(fd), b) })
	}
	switch {
	case err != nil: // closed
		return 0, io.EOF
	case errno != nil:
		return 0, io.EOF
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (o *output) take(fd int, b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if len(o.pending) > 0 && (o.ended || !o.doubtful()) {
			n := copy(b, o.pending)
			o.pending = o.pending[n:]
			return n, nil
		}
		n, err := o.readLocked(fd, b)
		if len(o.pending) == 0 && !o.doubtful() || o.ended {
			return n, err
		}
		if n == 0 { // the end is what end says
			return 0, unix.EAGAIN
		}
		o.pending = append(o.pending, b[:n]...)
	}
}

// doubtful says that the stream so far may be a line of bubblewrap's, which is not the
// job's output: whether the command ran is known when the run has ended.
func (o *output) doubtful() bool {
	const begins = "bwrap: "
	if len(o.head) == 0 || len(o.head) == headSize {
		return false
	}
	if len(o.head) < len(begins) {
		return strings.HasPrefix(begins, string(o.head))
	}
	line := bytes.IndexByte(o.head, '\n')
	return bytes.HasPrefix(o.head, []byte(begins)) && (line < 0 || line == len(o.head)-1)
}

// forget drops what was held back: it was bubblewrap's.
func (o *output) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = nil
}

func (o *output) readLocked(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n > 0 && len(o.head) < headSize {
			o.head = append(o.head, b[:min(n, headSize-len(o.head))]...)
		}
		return max(n, 0), err
	}
}

// end lets Read come to io.EOF once the pipe is empty.
func (o *output) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	_ = o.file.SetReadDeadline(time.Unix(1, 0))
}

// start answers the stream's first bytes, read by somebody or not.
func (o *output) start() string {
	_ = o.raw.Control(func(fd uintptr) {
		o.mu.Lock()
		defer o.mu.Unlock()
		b := make([]byte, headSize)
		if n, _ := o.readLocked(int(fd), b); n > 0 {
			o.pending = append(o.pending, b[:n]...)
		}
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.head)
}

func (o *output) close() error { return o.file.Close() }
