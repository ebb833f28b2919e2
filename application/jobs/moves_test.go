package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// What other replicas tell comes in any order.
func TestAFleetFollowsTheMovesOfOthers(t *testing.T) {
	t.Parallel()
	host, device, job := domain.ID{1}, domain.ID{2}, domain.ID{3}
	took := move{Job: job, Took: []domain.ID{device}, Now: 1}
	gave := move{Job: job, Gave: []domain.ID{device}, Was: 1, Host: host}
	again := move{Job: job, Took: []domain.ID{device}, Now: 2}
	for name, c := range map[string]struct {
		moves []move
		taken bool
	}{
		"taken":                              {[]move{took}, true},
		"taken and given back":               {[]move{took, gave}, false},
		"given back before it was taken":     {[]move{gave, took}, false},
		"given back, and taken by the next":  {[]move{gave, again, took}, true},
		"given back by another than has it":  {[]move{took, {Job: domain.ID{9}, Gave: []domain.ID{device}, Was: 1, Host: host}}, true},
		"taken by another while it is taken": {[]move{took, {Job: domain.ID{9}, Took: []domain.ID{device}, Now: 1}, gave}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet()
			f.replace(host, []ports.Offer{{Slot: jobs.Slot{DeviceID: device, HostID: host, Online: true}}})
			f.park(job, jobs.Request{Needs: jobs.Needs{GPUs: 1}}, time.Time{})
			require.True(t, f.waits(job))
			for _, m := range c.moves {
				f.follow(m)
			}
			assert.Equal(t, c.taken, len(f.busy([]domain.ID{device})) == 1)
			assert.False(t, f.waits(job), "another replica placed it")
			f.replace(host, []ports.Offer{{Slot: jobs.Slot{DeviceID: device, HostID: host, Online: true}}})
			assert.Equal(t, c.taken, len(f.busy([]domain.ID{device})) == 1, "what a host offers anew is as taken as before")
		})
	}
}

func TestOccupancyIsReadAgainBecauseOfOthers(t *testing.T) {
	t.Parallel()
	o, f := &others{}, newFleet()
	for range 3 * readEvery {
		require.False(t, o.due(), "there are no others")
	}
	o.heard(f, nil)
	require.True(t, o.due(), "messages were lost")
	require.False(t, o.due())
	o.heard(f, []byte(`{}`))
	due := 0
	for range 3 * readEvery {
		if o.due() {
			due++
		}
	}
	assert.Equal(t, 3, due, "now and then")
	o.heard(f, []byte(`{`))
	assert.True(t, o.due(), "of a version that says it in another way")
}
