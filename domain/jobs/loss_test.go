package jobs_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

func TestALostHostCostsNothingAndTheThirdLossFailsTheJob(t *testing.T) {
	t.Parallel()
	j := running(t)
	for loss := 1; loss <= 3; loss++ {
		require.NoError(t, j.Lose(loss, jobs.ReasonHostLost, "", at(float64(100*loss))))
		s := j.Snapshot()
		assert.Equal(t, loss, s.Losses)
		assert.Zero(t, s.Cost())
		if loss < 3 {
			assert.Equal(t, jobs.Queued, s.State)
			assert.Contains(t, s.Avoid, s.Attempts[loss-1].Host)
			require.NoError(t, j.Lease(lease(domain.ID{byte(10 + loss)}), at(float64(100*loss+1))))
		}
	}
	assert.Equal(t, jobs.Failed, j.Snapshot().State)
	assert.Equal(t, jobs.ReasonHostLost, j.Snapshot().Reason)
}

func TestADeclineDoesNotCountAsALoss(t *testing.T) {
	t.Parallel()
	j := assigned(t)
	for n := 1; n <= 5; n++ {
		host := j.Snapshot().Attempts[n-1].Host
		require.NoError(t, j.Decline(host, n, "policy", at(5)))
		require.NoError(t, j.Lease(lease(domain.ID{byte(20 + n)}), at(6)))
	}
	s := j.Snapshot()
	assert.Zero(t, s.Losses)
	assert.Equal(t, 6, s.Attempt())
	assert.Len(t, s.Avoid, 5)
}

func TestARefusalAfterTheAcceptanceIsALoss(t *testing.T) {
	t.Parallel()
	j := assigned(t)
	require.NoError(t, j.Accept(hostA, 1, at(3)))
	require.NoError(t, j.Start(hostA, 1, at(4)))
	require.NoError(t, j.Decline(hostA, 1, "not today", at(5)))
	s := j.Snapshot()
	assert.Equal(t, jobs.Queued, s.State)
	assert.Equal(t, 1, s.Losses)
	assert.Equal(t, jobs.ReasonHostError, s.Attempts[0].Reason)
}

func TestNothingEndsThatDidNotBegin(t *testing.T) {
	t.Parallel()
	j := assigned(t)
	require.NoError(t, j.Accept(hostA, 1, at(3)))
	assert.Equal(t, "contradiction", domain.CodeOf(j.Exit(hostA, 1, jobs.Exit{}, at(5))))
	assert.True(t, j.Snapshot().Attempts[0].ExitedAt.IsZero())
}

func TestAHostThatDeclinedIsAskedAgainAfterAPauseThatGrows(t *testing.T) {
	t.Parallel()
	j := assigned(t)
	require.NoError(t, j.Decline(hostA, 1, "busy", at(10)))
	waitUntil := j.Snapshot().WaitUntil
	assert.Equal(t, []domain.ID{hostA}, j.Snapshot().Declined(at(39)))
	assert.Empty(t, j.Snapshot().Declined(at(40)))
	require.NoError(t, j.Lease(lease(hostA), at(41)))
	require.NoError(t, j.Decline(hostA, 2, "busy", at(42)))
	assert.Equal(t, []domain.ID{hostA}, j.Snapshot().Declined(at(101)))
	assert.Empty(t, j.Snapshot().Declined(at(102)))
	assert.Equal(t, waitUntil, j.Snapshot().WaitUntil, "being offered does not prolong the wait")
}
