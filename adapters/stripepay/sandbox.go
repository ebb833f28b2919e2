// Package stripepay is for taking money from outside. So far it holds the sandbox, a
// gateway that takes no real money; Stripe itself gets its place beside it when
// payments become real.
package stripepay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// What decides how the sandbox answers.
const (
	cent     domain.Micros = 10_000
	hundred                = 100 * cent
	declined               = 2 * cent // an amount of n.02 is declined, such as 10.02
)

// Sandbox is a gateway without money. Every charge succeeds at once, but for amounts
// that end in .02: those are declined, so that clients can be tested.
//
// It remembers charges while the process runs. Across restarts a key keeps its
// reference, because that is computed from it, and takes nothing twice, because the
// ledger posts a key once; only that it comes with another amount is then found by
// the ledger and not here.
type Sandbox struct {
	mu    sync.Mutex
	taken map[[sha256.Size]byte]ports.Charge // by the hash of the key
}

// NewSandbox makes a gateway that has taken nothing yet.
func NewSandbox() *Sandbox { return &Sandbox{taken: map[[sha256.Size]byte]ports.Charge{}} }

// Charge implements ports.Gateway.
func (s *Sandbox) Charge(ctx context.Context, c ports.Charge) (reference string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if c.Key == "" || c.User.IsZero() || c.Amount <= 0 || c.Amount%cent != 0 || len(c.Currency) != 3 {
		return "", domain.Invalid("invalid_charge", "a charge has a key, a user, a currency and a positive amount in whole cents")
	}
	id := sha256.Sum256([]byte(c.Key))
	s.mu.Lock()
	defer s.mu.Unlock()
	before, again := s.taken[id]
	switch {
	case again && (before.Amount != c.Amount || before.Currency != c.Currency || before.User != c.User):
		return "", domain.Conflict("key_reused", "another payment has this key already")
	case c.Amount%hundred == declined:
		return "", domain.NewError(domain.KindPaymentRequired, "declined", "the payment was declined (the sandbox declines amounts that end in .02)")
	}
	s.taken[id] = c
	return "sandbox_" + hex.EncodeToString(id[:12]), nil
}
