package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// NoProcesses fails the test if, ten seconds after its end, another process
// still has to do with the mark: names it in its command line or environment,
// works under it or, where its mounts are not everybody's, has it mounted. A folder of the test's own is a good mark:
// it finds orphans and the inside of sandboxes, and tests may run in parallel.
func NoProcesses(t testing.TB, mark string) {
	t.Helper()
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return len(Processes(mark)) == 0 }, 10*time.Second, 20*time.Millisecond)
		for _, left := range Processes(mark) {
			t.Errorf("a process was left behind: %s", left)
		}
	})
}

// Processes returns, as "pid command", the other processes of this machine
// that have to do with the mark.
func Processes(mark string) []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []string
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if pid == strconv.Itoa(os.Getpid()) || !bears(dir, mark) {
			continue
		}
		// A process that has ended and waits for its parent has no command line.
		command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(command) == 0 {
			continue
		}
		found = append(found, fmt.Sprintf("%s %s", pid, strings.ReplaceAll(string(command), "\x00", " ")))
	}
	return found
}

// ours is the mount namespace that this process is in.
var ours = sync.OnceValue(func() string {
	space, _ := os.Readlink("/proc/self/ns/mnt")
	return space
})

// bears tells whether the process at a folder of /proc has to do with the
// mark. What cannot be read is gone, or belongs to somebody else.
func bears(dir, mark string) bool {
	files := []string{"cmdline", "environ"}
	if space, err := os.Readlink(filepath.Join(dir, "ns/mnt")); err == nil && space != ours() {
		files = append(files, "mountinfo")
	}
	for _, file := range files {
		if content, err := os.ReadFile(filepath.Join(dir, file)); err == nil && strings.Contains(string(content), mark) {
			return true
		}
	}
	cwd, err := os.Readlink(filepath.Join(dir, "cwd"))
	return err == nil && strings.Contains(cwd, mark)
}
