// Package billing is the double-entry ledger and what is posted to it: credit, holds
// and settlements. There is no float in it.
package billing

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Account is the code of a ledger account. Credit is positive.
type Account string

// The accounts that belong to nobody.
const (
	Clearing     Account = "stripe:clearing"   // what is with the payment provider; negative
	ProviderFees Account = "stripe:fees"       // what the provider kept; negative
	PlatformFee  Account = "platform:fee"      // what the platform earned
	PlatformLoss Account = "platform:loss"     // what the platform paid for its own faults
	Rounding     Account = "platform:rounding" // parts of a cent
)

// Wallet is a renter's prepaid credit.
func Wallet(user domain.ID) Account { return Account("renter:" + user.String() + ":wallet") }

// Hold is what is set aside for a renter's jobs.
func Hold(user domain.ID) Account { return Account("renter:" + user.String() + ":hold") }

// HostPending is what a host's owner earned and waits out the dispute window.
func HostPending(user domain.ID) Account { return Account("host:" + user.String() + ":pending") }

// HostAvailable is what can be paid out to a host's owner.
func HostAvailable(user domain.ID) Account { return Account("host:" + user.String() + ":available") }

// Guarded says that the account's balance never goes below zero.
func (a Account) Guarded() bool {
	return strings.HasPrefix(string(a), "renter:") || strings.HasPrefix(string(a), "host:")
}

// Kind tells what a transaction is.
type Kind string

// The kinds of transactions.
const (
	KindTopUp   Kind = "top_up"
	KindHold    Kind = "hold"
	KindSettle  Kind = "settle"
	KindRelease Kind = "release" // of a hold that nothing was billed from
)

// Transaction moves money between accounts. It is immutable once posted; posting the
// same key again with the same entries changes nothing, with others is a conflict.
type Transaction struct {
	ID       domain.ID
	Kind     Kind
	Key      string // unique: what it is posted for, such as settle:<job>
	Currency string // ISO 4217
	Job      domain.ID
	Host     domain.ID // that a settlement pays for; zero for all others
	Memo     string
	At       time.Time
	Entries  []Entry
}

// Entry is one leg of a transaction.
type Entry struct {
	Account Account
	Amount  domain.Micros // signed: positive adds to the account
}

// Normalized adds up the entries per account, drops zero legs and sorts them, so that
// equal transactions look equal. The sums of one that passes Check fit.
func (t Transaction) Normalized() Transaction {
	sums := map[Account]domain.Micros{}
	for _, e := range t.Entries {
		sums[e.Account] += e.Amount
	}
	t.Entries = nil
	for _, a := range slices.Sorted(maps.Keys(sums)) {
		if sums[a] != 0 {
			t.Entries = append(t.Entries, Entry{a, sums[a]})
		}
	}
	return t
}

// Check refuses a transaction that does not sum to zero, however large its amounts are.
func (t Transaction) Check() error {
	var sum wide
	legs := make(map[Account]wide, len(t.Entries))
	for _, e := range t.Entries {
		sum, legs[e.Account] = sum.plus(e.Amount), legs[e.Account].plus(e.Amount)
	}
	if sum != (wide{}) {
		return domain.Invalid("unbalanced", "the entries of %s do not sum to zero", t.Key)
	}
	for a, leg := range legs {
		if !leg.fits() {
			return domain.Invalid("amount_too_large", "the entries of %s do not fit into %s", t.Key, a)
		}
	}
	if t.Key == "" || t.Currency == "" {
		return domain.Invalid("incomplete", "a transaction has a key and a currency")
	}
	return nil
}

// wide is a sum of amounts in 128 bits, two's complement: in 64, amounts that add up to
// 2^64 would look like nothing.
type wide struct{ high, low uint64 }

func (w wide) plus(m domain.Micros) wide {
	low, carry := bits.Add64(w.low, uint64(m), 0)
	high, _ := bits.Add64(w.high, uint64(m>>63), carry) // the sign fills the upper half
	return wide{high, low}
}

// fits says whether the sum is an amount.
func (w wide) fits() bool { return w.high == uint64(domain.Micros(w.low)>>63) }

// SameEntries says whether two transactions move the same money.
func (t Transaction) SameEntries(o Transaction) bool {
	return t.Kind == o.Kind && t.Currency == o.Currency && slices.Equal(t.Normalized().Entries, o.Normalized().Entries)
}

// FeeBasis is the platform's share in hundredths of a percent; 1,000 is 10 %.
type FeeBasis int64

// Split divides an amount: the fee is rounded down, the host gets the rest, and
// nothing is lost between them.
func (f FeeBasis) Split(amount domain.Micros) (fee, host domain.Micros) {
	if amount <= 0 {
		return 0, 0
	}
	fee = domain.MulDiv(uint64(amount), uint64(f), 10_000)
	return fee, amount - fee
}

// TopUp adds credit to a wallet.
func TopUp(key string, user domain.ID, amount domain.Micros) Transaction {
	return Transaction{Kind: KindTopUp, Key: key, Entries: []Entry{{Clearing, -amount}, {Wallet(user), amount}}}
}

// HoldKey is the key of the transaction that holds a job's money; SettleKey that of
// the one that ends the hold, so that a job is settled or released once, whichever
// comes first.
func HoldKey(job domain.ID) string { return "hold:" + job.String() }

// SettleKey is the key of a job's settlement or release.
func SettleKey(job domain.ID) string { return "settle:" + job.String() }

// HolderOf is the renter whose money a hold sets aside.
func HolderOf(hold Transaction) domain.ID {
	for _, e := range hold.Entries {
		name, ok := strings.CutPrefix(string(e.Account), "renter:")
		if name, wallet := strings.CutSuffix(name, ":wallet"); ok && wallet {
			if id, err := domain.ParseID(name); err == nil {
				return id
			}
		}
	}
	return domain.ID{}
}

// HoldFor sets money aside for a job before it is queued.
func HoldFor(job, renter domain.ID, amount domain.Micros) Transaction {
	return Transaction{Kind: KindHold, Key: HoldKey(job), Job: job,
		Entries: []Entry{{Wallet(renter), -amount}, {Hold(renter), amount}}}
}

// Release gives a hold back whole: nothing was billed.
func Release(job, renter domain.ID, held domain.Micros) Transaction {
	return Transaction{Kind: KindRelease, Key: SettleKey(job), Job: job,
		Entries: []Entry{{Hold(renter), -held}, {Wallet(renter), held}}}
}

// Settlement is the end of a job in money.
type Settlement struct {
	Job, Renter     domain.ID
	Host, HostOwner domain.ID
	Held, Amount    domain.Micros
	Fee             FeeBasis
}

// Settle pays host and platform out of the hold and gives the rest back.
func Settle(s Settlement) Transaction {
	fee, host := s.Fee.Split(s.Amount)
	return Transaction{Kind: KindSettle, Key: SettleKey(s.Job), Job: s.Job, Host: s.Host, Entries: []Entry{
		{Hold(s.Renter), -s.Held}, {HostPending(s.HostOwner), host}, {PlatformFee, fee}, {Wallet(s.Renter), s.Held - s.Amount},
	}}
}
