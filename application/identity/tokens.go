package identity

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/ports"
)

// TokenPrefix begins every personal access token.
const TokenPrefix = "pgpu_"

// NewToken is what a user chooses for a personal access token.
type NewToken struct {
	Name    string
	Scopes  []domain.Scope
	Expires time.Time // zero: never
}

// CreateToken makes a personal access token and shows it, this once. A token never
// makes another one.
func (s *Service) CreateToken(ctx context.Context, who domain.Actor, in NewToken) (identity.APIToken, string, error) {
	if err := s.sessionOnly(who); err != nil {
		return identity.APIToken{}, "", err
	}
	var p domain.Problems
	if n := len([]rune(strings.TrimSpace(in.Name))); n < 1 || n > 64 {
		p.Add("/name", "invalid", "a name has 1 to 64 characters")
	}
	if len(in.Scopes) == 0 {
		p.Add("/scopes", "required", "at least one scope")
	}
	for _, scope := range in.Scopes {
		if !slices.Contains(domain.AllScopes, scope) {
			p.Add("/scopes", "unknown", "there is no scope %s", scope)
		}
	}
	now := s.Clock.Now()
	if !in.Expires.IsZero() && !in.Expires.After(now) {
		p.Add("/expires_at", "past", "the expiry lies in the past")
	}
	if err := p.Err("invalid_token", "the token cannot be made"); err != nil {
		return identity.APIToken{}, "", err
	}
	body := strings.ToLower(rand.Text() + rand.Text()[:14])
	token := TokenPrefix + body + checksum(body)
	t := identity.APIToken{
		ID: s.IDs.New(), User: who.User, Name: strings.TrimSpace(in.Name), Hash: identity.HashToken(token),
		Prefix: token[:len(TokenPrefix)+4], Scopes: slices.Compact(slices.Sorted(slices.Values(in.Scopes))),
		CreatedAt: now, ExpiresAt: domain.Time(in.Expires),
	}
	return t, token, s.APITokens.Add(ctx, t)
}

// ListTokens gives the account's tokens, without the secrets.
func (s *Service) ListTokens(ctx context.Context, who domain.Actor) ([]identity.APIToken, error) {
	if err := who.Allow(domain.ScopeAccountRead); err != nil {
		return nil, err
	}
	return s.APITokens.List(ctx, who.User)
}

// RevokeToken ends a token of the account. A token may end itself and others.
func (s *Service) RevokeToken(ctx context.Context, who domain.Actor, id domain.ID) error {
	if err := who.Allow(domain.ScopeAccountWrite); err != nil {
		return err
	}
	return s.APITokens.Revoke(ctx, who.User, id, s.Clock.Now())
}

func (s *Service) sessionOnly(who domain.Actor) error {
	if err := who.Allow(domain.ScopeAccountWrite); err != nil {
		return err
	}
	if who.Scopes != nil {
		return domain.Forbidden("a token cannot make tokens; sign in")
	}
	return nil
}

// touchEvery bounds how often the use of a token is written down.
const touchEvery = time.Minute

// Authenticate tells who presents a bearer credential: an access token of a session or
// a personal access token.
func (s *Service) Authenticate(ctx context.Context, bearer string) (domain.Actor, error) {
	if rest, ok := strings.CutPrefix(bearer, TokenPrefix); ok {
		return s.byToken(ctx, bearer, rest)
	}
	c, err := s.Tokens.Verify(ports.AudienceAPI, bearer)
	if err != nil {
		return domain.Actor{}, err
	}
	if s.revoked.has(c.Session) {
		return domain.Actor{}, domain.Unauthenticated("the session is over; sign in again")
	}
	return domain.Actor{User: c.Subject, Roles: c.Roles, Session: c.Session}, nil
}

func (s *Service) byToken(ctx context.Context, token, rest string) (domain.Actor, error) {
	refused := domain.Unauthenticated("the token is unknown, expired or revoked")
	if len(rest) < 7 || checksum(rest[:len(rest)-6]) != rest[len(rest)-6:] {
		return domain.Actor{}, refused
	}
	t, err := s.APITokens.ByHash(ctx, identity.HashToken(token))
	if domain.KindOf(err) == domain.KindNotFound {
		return domain.Actor{}, refused
	}
	if err != nil {
		return domain.Actor{}, err
	}
	now := s.Clock.Now()
	if !t.Usable(now) {
		return domain.Actor{}, refused
	}
	u, err := s.Users.Get(ctx, t.User)
	if err != nil || u.Disabled {
		return domain.Actor{}, refused
	}
	if now.Sub(t.LastUsedAt) > touchEvery {
		if err := s.APITokens.Touch(ctx, t.ID, now); err != nil {
			s.Log.WarnContext(ctx, "the use of a token cannot be noted", "token", t.ID, "error", err)
		}
	}
	return domain.Actor{User: u.ID, Roles: u.Roles, Scopes: t.Scopes, Session: t.ID}, nil
}

// ErrOver is why the context of a long connection ended whose credential is over.
var ErrOver = domain.Unauthenticated("the session or token is over; sign in again")

// checkEvery is how often the credential of a long connection is looked at.
const checkEvery = 2 * time.Second

// Lasting is for the work of a long connection: it ends with ErrOver, seconds after the
// credential that the actor was authenticated by, and when it is cancelled.
func (s *Service) Lasting(ctx context.Context, who domain.Actor) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		ticker := time.NewTicker(checkEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !s.alive(ctx, who) {
					end(ErrOver)
				}
			}
		}
	}()
	return ctx, func() { end(nil) }
}

// alive says whether a credential is still good. A signed link has none that could end.
func (s *Service) alive(ctx context.Context, who domain.Actor) bool {
	if who.Scopes == nil || who.Session.IsZero() {
		return !s.revoked.has(who.Session)
	}
	tokens, err := s.APITokens.List(ctx, who.User)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.WarnContext(ctx, "whether a token is still good cannot be read", "token", who.Session, "error", err)
		}
		return true
	}
	return slices.ContainsFunc(tokens, func(t identity.APIToken) bool { return t.ID == who.Session && t.Usable(s.Clock.Now()) })
}

// WatchRevocations keeps what this replica knows of ended sessions up to date, until
// ctx ends.
func (s *Service) WatchRevocations(ctx context.Context) error {
	ticker := time.NewTicker(3 * time.Second)
	defer ticker.Stop()
	for {
		if err := s.readRevocations(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "ended sessions cannot be read", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *Service) readRevocations(ctx context.Context) error {
	r := s.revoked
	now := s.Clock.Now()
	ids, err := s.Sessions.RevokedSince(ctx, r.since)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if _, known := r.ids[id]; !known {
			r.ids[id] = now
		}
	}
	for id, at := range r.ids {
		// By then every access token of the session has expired by itself.
		if now.Sub(at) > 2*identity.AccessTTL {
			delete(r.ids, id)
		}
	}
	r.since = now.Add(-10 * time.Second) // clocks of replicas differ a little
	return nil
}

// TicketTTL is how long a ticket for a browser's WebSocket is good.
const TicketTTL = 30 * time.Second

// ticketUse is how often a ticket opens its WebSocket. It is remembered for longer than
// the ticket is good, whatever the clocks of replicas differ.
var ticketUse = ports.Limit{Times: 1, Per: 2 * TicketTTL}

// Ticket makes a permission to open one WebSocket for one resource, once, because a
// browser cannot send a header with it. Any replica redeems it.
func (s *Service) Ticket(_ context.Context, who domain.Actor, resource string) (string, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return "", err
	}
	return s.Tokens.Issue(ports.AudienceTicket, ports.Claims{
		Subject: who.User, Session: who.Session, Roles: who.Roles, Scopes: who.Scopes,
		ID: rand.Text(), Resource: resource, Expires: s.Clock.Now().Add(TicketTTL),
	})
}

// Redeem takes a ticket for a resource and tells whose it was. It works once, and not at
// all after it was tried for another resource.
func (s *Service) Redeem(ctx context.Context, token, resource string) (domain.Actor, error) {
	refused := domain.Unauthenticated("the ticket is unknown, used or expired")
	t, err := s.Tokens.Verify(ports.AudienceTicket, token)
	if err != nil {
		return domain.Actor{}, refused.With(err)
	}
	_, first, err := s.Limiter.Allow(ctx, "ticket:"+t.ID, ticketUse)
	if err != nil {
		return domain.Actor{}, err
	}
	if !first || t.Resource != resource || s.revoked.has(t.Session) {
		return domain.Actor{}, refused
	}
	return domain.Actor{User: t.Subject, Session: t.Session, Roles: t.Roles, Scopes: t.Scopes}, nil
}
