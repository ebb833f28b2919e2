package runtime

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

// A test of this name is the process of the watchdogs of the others.
func TestTheWatchdog(t *testing.T) {
	switch os.Getenv("RUNTIME_TEST_WATCHDOG") {
	case "":
		t.Parallel() // only of use to the next tests
	case "nested":
		_, err := NewWatchdog(slog.Default(), "true")
		file, ferr := os.OpenFile(os.Getenv("RUNTIME_TEST_FILE"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		require.NoError(t, ferr)
		_, ferr = fmt.Fprintln(file, err)
		require.NoError(t, ferr)
	default:
		require.NoError(t, Guard(os.Stdin, os.Stdout))
	}
}

func TestAProgramThatIsNoWatchdogIsKilledAndNotStartedAgain(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"it says nothing":            `echo $$ >>"$0"; exec sleep 1000`,
		"it says something else":     `echo $$ >>"$0"; echo PASS; exec sleep 1000`,
		"it ends":                    `echo $$ >>"$0"`,
		"it starts others and waits": `sleep 1000 & echo $! >>"$0"; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pids := filepath.Join(t.TempDir(), "pids")
			_, err := NewWatchdog(slog.New(slog.NewTextHandler(t.Output(), nil)), "sh", "-c", script, pids)
			require.ErrorIs(t, err, errNotWatchdog)
			started, err := os.ReadFile(pids)
			require.NoError(t, err)
			require.Len(t, strings.Fields(string(started)), 1)
			pid, err := strconv.Atoi(strings.TrimSpace(string(started)))
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				_, found := lookup(pid)
				return !found
			}, 10*time.Second, time.Millisecond)
		})
	}
}

func TestAProgramStartedAsAWatchdogStartsNone(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "nested")
	_, err = NewWatchdog(slog.New(slog.NewTextHandler(t.Output(), nil)),
		"env", "RUNTIME_TEST_WATCHDOG=nested", "RUNTIME_TEST_FILE="+file, self, "-test.run=^TestTheWatchdog$")
	require.ErrorIs(t, err, errNotWatchdog)
	said, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(string(said), "\n"))
	assert.Contains(t, string(said), "may not start one")
}

func TestAWatchdogThatEndsIsReplacedByOneThatKnowsAsMuch(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	w, err := NewWatchdog(slog.New(slog.NewTextHandler(t.Output(), nil)),
		"env", "RUNTIME_TEST_WATCHDOG=1", self, "-test.run=^TestTheWatchdog$")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	victim := exec.Command("sleep", "1000")
	require.NoError(t, victim.Start())
	me, found := lookup(victim.Process.Pid)
	require.True(t, found)
	boot := daemon.SystemClock{}.Boot
	require.NoError(t, w.Pet(boot(), time.Hour))
	require.NoError(t, w.Watch("a/1", time.Hour, daemon.Processes{First: me.pid, Started: me.started}))
	w.mu.Lock()
	require.NoError(t, w.process.Kill())
	w.mu.Unlock()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.process == nil
	}, 10*time.Second, time.Millisecond)
	assert.Error(t, w.Watch("b/1", time.Hour, daemon.Processes{}), "nobody would watch it")
	require.Eventually(t, func() bool { return w.Pet(boot(), time.Hour) == nil }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, w.Close())
	assert.ErrorContains(t, victim.Wait(), "killed")
}

func TestAProcessThatIsNotTheOneNamedIsLeftAlone(t *testing.T) {
	t.Parallel()
	other := exec.Command("sleep", "1000")
	require.NoError(t, other.Start())
	me, _ := lookup(other.Process.Pid)
	assert.False(t, killProcesses(daemon.Processes{First: me.pid, Started: me.started + 1}, 0), "a pid is used again")
	assert.True(t, killProcesses(daemon.Processes{First: me.pid, Started: me.started, Sandbox: true}, 0))
	assert.ErrorContains(t, other.Wait(), "killed")
	assert.False(t, killProcesses(daemon.Processes{}, 0))
}

func TestAnOrderThatIsNotUnderstoodKillsWhatIsWatched(t *testing.T) {
	t.Parallel()
	victim := exec.Command("sleep", "1000")
	require.NoError(t, victim.Start())
	me, _ := lookup(victim.Process.Pid)
	var orders bytes.Buffer
	orders.WriteString(`{"name":"a/1","within":3600000000000,"processes":{"first":` + strconv.Itoa(me.pid) + `,"started":` + strconv.FormatUint(me.started, 10) + `}}` + "\n")
	err := Guard(io.MultiReader(&orders, strings.NewReader(`{"at":3600000000000000}`+"\nnonsense\n")), io.Discard)
	assert.ErrorContains(t, err, "not understood")
	assert.ErrorContains(t, victim.Wait(), "killed")
}
