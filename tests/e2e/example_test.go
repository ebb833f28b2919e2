package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestTheExampleJobPassesItsOwnTests(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Python)
	cmd := exec.CommandContext(t.Context(), "python3", "-B", "-m", "unittest", "-q")
	cmd.Dir = "../../examples/digits"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "OK")
	require.NotContains(t, string(out), "Ran 0 tests")
}

func TestTheDemoGoesOnHoweverItsExampleEnds(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Python)
	example := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(example, name), []byte(content), 0o600))
	}
	write("job.json", `{"name": "fails", "source": {"kind": "bundle"}, "command": ["python3", "main.py"], "limits": {"max_runtime_s": 60, "max_cost_micros": 20000000}}`)
	c := NewCluster(t, Profile{})
	for i, try := range []struct{ program, says string }{
		{"import sys; print('first'); sys.exit(3)", "failed (exit_code)"},
		{"print('second')", "succeeded"}, // files that were changed are no version of the first
		{"print('second')", "version 2"},
	} {
		write("main.py", try.program)
		before := len(c.log.String())
		c.start(nil, "demo", "--example", example)
		said := func() string { return c.log.String()[before:] }
		require.Eventually(t, func() bool { return strings.Contains(said(), "Open http") }, 60*time.Second, 20*time.Millisecond)
		assert.Contains(t, said(), try.says, i)
		assert.Zero(t, c.Stop())
	}

	c.start(nil, "demo", "--example", c.dir)
	u := c.login("renter@peergpu.test", "peergpu-demo")
	u.Call(http.MethodPost, "/api/jobs", map[string]any{
		"command": []string{"true"}, "needs": map[string]any{"gpus": 9}, "limits": map[string]any{"max_cost_micros": 20_000_000},
	}, nil)
	assert.Zero(t, c.Stop())
	before := len(c.log.String())
	c.start(nil, "demo", "--example", example)
	require.Eventually(t, func() bool { return strings.Contains(c.log.String()[before:], "Open http") }, 60*time.Second, 20*time.Millisecond)
	assert.Contains(t, c.log.String()[before:], "insufficient_funds")
	assert.Zero(t, c.Stop())
}
