package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// driver stands in for nvidia-smi, which answers what it is asked of the GPUs that a file
// beside it names.
const driver = `#!/bin/sh
case "$1" in
--query-gpu=uuid,*) say='%s, 7, 100, 60, 40\n' ;;
--query-gpu=*) say='%d, %s, NVIDIA GeForce RTX 4090, 24564, 570.86.15, 8.9, 00000000:01:00.0, 450, Disabled\n' ;;
*) echo 'CUDA Version: 12.8'; exit ;;
esac
i=0
for gpu in $(cat "${0%/*}/gpus"); do
	case "$1" in
	--query-gpu=uuid,*) printf "$say" $gpu ;;
	*) printf "$say" $i $gpu ;;
	esac
	i=$((i+1))
done
`

// gpuHost adds a host with GPUs that the driver knows, in front of an engine.
func (c *Cluster) gpuHost(u *User, engine *servers.Docker, name string, gpus ...string) {
	c.t.Helper()
	bin := filepath.Join(c.dir, name+"-bin")
	require.NoError(c.t, os.Mkdir(bin, 0o755))
	require.NoError(c.t, os.WriteFile(filepath.Join(bin, "nvidia-smi"), []byte(driver), 0o755))
	c.sees(name, gpus...)
	env := c.env
	defer func() { c.env = env }()
	c.env = append(slices.Clip(env), c.driverPath(name))
	c.Enrol(u, name, "docker", 0, fmt.Sprintf("docker: {host: %q, image: %q}", engine.Host(), engine.Image))
	c.StartAgent(name)
	require.Eventually(c.t, func() bool { return u.online(name) }, patience, interval)
}

// driverPath has a host's agent find its driver.
func (c *Cluster) driverPath(name string) string {
	return "PATH=" + filepath.Join(c.dir, name+"-bin") + ":" + os.Getenv("PATH")
}

// sees changes which GPUs the driver of a host knows.
func (c *Cluster) sees(name string, gpus ...string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name+"-bin", "gpus")
	require.NoError(c.t, os.WriteFile(path+".new", []byte(strings.Join(gpus, " ")), 0o600))
	require.NoError(c.t, os.Rename(path+".new", path))
}

func ownEngine(t *testing.T) *servers.Docker {
	t.Helper()
	testkit.Need(t, servers.DockerEngine)
	engine, err := servers.StartDocker(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Stop()) })
	return engine
}

func TestContainersGetTheirGPUsByNameAndShareNone(t *testing.T) {
	t.Parallel()
	engine := ownEngine(t)
	all := []string{"GPU-aaaaaaaa-0000-4000-8000-000000000001", "GPU-aaaaaaaa-0000-4000-8000-000000000002", "GPU-aaaaaaaa-0000-4000-8000-000000000003"}
	require.NoError(t, engine.HasGPUs(all...))
	c, u := market(t, Profile{}, patient)
	c.gpuHost(u, engine, "box", all...)
	hold := []string{"sh", "-c", "echo began; sleep 1000"}
	one, two := c.Submit(u, hold, map[string]any{"gpus": 1}), c.Submit(u, hold, map[string]any{"gpus": 2})
	for _, id := range []string{one, two} {
		u.Await(id, func(j job) bool { return j.State == "running" && u.log(id) == "began\n" })
	}
	next := c.Submit(u, []string{"echo", "well"}, map[string]any{"gpus": 1})
	assert.Equal(t, "queued", u.Job(next).State, "no GPU is left")
	u.Call(http.MethodPost, "/api/jobs/"+two+"/cancel", nil, nil)
	j := u.Await(next, job.over)
	assert.Equal(t, "succeeded", j.State, j.Reason)
	u.Call(http.MethodPost, "/api/jobs/"+one+"/cancel", nil, nil)
	u.Await(one, job.over)

	asked, err := engine.AskedGPUs()
	require.NoError(t, err)
	require.Len(t, asked, 3)
	slices.SortFunc(asked[:2], func(a, b []string) int { return len(a) - len(b) })
	assert.Len(t, asked[0], 1)
	assert.Len(t, asked[1], 2)
	assert.ElementsMatch(t, all, slices.Concat(asked[0], asked[1]))
	require.Len(t, asked[2], 1)
	assert.Contains(t, asked[1], asked[2][0], "one that was given back")
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}

func TestAGPUThatVanishedIsTheHostsFault(t *testing.T) {
	t.Parallel()
	engine := ownEngine(t)
	gone, there := "GPU-bbbbbbbb-0000-4000-8000-000000000001", "GPU-bbbbbbbb-0000-4000-8000-000000000002"
	require.NoError(t, engine.HasGPUs(there))
	c, u := market(t, Profile{}, patient)
	c.gpuHost(u, engine, "box", gone)
	c.sees("box")
	id := c.Submit(u, []string{"echo", "well"}, oneGPU())
	u.Await(id, func(j job) bool { return j.Attempt == 1 && j.State == "queued" })
	c.gpuHost(u, engine, "spare", there)
	j := u.Await(id, job.over)
	require.Equal(t, "succeeded", j.State, j.Reason)
	assert.Equal(t, "well\n", u.log(id))
	var shown struct {
		Attempts []struct {
			Reason     string
			CostMicros int64 `json:"cost_micros"`
		}
	}
	u.Call(http.MethodGet, "/api/jobs/"+id, nil, &shown)
	require.NotEmpty(t, shown.Attempts)
	assert.Equal(t, "host_error", shown.Attempts[0].Reason)
	assert.Zero(t, shown.Attempts[0].CostMicros)
	assert.True(t, u.online("box"), "the host goes on")

	// Back in its slot, which an agent that is at work sees within a minute.
	require.NoError(t, engine.HasGPUs(gone))
	c.sees("box", gone)
	c.KillAgent("spare")
	c.KillAgent("box")
	c.StartAgent("box", c.driverPath("box"))
	again := u.Await(c.Submit(u, []string{"echo", "again"}, oneGPU()), job.over)
	assert.Equal(t, "succeeded", again.State, again.Reason)
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}

// says runs a command of a host's agent and gives its status and what it printed.
func (c *Cluster) says(name string, args ...string) (int, string) {
	c.t.Helper()
	cmd := c.command("peergpu-agent", args...)
	cmd.Env = append(cmd.Env, "PEERGPU_AGENT_HOME="+filepath.Join(c.dir, name), c.driverPath(name))
	cmd.Stdout, cmd.Stderr = nil, nil
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(c.t, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// toolkit has a host's machine have a version of NVIDIA's toolkit; empty: none.
func (c *Cluster) toolkit(name, version string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name+"-bin", "nvidia-ctk")
	if version == "" {
		require.NoError(c.t, os.RemoveAll(path))
		return
	}
	script := "#!/bin/sh\necho NVIDIA Container Toolkit CLI version " + version + "\n"
	require.NoError(c.t, os.WriteFile(path, []byte(script), 0o755))
}

func TestDoctorExaminesTheEngineAndRunRefusesWhatIsUnsafe(t *testing.T) {
	t.Parallel()
	engine := ownEngine(t)
	gpu := "GPU-cccccccc-0000-4000-8000-000000000001"
	require.NoError(t, engine.HasGPUs(gpu))
	c, u := market(t, Profile{}, patient)
	c.gpuHost(u, engine, "box", gpu)
	c.KillAgent("box")
	c.toolkit("box", "1.17.8")
	code, said := c.says("box", "doctor")
	assert.Zero(t, code, said)
	for _, line := range []string{"ok    engine    Docker ", "ok    limits ", "ok    images ", "ok    toolkit   NVIDIA Container Toolkit 1.17.8", "ok    gpu       containers get " + gpu, "ok    sandbox   docker", "  volumes   "} {
		assert.Contains(t, said, line)
	}

	assert.NoDirExists(t, filepath.Join(c.dir, "box", ".peergpu-doctor"))
	assert.Empty(t, c.mounts())

	// One that was killed in the middle has left a container and a folder.
	dir := filepath.Join(c.dir, "box", ".peergpu-doctor", "docker")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	sum := sha256.Sum256([]byte(dir))
	label := "peergpu.agent=" + hex.EncodeToString(sum[:8])
	out, err := exec.CommandContext(t.Context(), "docker", "--host", engine.Host(), "run", "--detach", "--label", label, engine.Image, "sleep", "1000").CombinedOutput()
	require.NoError(t, err, string(out))
	code, said = c.says("box", "doctor")
	assert.Zero(t, code, said)
	left, err := engine.Containers(t.Context(), "--filter", "label="+label)
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.NoDirExists(t, filepath.Join(c.dir, "box", ".peergpu-doctor"))

	c.toolkit("box", "")
	code, said = c.says("box", "doctor")
	assert.Zero(t, code, said)
	assert.Contains(t, said, "warn  toolkit ")

	require.NoError(t, engine.HasGPUs())
	code, said = c.says("box", "doctor")
	assert.Equal(t, 1, code, said)
	assert.Contains(t, said, "FAIL  gpu       no container starts with "+gpu)
	assert.Contains(t, said, "unknown device")
	require.NoError(t, engine.HasGPUs(gpu))

	c.toolkit("box", "1.16.2")
	code, said = c.says("box", "doctor")
	assert.Equal(t, 1, code, said)
	assert.Contains(t, said, "FAIL  toolkit ")
	code, said = c.says("box", "run")
	assert.Equal(t, 1, code, said)
	assert.Contains(t, said, "not safe")
	assert.Contains(t, said, "CVE-2025-23266")
	assert.Contains(t, said, "→ install nvidia-container-toolkit")
	c.toolkit("box", "1.18.0")

	file := filepath.Join(c.dir, "box", "agent.yaml")
	settings, err := os.ReadFile(file)
	require.NoError(t, err)
	change := func(from, to string) {
		t.Helper()
		require.Contains(t, string(settings), from)
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(settings), from, to, 1)), 0o600))
	}
	change("runtime: docker", "runtime: auto")
	code, said = c.says("box", "doctor")
	assert.Zero(t, code, said)
	assert.Contains(t, said, "ok    sandbox   docker", "an engine answers")
	change("docker: {", "docker: {runtime: runsc, ")
	code, said = c.says("box", "doctor")
	assert.Equal(t, 1, code, said)
	assert.Contains(t, said, `FAIL  runtime   the engine has no runtime "runsc"; it has `)
	change(engine.Host(), "unix:///nowhere/docker.sock")
	code, said = c.says("box", "doctor")
	assert.Equal(t, 1, code, said)
	assert.Contains(t, said, "FAIL  sandbox ")
	assert.Contains(t, said, "systemctl start docker")
	settings = []byte(strings.Replace(string(settings), engine.Host(), "unix:///nowhere/docker.sock", 1))
	change("runtime: docker", "runtime: auto")
	_, said = c.says("box", "doctor")
	assert.Contains(t, said, "sandbox   process", "none answers")
}
