package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// The lifetimes of a sign-in (security page, web auth).
const (
	AccessTTL     = 15 * time.Minute    // of an access token
	SessionTTL    = 30 * 24 * time.Hour // of a session, in all
	SessionIdle   = 7 * 24 * time.Hour  // without a refresh
	RotationGrace = 20 * time.Second    // in which the previous refresh token is still good
)

// Session is a sign-in on one device. Its refresh token changes at every use; an old
// one that comes back later than the grace betrays a theft and ends the session.
type Session struct {
	ID          domain.ID
	User        domain.ID
	Version     int64
	TokenHash   []byte // SHA-256 of the current refresh token
	PrevHash    []byte // of the one before
	CreatedAt   time.Time
	RefreshedAt time.Time
	RevokedAt   time.Time // zero: alive
	UserAgent   string
}

// Alive says whether the session may still be refreshed.
func (s Session) Alive(now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.CreatedAt.Add(SessionTTL)) && now.Before(s.RefreshedAt.Add(SessionIdle))
}

// Rotate exchanges the refresh token with hash old for the one with hash next. A
// token that was exchanged within the grace (two tabs at once) is good, and keeps
// the newer token as it is; kept says so. Any other revokes the session.
func (s *Session) Rotate(old, next []byte, now time.Time) (kept bool, err error) {
	switch {
	case !s.Alive(now):
		return false, domain.Unauthenticated("the session is over; sign in again")
	case equal(old, s.TokenHash):
		s.PrevHash, s.TokenHash, s.RefreshedAt = s.TokenHash, next, now
		return false, nil
	case equal(old, s.PrevHash) && now.Before(s.RefreshedAt.Add(RotationGrace)):
		return true, nil
	}
	s.RevokedAt = now
	return false, domain.Unauthenticated("the session was used twice and has been ended; sign in again")
}

// APIToken is a personal access token.
type APIToken struct {
	ID         domain.ID
	User       domain.ID
	Name       string
	Hash       []byte // SHA-256 of the token, which is shown once
	Prefix     string // the first characters, to recognise it by
	Scopes     []domain.Scope
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time
	RevokedAt  time.Time
}

// Usable says whether the token is still good.
func (t APIToken) Usable(now time.Time) bool {
	return t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

// HashToken is how tokens are stored: they are random and long, so one round of
// SHA-256 is enough.
func HashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func equal(a, b []byte) bool { return len(a) > 0 && subtle.ConstantTimeCompare(a, b) == 1 }
