package runtime

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/runtime/entry"
)

// feed is the agent's end of a container's entry: the output as one stream, and the word
// that the command has ended. A connection that breaks is made again by the entry and
// goes on where this end stands.
type feed struct {
	token    []byte
	folder   *os.File // of the socket
	listener net.Listener

	came  chan struct{} // closed when the entry has shown its token for the first time
	once  sync.Once
	ended chan struct{} // closed when end is set
	torn  chan struct{} // closed when the entry has not what is wanted

	mu      sync.Mutex
	changed *sync.Cond
	conn    net.Conn
	ready   bool   // the entry may start the command
	pending []byte // received and not read
	next    int64  // where the byte after pending stands
	read    int64  // before it everything was read; acknowledged by the Read that follows
	acked   int64
	size    int64 // of the whole output, -1 while it is not known
	end     *entry.End
	closed  bool
}

const (
	helloWithin = 250 * time.Millisecond // that somebody may take to show a token
	strangers   = 256                    // who may be about to, at a time
	listenPause = 100 * time.Millisecond
)

// listen opens the socket in a folder for an entry whose output is wanted from an offset
// on.
func listen(dir, token string, from int64) (*feed, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	f := &feed{
		token: []byte(token), folder: folder, came: make(chan struct{}), ended: make(chan struct{}), torn: make(chan struct{}),
		next: from, read: from, acked: from, size: -1,
	}
	f.changed = sync.NewCond(&f.mu)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return f, nil
}

// open lets somebody connect; the lock is held. The door is shut as soon as the entry is in:
// a job that knocks at it then costs its agent nothing.
func (f *feed) open() error {
	if f.listener != nil {
		_ = f.listener.Close() // which takes its socket away
	}
	// The address of a socket is short, and the path of a folder need not be.
	path := fmt.Sprintf("/proc/self/fd/%d/%s", f.folder.Fd(), entry.Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return err
	}
	// The job has another user than the agent; the token tells its entry from the rest.
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // the folder is closed to others
		return errors.Join(err, l.Close())
	}
	f.listener = l
	go f.accept(l)
	return nil
}

// reopen lets an entry come back whose connection broke.
func (f *feed) reopen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed && f.open() != nil {
		f.mu.Unlock()
		time.Sleep(listenPause) // such as too many open files, which passes
		f.mu.Lock()
	}
}

// noFeed is the output of what never ran.
func noFeed() *feed {
	f := &feed{came: make(chan struct{}), ended: make(chan struct{}), torn: make(chan struct{})}
	f.changed = sync.NewCond(&f.mu)
	return f
}

func (f *feed) accept(l net.Listener) {
	room := make(chan struct{}, strangers)
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(listenPause)
			continue
		}
		if !entryIs(c) {
			_ = c.Close()
			continue
		}
		room <- struct{}{}
		go func() {
			defer func() { <-room }()
			f.serve(c, l)
		}()
	}
}

// entryIs says whether process 1 of a container is at the other end, or somebody whom
// nobody here can see: the agent is in a container itself.
func entryIs(c net.Conn) bool {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		return false
	}
	if peer.Pid == 0 {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", peer.Pid))
	if err != nil {
		return true // it has ended, or this /proc hides it: its token tells
	}
	for line := range strings.Lines(string(status)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok { // from our name space to its own
			all := strings.Fields(pids)
			return len(all) > 1 && all[len(all)-1] == "1"
		}
	}
	return true // a kernel without it
}

// serve takes what one connection brings, if it is the entry's.
func (f *feed) serve(c net.Conn, l net.Listener) {
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(helloWithin))
	r := bufio.NewReaderSize(c, 512)
	hello, err := entry.ReadHello(r)
	if err != nil || hello.Kind != entry.Hello || subtle.ConstantTimeCompare(hello.Data, f.token) != 1 {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	f.once.Do(func() { close(f.came) })
	_ = l.Close()
	f.talk(c, bufio.NewReader(r))
	f.reopen()
}

// talk is with the entry, until the connection breaks.
func (f *feed) talk(c net.Conn, r io.Reader) {
	f.mu.Lock()
	if f.conn != nil {
		_ = f.conn.Close() // the entry has given it up
	}
	f.conn = c
	for !f.ready && !f.closed {
		f.changed.Wait()
	}
	if f.closed {
		f.mu.Unlock()
		return
	}
	err := entry.Write(c, entry.Frame{Kind: entry.Resume, Offset: max(0, f.next)})
	f.mu.Unlock()
	for err == nil {
		var frame entry.Frame
		if frame, err = entry.Read(r); err == nil {
			err = f.take(c, frame)
		}
	}
}

// take takes one frame of the connection that counts.
func (f *feed) take(c net.Conn, frame entry.Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != c || f.closed {
		return errors.New("another connection took over")
	}
	defer f.changed.Broadcast()
	switch frame.Kind {
	case entry.Output:
		f.begin(frame.Offset)
		if frame.Offset > f.next && f.size < 0 {
			f.size = f.next
			close(f.torn)
		}
		if frame.Offset != f.next || len(f.pending)+len(frame.Data) > entry.Window {
			return fmt.Errorf("output from %d on, and %d is next", frame.Offset, f.next)
		}
		f.pending = append(f.pending, frame.Data...)
		f.next += int64(len(frame.Data))
	case entry.Whole:
		f.begin(frame.Offset)
		f.size = frame.Offset
	case entry.Ended:
		var e entry.End
		if err := json.Unmarshal(frame.Data, &e); err != nil {
			return err
		}
		if f.end == nil {
			f.end = &e
			close(f.ended)
		}
	case entry.Hello, entry.Resume, entry.Ack, entry.Term, entry.Kill, entry.Over:
		return fmt.Errorf("an entry does not say %q", frame.Kind)
	}
	return nil
}

// begin is where a stream begins that is wanted from wherever it does; the lock is held.
func (f *feed) begin(offset int64) {
	if f.next < 0 {
		f.next, f.read, f.acked = offset, offset, offset
	}
}

// release lets the command start, or go on.
func (f *feed) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready = true
	f.changed.Broadcast()
}

// Read implements io.Reader. Whoever reads on has kept what was read before.
func (f *feed) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read > f.acked {
		f.acked = f.read
		f.tell(entry.Frame{Kind: entry.Ack, Offset: f.acked})
	}
	for len(b) > 0 {
		switch {
		case f.closed:
			return 0, io.EOF
		case len(f.pending) > 0:
			n := copy(b, f.pending)
			f.pending = f.pending[n:]
			f.read += int64(n)
			return n, nil
		case f.size >= 0 && max(0, f.read) >= f.size:
			return 0, io.EOF
		}
		f.changed.Wait()
	}
	return 0, nil
}

// order asks the entry for a signal, and says whether somebody was there to hear it.
func (f *feed) order(kind entry.Kind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tell(entry.Frame{Kind: kind})
}

// tell writes to the connection, if there is one; the lock is held. The entry reads at all
// times, so that nobody waits.
func (f *feed) tell(frame entry.Frame) bool {
	if f.conn == nil || !f.ready {
		return false
	}
	_ = f.conn.SetWriteDeadline(time.Now().Add(time.Second))
	return entry.Write(f.conn, frame) == nil
}

// finish ends the stream with what has come: the container is gone.
func (f *feed) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size < 0 {
		f.size = max(0, f.next)
	}
	f.changed.Broadcast()
}

// close ends everything; what was not read is lost.
func (f *feed) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.conn != nil {
		_ = f.conn.Close()
	}
	f.changed.Broadcast()
	if f.folder == nil {
		return nil
	}
	_ = f.listener.Close() // it may be shut; else it takes its socket away
	return f.folder.Close()
}
