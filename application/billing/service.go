// Package billing holds the use cases of money: credit, holds, and the settlement of
// jobs by the cause of their end.
package billing

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// Settings are the operator's choices about money.
type Settings struct {
	Currency   string // ISO 4217, the installation's only one
	Fee        billing.FeeBasis
	SmallestUp domain.Micros // the least that a top-up may be
	LargestUp  domain.Micros
	StaleHold  time.Duration // age at which the sweep asks for the job of a hold; 0: 5 min
}

// Deps is what the use cases need of the world.
type Deps struct {
	Clock    ports.Clock
	IDs      ports.IDs
	Ledger   ports.Ledger
	Earnings ports.Earnings
	Gateway  ports.Gateway
	Endings  ports.Endings
	Log      *slog.Logger
}

// Service is the use cases of money. It is safe for concurrent use.
type Service struct {
	Deps
	settings Settings
}

// New makes the use cases.
func New(d Deps, s Settings) *Service {
	if s.StaleHold == 0 {
		s.StaleHold = 5 * time.Minute
	}
	return &Service{d, s}
}

// Settings tells the operator's choices.
func (s *Service) Settings() Settings { return s.settings }

// Balance is what an account has, as renter and as host.
type Balance struct {
	Credit   domain.Micros // can be spent
	Held     domain.Micros // set aside for jobs
	Pending  domain.Micros // earned, in the dispute window
	Payable  domain.Micros // earned, can be paid out
	Currency string
}

// Account shows the balance of the account that asks.
func (s *Service) Account(ctx context.Context, who domain.Actor) (Balance, error) {
	if err := who.Allow(domain.ScopeBillingRead); err != nil {
		return Balance{}, err
	}
	u := who.User
	b, err := s.Ledger.Balances(ctx, billing.Wallet(u), billing.Hold(u), billing.HostPending(u), billing.HostAvailable(u))
	return Balance{
		Credit: b[billing.Wallet(u)], Held: b[billing.Hold(u)],
		Pending: b[billing.HostPending(u)], Payable: b[billing.HostAvailable(u)], Currency: s.settings.Currency,
	}, err
}

// TopUp buys credit. The key makes it repeatable: it charges once.
func (s *Service) TopUp(ctx context.Context, who domain.Actor, key string, amount domain.Micros) (billing.Transaction, error) {
	if err := who.Require(domain.RoleRenter, domain.ScopeBillingWrite); err != nil {
		return billing.Transaction{}, err
	}
	if key == "" {
		return billing.Transaction{}, domain.Invalid("key_required", "send an Idempotency-Key, so that a repeated request charges once")
	}
	if amount < s.settings.SmallestUp || amount > s.settings.LargestUp || amount%10_000 != 0 {
		return billing.Transaction{}, &domain.Error{
			Kind: domain.KindInvalid, Code: "invalid_amount", Detail: "the amount cannot be charged",
			Fields: []domain.Field{{Pointer: "/amount_micros", Code: "out_of_range",
				Detail: "whole cents between " + s.settings.SmallestUp.String() + " and " + s.settings.LargestUp.String()}},
		}
	}
	tx := billing.TopUp("top_up:"+who.User.String()+":"+key, who.User, amount)
	ref, err := s.Gateway.Charge(ctx, ports.Charge{Key: tx.Key, User: who.User, Amount: amount, Currency: s.settings.Currency})
	if err != nil {
		return billing.Transaction{}, err
	}
	tx.Memo = ref
	if err := s.post(ctx, tx); err != nil {
		return billing.Transaction{}, err
	}
	return s.Ledger.Find(ctx, tx.Key)
}

func (s *Service) post(ctx context.Context, tx billing.Transaction) error {
	tx.ID, tx.At, tx.Currency = s.IDs.New(), s.Clock.Now(), s.settings.Currency
	return s.Ledger.Post(ctx, tx)
}

// Hold sets money aside for a job and tells how much is: what was held for it before
// stays, although prices have changed since.
func (s *Service) Hold(ctx context.Context, job, renter domain.ID, amount domain.Micros) (domain.Micros, error) {
	err := s.post(ctx, billing.HoldFor(job, renter, amount))
	switch domain.CodeOf(err) {
	case "key_reused":
		return s.held(ctx, job)
	case "insufficient_funds":
		return 0, s.short(ctx, renter, amount, err)
	}
	return amount, err
}

// short says how much more credit it would have taken to hold an amount.
func (s *Service) short(ctx context.Context, renter domain.ID, amount domain.Micros, err error) error {
	credit, unknown := s.Credit(ctx, renter)
	if unknown != nil || credit >= amount { // some was bought meanwhile
		return err
	}
	return domain.NewError(domain.KindPaymentRequired, "insufficient_funds",
		"the job needs %s %s to be held until it ends, and %s are available: buy %s more, or ask for less time or a lower price",
		amount, s.settings.Currency, credit, amount-credit)
}

// Release gives the hold of a job back whole, if there is one and nothing settled it.
func (s *Service) Release(ctx context.Context, job, renter domain.ID) error {
	held, err := s.held(ctx, job)
	if err != nil || held == 0 {
		return err
	}
	return s.release(ctx, job, renter, held)
}

// release gives a hold back whole, unless something settled it.
func (s *Service) release(ctx context.Context, job, renter domain.ID, held domain.Micros) error {
	if err := faults.Point("release.mid"); err != nil {
		return err
	}
	err := s.post(ctx, billing.Release(job, renter, held))
	if domain.CodeOf(err) == "key_reused" {
		return nil // it was settled; that stands
	}
	return err
}

// held is what was set aside for a job.
func (s *Service) held(ctx context.Context, job domain.ID) (domain.Micros, error) {
	tx, err := s.Ledger.Find(ctx, billing.HoldKey(job))
	if domain.KindOf(err) == domain.KindNotFound {
		return 0, nil
	}
	var held domain.Micros
	for _, e := range tx.Entries {
		held = max(held, e.Amount)
	}
	return held, err
}

// Credit is what a renter can hold.
func (s *Service) Credit(ctx context.Context, renter domain.ID) (domain.Micros, error) {
	b, err := s.Ledger.Balances(ctx, billing.Wallet(renter))
	return b[billing.Wallet(renter)], err
}

// Subscribe registers the reactions of billing to events.
func (s *Service) Subscribe(bus ports.Bus) {
	bus.Subscribe("billing-settle", s.ended, "jobs.succeeded", "jobs.failed", "jobs.cancelled")
}

// ending is what billing reads of the events that end a job.
type ending struct {
	Renter    domain.ID     `json:"renter"`
	Host      domain.ID     `json:"host"`
	HostOwner domain.ID     `json:"host_owner"`
	Amount    domain.Micros `json:"amount"`
}

// ended settles a job that reached its end.
func (s *Service) ended(ctx context.Context, e domain.Event) error {
	var end ending
	if err := json.Unmarshal(e.Data, &end); err != nil {
		return err
	}
	return s.settle(ctx, e.Key, ports.Ending{Renter: end.Renter, Host: end.Host, HostOwner: end.HostOwner, Amount: end.Amount})
}

// settle pays host and platform out of the hold and gives the rest back, once.
func (s *Service) settle(ctx context.Context, job domain.ID, end ports.Ending) error {
	held, err := s.held(ctx, job)
	if err != nil || held == 0 {
		return err
	}
	if end.Amount == 0 {
		return s.release(ctx, job, end.Renter, held)
	}
	if err := faults.Point("settle.mid"); err != nil {
		return err
	}
	err = s.post(ctx, billing.Settle(billing.Settlement{
		Job: job, Renter: end.Renter, Host: end.Host, HostOwner: end.HostOwner, Held: held, Amount: end.Amount, Fee: s.settings.Fee,
	}))
	if domain.CodeOf(err) == "key_reused" {
		s.Log.ErrorContext(ctx, "a job was settled before, and differently", "job", job.Prefixed("job"), "error", err)
		return nil
	}
	return err
}

// Sweep settles what an event was lost for and releases holds without a job, until ctx
// ends. One replica at a time does it.
func (s *Service) Sweep(ctx context.Context) error {
	ticker := time.NewTicker(s.settings.StaleHold / 5)
	defer ticker.Stop()
	for {
		if err := s.sweepHolds(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "open holds cannot be swept", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *Service) sweepHolds(ctx context.Context) error {
	open, err := s.Ledger.Unsettled(ctx, s.Clock.Now().Add(-s.settings.StaleHold), 1000)
	if err != nil {
		return err
	}
	var failed []error // of one job, and no reason to leave the others
	for _, hold := range open {
		end, err := s.Endings.Of(ctx, hold.Job)
		switch {
		case domain.KindOf(err) == domain.KindNotFound:
			err = s.Release(ctx, hold.Job, billing.HolderOf(hold))
		case err == nil && end.Over:
			err = s.settle(ctx, hold.Job, end)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Statement is a job's money, line by line.
type Statement struct {
	Job      domain.ID
	Lines    []billing.Transaction
	Currency string
}

// JobStatement shows what was held, paid and given back for a job. The caller has
// checked that the job is the actor's; whose account is shown is the actor's to see.
func (s *Service) JobStatement(ctx context.Context, job domain.ID) (Statement, error) {
	lines, err := s.Ledger.List(ctx, ports.LedgerFilter{Job: job}, ports.Page{Limit: 100})
	return Statement{Job: job, Lines: lines, Currency: s.settings.Currency}, err
}

// settledPage is how many transactions are looked through at a time.
const settledPage = 200

// Settlements lists what ended the holds of the account that asks, newest first: the
// settlements and releases of jobs that it rented, or with asHost the settlements of
// those that it earned from.
func (s *Service) Settlements(ctx context.Context, who domain.Actor, asHost bool, p ports.Page) ([]billing.Transaction, error) {
	if err := who.Allow(domain.ScopeBillingRead); err != nil {
		return nil, err
	}
	// A settlement that uses a hold up whole does not touch the wallet, but ends the hold.
	account := billing.Hold(who.User)
	if asHost {
		account = billing.HostPending(who.User)
	}
	var found []billing.Transaction
	for page := (ports.Page{After: p.After, Limit: settledPage}); ; {
		list, err := s.Ledger.List(ctx, ports.LedgerFilter{Account: account}, page)
		if err != nil {
			return nil, err
		}
		for _, tx := range list {
			if tx.Kind != billing.KindSettle && tx.Kind != billing.KindRelease {
				continue
			}
			if found = append(found, tx); len(found) == p.Limit {
				return found, nil
			}
		}
		if len(list) < page.Limit {
			return found, nil
		}
		page.After = list[len(list)-1].ID
	}
}

// History lists the transactions of the account that asks, newest first: those that
// touch its credit, or with asHost those that touch what it earned.
func (s *Service) History(ctx context.Context, who domain.Actor, asHost bool, p ports.Page) ([]billing.Transaction, error) {
	if err := who.Allow(domain.ScopeBillingRead); err != nil {
		return nil, err
	}
	account := billing.Wallet(who.User)
	if asHost {
		account = billing.HostPending(who.User)
	}
	return s.Ledger.List(ctx, ports.LedgerFilter{Account: account}, p)
}

// Platform is the balances of the platform's own accounts.
func (s *Service) Platform(ctx context.Context) (map[billing.Account]domain.Micros, error) {
	return s.Ledger.Balances(ctx, billing.PlatformFee, billing.PlatformLoss, billing.Rounding)
}
