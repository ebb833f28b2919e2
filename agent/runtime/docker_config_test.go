package runtime

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestAContainerGetsWhatIsWrittenDownAndNothingElse(t *testing.T) {
	t.Parallel()
	policy := ContainerPolicy{User: "65534:65534", Entry: "/home/agent/runs/job_1.1", CPUs: 8, Files: 65536}
	task := daemon.Task{JobID: "job_1", Attempt: 1, Argv: []string{"train"}, Dir: "/home/agent/work"}
	limits := daemon.Limits{
		CPUMilli: 2500, MemoryBytes: 8 << 30, PIDs: 256, DiskBytes: 10 << 30, MaxRuntime: time.Hour, Grace: 10 * time.Second,
	}
	for name, change := range map[string]func(*daemon.Task, *ContainerPolicy){
		"bare":   func(*daemon.Task, *ContainerPolicy) {},
		"limits": func(t *daemon.Task, _ *ContainerPolicy) { t.Limits = limits },
		"gpus": func(t *daemon.Task, _ *ContainerPolicy) {
			t.Limits, t.GPUs = limits, []string{"GPU-aaaa", "GPU-bbbb"}
		},
		"inputs": func(t *daemon.Task, _ *ContainerPolicy) {
			t.Inputs = []daemon.Input{{Source: "/home/agent/inputs/0", Target: "model/weights"}}
		},
		"tiny-and-too-many-cpus": func(t *daemon.Task, _ *ContainerPolicy) {
			t.Limits = daemon.Limits{MemoryBytes: 1, CPUMilli: 64_000, ShmBytes: 1}
		},
		"gvisor-apparmor-volumes": func(_ *daemon.Task, p *ContainerPolicy) {
			p.Runtime, p.AppArmor, p.Volumes, p.User = "runsc", true, []string{"/data"}, "1000:1000"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, p := task, policy
			change(&own, &p)
			got, err := json.MarshalIndent(BuildHostConfig(own, p), "", "  ")
			require.NoError(t, err)
			file := filepath.Join("testdata", "container", name+".json")
			if *update {
				require.NoError(t, os.WriteFile(file, append(got, '\n'), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "go test ./agent/runtime -run Container -update writes it")
			assert.JSONEq(t, string(want), string(got))
		})
	}
}

func TestHooksOfTheEngineSeeNothingOfAnImage(t *testing.T) {
	t.Parallel()
	hostile := image.InspectResponse{Config: &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		Env:     []string{"PATH=/opt/bin", "LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all", "DOCKER_HOST=x", "PEERGPU_ENTRY_TOKEN=known"},
		Volumes: map[string]struct{}{"/data": {}, "/tmp/x": {}, "/": {}, "../../work": {}},
	}}}
	for _, gpus := range []bool{false, true} {
		for _, e := range containerEnvironment(hostile, gpus, "secret") {
			assert.Contains(t, []string{
				"PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "NVIDIA_DRIVER_CAPABILITIES", "DOCKER_HOST", // a name alone takes it out
				"PEERGPU_ENTRY_TOKEN=secret", map[bool]string{false: "NVIDIA_VISIBLE_DEVICES=void", true: "NVIDIA_VISIBLE_DEVICES"}[gpus],
			}, e)
		}
	}
	own := imageEnvironment(hostile)
	assert.Equal(t, "/opt/bin", own["PATH"], "the command has what its image says")
	assert.Equal(t, "/evil", own["LD_LIBRARY_PATH"])
	assert.NotContains(t, own, "NVIDIA_VISIBLE_DEVICES", "GPUs are not the image's choice")
	assert.Equal(t, []string{"/data"}, volumes(hostile))
}

func TestOnlyAPinnedImageIsRun(t *testing.T) {
	t.Parallel()
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for ref, want := range map[string]bool{
		digest: true, "docker.io/library/python@" + digest: true, "python:3.12@" + digest: true,
		"python:3.12": false, "": false, "@" + digest: false, "x" + digest: false, "python@sha256:abc": false, "192.168.1.1:5000/x": false,
	} {
		assert.Equal(t, want, Pinned(ref), ref)
	}
}
