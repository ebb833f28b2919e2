package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestPostgresRestartsWhileJobsAreSubmittedAndRun(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.PostgreSQL)
	for _, mode := range []string{"fast", "immediate"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			// What it has acknowledged must outlive it; the machine itself does not go down.
			pg, err := servers.StartPostgres(t.Context(), "synchronous_commit=on")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, pg.Stop()) })
			f := NewFaulty(t, Profile{Database: pg.URL}, "simulated", 4, "")
			f.beginAgent("")
			for seed := range uint64(20) {
				f.Draft(seed)
			}
			for _, s := range f.jobs[:6] {
				f.Submit(s)
			}
			f.until("a job runs", func() bool { return f.state(f.jobs[0]).Log.Bytes > 0 })
			restarted := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				restarted <- pg.Restart(ctx, mode)
			}()
			for _, s := range f.jobs[6:] {
				f.Submit(s) // Finish sends again what is not acknowledged
			}
			require.NoError(t, <-restarted)
			f.Finish()
			f.Rest()
			for _, s := range f.jobs {
				j := f.state(s)
				assert.Equal(t, "succeeded", j.State, j.Reason)
				assert.Equal(t, 1, j.Attempt, "the outage was shorter than a lease")
			}
			assert.Zero(t, f.Stop(), "the server stops cleanly")
		})
	}
}
