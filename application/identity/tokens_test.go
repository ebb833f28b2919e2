package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestAPersonalAccessTokenMayWhatItsScopesSay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, eve := m.Person("ada", 0), m.Person("eve", 0)
		ctx := t.Context()
		made, token, err := m.Identity.CreateToken(ctx, ada, identity.NewToken{
			Name: " laptop ", Scopes: []domain.Scope{domain.ScopeJobsRead, domain.ScopeAccountWrite, domain.ScopeAccountRead, domain.ScopeJobsRead},
		})
		require.NoError(t, err)
		assert.Equal(t, "laptop", made.Name)
		assert.Len(t, made.Scopes, 3)
		assert.True(t, strings.HasPrefix(token, made.Prefix))
		assert.NotContains(t, string(made.Hash), token)

		who, err := m.Identity.Authenticate(ctx, token)
		require.NoError(t, err)
		assert.Equal(t, ada.User, who.User)
		require.NoError(t, who.Allow(domain.ScopeJobsRead))
		assert.Equal(t, domain.KindForbidden, domain.KindOf(who.Allow(domain.ScopeJobsWrite)))
		_, _, err = m.Identity.CreateToken(ctx, who, identity.NewToken{Name: "x", Scopes: domain.AllScopes})
		assert.Equal(t, domain.KindForbidden, domain.KindOf(err), "a token makes no other")

		for _, bad := range []string{
			"", "pgpu_", "pgpu_abc", token + "a", token[:len(token)-1], strings.ToUpper(token), flip(token), "Bearer " + token,
		} {
			assert.False(t, alive(t, m, bad), bad)
		}

		list, err := m.Identity.ListTokens(ctx, ada)
		require.NoError(t, err)
		require.Len(t, list, 1)
		none, err := m.Identity.ListTokens(ctx, eve)
		require.NoError(t, err)
		assert.Empty(t, none)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(m.Identity.RevokeToken(ctx, eve, made.ID)))
		assert.True(t, alive(t, m, token))
		require.NoError(t, m.Identity.RevokeToken(ctx, ada, made.ID))
		assert.False(t, alive(t, m, token))
	})
}

// flip changes a character in the middle.
func flip(token string) string {
	b := []byte(token)
	if b[20]++; b[20] > 'z' {
		b[20] = 'a'
	}
	return string(b)
}

func TestATokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 0)
		_, token, err := m.Identity.CreateToken(t.Context(), ada, identity.NewToken{
			Name: "short", Scopes: []domain.Scope{domain.ScopeJobsRead}, Expires: m.Clock.Now().Add(time.Hour),
		})
		require.NoError(t, err)
		pass(time.Hour - time.Second)
		assert.True(t, alive(t, m, token))
		pass(time.Second)
		assert.False(t, alive(t, m, token))
	})
}

func TestTheUseOfATokenIsNotedNowAndThen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 0)
		_, token, err := m.Identity.CreateToken(t.Context(), ada, identity.NewToken{Name: "x", Scopes: []domain.Scope{domain.ScopeJobsRead}})
		require.NoError(t, err)
		used := func() time.Time {
			list, err := m.Identity.ListTokens(t.Context(), ada)
			require.NoError(t, err)
			return list[0].LastUsedAt
		}
		assert.Zero(t, used())
		first := m.Clock.Now()
		alive(t, m, token)
		assert.Equal(t, first, used())
		pass(time.Minute)
		alive(t, m, token)
		assert.Equal(t, first, used(), "not with every request")
		pass(time.Second)
		alive(t, m, token)
		assert.Equal(t, m.Clock.Now(), used())
	})
}

func TestATokenThatMakesNoSenseIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 0)
		scopes := []domain.Scope{domain.ScopeJobsRead}
		for name, in := range map[string]identity.NewToken{
			"no name":         {Name: " ", Scopes: scopes},
			"a long name":     {Name: strings.Repeat("x", 65), Scopes: scopes},
			"no scopes":       {Name: "x"},
			"unknown scopes":  {Name: "x", Scopes: []domain.Scope{"everything"}},
			"an expiry today": {Name: "x", Scopes: scopes, Expires: m.Clock.Now()},
		} {
			_, _, err := m.Identity.CreateToken(t.Context(), ada, in)
			assert.Equal(t, "invalid_token", domain.CodeOf(err), name)
		}
		_, _, err := m.Identity.CreateToken(t.Context(), domain.Actor{}, identity.NewToken{Name: "x", Scopes: scopes})
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
	})
}

func TestATicketIsGoodOnceForItsResource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 0)
		ticket := func() string {
			token, err := m.Identity.Ticket(t.Context(), ada, "job:1")
			require.NoError(t, err)
			return token
		}
		redeem := func(token, resource string) error {
			who, err := m.Identity.Redeem(t.Context(), token, resource)
			if err == nil {
				assert.Equal(t, ada, who)
			}
			return err
		}
		good := ticket()
		require.NoError(t, redeem(good, "job:1"))
		late := ticket()
		pass(identity.TicketTTL - time.Second) // tokens count in whole seconds
		onTime := redeem(late, "job:1")
		require.NoError(t, onTime)
		tooLate := ticket()
		pass(identity.TicketTTL + time.Millisecond)
		elsewhere := ticket()
		for name, err := range map[string]error{
			"used":             redeem(good, "job:1"),
			"expired":          redeem(tooLate, "job:1"),
			"another resource": redeem(elsewhere, "job:2"),
			"and then its own": redeem(elsewhere, "job:1"),
			"unknown":          redeem("unknown", "job:1"),
		} {
			assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err), name)
		}
		_, err := m.Identity.Ticket(t.Context(), domain.Actor{}, "job:1")
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))

		in := login(t, m)
		who, err := m.Identity.Authenticate(t.Context(), in.Access)
		require.NoError(t, err)
		token, err := m.Identity.Ticket(t.Context(), who, "job:1")
		require.NoError(t, err)
		require.NoError(t, m.Identity.Logout(t.Context(), in.Refresh))
		_, err = m.Identity.Redeem(t.Context(), token, "job:1")
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err), "signed out meanwhile")
	})
}
