package ports

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
)

// Users stores accounts.
type Users interface {
	// Add stores a new account with its events. A taken e-mail address is Conflict
	// email_taken, a taken handle Conflict handle_taken.
	Add(ctx context.Context, u *identity.User) error
	// Update is the only way to change an account: it loads, lets change work in
	// memory, and stores the result with its events in one transaction. A change that
	// fails stores nothing. change may run more than once, when somebody else was
	// faster. A missing account is NotFound.
	Update(ctx context.Context, id domain.ID, change func(*identity.User) error) (identity.Snapshot, error)
	// Get finds an account by id.
	Get(ctx context.Context, id domain.ID) (identity.Snapshot, error)
	// ByEmail finds an account by its normalized address.
	ByEmail(ctx context.Context, email string) (identity.Snapshot, error)
}

// Sessions stores sign-ins.
type Sessions interface {
	// Add stores a new session.
	Add(ctx context.Context, s identity.Session) error
	// Update finds the session whose current or previous refresh token has the hash,
	// lets change work, and stores the result even when change fails, because a stolen
	// token revokes the session. It returns change's error. None is Unauthenticated.
	Update(ctx context.Context, tokenHash []byte, change func(*identity.Session) error) (identity.Session, error)
	// Revoke ends a session now; a missing or ended one is no error.
	Revoke(ctx context.Context, id domain.ID, at time.Time) error
	// RevokedSince lists the sessions that ended at or after a time.
	RevokedSince(ctx context.Context, since time.Time) ([]domain.ID, error)
}

// APITokens stores personal access tokens.
type APITokens interface {
	// Add stores a new token.
	Add(ctx context.Context, t identity.APIToken) error
	// ByHash finds a token, revoked or expired ones too; none is NotFound.
	ByHash(ctx context.Context, hash []byte) (identity.APIToken, error)
	// List gives a user's tokens that are not revoked, oldest first.
	List(ctx context.Context, user domain.ID) ([]identity.APIToken, error)
	// Revoke ends a token of the user; another's or a missing one is NotFound.
	Revoke(ctx context.Context, user, id domain.ID, at time.Time) error
	// Touch notes a use. A later use never becomes an earlier one.
	Touch(ctx context.Context, id domain.ID, at time.Time) error
}
