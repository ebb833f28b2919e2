package identity_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	domainidentity "github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// pass lets time go by, and everything happen that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func signUp(email string) identity.SignUp {
	return identity.SignUp{Email: email, Password: market.Password, Name: "Ada", AcceptedTerms: true}
}

// login signs ada in.
func login(t *testing.T, m *market.Market) identity.SignedIn {
	t.Helper()
	in, err := m.Identity.Login(t.Context(), identity.Client{}, "ada@example.org", market.Password)
	require.NoError(t, err)
	return in
}

// alive says whether a bearer credential is good.
func alive(t *testing.T, m *market.Market, bearer string) bool {
	t.Helper()
	_, err := m.Identity.Authenticate(t.Context(), bearer)
	if err != nil {
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
	}
	return err == nil
}

func TestWhoSignsUpMayRentAndHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{IdentityDeps: func(d *identity.Deps) { d.Passwords = system.NewPasswords() }})
		ctx := t.Context()
		u, err := m.Identity.Register(ctx, identity.Client{}, signUp(" Ada.Lovelace@Example.org "))
		require.NoError(t, err)
		assert.Equal(t, "ada.lovelace@example.org", u.Email)
		assert.Equal(t, "ada-lovelace", u.Handle)
		assert.Equal(t, []domain.Role{domain.RoleRenter, domain.RoleHost}, u.Roles)
		assert.NotContains(t, u.PasswordHash, market.Password)
		in, err := m.Identity.Login(ctx, identity.Client{}, "ADA.lovelace@example.org", market.Password)
		require.NoError(t, err)
		who, err := m.Identity.Authenticate(ctx, in.Access)
		require.NoError(t, err)
		assert.Equal(t, u.ID, who.User)
		assert.Nil(t, who.Scopes, "a session may everything")
		me, err := m.Identity.Me(ctx, who)
		require.NoError(t, err)
		assert.Equal(t, u.ID, me.ID)

		_, err = m.Identity.Register(ctx, identity.Client{}, signUp("ada.lovelace@example.org"))
		assert.Equal(t, "email_taken", domain.CodeOf(err))
		other, err := m.Identity.Register(ctx, identity.Client{}, signUp("ada.lovelace@example.com"))
		require.NoError(t, err)
		assert.Regexp(t, `^ada-lovelace-[a-z0-9]{5}$`, other.Handle, "two people may have the same name in front of the @")
	})
}

func TestASignUpThatMakesNoSenseIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		for code, change := range map[string]func(*identity.SignUp){
			"terms_not_accepted": func(s *identity.SignUp) { s.AcceptedTerms = false },
			"weak_password":      func(s *identity.SignUp) { s.Password = "password1" },
			"invalid_email":      func(s *identity.SignUp) { s.Email = "ada" },
			"invalid_name":       func(s *identity.SignUp) { s.Name = " " },
		} {
			in := signUp("ada@example.org")
			change(&in)
			_, err := m.Identity.Register(t.Context(), identity.Client{}, in)
			assert.Equal(t, code, domain.CodeOf(err))
			assert.Equal(t, domain.KindInvalid, domain.KindOf(err))
		}
	})
}

func TestAWrongPasswordAndAnUnknownAccountLookTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		m.Person("ada", 0)
		var seen []error
		for _, c := range [][2]string{{"ada@example.org", "wrong-password"}, {"eve@example.org", market.Password}, {"no address", market.Password}, {"", ""}} {
			_, err := m.Identity.Login(t.Context(), identity.Client{}, c[0], c[1])
			require.Equal(t, "wrong_credentials", domain.CodeOf(err))
			seen = append(seen, err)
		}
		for _, err := range seen {
			assert.Equal(t, seen[0].Error(), err.Error())
		}
	})
}

func TestARefreshTokenChangesWithEachUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		m.Person("ada", 0)
		in := login(t, m)
		next, err := m.Identity.Refresh(t.Context(), in.Refresh)
		require.NoError(t, err)
		assert.NotEmpty(t, next.Refresh)
		assert.NotEqual(t, in.Refresh, next.Refresh)
		assert.True(t, alive(t, m, next.Access))

		// Two tabs at once: the second keeps what the first got.
		pass(19 * time.Second)
		kept, err := m.Identity.Refresh(t.Context(), in.Refresh)
		require.NoError(t, err)
		assert.Empty(t, kept.Refresh)
		again, err := m.Identity.Refresh(t.Context(), next.Refresh)
		require.NoError(t, err)

		// Long after, the old token betrays a theft: the session ends with its tokens.
		pass(21 * time.Second)
		_, err = m.Identity.Refresh(t.Context(), next.Refresh)
		require.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
		assert.False(t, alive(t, m, again.Access))
		_, err = m.Identity.Refresh(t.Context(), again.Refresh)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
		_, err = m.Identity.Refresh(t.Context(), "unknown")
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
		assert.True(t, alive(t, m, login(t, m).Access), "other sessions are others")
	})
}

func TestManyTabsMayRefreshAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		m.Person("ada", 0)
		in := login(t, m)
		got := make(chan identity.SignedIn, 16)
		for range cap(got) {
			go func() {
				next, err := m.Identity.Refresh(t.Context(), in.Refresh)
				assert.NoError(t, err)
				got <- next
			}()
		}
		fresh := 0
		for range cap(got) {
			if next := <-got; next.Refresh != "" {
				fresh++
			}
		}
		assert.Equal(t, 1, fresh, "one of them gets the new token")
	})
}

func TestASessionEndsWhenItIsNotUsedOrOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{Manual: true}) // a month of ticks takes a while
		m.Person("ada", 0)
		idle, used := login(t, m), login(t, m)
		pass(domainidentity.AccessTTL)
		assert.False(t, alive(t, m, idle.Access))
		for day := 0; ; day += 6 {
			next, err := m.Identity.Refresh(t.Context(), used.Refresh)
			if err != nil {
				assert.GreaterOrEqual(t, day, 30)
				break
			}
			require.Less(t, day, 30)
			used = next
			pass(6 * 24 * time.Hour)
		}
		_, err := m.Identity.Refresh(t.Context(), idle.Refresh)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
	})
}

func TestSigningOutEndsTheAccessTokensToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		m.Person("ada", 0)
		here, there := login(t, m), login(t, m)
		require.NoError(t, m.Identity.Logout(t.Context(), here.Refresh))
		require.NoError(t, m.Identity.Logout(t.Context(), here.Refresh), "twice is fine")
		require.NoError(t, m.Identity.Logout(t.Context(), "unknown"))
		assert.False(t, alive(t, m, here.Access))
		assert.True(t, alive(t, m, there.Access))
		_, err := m.Identity.Refresh(t.Context(), here.Refresh)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))

		// A server that starts now knows of it as well.
		m.Restart()
		synctest.Wait()
		assert.False(t, alive(t, m, here.Access))
		assert.True(t, alive(t, m, there.Access))
	})
}

func TestAnotherReplicaHearsOfEndedSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		m.Person("ada", 0)
		in := login(t, m)
		who, err := m.Identity.Authenticate(t.Context(), in.Access)
		require.NoError(t, err)
		lasting, cancel := m.Identity.Lasting(t.Context(), who)
		defer cancel()
		require.NoError(t, m.Store.Sessions().Revoke(t.Context(), who.Session, m.Clock.Now()))
		pass(7 * time.Second)
		assert.ErrorIs(t, context.Cause(lasting), identity.ErrOver, "long connections are told")
		assert.False(t, alive(t, m, in.Access))
	})
}

func TestTriesAreThrottled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{Identity: func(s *identity.Settings) {
			s.LoginLimit = ports.Limit{Times: 3, Per: time.Minute}
			s.SignUpLimit = ports.Limit{Times: 2, Per: time.Hour}
		}})
		m.Person("ada", 0) // signs in once, from nowhere
		try := func(address, email string) string {
			_, err := m.Identity.Login(t.Context(), identity.Client{Address: address}, email, "wrong-password")
			return domain.CodeOf(err)
		}
		for range 3 {
			assert.Equal(t, "wrong_credentials", try("1.2.3.4", "ada@example.org"))
		}
		assert.Equal(t, "rate_limited", try("1.2.3.4", "ADA@example.org"))
		_, err := m.Identity.Login(t.Context(), identity.Client{Address: "1.2.3.4"}, "ada@example.org", "wrong-password")
		var refused *domain.Error
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, time.Minute, refused.RetryAfter)
		assert.Equal(t, "wrong_credentials", try("1.2.3.4", "eve@example.org"))
		assert.Equal(t, "wrong_credentials", try("5.6.7.8", "ada@example.org"))
		pass(time.Minute)
		assert.Equal(t, "wrong_credentials", try("1.2.3.4", "ada@example.org"))

		join := func(email string) error {
			_, err := m.Identity.Register(t.Context(), identity.Client{Address: "1.2.3.4"}, signUp(email))
			return err
		}
		require.NoError(t, join("b@example.org"))
		require.NoError(t, join("c@example.org"))
		assert.Equal(t, domain.KindExhausted, domain.KindOf(join("d@example.org")))
	})
}

func TestOnlyTheOperatorGrantsRoles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 0)
		root := m.Admin("root")
		for _, who := range []domain.Actor{{}, ada, root, domain.AgentOf(ada.User)} {
			_, err := m.Identity.Grant(t.Context(), who, "ada@example.org", domain.RoleAdmin)
			assert.Equal(t, domain.KindForbidden, domain.KindOf(err))
		}
		u, err := m.Identity.Grant(t.Context(), domain.System(), "Ada@example.org", domain.RoleAdmin)
		require.NoError(t, err)
		assert.Contains(t, u.Roles, domain.RoleAdmin)
		assert.True(t, m.SignIn("ada").Is(domain.RoleAdmin))
		_, err = m.Identity.Grant(t.Context(), domain.System(), "eve@example.org", domain.RoleAdmin)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
		renamed, err := m.Identity.Rename(t.Context(), ada, " Countess ")
		require.NoError(t, err)
		assert.Equal(t, "Countess", renamed.Name)
	})
}
