package ports

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
)

// LedgerFilter selects transactions.
type LedgerFilter struct {
	Account billing.Account // empty: any
	Job     domain.ID       // zero: any
}

// Ledger is the double-entry book.
type Ledger interface {
	// Post stores transactions, all of them or none, and returns when they are
	// durable. One whose key is posted already with the same entries changes nothing;
	// with other entries it is Conflict key_reused. One that does not sum to zero is
	// Invalid. One that would take a guarded account below zero is PaymentRequired
	// insufficient_funds. Zero legs are dropped. Of many that race for the same money,
	// no more succeed than it covers.
	Post(ctx context.Context, txs ...billing.Transaction) error
	// Balances gives the balance of each account; one that was never used has zero.
	Balances(ctx context.Context, accounts ...billing.Account) (map[billing.Account]domain.Micros, error)
	// List gives transactions with all their entries, newest first; After is the id of
	// the last one seen.
	List(ctx context.Context, f LedgerFilter, p Page) ([]billing.Transaction, error)
	// Find gives the transaction with a key; none is NotFound.
	Find(ctx context.Context, key string) (billing.Transaction, error)
	// Unsettled gives the holds posted before a time for whose job nothing was settled
	// or released, oldest first.
	Unsettled(ctx context.Context, before time.Time, limit int) ([]billing.Transaction, error)
	// Total is the sum of all entries ever posted, in each currency: always zero.
	Total(ctx context.Context) (map[string]domain.Micros, error)
}

// EarningsFilter selects settlements.
type EarningsFilter struct {
	Owner domain.ID // who earned
	Host  domain.ID // zero: all of the owner's
	From  time.Time // posted at or after; zero: all
}

// Earnings is the ledger as owners of hosts see it.
type Earnings interface {
	// ByDay adds up the settlements that credited an owner, by the UTC day on which they
	// were posted, newest first. Days without any are missing.
	ByDay(ctx context.Context, f EarningsFilter) ([]billing.Earnings, error)
}

// Ending is how a job ended, as billing sees it.
type Ending struct {
	Renter    domain.ID
	Host      domain.ID     // that had it last; zero when none did
	HostOwner domain.ID     // who earns; zero when no host had it
	Amount    domain.Micros // what is billed
	Over      bool          // nothing will change any more
}

// Endings is jobs as billing sees it.
type Endings interface {
	// Of tells how a job stands; an unknown job is NotFound.
	Of(ctx context.Context, job domain.ID) (Ending, error)
}

// Charge is a payment into a wallet.
type Charge struct {
	Key      string // idempotency key: the same key charges once
	User     domain.ID
	Amount   domain.Micros // whole cents
	Currency string
}

// Gateway takes money from outside.
type Gateway interface {
	// Charge takes the amount and returns the provider's reference. The same key
	// returns the same reference and takes nothing more; with another amount it is
	// Conflict key_reused. What is declined is PaymentRequired declined.
	Charge(ctx context.Context, c Charge) (reference string, err error)
}
