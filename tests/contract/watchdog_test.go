package contract

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// The test program is the watchdog's process too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "watchdog" {
		if err := runtime.Guard(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestWatchdogProcess(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T) (daemon.Watchdog, func()) {
		w, err := runtime.NewWatchdog(slog.New(slog.NewTextHandler(t.Output(), nil)), "/proc/self/exe", "watchdog")
		require.NoError(t, err)
		end := sync.OnceFunc(func() { require.NoError(t, w.Close()) })
		t.Cleanup(end)
		return w, end
	}
	t.Run("over containers", func(t *testing.T) {
		t.Parallel()
		host, image := testkit.Docker(t)
		Watchdog(t, WatchdogCase{Open: open, Jobs: docker(runtime.DockerOptions{Host: host, Image: image, Entry: testkit.Entry(t)})})
	})
	for name, o := range map[string]runtime.Options{"over sandboxes": {}, "over plain processes": {Unsandboxed: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !o.Unsandboxed {
				testkit.Need(t, servers.Bubblewrap)
			}
			Watchdog(t, WatchdogCase{Open: open, Jobs: RuntimeCase{Open: process(o), Command: shell, Trusted: o.Unsandboxed}})
		})
	}
}
