package entry

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// memory is what the container's cgroup counted: the most that was in use, and how often
// the kernel killed. Zero where it does not tell.
func memory() (peak, kills int64) {
	const v1, v2 = "/sys/fs/cgroup/memory/", "/sys/fs/cgroup/"
	for _, f := range []string{v2 + "memory.peak", v1 + "memory.max_usage_in_bytes"} {
		if data, err := os.ReadFile(f); err == nil {
			peak, _ = strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
			break
		}
	}
	for _, f := range []string{v2 + "memory.events", v1 + "memory.oom_control"} {
		if data, err := os.ReadFile(f); err == nil {
			return peak, field(string(data), "oom_kill")
		}
	}
	return peak, 0
}

// forksRefused is how often the kernel said that there are enough processes.
func forksRefused() int64 {
	for _, f := range []string{"/sys/fs/cgroup/pids.events.local", "/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events.local", "/sys/fs/cgroup/pids/pids.events"} {
		if data, err := os.ReadFile(f); err == nil {
			return field(string(data), "max")
		}
	}
	return 0
}

// field is the number behind a name in lines of both.
func field(text, name string) int64 {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}
