package jobs

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

func TestARecentJobServesOnlyThoseWhoKnowOfNothingNewer(t *testing.T) {
	t.Parallel()
	r, id := newRecent(), domain.ID{1}
	_, known := r.find(id, 0)
	assert.False(t, known)
	r.put(jobs.Snapshot{ID: id, Version: 3, State: jobs.Running})
	r.put(jobs.Snapshot{ID: id, Version: 2, State: jobs.Assigned}) // two updates, told in the wrong order
	j, known := r.find(id, 2)
	require.True(t, known)
	assert.Equal(t, jobs.Running, j.State)
	_, known = r.find(id, 4) // another replica changed it
	assert.False(t, known)
}

func TestRecentJobsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRecent()
	id := func(n int) domain.ID { return domain.ID{1, 14: byte(n >> 8), 15: byte(n)} }
	for n := range 3 * recentJobs {
		r.put(jobs.Snapshot{ID: id(n), Version: 1})
		r.put(jobs.Snapshot{ID: id(n), Version: 2})
	}
	assert.Len(t, r.jobs, recentJobs)
	_, known := r.find(id(2*recentJobs), 2)
	assert.True(t, known, "the oldest of those that are kept")
	_, known = r.find(id(2*recentJobs-1), 1)
	assert.False(t, known)
}

func TestALossIsNoNews(t *testing.T) {
	t.Parallel()
	_, ok := parseUpdate(nil)
	assert.False(t, ok)
	message, err := json.Marshal(Update{Version: 7, State: jobs.Running, Attempt: 1})
	require.NoError(t, err)
	u, ok := parseUpdate(message)
	assert.True(t, ok)
	assert.EqualValues(t, 7, u.Version)
}
