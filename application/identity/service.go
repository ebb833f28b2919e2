// Package identity holds the use cases of accounts: sign up, sign in, refresh, sign
// out, personal access tokens, and telling who it is that asks.
package identity

import (
	"context"
	"crypto/rand"
	"hash/crc32"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// Settings are the operator's choices about accounts.
type Settings struct {
	LoginLimit  ports.Limit // per account and address; Times 0: no limit
	SignUpLimit ports.Limit // per address
}

// Deps is what the use cases need of the world.
type Deps struct {
	Clock     ports.Clock
	IDs       ports.IDs
	Users     ports.Users
	Sessions  ports.Sessions
	APITokens ports.APITokens
	Tokens    ports.Tokens
	Passwords ports.Passwords
	Limiter   ports.Limiter
	Log       *slog.Logger
}

// Service is the use cases of accounts. It is safe for concurrent use.
type Service struct {
	Deps
	settings Settings
	revoked  *revocations
}

// New makes the use cases.
func New(d Deps, s Settings) *Service {
	return &Service{
		Deps: d, settings: s,
		revoked: &revocations{ids: map[domain.ID]time.Time{}, since: d.Clock.Now().Add(-identity.AccessTTL)},
	}
}

// Client is where a request comes from, for limits and for the list of sessions.
type Client struct {
	Address   string
	UserAgent string
}

// SignUp is what a visitor gives to get an account.
type SignUp struct {
	Email, Password, Name string
	AcceptedTerms         bool
}

// Register makes an account that may rent and host.
func (s *Service) Register(ctx context.Context, c Client, in SignUp) (identity.Snapshot, error) {
	if !in.AcceptedTerms {
		return identity.Snapshot{}, &domain.Error{
			Kind: domain.KindInvalid, Code: "terms_not_accepted", Detail: "accept the terms to get an account",
			Fields: []domain.Field{{Pointer: "/accepted_terms", Code: "required", Detail: "must be true"}},
		}
	}
	if err := identity.CheckPassword(in.Password); err != nil {
		return identity.Snapshot{}, err
	}
	if err := s.settings.SignUpLimit.Use(ctx, s.Limiter, "signup:"+c.Address); err != nil {
		return identity.Snapshot{}, err
	}
	hash, err := s.Passwords.Hash(ctx, in.Password)
	if err != nil {
		return identity.Snapshot{}, err
	}
	r := identity.Registration{ID: s.IDs.New(), Email: in.Email, Name: in.Name, PasswordHash: hash}
	for try := 0; ; try++ {
		u, err := identity.Register(r, s.Clock.Now())
		if err != nil {
			return identity.Snapshot{}, err
		}
		if err = s.Users.Add(ctx, u); err == nil {
			return s.Users.Get(ctx, r.ID)
		}
		if domain.CodeOf(err) != "handle_taken" || try == 5 {
			return identity.Snapshot{}, err
		}
		// Two people may have the same name in front of the @.
		r.Handle = identity.HandleFrom(in.Email) + "-" + strings.ToLower(rand.Text()[:5])
	}
}

// SignedIn is a new or refreshed sign-in. Refresh is empty when the browser keeps the
// one that it has.
type SignedIn struct {
	User    identity.Snapshot
	Access  string
	Expires time.Duration // of the access token
	Refresh string
}

var errCredentials = domain.NewError(domain.KindUnauthenticated, "wrong_credentials", "the e-mail address or the password is wrong")

// Login starts a session. An unknown address and a wrong password look the same, in
// words and in time.
func (s *Service) Login(ctx context.Context, c Client, email, password string) (SignedIn, error) {
	address, err := identity.NormalizeEmail(email)
	if err != nil {
		address = ""
	}
	if err := s.settings.LoginLimit.Use(ctx, s.Limiter, "login:"+c.Address+":"+address); err != nil {
		return SignedIn{}, err
	}
	u, err := s.Users.ByEmail(ctx, address)
	if err != nil && domain.KindOf(err) != domain.KindNotFound {
		return SignedIn{}, err
	}
	ok, stale, err := s.Passwords.Verify(ctx, u.PasswordHash, password)
	if err != nil {
		return SignedIn{}, err
	}
	if !ok || u.Disabled {
		return SignedIn{}, errCredentials
	}
	if stale {
		s.rehash(ctx, u.ID, password)
	}
	now := s.Clock.Now()
	refresh := secret()
	session := identity.Session{
		ID: s.IDs.New(), User: u.ID, TokenHash: identity.HashToken(refresh),
		CreatedAt: now, RefreshedAt: now, UserAgent: clip(c.UserAgent, 256),
	}
	if err := s.Sessions.Add(ctx, session); err != nil {
		return SignedIn{}, err
	}
	return s.signIn(u, session.ID, refresh)
}

func (s *Service) rehash(ctx context.Context, user domain.ID, password string) {
	hash, err := s.Passwords.Hash(ctx, password)
	if err == nil {
		_, err = s.Users.Update(ctx, user, func(u *identity.User) error {
			u.Rehash(hash)
			return nil
		})
	}
	if err != nil {
		s.Log.WarnContext(ctx, "a password cannot be hashed anew", "user", user, "error", err)
	}
}

func (s *Service) signIn(u identity.Snapshot, session domain.ID, refresh string) (SignedIn, error) {
	access, err := s.Tokens.Issue(ports.AudienceAPI, ports.Claims{
		Subject: u.ID, Session: session, Roles: u.Roles, Expires: s.Clock.Now().Add(identity.AccessTTL),
	})
	return SignedIn{User: u, Access: access, Expires: identity.AccessTTL, Refresh: refresh}, err
}

// Refresh exchanges the refresh token for a new one and an access token.
func (s *Service) Refresh(ctx context.Context, token string) (SignedIn, error) {
	next, kept := secret(), false
	session, err := s.Sessions.Update(ctx, identity.HashToken(token), func(x *identity.Session) error {
		var err error
		kept, err = x.Rotate(identity.HashToken(token), identity.HashToken(next), s.Clock.Now())
		return err
	})
	if err != nil {
		if !session.ID.IsZero() && !session.RevokedAt.IsZero() {
			s.revoked.add(session.ID, session.RevokedAt)
		}
		return SignedIn{}, err
	}
	u, err := s.Users.Get(ctx, session.User)
	if err != nil || u.Disabled {
		return SignedIn{}, domain.Unauthenticated("the session is over; sign in again")
	}
	if kept {
		next = ""
	}
	return s.signIn(u, session.ID, next)
}

// Logout ends the session of a refresh token. Its access tokens end with it. An
// unknown token is no error: the browser is signed out either way.
func (s *Service) Logout(ctx context.Context, token string) error {
	now := s.Clock.Now()
	session, err := s.Sessions.Update(ctx, identity.HashToken(token), func(x *identity.Session) error {
		if x.RevokedAt.IsZero() {
			x.RevokedAt = now
		}
		return nil
	})
	if domain.KindOf(err) == domain.KindUnauthenticated {
		return nil
	}
	if err == nil {
		s.revoked.add(session.ID, now)
	}
	return err
}

// Me is the account that asks.
func (s *Service) Me(ctx context.Context, who domain.Actor) (identity.Snapshot, error) {
	if err := who.Allow(domain.ScopeAccountRead); err != nil {
		return identity.Snapshot{}, err
	}
	return s.Users.Get(ctx, who.User)
}

// Rename changes the name of the account that asks.
func (s *Service) Rename(ctx context.Context, who domain.Actor, name string) (identity.Snapshot, error) {
	if err := who.Allow(domain.ScopeAccountWrite); err != nil {
		return identity.Snapshot{}, err
	}
	return s.Users.Update(ctx, who.User, func(u *identity.User) error { return u.Rename(name, s.Clock.Now()) })
}

// Grant gives an account a role. Only the installation itself does that: the
// operator's command line, and the demo.
func (s *Service) Grant(ctx context.Context, who domain.Actor, email string, role domain.Role) (identity.Snapshot, error) {
	if !who.IsSystem() {
		return identity.Snapshot{}, domain.Forbidden("roles are granted by the operator's command line")
	}
	address, err := identity.NormalizeEmail(email)
	if err != nil {
		return identity.Snapshot{}, err
	}
	u, err := s.Users.ByEmail(ctx, address)
	if err != nil {
		return identity.Snapshot{}, err
	}
	return s.Users.Update(ctx, u.ID, func(u *identity.User) error {
		u.Grant(role, s.Clock.Now())
		return nil
	})
}

// secret makes a token of 260 random bits.
func secret() string { return rand.Text() + rand.Text() }

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// revocations are the sessions that ended while access tokens of theirs may still be
// alive.
type revocations struct {
	mu    sync.Mutex
	ids   map[domain.ID]time.Time
	since time.Time
}

func (r *revocations) add(id domain.ID, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[id] = at
}

func (r *revocations) has(id domain.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.ids[id]
	return ok
}

// checksum makes mistyped and cut tokens recognisable without a look-up.
func checksum(s string) string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	sum, out := crc32.ChecksumIEEE([]byte(s)), make([]byte, 6)
	for i := range out {
		out[i] = digits[sum&31]
		sum >>= 5
	}
	return string(out)
}
