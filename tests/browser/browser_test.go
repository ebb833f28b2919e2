package browser

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/e2e"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestMain(m *testing.M) { e2e.Main(m) }

const folder = "../../web"

func TestTheUnitsOfTheWebApp(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.WebApp)
	node(t, nil, "node_modules/vitest/vitest.mjs", "run")
}

// Each file of web/e2e is a subtest. They share two servers, one in demo mode and one
// that lets nobody try a password more than twice a minute, and make their own accounts
// for what they change. One that stops its server starts its own.
func TestTheWebAppInABrowser(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.WebApp)
	testkit.Need(t, servers.Chromium)
	path, err := servers.Browser()
	require.NoError(t, err)
	// However slow the machine, no lease is lost.
	// Nothing listens where the registry would: an image of it is known by its digest alone.
	demo, strict := e2e.NewCluster(t, e2e.Profile{}, "PEERGPU_LEASE_TTL=60s", "PEERGPU_REGISTRIES=http://127.0.0.1:9"), e2e.NewCluster(t, e2e.Profile{}, "PEERGPU_LOGINS_PER_MINUTE=2")
	demo.Demo()
	strict.Start()
	env := []string{"PEERGPU_URL=" + demo.URL, "PEERGPU_STRICT_URL=" + strict.URL, "PEERGPU_BROWSER=" + path, "PEERGPU_AGENT=" + demo.Program("peergpu-agent"), "PEERGPU_SERVER=" + demo.Program("peergpu")}

	files, err := filepath.Glob(folder + "/e2e/*.test.mjs")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			node(t, env, "--test", "--test-timeout=600000", "--test-reporter=spec", "e2e/"+filepath.Base(file))
		})
	}
}

// node runs Node.js in the folder of the web app and shows what it said if it fails. A
// test that hangs ends after ten minutes, so that what the others said is shown too.
func node(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
