package daemon_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

// survivor is a runtime whose runs outlive the agent, and print something more while it
// leaves.
type survivor struct {
	daemon.Runtime
	run   daemon.Run
	last  chan struct{} // closed: it prints the last line
	taken atomic.Int32  // of the last line, by who had it and read on
}

func (s *survivor) Info() daemon.RuntimeInfo {
	info := s.Runtime.Info()
	info.Survives = true
	return info
}

func (s *survivor) Start(ctx context.Context, t daemon.Task) (daemon.Run, error) {
	var err error
	s.run, err = s.Runtime.Start(ctx, t)
	return &surviving{s.run, s, 0}, err
}

type surviving struct {
	daemon.Run
	s     *survivor
	reads int
}

func (r *surviving) Output() io.Reader { return r }

// Read gives a line at once and one when the agent leaves. Who reads a third time has kept
// both, as far as the runtime knows.
func (r *surviving) Read(b []byte) (int, error) {
	r.reads++
	switch r.reads {
	case 1:
		return copy(b, "first\n"), nil
	case 2:
		<-r.s.last
		return copy(b, "last\n"), nil
	}
	r.s.taken.Add(1)
	return 0, io.EOF
}

func TestWhatIsPrintedWhileTheAgentIsReplacedIsForTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := &survivor{Runtime: w.runtime, last: make(chan struct{})}
		w.runtime = s
		d, err := daemon.New(w.config, w.ports())
		require.NoError(t, err)
		ctx, leave := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "wait 1h"))
		running(p)
		synctest.Wait()
		assert.Equal(t, "first\n", p.received())
		leave(daemon.ErrHandOver)
		require.NoError(t, <-ended)
		close(s.last)
		synctest.Wait()
		assert.Zero(t, s.taken.Load(), "nobody kept it, and so nobody may read on")
		require.NoError(t, s.run.Cleanup())
	})
}
