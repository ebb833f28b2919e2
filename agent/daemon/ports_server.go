package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// Server is PeerGPU's server as an agent sees it. Its methods may be called
// concurrently. A refusal by the server is a *Refusal; a server that was not reached is an
// *Unreachable, or an error that nobody can do anything about, such as a context's.
type Server interface {
	// Register enrols this host with a one-time token.
	Register(ctx context.Context, r wire.Registration) (wire.Registered, error)
	// Token trades a signed assertion for an access token.
	Token(ctx context.Context, assertion string) (wire.TokenResponse, error)
	// Ping asks whether the server is ready and gives its clock, to the second.
	Ping(ctx context.Context) (time.Time, error)
	// Dial opens the host's WebSocket with an access token. Ctx bounds dialling alone.
	Dial(ctx context.Context, token string) (Conn, error)
}

// Conn is the host's WebSocket. One goroutine reads and one writes at a time; Close
// may be called by any, and more than once.
type Conn interface {
	// Read blocks for the next frame. Frames over wire.MaxText are an error. After the
	// other side closed it answers a *Closed.
	Read() (binary bool, frame []byte, err error)
	// Write sends a frame, or fails when the other side takes none for 10 s. It keeps
	// nothing of frame.
	Write(binary bool, frame []byte) error
	// Close sends a close frame, as well as that works, and frees everything; a blocked
	// Read fails.
	Close(code int, reason string) error
}

// Transfer moves the bytes of bundles, inputs and results. It holds no credentials:
// what it may do is in the signed URL. Its methods may be called concurrently.
type Transfer interface {
	// Fetch streams a URL into the new file at path and checks size and SHA-256 while
	// it does; on any error no file is left. A broken connection is resumed with Range.
	// Progress may be nil; it is called with growing numbers from one goroutine.
	// ErrContent is what arrived whole and was something else.
	Fetch(ctx context.Context, src Remote, path string, progress func(done int64)) error
	// Put sends size bytes of r to a signed URL. It may read from r more than once.
	Put(ctx context.Context, to wire.UploadTarget, r io.ReaderAt, size int64) error
}

// Remote is something to fetch, and what it has to be.
type Remote struct {
	URL    string
	Size   int64
	SHA256 string
}

// ErrContent is a download whose size or sum is not what was signed.
var ErrContent = errors.New("the content is not what was signed")

// Refusal is the server's answer that it will not do something.
type Refusal struct {
	Status     int           // of HTTP
	Code       string        // of problem+json, when there is one
	Detail     string        // for people
	RetryAfter time.Duration // as asked for; 0 when not
}

// Error gives status, code and detail.
func (r *Refusal) Error() string {
	return fmt.Sprintf("the server answered %d %s: %s", r.Status, r.Code, r.Detail)
}

// Closed is the end of a Conn by a close frame of the other side.
type Closed struct {
	Code   int
	Reason string
}

// Error gives code and reason.
func (c *Closed) Error() string {
	return fmt.Sprintf("the server closed the connection: %d %s", c.Code, c.Reason)
}

// Clock is the agent's only source of time.
type Clock interface {
	// Now is the wall clock. It is shown and logged, and decides nothing.
	Now() time.Time
	// Boot grows steadily, while the machine is suspended too, and cannot be set.
	Boot() time.Duration
}

// Ports is what a daemon runs on.
type Ports struct {
	Server   Server
	Transfer Transfer
	Runtime  Runtime
	Folders  Folders
	GPUs     GPUs
	Clock    Clock    // nil: the machine's
	Watchdog Watchdog // nil: none, where no job outlives the daemon
}
