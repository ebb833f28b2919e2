package jobs_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// counted counts what is read of jobs.
type counted struct {
	ports.Jobs
	ports.Artifacts
	ports.Logs
	n, counts, parts atomic.Int64
}

type (
	countedJobs      struct{ *counted }
	countedArtifacts struct{ *counted }
	countedLogs      struct{ *counted }
)

func (c countedJobs) Add(ctx context.Context, j *domainjobs.Job) error { return c.Jobs.Add(ctx, j) }
func (c countedJobs) Update(ctx context.Context, id domain.ID, change func(*domainjobs.Job) error) (domainjobs.Snapshot, error) {
	return c.Jobs.Update(ctx, id, change)
}

func (c countedJobs) Get(ctx context.Context, id, renter domain.ID) (domainjobs.Snapshot, error) {
	c.n.Add(1)
	return c.Jobs.Get(ctx, id, renter)
}

func (c countedJobs) List(ctx context.Context, f ports.JobFilter, p ports.Page) ([]domainjobs.Snapshot, error) {
	return c.Jobs.List(ctx, f, p)
}

func (c countedJobs) Count(ctx context.Context, f ports.JobFilter) (int64, error) {
	c.counts.Add(1)
	return c.Jobs.Count(ctx, f)
}

func (c countedJobs) Events(ctx context.Context, job domain.ID, after int64, limit int) ([]domain.Event, error) {
	return c.Jobs.Events(ctx, job, after, limit)
}

func (c countedArtifacts) Plan(ctx context.Context, files []ports.Artifact) ([]ports.Artifact, error) {
	return c.Artifacts.Plan(ctx, files)
}

func (c countedArtifacts) Confirm(ctx context.Context, ids ...domain.ID) error {
	return c.Artifacts.Confirm(ctx, ids...)
}

func (c countedArtifacts) List(ctx context.Context, job domain.ID, attempt int, planned bool) ([]ports.Artifact, error) {
	c.n.Add(1)
	return c.Artifacts.List(ctx, job, attempt, planned)
}

func (c countedArtifacts) Get(ctx context.Context, job, artifact domain.ID) (ports.Artifact, error) {
	return c.Artifacts.Get(ctx, job, artifact)
}

func (c countedLogs) Append(ctx context.Context, job domain.ID, attempt int, host domain.ID, offset int64, data []byte, at time.Time) error {
	return c.Logs.Append(ctx, job, attempt, host, offset, data, at)
}

func (c countedLogs) Size(ctx context.Context, job domain.ID, attempt int) (int64, error) {
	c.n.Add(1)
	return c.Logs.Size(ctx, job, attempt)
}

func (c countedLogs) Read(ctx context.Context, job domain.ID, attempt int, offset int64, limit int) ([]byte, error) {
	c.parts.Add(1)
	return c.Logs.Read(ctx, job, attempt, offset, limit)
}

func (c countedLogs) Drop(ctx context.Context, job domain.ID, attempt int) error {
	return c.Logs.Drop(ctx, job, attempt)
}

func countingMarket(t *testing.T) (*market.Market, *counted) {
	t.Helper()
	c := &counted{}
	return market.Open(t, market.Options{JobDeps: func(d *jobs.Deps) {
		c.Jobs, c.Artifacts, c.Logs = d.Jobs, d.Artifacts, d.Logs
		d.Jobs, d.Artifacts, d.Logs = countedJobs{c}, countedArtifacts{c}, countedLogs{c}
	}}), c
}

func TestManyWhoFollowTheirJobsCostAsMuchAsOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, reads := countingMarket(t)
		ada, eve := m.Person("ada", 10*market.Dollar), m.Person("eve", 0)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		news, cancel := m.Live.Subscribe(jobs.RenterTopic(ada.User))
		defer cancel()
		m.Submit(ada, market.Spec())
		a := h.Take()
		a.Start()
		a.Print("one\ntwo\n")
		a.Exit(0)
		a.Upload("outputs/x", "12345")
		a.Finish()
		pass(time.Second)

		var states []domainjobs.State
		var last jobs.View
		for len(news) > 0 {
			message := <-news
			before := reads.n.Load()
			for range 20 {
				v, ok, err := m.Jobs.ToldInList(t.Context(), ada, message)
				require.NoError(t, err)
				require.True(t, ok)
				last = v
			}
			assert.LessOrEqual(t, reads.n.Load()-before, int64(1), "of twenty who are told one reads, if anybody has to")
			var u jobs.Update
			require.NoError(t, json.Unmarshal(message, &u))
			states = append(states, u.State)
			_, _, err := m.Jobs.ToldInList(t.Context(), eve, message)
			assert.Equal(t, domain.KindNotFound, domain.KindOf(err), "it is not hers")
		}
		assert.Equal(t, domainjobs.Assigned, states[0])
		assert.Equal(t, domainjobs.Succeeded, states[len(states)-1])
		assert.Equal(t, [3]int64{1, 5, 8}, [3]int64{int64(last.ArtifactCount), last.ArtifactBytes, last.LogBytes})
		assert.Equal(t, "ada", last.RenterHandle)

		_, ok, err := m.Jobs.ToldInList(t.Context(), ada, nil)
		require.NoError(t, err)
		assert.False(t, ok, "a loss is no news")
	})
}

func TestALogIsReadOnceToBeArchived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, reads := countingMarket(t)
		ada := m.Person("ada", 10*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		for _, log := range []string{"", "one\n", strings.Repeat("x", 256<<10)} {
			before := reads.parts.Load()
			j := m.Submit(ada, market.Spec())
			a := h.Take()
			a.Start()
			if log != "" {
				a.Print(log)
			}
			a.Exit(0)
			a.Finish()
			pass(time.Second)
			want := int64(1)
			if len(log) == 256<<10 {
				want = 2 // a full part may have another behind it
			}
			assert.Equal(t, want, reads.parts.Load()-before)
			size, err := m.Store.Logs().Size(t.Context(), j.ID, 1)
			require.NoError(t, err)
			assert.Zero(t, size)
			view, err := m.Jobs.OpenLog(t.Context(), ada, j.ID, 1)
			require.NoError(t, err)
			assert.EqualValues(t, len(log), view.Size)
		}
	})
}

func TestOwnersHearWhichOfTheirHostsGotOrGaveBackAJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		busy, cancel := m.Live.Subscribe(jobs.HostsTopic(bob.User))
		defer cancel()
		m.Submit(ada, market.Spec())
		require.Len(t, busy, 1)
		assert.Equal(t, h.ID[:], <-busy)
		a := h.Take()
		a.Start()
		a.Exit(0)
		assert.Empty(t, busy, "nothing that a host's page shows")
		a.Finish()
		require.Len(t, busy, 1)
	})
}

func TestWhatSucceededIsCountedOnceAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, reads := countingMarket(t)
		ada := m.Person("ada", 10*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		tally := func() jobs.Tally {
			t.Helper()
			got, err := m.Jobs.Tally(t.Context())
			require.NoError(t, err)
			return got
		}
		assert.Zero(t, tally())
		for _, code := range []int{0, 1, 0} {
			m.Submit(ada, market.Spec())
			h.Take().Run(code, time.Second)
		}
		assert.Zero(t, tally(), "up to a minute old")
		assert.Equal(t, int64(2), reads.counts.Load())
		pass(time.Minute)
		assert.Equal(t, jobs.Tally{Ever: 2, LastDay: 2}, tally())
		pass(25 * time.Hour)
		m.Submit(ada, market.Spec())
		h.Take().Run(0, time.Second)
		assert.Equal(t, jobs.Tally{Ever: 3, LastDay: 1}, tally())
	})
}
