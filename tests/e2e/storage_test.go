package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestJobsOutliveAnObjectStorageThatGoesAway(t *testing.T) {
	t.Parallel()
	for what, away := range map[string][2]func(*servers.S3) error{
		"that is killed": {(*servers.S3).Down, func(s *servers.S3) error { return s.Up(t.Context()) }},
		"that hangs":     {(*servers.S3).Freeze, (*servers.S3).Thaw},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := testkit.S3Server(t)
			p := Shared(t)
			p.Bucket = testkit.BucketAt(server)
			c, u := market(t, p, "PEERGPU_LEASE_TTL=10s")
			c.Agent(u, "box", "simulated", 4)
			var ids []string
			for range 4 {
				ids = append(ids, c.Submit(u, []string{"simulate", "burst 5000", "wait 1s", "burst 5000", "write outputs/a 300000", "exit 0"}, oneGPU()))
			}
			for _, id := range ids {
				u.Await(id, func(j job) bool { return j.State == "running" && j.Log.Bytes > 0 })
			}
			require.NoError(t, away[0](server))
			// The commands end, and their results cannot be put.
			for _, id := range ids {
				u.Await(id, func(j job) bool { return j.Phase.Name == "uploading" })
			}
			draft := map[string]any{"command": []string{"true"}, "limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 1000}}
			began := time.Now()
			status, answer := u.withBundle(draft, map[string]string{"data": "1"})
			assert.Equal(t, http.StatusServiceUnavailable, status, string(answer))
			assert.Less(t, time.Since(began), time.Minute, "nobody is left hanging")
			require.NoError(t, away[1](server))
			for _, id := range ids {
				j := u.Await(id, job.over)
				assert.Equal(t, "succeeded", j.State, j.Reason)
				assert.Equal(t, 1, j.Attempt)
			}
			require.Zero(t, c.Stop())
			c.Sound(invariants.World{Acknowledged: ids, Swept: invariants.Later})
		})
	}
}
