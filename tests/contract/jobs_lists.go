package contract

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// The cases of ports.Jobs about lists.

func identities(list []work.Snapshot) []domain.ID {
	found := make([]domain.ID, len(list))
	for i, s := range list {
		found[i] = s.ID
	}
	return found
}

func (c jobCases) filters(t *testing.T) {
	t.Parallel()
	// Few values for each field, so that filters meet.
	base := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(i int) time.Time { return base.Add(time.Duration(i%7) * time.Microsecond) }
	renters, hosts, origins := [3]domain.ID{ids.New(), ids.New(), ids.New()}, [3]domain.ID{ids.New(), ids.New(), ids.New()}, [2]domain.ID{ids.New(), ids.New()}
	names := []string{"Digits", "50% of it", "under_score", "Größe", "back\\slash", ""}
	states := []work.State{work.Pending, work.Queued, work.Running, work.Queued, work.Failed}
	var all []work.Snapshot
	for i := range 60 {
		s := work.Snapshot{
			ID: ids.New(), Renter: renters[i%3], Version: 1, State: states[i%5], Origin: origins[i%2], RunVersion: i + 1, Currency: "EUR",
			CreatedAt: at(i), QueuedAt: at(i / 7), WaitUntil: at(i / 3), Spec: work.Spec{Name: names[i%len(names)]},
		}
		if s.State == work.Failed {
			s.FinishedAt = at(i / 5)
		}
		if i%4 == 0 {
			s.Idempotency.Key = string(rune('a' + i/12))
		}
		for n := range i % 3 {
			s.Attempts = append(s.Attempts, work.Attempt{Number: n + 1, Host: hosts[(i+n)%3], Outcome: work.OutcomeLost})
		}
		if len(s.Attempts) > 0 && s.State == work.Running {
			s.Attempts[len(s.Attempts)-1].Outcome = work.OutcomeActive
		}
		c.add(t, work.Restore(s))
		all = append(all, s)
	}
	rapid.Check(t, func(r *rapid.T) {
		maybe := func(name string) bool { return rapid.IntRange(0, 3).Draw(r, name+"?") == 0 }
		f := ports.JobFilter{Renter: rapid.SampledFrom(renters[:]).Draw(r, "renter")}
		if maybe("host") {
			f.Host = rapid.SampledFrom(hosts[:]).Draw(r, "host")
		}
		if maybe("holder") {
			f.Holder = rapid.SampledFrom(hosts[:]).Draw(r, "holder")
		}
		if maybe("states") {
			f.States = rapid.SliceOfN(rapid.SampledFrom(states), 1, 3).Draw(r, "states")
		}
		if maybe("text") {
			own := rapid.SampledFrom(all).Draw(r, "whose").ID.Prefixed("job")
			f.Text = rapid.SampledFrom([]string{"digits", "DIG", "%", "_", "ö", "ÖSS", "\\", "!", own, own[4:], own[:34], own[:7], own[4:12], own[4:10], "job_", "none"}).Draw(r, "text")
		}
		if maybe("origin") {
			f.Origin = rapid.SampledFrom(origins[:]).Draw(r, "origin")
		}
		if maybe("key") {
			f.Key = rapid.SampledFrom([]string{"a", "b", "c", "z"}).Draw(r, "key")
		}
		if maybe("waited") {
			f.WaitedUntil = at(rapid.IntRange(0, 6).Draw(r, "until"))
		}
		if maybe("before") {
			f.Before = at(rapid.IntRange(0, 6).Draw(r, "before"))
		}
		if maybe("finished") {
			f.Finished = at(rapid.IntRange(0, 6).Draw(r, "since"))
		}
		f.Order = rapid.SampledFrom([]ports.JobOrder{ports.NewestFirst, ports.LongestQueued}).Draw(r, "order")
		p := ports.Page{Limit: rapid.IntRange(1, 30).Draw(r, "limit")}
		if f.Order == ports.NewestFirst && maybe("after") {
			p.After = rapid.SampledFrom(all).Draw(r, "after").ID
		}
		got, err := c.List(t.Context(), f, p)
		require.NoError(r, err)
		require.Equal(r, scan(all, f, p), identities(got))
		n, err := c.Count(t.Context(), f)
		require.NoError(r, err)
		require.Equal(r, int64(len(scan(all, f, ports.Page{Limit: len(all)}))), n)
	})
}

func begins(id domain.ID, text string) bool {
	if digits, named := strings.CutPrefix(text, "job_"); named {
		return digits != "" && strings.HasPrefix(id.Prefixed("job"), text)
	}
	return len(text) >= 8 && strings.HasPrefix(id.Prefixed("")[1:], text)
}

// scan answers a list by looking at every job.
func scan(all []work.Snapshot, f ports.JobFilter, p ports.Page) []domain.ID {
	var found []work.Snapshot
	for _, s := range all {
		there := slices.ContainsFunc(s.Attempts, func(a work.Attempt) bool { return a.Host == f.Host })
		holds := slices.ContainsFunc(s.Attempts, func(a work.Attempt) bool { return a.Host == f.Holder && a.Active() })
		if (f.Renter.IsZero() || s.Renter == f.Renter) &&
			(f.Host.IsZero() || there) &&
			(f.Holder.IsZero() || holds) &&
			(len(f.States) == 0 || slices.Contains(f.States, s.State)) &&
			(f.Text == "" || strings.Contains(strings.ToLower(s.Spec.Name), strings.ToLower(f.Text)) || begins(s.ID, f.Text)) &&
			(f.Origin.IsZero() || s.Origin == f.Origin) &&
			(f.Key == "" || s.Idempotency.Key == f.Key) &&
			(f.WaitedUntil.IsZero() || s.State == work.Queued && !s.WaitUntil.After(f.WaitedUntil)) &&
			(f.Finished.IsZero() || !s.FinishedAt.IsZero() && !s.FinishedAt.Before(f.Finished)) &&
			(f.Before.IsZero() || s.CreatedAt.Before(f.Before)) &&
			(p.After.IsZero() || bytes.Compare(s.ID[:], p.After[:]) < 0) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b work.Snapshot) int {
		if f.Order == ports.LongestQueued {
			return cmp.Or(a.QueuedAt.Compare(b.QueuedAt), bytes.Compare(a.ID[:], b.ID[:]))
		}
		return bytes.Compare(b.ID[:], a.ID[:])
	})
	return identities(found[:min(len(found), p.Limit)])
}

func (c jobCases) pages(t *testing.T) {
	t.Parallel()
	renter := ids.New()
	var want []domain.ID
	for range 10 {
		want = append(want, c.add(t, draft(renter)))
	}
	slices.Reverse(want)
	var got []domain.ID
	for page := (ports.Page{Limit: 3}); ; {
		list, err := c.List(t.Context(), ports.JobFilter{Renter: renter}, page)
		require.NoError(t, err)
		require.LessOrEqual(t, len(list), page.Limit)
		require.LessOrEqual(t, len(got), len(want))
		if len(list) == 0 {
			break
		}
		got = append(got, identities(list)...)
		page.After = got[len(got)-1]
		c.add(t, draft(renter))
	}
	assert.Equal(t, want, got)
}

func (c jobCases) longestQueued(t *testing.T) {
	t.Parallel()
	host := ids.New()
	var want []domain.ID
	for i := range 5 {
		s := complete()
		s.State, s.Attempts[0].Host = work.Queued, host
		s.QueuedAt = now().Add(-time.Duration(i) * time.Minute)
		want = append(want, c.add(t, work.Restore(s)))
	}
	slices.Reverse(want)
	list, err := c.List(t.Context(), ports.JobFilter{Host: host, Order: ports.LongestQueued}, ports.Page{Limit: 4, After: want[0]})
	require.NoError(t, err)
	assert.Equal(t, want[:4], identities(list), "of all renters, and Page.After is not used")
}
