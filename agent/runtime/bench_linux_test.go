package runtime

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/tests/testkit"
)

// BenchmarkStartEcho measures a job from Start to its first line, which is what
// a renter waits for, and to the end of Cleanup, back to back, beside a plain
// fork and exec as the floor.
func BenchmarkStartEcho(b *testing.B) {
	limits := daemon.Limits{MemoryBytes: 256 << 20, PIDs: 64, CPUMilli: 1000, DiskBytes: 1 << 30}
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			out, err := exec.Command("echo", "hello").Output()
			require.NoError(b, err)
			require.Equal(b, "hello\n", string(out))
		}
	})
	b.Run("unsandboxed", func(b *testing.B) { echo(b, open(b, Options{Unsandboxed: true}), limits) })
	b.Run("sandboxed", func(b *testing.B) { echo(b, sandboxed(b), limits) })
}

func echo(b *testing.B, p *Process, limits daemon.Limits) {
	b.Helper()
	t := task(b, "echo", "hello")
	t.Dir, t.Limits = testkit.Dir(b), limits
	require.NoError(b, os.WriteFile(t.Dir+"/bundle", nil, 0o644))
	require.NoError(b, p.Prepare(b.Context(), t, nil))
	first := make([]byte, len("hello\n"))
	var toFirst time.Duration
	for b.Loop() {
		began := time.Now()
		r, err := p.Start(b.Context(), t)
		require.NoError(b, err)
		_, err = io.ReadFull(r.Output(), first)
		require.NoError(b, err)
		toFirst += time.Since(began)
		require.Equal(b, "hello\n", string(first))
		_, err = r.Wait(b.Context())
		require.NoError(b, err)
		require.NoError(b, r.Cleanup())
	}
	b.ReportMetric(float64(toFirst.Microseconds())/float64(b.N), "µs/first-line")
}
