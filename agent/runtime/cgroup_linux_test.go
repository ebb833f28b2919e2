package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A version 2 hierarchy is imitated by a folder: what is written where is all
// that the kernel sees of us.
func unified(t *testing.T) *cgroups {
	t.Helper()
	parent := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("cpu memory pids"), 0o644))
	return &cgroups{v2: true, name: "peergpu-test", parents: map[string]string{"": parent}, live: map[string]bool{}}
}

func TestVersion2IsLimitedInOneFolder(t *testing.T) {
	t.Parallel()
	c := unified(t)
	g, err := c.create()
	require.NoError(t, err)
	require.NoError(t, g.limit(cgroupLimits{memory: 1 << 20, pids: 7, cpuMilli: 1500}))
	for file, want := range map[string]string{
		"memory.max": "1048576", "memory.swap.max": "0", "pids.max": "7", "cpu.max": "150000 100000",
	} {
		assert.Equal(t, want, readString(filepath.Join(g.dirs[""], file)), file)
	}
	assert.True(t, c.has("memory"))
	assert.False(t, (*cgroups)(nil).has("memory"))
	assert.Contains(t, readString(filepath.Join(filepath.Dir(g.dirs[""]), "cgroup.subtree_control")), "cpu",
		"controllers are handed down to the jobs")
}

func TestVersion2CountsByItsOwnFiles(t *testing.T) {
	t.Parallel()
	g, err := unified(t).create()
	require.NoError(t, err)
	for file, text := range map[string]string{
		"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n", "memory.current": "100\n", "memory.peak": "300\n",
		"pids.current": "4\n", "cpu.stat": "usage_usec 1500\nuser_usec 1000\n", "cgroup.procs": "11\n12\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(g.dirs[""], file), []byte(text), 0o644))
	}
	memory, peak, cpu, pids := g.usage()
	assert.Equal(t, []int64{100, 300, 1500_000, 4}, []int64{memory, peak, cpu.Nanoseconds(), pids})
	assert.EqualValues(t, 2, g.oomKills())
	assert.Equal(t, []int{11, 12}, g.pids())
}

func TestAGroupNeverCountsTheAgentAmongItsProcesses(t *testing.T) {
	t.Parallel()
	c := findCgroups("peergpu-test-self")
	if c == nil || c.v2 {
		return // threads are parked on version 1 alone
	}
	s := newSpawner(c)
	p, g, err := s.start("/bin/true", []string{"true"}, &os.ProcAttr{}, cgroupLimits{})
	require.NoError(t, err)
	_, err = p.Wait()
	require.NoError(t, err)
	done := make(chan []int)
	s.work <- func() { done <- s.parked.pids() }
	assert.NotContains(t, <-done, os.Getpid(), "else ending a job would end the agent")
	require.NoError(t, g.remove())
	require.NoError(t, s.close())
	for _, parent := range c.parents {
		assert.NoDirExists(t, filepath.Join(parent, c.name))
	}
}

func TestTheProcessTableIsReadWithOddNames(t *testing.T) {
	t.Parallel()
	me, ok := lookup(os.Getpid())
	require.True(t, ok)
	assert.Equal(t, os.Getppid(), me.parent)
	assert.NotZero(t, me.started)
	for _, p := range processes() {
		assert.Positive(t, p.pid)
	}
	assert.True(t, strings.HasPrefix(readString("/proc/self/stat"), ""))
}
