package domain_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
)

func TestIDsSurviveEveryTextForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var id domain.ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		if id.IsZero() {
			return
		}
		got, err := domain.ParseID(id.String())
		require.NoError(t, err)
		assert.Equal(t, id, got)
		got, err = domain.ParsePrefixed("job", id.Prefixed("job"))
		require.NoError(t, err)
		assert.Equal(t, id, got)
		text, err := id.MarshalText()
		require.NoError(t, err)
		var back domain.ID
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, id, back)
	})
}

func TestParseRefusesWhatIsNoID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "job", "job_", "hst_0190000000007000800000000000000a", "job_0190000000007000800000000000000A", "job_01900000-0000-7000-8000-00000000000a", "job_zz90000000007000800000000000000a", "job_00000000000000000000000000000000"} {
		_, err := domain.ParsePrefixed("job", s)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), s)
	}
}

// The vectors of the money page.
func TestCostIsExactToTheMillionth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		price domain.Micros
		gpus  int
		ms    int64
		want  domain.Micros
	}{
		{350_000, 1, 1_000, 97},
		{350_000, 1, 3_600_000, 350_000},
		{350_000, 1, 3_599_999, 349_999},
		{2_490_000, 2, 5_025_000, 6_951_250},
		{1, 1, 1, 0},
		{100_000_000_000, 1, 2_600_000_000, 72_222_222_222_222},
		{math.MaxInt64, 1000, math.MaxInt64, math.MaxInt64},
		{-5, 1, 1000, 0},
	} {
		assert.Equal(t, c.want, domain.Cost(c.price, c.gpus, c.ms))
	}
}

func TestAffordableRunNeverCostsMoreThanTheHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hold := domain.Micros(rapid.Int64Range(1, 1e12).Draw(t, "hold"))
		price := domain.Micros(rapid.Int64Range(1, 1e9).Draw(t, "price"))
		gpus := rapid.IntRange(1, 16).Draw(t, "gpus")
		ms := domain.Affordable(hold, price, gpus)
		assert.LessOrEqual(t, domain.Cost(price, gpus, ms), hold)
		// One second and one millionth more would not be affordable any longer.
		assert.GreaterOrEqual(t, domain.Cost(price, gpus, ms+1)+1, hold)
	})
}

func TestErrorsMatchByKindAndCode(t *testing.T) {
	t.Parallel()
	taken := domain.Conflict("device_taken", "the device is taken")
	err := error(taken.With(errors.New("unique constraint")))
	assert.ErrorIs(t, err, domain.Conflict("device_taken", "other words"))
	assert.NotErrorIs(t, err, domain.Conflict("other", ""))
	assert.Equal(t, domain.KindConflict, domain.KindOf(err))
	assert.Equal(t, domain.KindInternal, domain.KindOf(errors.New("x")))
	var p domain.Problems
	require.NoError(t, p.Err("x", "y"))
	p.Add("/needs/gpus", "too_small", "at least %d", 1)
	assert.ErrorContains(t, p.Err("invalid_job", "the job is invalid"), "/needs/gpus: at least 1")
}

func TestActorsAreAllowedWhatTheirCredentialCarries(t *testing.T) {
	t.Parallel()
	user := domain.ID{1}
	session := domain.Actor{User: user, Roles: []domain.Role{domain.RoleRenter}}
	token := session
	token.Scopes = []domain.Scope{domain.ScopeJobsRead}
	require.NoError(t, session.Allow(domain.ScopeJobsWrite))
	assert.Equal(t, domain.KindForbidden, domain.KindOf(token.Allow(domain.ScopeJobsWrite)))
	assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(domain.Actor{}.Allow(domain.ScopeJobsRead)))
	assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(domain.AgentOf(user).Allow(domain.ScopeJobsRead)))
	assert.Equal(t, domain.KindForbidden, domain.KindOf(session.Require(domain.RoleHost, domain.ScopeHostsRead)))
	require.NoError(t, domain.System().Require(domain.RoleAdmin, domain.ScopeJobsRead))
	_, all := session.Owner()
	assert.False(t, all)
}

func TestTimeIsUTCInMicroseconds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("x", 3600))
	assert.Equal(t, time.Date(2026, 1, 2, 2, 4, 5, 123456000, time.UTC), domain.Time(at))
}
