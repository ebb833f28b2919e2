package runtime

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// A test of this name runs in a process of its own, which is killed.
func TestTheAgentThatIsKilled(t *testing.T) {
	dir := os.Getenv("RUNTIME_TEST_VICTIM")
	if dir == "" {
		t.Parallel()
		return // only of use to the next test
	}
	p, err := NewProcess(t.Context(), Options{Dir: filepath.Join(dir, "state"), Unsandboxed: os.Getenv("RUNTIME_TEST_BARE") != ""})
	require.NoError(t, err)
	work := filepath.Join(dir, "work")
	require.NoError(t, os.Mkdir(work, 0o755))
	task := daemon.Task{
		JobID: "victim", Attempt: 1, Dir: work, Trusted: true,
		Argv: []string{"sh", "-c", "(setsid sleep 1000 &); sleep 1000 & echo ready; sleep 1000"},
	}
	require.NoError(t, p.Prepare(t.Context(), task, nil))
	r, err := p.Start(t.Context(), task)
	require.NoError(t, err)
	first := make([]byte, 6)
	_, err = io.ReadFull(r.Output(), first)
	require.NoError(t, err)
	fmt.Println("victim: " + string(first))
	_, _ = r.Wait(context.Background())
}

func TestAfterTheAgentIsKilledItsJobsAreGone(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Bubblewrap)
	for name, bare := range map[string]string{"sandboxed": "", "unsandboxed": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := testkit.Dir(t)
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer r.Close()
			victim, err := os.StartProcess("/proc/self/exe", []string{"victim", "-test.run=^TestTheAgentThatIsKilled$"}, &os.ProcAttr{
				Env:   append(os.Environ(), "RUNTIME_TEST_VICTIM="+dir, "RUNTIME_TEST_BARE="+bare),
				Files: []*os.File{nil, w, w},
			})
			require.NoError(t, err)
			require.NoError(t, w.Close())
			said := make([]byte, 0, 4096)
			for !strings.Contains(string(said), "victim: ready") {
				b := make([]byte, 1024)
				n, err := r.Read(b)
				require.NoError(t, err, string(said))
				said = append(said, b[:n]...)
			}
			require.NotEmpty(t, testkit.Processes(dir+"/work"))
			require.NoError(t, victim.Kill())
			_, err = victim.Wait()
			require.NoError(t, err)

			// A sandbox dies with the agent, whole; without one the command does.
			require.Eventually(t, func() bool {
				return !slices.ContainsFunc(testkit.Processes(dir+"/work"), func(p string) bool {
					return bare == "" || strings.Contains(p, "sh -c")
				})
			}, 5*time.Second, 10*time.Millisecond)

			p, err := NewProcess(t.Context(), Options{Dir: filepath.Join(dir, "state"), Unsandboxed: bare != ""})
			require.NoError(t, err)
			require.NoError(t, p.Sweep(t.Context()))
			require.Eventually(t, func() bool { return len(testkit.Processes(dir+"/work")) == 0 },
				5*time.Second, 10*time.Millisecond, "%v", testkit.Processes(dir+"/work"))
			require.NoError(t, p.Close())
			if p.cgroups != nil {
				for _, parent := range p.cgroups.parents {
					assert.NoDirExists(t, filepath.Join(parent, p.cgroups.name))
				}
			}
		})
	}
}

// Most people run the agent as themselves; as root, this shows both.
func TestAnOrdinaryUserGetsTheSameSandbox(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Bubblewrap)
	if os.Geteuid() != 0 {
		return // every other test here has shown it
	}
	dir := testkit.Dir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	// Another process writes it: a child of a parallel test could inherit the open file, and
	// then it cannot be executed.
	program, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, exec.Command("install", "-m", "0755", program, dir+"/test").Run())
	c := exec.Command(dir+"/test", "-test.run=^Test(AJob|ASandbox|AForkBomb|LimitsAre|NothingIsLeft)", "-test.v")
	c.Dir, c.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestLimitsAreWatchedWhereThereIsNoCgroup")
}
