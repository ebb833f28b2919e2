package jobs_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ticket is a parked job, as plainly as can be.
type ticket struct {
	job   domain.ID
	r     jobs.Request
	since time.Time
}

// servable asks the linear match of each job whether the slots of one host serve it.
func servable(tickets []ticket, free []jobs.Slot) []domain.ID {
	tickets = slices.Clone(tickets)
	slices.SortFunc(tickets, func(a, b ticket) int {
		if c := a.since.Compare(b.since); c != 0 {
			return c
		}
		return slices.Compare(a.job[:], b.job[:])
	})
	var ids []domain.ID
	for _, w := range tickets {
		if _, ok := jobs.Linear(free, w.r); ok {
			ids = append(ids, w.job)
		}
	}
	return ids
}

// drawHost draws the slots of one host. Most are alike, as they are on real ones.
func drawHost(t *rapid.T, host int) []jobs.Slot {
	slots := []jobs.Slot{drawSlot(t, 1, 1)}
	for n := range rapid.IntRange(0, 3).Draw(t, "more devices") {
		s := slots[0]
		if rapid.IntRange(1, 3).Draw(t, "unlike") == 1 {
			s = drawSlot(t, 1, 1)
		}
		s.DeviceID = deviceID(n + 2)
		slots = append(slots, s)
	}
	for i := range slots {
		slots[i].HostID = hostID(host)
	}
	return slots
}

func TestADeviceWakesTheJobsThatItCanServeOldestFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := jobs.NewWaiting()
		var tickets []ticket
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			job := jobID(rapid.IntRange(1, 300).Draw(t, "job"))
			at := slices.IndexFunc(tickets, func(o ticket) bool { return o.job == job })
			if at >= 0 {
				tickets = slices.Delete(tickets, at, at+1)
			}
			if rapid.IntRange(1, 5).Draw(t, "unpark") == 1 {
				require.Equal(t, at >= 0, w.Unpark(job))
				continue
			}
			park := ticket{job, drawRequest(t, 4), noon.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "s")) * time.Second)}
			w.Park(park.job, park.r, park.since)
			tickets = append(tickets, park)
		}
		require.Equal(t, len(tickets), w.Len())
		for range 10 {
			free := drawHost(t, rapid.IntRange(1, 4).Draw(t, "host"))
			require.Equal(t, servable(tickets, free), slices.Collect(w.Wake(free)))
		}
		for _, parked := range tickets {
			require.True(t, w.Waits(parked.job))
			require.True(t, w.Unpark(parked.job))
		}
		require.Zero(t, w.Len())
		require.Empty(t, slices.Collect(w.Wake(drawHost(t, 1))))
	})
}

// A lease in the body of the loop takes its job out of what the loop goes through.
func TestJobsCanBeUnparkedWhileTheyAreWoken(t *testing.T) {
	t.Parallel()
	w := jobs.NewWaiting()
	for n := range 200 {
		w.Park(jobID(n), jobs.Request{}, noon.Add(time.Duration(n%7)*time.Second))
	}
	free := []jobs.Slot{offered(1, 1, 200_000)}
	want := slices.Collect(w.Wake(free))
	var got []domain.ID
	for job := range w.Wake(free) {
		got = append(got, job)
		assert.True(t, w.Unpark(job))
	}
	assert.Equal(t, want, got)
	assert.Zero(t, w.Len())
}

func TestARequeuedJobKeepsItsPlace(t *testing.T) {
	t.Parallel()
	w := jobs.NewWaiting()
	w.Park(jobID(2), jobs.Request{}, noon.Add(time.Second))
	w.Park(jobID(1), jobs.Request{}, noon.Add(2*time.Second))
	w.Park(jobID(3), jobs.Request{}, noon)
	free := []jobs.Slot{offered(1, 1, 200_000)}
	assert.Equal(t, []domain.ID{jobID(3), jobID(2), jobID(1)}, slices.Collect(w.Wake(free)))
}

func TestALowerPriceWakesTheJobThatWaitedForIt(t *testing.T) {
	t.Parallel()
	w := jobs.NewWaiting()
	w.Park(jobID(1), jobs.Request{Needs: jobs.Needs{MaxPrice: 100_000}}, noon)
	assert.Empty(t, slices.Collect(w.Wake([]jobs.Slot{offered(1, 1, 100_001)})))
	assert.Len(t, slices.Collect(w.Wake([]jobs.Slot{offered(1, 1, 100_000)})), 1)
}

func TestAnAvoidedHostWakesAJobThatWaits(t *testing.T) {
	t.Parallel()
	w := jobs.NewWaiting()
	w.Park(jobID(1), jobs.Request{Avoid: []domain.ID{hostID(1)}}, noon)
	assert.Len(t, slices.Collect(w.Wake([]jobs.Slot{offered(1, 1, 200_000)})), 1)
}
