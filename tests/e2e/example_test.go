package e2e

import (
	"os/exec"
	"testing"

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
