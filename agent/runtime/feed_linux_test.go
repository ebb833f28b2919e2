package runtime

import (
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/runtime/entry"
)

// Whoever is not process 1 of a container is sent away at once, token or not.
func TestAJobThatKnocksAtItsAgentIsSentAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := listen(dir, "token", 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.close()) })
	var conns []net.Conn
	for range 10 * strangers {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(dir, entry.Socket))
		require.NoError(t, err)
		conns = append(conns, c)
		_ = entry.Write(c, entry.Frame{Kind: entry.Hello, Data: []byte("token")}) // it may be closed already
	}
	for _, c := range conns {
		_, err := io.ReadAll(c)
		if err != nil {
			assert.ErrorContains(t, err, "reset")
		}
		require.NoError(t, c.Close())
	}
	select {
	case <-f.came:
		t.Error("it was taken for an entry")
	default:
	}
}

// Nobody can be at the door while the entry is in, and it opens when the entry is gone.
func TestTheDoorIsShutWhileTheEntryIsIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := listen(dir, "token", 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.close()) })
	f.release()
	for range 3 {
		ours, theirs := net.Pipe()
		l := f.listener
		served := make(chan struct{})
		go func() { defer close(served); f.serve(theirs, l) }()
		require.NoError(t, entry.Write(ours, entry.Frame{Kind: entry.Hello, Data: []byte("token")}))
		resume, err := entry.Read(ours)
		require.NoError(t, err)
		assert.Equal(t, entry.Resume, resume.Kind)
		_, err = (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(dir, entry.Socket))
		require.Error(t, err, "there is no door")
		require.NoError(t, ours.Close())
		<-served
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(dir, entry.Socket))
		require.NoError(t, err, "it is open again")
		require.NoError(t, c.Close())
	}
}
