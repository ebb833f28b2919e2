package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

func TestImageJobsRunWhatTheRegistryHasByDigest(t *testing.T) {
	t.Parallel()
	host, base := testkit.Docker(t)
	registry := testkit.Registry(t, host).Host
	ref := registry + "/ada/train:1"
	digest := testkit.Push(t, host, base, ref, `ENV GREETING=hello LD_PRELOAD=/lib/malloc.so`, `WORKDIR /srv`, `CMD ["sh", "-c", "echo $GREETING from the image; pwd; echo preload $LD_PRELOAD"]`)

	c := NewCluster(t, Profile{}, "PEERGPU_REGISTRIES=http://"+registry)
	c.Start()
	u := c.User("ada")
	u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 100_000_000}, nil)
	c.Agent(u, "box", "docker", 2, fmt.Sprintf("docker: {host: %q, image: %q}", host, base))

	limits := map[string]any{"max_runtime_s": 60, "max_cost_micros": 1_000_000}
	image := func(ref string) map[string]any { return map[string]any{"kind": "image", "image": ref} }
	for name, want := range map[string]struct {
		draft         map[string]any
		state, reason string
		log           string
	}{
		"its own command":       {draft: map[string]any{"source": image(ref)}, state: "succeeded", log: "hello from the image\n/srv\npreload /lib/malloc.so\n"},
		"another command":       {draft: map[string]any{"source": image(ref), "command": []string{"wc", "-c", "/payload"}}, state: "succeeded", log: "3145728 /payload\n"},
		"by its digest":         {draft: map[string]any{"source": image(registry + "/ada/train@" + digest), "command": []string{"echo", "well"}}, state: "succeeded", log: "well\n"},
		"under a command":       {draft: map[string]any{"image": ref, "command": []string{"wc", "-c", "/payload"}}, state: "succeeded", log: "3145728 /payload\n"},
		"without the command":   {draft: map[string]any{"source": image(ref), "command": []string{"python3"}}, state: "failed", reason: "command_not_found"},
		"a job that writes too": {draft: map[string]any{"source": image(ref), "command": []string{"sh", "-c", "mkdir -p outputs && echo 1 >outputs/a; touch /x 2>/dev/null || echo read-only"}}, state: "succeeded", log: "read-only\n"},
	} {
		t.Run(name, func(t *testing.T) {
			draft := map[string]any{"name": name, "limits": limits}
			for k, v := range want.draft {
				draft[k] = v
			}
			var submitted struct {
				ID     string
				Digest string `json:"image_digest"`
			}
			u.Call(http.MethodPost, "/api/jobs", draft, &submitted)
			assert.Equal(t, digest, submitted.Digest)
			j := u.Await(submitted.ID, job.over)
			assert.Equal(t, want.state, j.State, j.Reason)
			assert.Equal(t, want.reason, j.Reason)
			if want.log != "" {
				assert.Equal(t, want.log, u.log(submitted.ID))
			}
			if want.reason != "" {
				assert.Zero(t, j.CostMicros)
			}
		})
	}
	for what, source := range map[string]map[string]any{
		"image_not_found":      image(registry + "/ada/train:2"),
		"registry_not_allowed": image("evil.example.org/ada/train:1"),
		"invalid_image":        image("ada train"),
	} {
		status, body := u.Try(http.MethodPost, "/api/jobs", map[string]any{"source": source, "limits": limits})
		assert.Equal(t, http.StatusUnprocessableEntity, status, "%s", body)
		assert.Contains(t, string(body), what)
	}
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}

// Nobody has chosen an image but the operator.
func TestJobsThatNameNoImageRunInTheOperators(t *testing.T) {
	t.Parallel()
	host, base := testkit.Docker(t)
	registry := testkit.Registry(t, host)
	standard, other := registry.Host+"/op/standard:1", registry.Host+"/op/other:1"
	testkit.Push(t, host, base, standard, "ENV IMAGE=standard")
	testkit.Push(t, host, base, other, "ENV IMAGE=other")
	c, u := market(t, Profile{}, patient, "PEERGPU_REGISTRIES=http://"+registry.Host, "PEERGPU_IMAGES=default="+standard+",other="+other)
	c.Agent(u, "box", "docker", 2, fmt.Sprintf("docker: {host: %q}", host))
	run := func(more map[string]any) string {
		draft := map[string]any{
			"command": []string{"sh", "-c", "echo $IMAGE"}, "limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 1_000_000},
		}
		maps.Copy(draft, more)
		var submitted struct{ ID string }
		u.Call(http.MethodPost, "/api/jobs", draft, &submitted)
		j := u.Await(submitted.ID, job.over)
		require.Equal(t, "succeeded", j.State, j.Reason)
		return u.log(submitted.ID)
	}
	assert.Equal(t, "standard\n", run(nil))
	assert.Equal(t, "other\n", run(map[string]any{"image": "other"}))
	testkit.Push(t, host, base, standard, "ENV IMAGE=pushed-again")
	assert.Equal(t, "standard\n", run(nil), "it stays what it was")
	require.Zero(t, c.Stop())
	c.Start()
	assert.Equal(t, "standard\n", run(nil))
	c.Agent(u, "sandbox", "process", 1, plain()...)
	c.KillAgent("box")
	assert.Equal(t, "\n", run(nil), "a host without containers needs none")
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}
