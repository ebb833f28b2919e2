package e2e

import (
	"fmt"
	"net/http"
	"os"
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
