// Package entry is process 1 of a job's container. It starts the command, reaps what the
// command leaves, and brings its output to the agent over a socket that the agent listens
// on: bytes by offset, kept until they are acknowledged, so that an agent which is killed
// and started again misses none and gets none twice. The job cannot become it: it shows
// a token that the job cannot read.
package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Where the entry finds its folder in the container. It is mounted read-only.
const (
	Folder = "/.peergpu"
	Binary = "entry"      // this program
	Job    = "task.json"  // what to run: a Task
	Socket = "agent.sock" // where the agent listens
)

// TokenVariable is the environment variable with the token. The job does not see it.
const TokenVariable = "PEERGPU_ENTRY_TOKEN"

// Window is how many bytes of output are on their way at most; with as many as a pipe
// holds beyond it, a job that writes on has to wait.
const Window = 128 << 10

// Task is what the entry has to run.
type Task struct {
	Argv []string `json:"argv"` // executed as it is, looked up in the PATH of Env
	Env  []string `json:"env"`  // the whole environment, as K=V
	Dir  string   `json:"dir"`  // where it starts
	// Volume is a folder that has to be the very one that the agent has.
	Volume *Volume `json:"volume,omitempty"`
	// MaxRuntime is the time from its start after which it is asked to end, 0 for no limit;
	// Grace after that it is killed.
	MaxRuntime time.Duration `json:"max_runtime"`
	Grace      time.Duration `json:"grace"`
}

// Volume is a folder by what the kernel knows it by, whatever it is mounted as.
type Volume struct {
	Path   string `json:"path"`
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// WrongVolume is the entry's exit code where Volume is another folder here: what the agent
// mounts, the engine does not see.
const WrongVolume = 3

// End is how a command ended. No process of the job is left then.
type End struct {
	Code     int           `json:"code"`     // exit code, or 128 + the signal
	Duration time.Duration `json:"duration"` // from the start of the command, steady
	CPUTime  time.Duration `json:"cpu_time"` // of all its processes

	PeakMemoryBytes int64 `json:"peak_memory_bytes"` // 0 where it is not known
	OOMKills        int64 `json:"oom_kills"`         // processes that the kernel killed for memory
	ForksRefused    int64 `json:"forks_refused"`     // processes that the kernel did not let be for their number

	TimedOut bool   `json:"timed_out"` // MaxRuntime ended it
	Missing  string `json:"missing"`   // why it never started, such as "no such file or directory"
	NoDir    bool   `json:"no_dir"`    // because Dir is not there
}

// Kind says what a frame is.
type Kind byte

// The frames. The first of a connection is Hello, answered by Resume.
const (
	Hello  Kind = 'h' // entry → agent, Data: the token
	Output Kind = 'o' // entry → agent, Data: output from Offset on
	Ended  Kind = 'e' // entry → agent, Data: an End as JSON; output may still follow
	Whole  Kind = 'w' // entry → agent, the output ends at Offset
	Resume Kind = 'r' // agent → entry, go on at Offset; the first one starts the command
	Ack    Kind = 'a' // agent → entry, the bytes before Offset are safe
	Term   Kind = 't' // agent → entry, SIGTERM for every process of the job
	Kill   Kind = 'k' // agent → entry, SIGKILL for every process of the job
	Over   Kind = 'x' // agent → entry, nothing more is wanted: the entry ends, and with it the container
)

// Frame is one message.
type Frame struct {
	Kind   Kind
	Offset int64
	Data   []byte
}

const (
	headerSize = 1 + 8 + 4
	maxData    = 64 << 10
)

var errTooLarge = errors.New("a frame is larger than is allowed")

// Write sends a frame in one piece.
func Write(w io.Writer, f Frame) error {
	if len(f.Data) > maxData {
		return errTooLarge
	}
	b := make([]byte, headerSize, headerSize+len(f.Data))
	b[0] = byte(f.Kind)
	binary.BigEndian.PutUint64(b[1:], uint64(f.Offset))
	binary.BigEndian.PutUint32(b[9:], uint32(len(f.Data)))
	_, err := w.Write(append(b, f.Data...))
	return err
}

// maxHello is how long a token can be.
const maxHello = 256

// ReadHello receives the first frame, of somebody who is not known yet.
func ReadHello(r io.Reader) (Frame, error) { return read(r, maxHello) }

// Read receives a frame.
func Read(r io.Reader) (Frame, error) { return read(r, maxData) }

func read(r io.Reader, most uint32) (Frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: Kind(h[0]), Offset: int64(binary.BigEndian.Uint64(h[1:]))}
	size := binary.BigEndian.Uint32(h[9:])
	if size > most || f.Offset < 0 {
		return f, errTooLarge
	}
	f.Data = make([]byte, size)
	if _, err := io.ReadFull(r, f.Data); err != nil {
		return f, fmt.Errorf("a frame is cut: %w", err)
	}
	return f, nil
}
