package bunstore

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

func TestWhatAnotherServerChangedDecidesAndNotAnOldCopy(t *testing.T) {
	t.Parallel()
	servers := pairOf(t)
	measure := func(s *Store, id domain.ID, want error) int {
		runs := 0
		_, err := s.Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
			runs++
			if string(j.Snapshot().Metrics) == "2" {
				return domain.Conflict("measured", "")
			}
			j.Measure([]byte("2"))
			return nil
		})
		require.ErrorIs(t, err, want)
		return runs
	}
	t.Run("a copy that would do, where the row does not", func(t *testing.T) {
		t.Parallel()
		id := addJob(t, servers[0])
		assert.Equal(t, 1, measure(servers[1], id, nil))
		assert.Equal(t, 2, measure(servers[0], id, domain.Conflict("measured", "")))
	})
	t.Run("a copy that would not do, where the row does", func(t *testing.T) {
		t.Parallel()
		id := addJob(t, servers[0])
		measure(servers[0], id, nil)
		_, err := servers[1].Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
			j.Measure([]byte("3"))
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, 2, measure(servers[0], id, nil))
		job, err := servers[1].Jobs().Get(t.Context(), id, domain.ID{})
		require.NoError(t, err)
		assert.Equal(t, "2", string(job.Metrics))
		assert.EqualValues(t, 4, job.Version)
	})
	t.Run("a copy that is as it should be, where the row is not", func(t *testing.T) {
		t.Parallel()
		id := addJob(t, servers[0])
		for _, s := range []int{0, 1, 0} {
			_, err := servers[s].Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
				j.Measure([]byte([]string{"0", "1"}[s]))
				return nil
			})
			require.NoError(t, err)
		}
		job, err := servers[1].Jobs().Get(t.Context(), id, domain.ID{})
		require.NoError(t, err)
		assert.Equal(t, "0", string(job.Metrics))
	})
}

func TestACopyIsWhatIsRead(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		id := addJob(t, s)
		lease := jobs.Lease{Host: count.New(), HostName: "box", Devices: []jobs.Device{{ID: count.New(), UUID: "GPU-1"}}}
		for _, change := range []func(*jobs.Job) error{
			func(*jobs.Job) error { return nil },
			func(j *jobs.Job) error { return j.Lease(lease, count.Now()) },
			func(j *jobs.Job) error { return j.Accept(lease.Host, 1, count.Now()) },
		} {
			_, err := s.Jobs().Update(t.Context(), id, change)
			require.NoError(t, err)
			read, err := s.Jobs().Get(t.Context(), id, domain.ID{})
			require.NoError(t, err)
			assert.Equal(t, read, s.copies.find(id))
		}
	})
}

func TestCopiesAreFew(t *testing.T) {
	t.Parallel()
	c := newCopies()
	first := count.New()
	c.put(first, "first")
	c.forget(first)
	c.put(first, "again")
	for range mostCopies - 1 {
		c.put(count.New(), "another")
	}
	assert.Equal(t, "again", c.find(first))
	c.put(count.New(), "one more")
	assert.Nil(t, c.find(first))
	assert.Len(t, c.known, mostCopies)
}
