package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Ledger is the double-entry book.
func (s *Store) Ledger() ports.Ledger { return ledger{s} }

type ledger struct{ s *Store }

// pair names an account in a currency.
type pair struct {
	account  billing.Account
	currency string
}

func (l ledger) Post(ctx context.Context, txs ...billing.Transaction) error {
	for _, t := range txs {
		if err := t.Check(); err != nil {
			return err
		}
	}
	if err := l.s.enter(ctx); err != nil {
		return err
	}
	defer l.s.mu.Unlock()
	fresh, balances := map[string]billing.Transaction{}, map[pair]domain.Micros{}
	for _, t := range txs {
		known, posted := fresh[t.Key]
		if !posted {
			known, posted = l.s.posted[t.Key]
		}
		if posted && !known.SameEntries(t) {
			return domain.Conflict("key_reused", "the key was used for another transaction")
		}
		if posted {
			continue
		}
		t = l.complete(t)
		if err := l.move(t, balances); err != nil {
			return err
		}
		fresh[t.Key] = t
	}
	for key, t := range fresh {
		l.s.posted[key] = t
	}
	for p, balance := range balances {
		l.s.balances[p] = balance
	}
	return nil
}

func (l ledger) complete(t billing.Transaction) billing.Transaction {
	t = kept(t.Normalized())
	if t.ID.IsZero() {
		t.ID = l.s.IDs.New()
	}
	if t.At.IsZero() {
		t.At = domain.Time(l.s.Clock.Now())
	}
	return t
}

// move works out the balances after t, on top of those that were worked out before.
func (l ledger) move(t billing.Transaction, balances map[pair]domain.Micros) error {
	for _, e := range t.Entries {
		p := pair{e.Account, t.Currency}
		before, moved := balances[p]
		if !moved {
			before = l.s.balances[p]
		}
		balance := before + e.Amount
		if (balance > before) != (e.Amount > 0) {
			return domain.Invalid("amount_too_large", "the amount does not fit into an account")
		}
		if e.Account.Guarded() && balance < 0 {
			return domain.NewError(domain.KindPaymentRequired, "insufficient_funds", "there is not enough credit")
		}
		balances[p] = balance
	}
	return nil
}

func (l ledger) Balances(ctx context.Context, accounts ...billing.Account) (map[billing.Account]domain.Micros, error) {
	if err := l.s.enter(ctx); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	sums := map[billing.Account]domain.Micros{}
	for _, a := range accounts {
		sums[a] = 0
	}
	for p, balance := range l.s.balances {
		if _, wanted := sums[p.account]; wanted {
			sums[p.account] += balance
		}
	}
	return sums, nil
}

func (l ledger) List(ctx context.Context, f ports.LedgerFilter, p ports.Page) ([]billing.Transaction, error) {
	if err := l.s.enter(ctx); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	var list []billing.Transaction
	touches := func(e billing.Entry) bool { return e.Account == f.Account }
	for _, t := range l.s.posted {
		if (f.Account == "" || slices.ContainsFunc(t.Entries, touches)) && (f.Job.IsZero() || t.Job == f.Job) &&
			(p.After.IsZero() || compareIDs(t.ID, p.After) < 0) {
			list = append(list, kept(t))
		}
	}
	slices.SortFunc(list, func(a, b billing.Transaction) int { return compareIDs(b.ID, a.ID) })
	return head(list, p.Limit), nil
}

func (l ledger) Find(ctx context.Context, key string) (billing.Transaction, error) {
	if err := l.s.enter(ctx); err != nil {
		return billing.Transaction{}, err
	}
	defer l.s.mu.Unlock()
	t, found := l.s.posted[key]
	if !found {
		return billing.Transaction{}, domain.NotFound("transaction")
	}
	return kept(t), nil
}

func (l ledger) Unsettled(ctx context.Context, before time.Time, limit int) ([]billing.Transaction, error) {
	if err := l.s.enter(ctx); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	over := map[domain.ID]bool{}
	for _, t := range l.s.posted {
		if t.Kind == billing.KindSettle || t.Kind == billing.KindRelease {
			over[t.Job] = true
		}
	}
	var list []billing.Transaction
	for _, t := range l.s.posted {
		if t.Kind == billing.KindHold && !over[t.Job] && t.At.Before(domain.Time(before)) {
			list = append(list, kept(t))
		}
	}
	slices.SortFunc(list, func(a, b billing.Transaction) int {
		return cmp.Or(a.At.Compare(b.At), compareIDs(a.ID, b.ID))
	})
	return head(list, limit), nil
}

func (l ledger) Total(ctx context.Context) (map[string]domain.Micros, error) {
	if err := l.s.enter(ctx); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	total := map[string]domain.Micros{}
	for _, t := range l.s.posted {
		for _, e := range t.Entries {
			total[t.Currency] += e.Amount
		}
	}
	return total, nil
}
