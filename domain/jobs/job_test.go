package jobs_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	epoch  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	renter = domain.ID{1}
	hostA  = domain.ID{2}
	hostB  = domain.ID{3}
)

func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

func draft() jobs.Draft {
	return jobs.Draft{
		ID: domain.ID{9}, Renter: renter, Currency: "USD", RunVersion: 1,
		Spec: jobs.Spec{Command: []string{"true"}, Limits: jobs.Limits{MaxRuntime: time.Hour}},
	}
}

func lease(host domain.ID) jobs.Lease {
	return jobs.Lease{Host: host, HostName: "h", HostOwner: domain.ID{7}, HourlyPrice: 3_600_000,
		Devices: []jobs.Device{{ID: domain.ID{host[0], 1}, UUID: "GPU-1", Model: "RTX 4090"}}}
}

// assigned is a job that host A has.
func assigned(t *testing.T) *jobs.Job {
	t.Helper()
	j, err := jobs.New(draft(), epoch)
	require.NoError(t, err)
	require.NoError(t, j.Enqueue(3_600_000, at(1)))
	require.NoError(t, j.Lease(lease(hostA), at(2)))
	return j
}

func running(t *testing.T) *jobs.Job {
	t.Helper()
	j := assigned(t)
	require.NoError(t, j.Accept(hostA, 1, at(3)))
	require.NoError(t, j.Start(hostA, 1, at(10)))
	return j
}

func events(j *jobs.Job) (names []string) {
	for _, f := range j.Facts() {
		names = append(names, f.Type)
	}
	return names
}

func code(n int) *int { return &n }

func TestAJobThatSucceedsIsBilledFromStartToExit(t *testing.T) {
	t.Parallel()
	j := running(t)
	require.NoError(t, j.Exit(hostA, 1, jobs.Exit{Code: code(0), Ran: 20 * time.Second}, at(31)))
	require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: jobs.Exit{Code: code(0), Ran: 20 * time.Second}, LogBytes: 5}, at(90)))
	s := j.Snapshot()
	assert.Equal(t, jobs.Succeeded, s.State)
	assert.Equal(t, 20*time.Second, s.Attempts[0].Billable, "the shorter of the server's 21 s and the agent's 20 s")
	assert.Equal(t, domain.Micros(20_000), s.Cost())
	assert.Equal(t, at(90), s.FinishedAt)
	assert.Equal(t, []string{
		jobs.EventSubmitted, jobs.EventQueued, jobs.EventAssigned, jobs.EventAccepted, jobs.EventRunning, jobs.EventExited, jobs.EventSucceeded,
	}, events(j))
}

func TestTheTimelineSaysWhyACommandEnded(t *testing.T) {
	t.Parallel()
	j := running(t)
	j.Facts()
	require.NoError(t, j.Exit(hostA, 1, jobs.Exit{Code: code(137), Reason: jobs.ReasonOutOfMemory, Detail: "more than 64 MiB"}, at(20)))
	fact := j.Facts()[0]
	happened, ok := fact.Data.(jobs.Happening)
	require.True(t, ok)
	assert.Equal(t, jobs.ReasonOutOfMemory, happened.Reason)
	assert.Equal(t, "more than 64 MiB", happened.Detail)
	assert.Equal(t, jobs.CauseRenter, happened.Cause)
}

func TestNeitherSideCanLengthenTheBill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		agent    time.Duration
		exit     float64
		billable time.Duration
	}{
		"an agent that claims an hour":         {time.Hour, 15, 5 * time.Second},
		"an agent that claims less":            {time.Second, 15, time.Second},
		"an agent that claims a negative time": {-time.Hour, 15, 0},
		"a run beyond max_runtime":             {3 * time.Hour, 10 + 7200, time.Hour},
	} {
		j := running(t)
		e := jobs.Exit{Code: code(3), Reason: jobs.ReasonExitCode, Ran: c.agent}
		require.NoError(t, j.Exit(hostA, 1, e, at(c.exit)))
		require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: e}, at(9000)))
		s := j.Snapshot()
		assert.Equal(t, c.billable, s.Attempts[0].Billable, name)
		assert.Equal(t, jobs.Failed, s.State)
	}
}

func TestTheHoldBoundsTheRuntime(t *testing.T) {
	t.Parallel()
	j, err := jobs.New(draft(), epoch)
	require.NoError(t, err)
	require.NoError(t, j.Enqueue(1_000_000, epoch))
	require.NoError(t, j.Lease(lease(hostA), epoch))
	assert.Equal(t, 1000*time.Second, j.Snapshot().Attempts[0].MaxRuntime)
}

func TestAJobThatItsMoneyStopsDoesNotSayThatItsTimeWasOver(t *testing.T) {
	t.Parallel()
	j, err := jobs.New(draft(), epoch)
	require.NoError(t, err)
	require.NoError(t, j.Enqueue(1_000_000, epoch))
	require.NoError(t, j.Lease(lease(hostA), epoch))
	require.NoError(t, j.Start(hostA, 1, epoch))
	e := jobs.Exit{Code: code(143), Reason: jobs.ReasonTimeout, Ran: 1000 * time.Second}
	require.NoError(t, j.Exit(hostA, 1, e, at(1001)))
	require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: e}, at(1002)))
	s := j.Snapshot()
	assert.Equal(t, jobs.ReasonFundsExhausted, s.Reason)
	assert.Equal(t, domain.Micros(1_000_000), s.Cost())
}

func TestReportsOfWhoDoesNotHoldTheAttemptAreStaleAndChangeNothing(t *testing.T) {
	t.Parallel()
	reports := map[string]func(*jobs.Job, domain.ID, int) error{
		"accept":  func(j *jobs.Job, h domain.ID, n int) error { return j.Accept(h, n, at(50)) },
		"decline": func(j *jobs.Job, h domain.ID, n int) error { return j.Decline(h, n, "", at(50)) },
		"advance": func(j *jobs.Job, h domain.ID, n int) error {
			return j.Advance(h, n, jobs.Progress{Name: jobs.PhaseFetching})
		},
		"start": func(j *jobs.Job, h domain.ID, n int) error { return j.Start(h, n, at(50)) },
		"exit":  func(j *jobs.Job, h domain.ID, n int) error { return j.Exit(h, n, jobs.Exit{Code: code(0)}, at(50)) },
		"finish": func(j *jobs.Job, h domain.ID, n int) error {
			return j.Finish(h, n, jobs.Result{Exit: jobs.Exit{Code: code(0)}}, at(50))
		},
	}
	for name, report := range reports {
		j := running(t)
		require.NoError(t, j.Lose(1, jobs.ReasonHostLost, "", at(20)))
		require.NoError(t, j.Lease(lease(hostB), at(21)))
		before := j.Snapshot()
		j.Facts()
		for _, c := range []struct {
			host    domain.ID
			attempt int
		}{{hostA, 1}, {hostA, 2}, {hostB, 1}, {hostB, 3}, {domain.ID{}, 2}} {
			assert.ErrorIs(t, report(j, c.host, c.attempt), jobs.ErrStale, name)
		}
		assert.Equal(t, before, j.Snapshot(), name)
		assert.Empty(t, j.Facts(), name)
	}
}

func TestRepeatedReportsChangeNothing(t *testing.T) {
	t.Parallel()
	j := running(t)
	require.NoError(t, j.Exit(hostA, 1, jobs.Exit{Code: code(0), Ran: time.Second}, at(12)))
	before := j.Snapshot()
	j.Facts()
	require.NoError(t, j.Accept(hostA, 1, at(60)))
	require.NoError(t, j.Start(hostA, 1, at(60)))
	require.NoError(t, j.Exit(hostA, 1, jobs.Exit{Code: code(9), Ran: time.Hour}, at(60)))
	assert.Equal(t, before, j.Snapshot())
	assert.Empty(t, j.Facts())
}

func TestCancelIsImmediateWithoutAHostAndPassesThroughCancellingWithOne(t *testing.T) {
	t.Parallel()
	j, err := jobs.New(draft(), epoch)
	require.NoError(t, err)
	require.NoError(t, j.Enqueue(1000, epoch))
	require.NoError(t, j.Cancel(jobs.ReasonCancelledByRenter, at(1)))
	assert.Equal(t, jobs.Cancelled, j.Snapshot().State)

	j = running(t)
	require.NoError(t, j.Cancel(jobs.ReasonCancelledByRenter, at(20)))
	require.NoError(t, j.Cancel(jobs.ReasonCancelledByRenter, at(21)), "again changes nothing")
	assert.Equal(t, jobs.Cancelling, j.Snapshot().State)
	e := jobs.Exit{Code: code(143), Reason: jobs.ReasonCancelledByRenter, Ran: 11 * time.Second}
	require.NoError(t, j.Exit(hostA, 1, e, at(22)))
	require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: e}, at(23)))
	s := j.Snapshot()
	assert.Equal(t, jobs.Cancelled, s.State)
	assert.Equal(t, domain.Micros(11_000), s.Cost(), "the renter's cancel pays the host for the time run")
	err = j.Cancel(jobs.ReasonCancelledByRenter, at(30))
	assert.NoError(t, err)
}

func TestAHostThatGoesOnAfterACancelIsPaidForTwelveSecondsMore(t *testing.T) {
	t.Parallel()
	j := running(t) // since 10
	require.NoError(t, j.Cancel(jobs.ReasonCancelledByRenter, at(20)))
	e := jobs.Exit{Code: code(143), Reason: jobs.ReasonCancelledByRenter, Ran: 50 * time.Second}
	require.NoError(t, j.Exit(hostA, 1, e, at(60)))
	require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: e}, at(61)))
	a := j.Snapshot().Current()
	assert.Equal(t, at(20).Sub(a.StartedAt)+jobs.StopWithin, a.Billable)
}

func TestWhatIsTheRentersByTheWordOfTheHostAloneIsTheHosts(t *testing.T) {
	t.Parallel()
	for _, reason := range []jobs.Reason{jobs.ReasonCancelledByRenter, jobs.ReasonTimeout} {
		j := running(t)
		e := jobs.Exit{Code: code(143), Reason: reason, Ran: time.Second}
		require.NoError(t, j.Exit(hostA, 1, e, at(12)))
		require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: e}, at(13)))
		s := j.Snapshot()
		assert.Equal(t, jobs.Queued, s.State)
		assert.Equal(t, jobs.ReasonHostError, s.Current().Reason)
		assert.Zero(t, s.Cost())
	}
}

func TestAnAdminsCancelAndALostHostWhileCancellingCostTheRenterNothing(t *testing.T) {
	t.Parallel()
	j := running(t)
	require.NoError(t, j.Cancel(jobs.ReasonCancelledByAdmin, at(20)))
	require.NoError(t, j.Finish(hostA, 1, jobs.Result{Exit: jobs.Exit{Code: code(143), Ran: 10 * time.Second}}, at(23)))
	assert.Zero(t, j.Snapshot().Cost())

	j = running(t)
	require.NoError(t, j.Cancel(jobs.ReasonCancelledByRenter, at(20)))
	require.NoError(t, j.Lose(1, jobs.ReasonHostLost, "", at(400)))
	assert.Equal(t, jobs.Cancelled, j.Snapshot().State)
	assert.Zero(t, j.Snapshot().Cost())
}

func TestAnAgentCannotReportWhatIsNotItsToReport(t *testing.T) {
	t.Parallel()
	for _, r := range []jobs.Reason{jobs.ReasonHostLost, jobs.ReasonCancelledByAdmin, jobs.ReasonExpired, "nonsense"} {
		j := running(t)
		err := j.Finish(hostA, 1, jobs.Result{Exit: jobs.Exit{Reason: r}}, at(20))
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), r)
		assert.Equal(t, jobs.Running, j.Snapshot().State)
	}
	for name, r := range map[string]jobs.Result{
		"a success without exit code": {},
		"a success with exit code 4":  {Exit: jobs.Exit{Code: code(4)}},
	} {
		err := running(t).Finish(hostA, 1, r, at(20))
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), name)
	}
	err := assigned(t).Finish(hostA, 1, jobs.Result{Exit: jobs.Exit{Code: code(0)}}, at(20))
	assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "a success that never started")
}

func TestAJobExpiresOnlyWhenItsWaitIsOver(t *testing.T) {
	t.Parallel()
	j, err := jobs.New(draft(), epoch)
	require.NoError(t, err)
	require.NoError(t, j.Enqueue(1000, epoch))
	assert.Error(t, j.Expire("", epoch.Add(time.Hour)))
	require.NoError(t, j.Expire("", epoch.Add(24*time.Hour)))
	assert.Equal(t, jobs.ReasonExpired, j.Snapshot().Reason)
	assert.Error(t, j.Expire("", epoch.Add(48*time.Hour)), "once")
}

func TestSnapshotsShareNothingWithTheJob(t *testing.T) {
	t.Parallel()
	j := assigned(t)
	s := j.Snapshot()
	require.NoError(t, j.Start(hostA, 1, at(5)))
	assert.True(t, s.Attempts[0].StartedAt.IsZero())
	s.Attempts[0].Host = hostB
	assert.Equal(t, hostA, j.Snapshot().Attempts[0].Host)
}

// Any sequence of calls keeps to the table, never leaves a final state, never bills
// more than the hold, and never has two active attempts.
func TestNoSequenceOfCallsBreaksTheInvariants(t *testing.T) {
	t.Parallel()
	allowed := map[[2]jobs.State]bool{}
	for _, x := range jobs.Transitions {
		allowed[[2]jobs.State{x.From, x.To}] = true
	}
	rapid.Check(t, func(t *rapid.T) {
		j, err := jobs.New(draft(), epoch)
		require.NoError(t, err)
		now := epoch
		reasons := slices.Sorted(maps.Keys(jobs.Rulings))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := j.Snapshot()
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "dt")))
			host := rapid.SampledFrom([]domain.ID{hostA, hostB}).Draw(t, "host")
			n := max(1, before.Attempt()-rapid.IntRange(0, 1).Draw(t, "behind"))
			e := jobs.Exit{Reason: rapid.SampledFrom(reasons).Draw(t, "reason"), Ran: time.Duration(rapid.Int64().Draw(t, "ran"))}
			if rapid.Bool().Draw(t, "has code") {
				e.Code = code(rapid.IntRange(0, 2).Draw(t, "code"))
			}
			var failed error
			switch rapid.SampledFrom([]string{"enqueue", "lease", "accept", "start", "exit", "finish", "lose", "decline", "cancel", "expire", "advance"}).Draw(t, "call") {
			case "enqueue":
				failed = j.Enqueue(3_600_000, now)
			case "lease":
				failed = j.Lease(lease(host), now)
			case "accept":
				failed = j.Accept(host, n, now)
			case "start":
				failed = j.Start(host, n, now)
			case "exit":
				failed = j.Exit(host, n, e, now)
			case "finish":
				failed = j.Finish(host, n, jobs.Result{Exit: e}, now)
			case "lose":
				failed = j.Lose(n, jobs.ReasonHostLost, "", now)
			case "decline":
				failed = j.Decline(host, n, "", now)
			case "cancel":
				failed = j.Cancel(jobs.ReasonCancelledByRenter, now)
			case "expire":
				failed = j.Expire("", now)
			case "advance":
				failed = j.Advance(host, n, jobs.Progress{Name: jobs.PhaseFetching})
			}
			after := j.Snapshot()
			if failed != nil {
				require.Equal(t, before, after, "a refusal changes nothing")
			}
			if before.State != after.State {
				require.True(t, allowed[[2]jobs.State{before.State, after.State}], "%s → %s", before.State, after.State)
				require.False(t, before.State.Terminal())
			}
			active := 0
			for _, a := range after.Attempts {
				if a.Active() {
					active++
				}
			}
			require.Equal(t, after.State.Active(), active == 1)
			require.LessOrEqual(t, active, 1)
			require.LessOrEqual(t, after.Cost(), after.Hold)
		}
	})
}

func TestTheStateMachineIsAsDocumented(t *testing.T) {
	t.Parallel()
	golden(t, "states.mmd", jobs.Diagram())
}

func TestTheRulingsAreAsDocumented(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	fmt.Fprintln(&b, "| reason | cause | billed | retried | avoids the host | counts as a loss |\n|---|---|---|---|---|---|")
	for _, r := range slices.Sorted(maps.Keys(jobs.Rulings)) {
		v := jobs.Rulings[r]
		name := string(r)
		if r == "" {
			name = "(exit code 0)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", name, v.Cause, mark(v.Billed), mark(v.Retried), mark(v.AvoidsHost), mark(v.Counts))
	}
	golden(t, "rulings.md", b.String())
}

func mark(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "run go test ./domain/jobs -update when the change is meant")
}
