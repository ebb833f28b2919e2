package httpapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainbilling "github.com/peergpu/peergpu/domain/billing"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
)

// GetBillingAccount shows credit and earnings.
func (s *server) GetBillingAccount(ctx context.Context, _ api.GetBillingAccountRequestObject) (api.GetBillingAccountResponseObject, error) {
	b, err := s.Billing.Account(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	limits := s.Billing.Settings()
	return api.GetBillingAccount200JSONResponse{
		Currency: b.Currency, BalanceMicros: int64(b.Credit), HeldMicros: int64(b.Held),
		PendingMicros: int64(b.Pending), AvailableMicros: int64(b.Payable),
		MinTopUpMicros: int64(limits.SmallestUp), MaxTopUpMicros: int64(limits.LargestUp), Payments: api.PaymentsModeSandbox,
	}, nil
}

// CreateTopUp buys credit.
func (s *server) CreateTopUp(ctx context.Context, r api.CreateTopUpRequestObject) (api.CreateTopUpResponseObject, error) {
	who := actorOf(ctx)
	tx, err := s.Billing.TopUp(ctx, who, r.Params.IdempotencyKey, domain.Micros(r.Body.AmountMicros))
	if err != nil {
		return nil, err
	}
	credit, err := s.Billing.Credit(ctx, who.User)
	if err != nil {
		return nil, err
	}
	return api.CreateTopUp201JSONResponse{
		ID: tx.ID.Prefixed("top"), State: api.TopUpStateSucceeded, AmountMicros: r.Body.AmountMicros,
		Currency: tx.Currency, BalanceMicros: int64(credit), CreatedAt: tx.At,
	}, nil
}

// ListLedger lists the movements of the account's money.
func (s *server) ListLedger(ctx context.Context, r api.ListLedgerRequestObject) (api.ListLedgerResponseObject, error) {
	list := "ledger:" + string(r.Params.Side)
	page, err := s.page(list, r.Params.After, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	who := actorOf(ctx)
	txs, err := s.Billing.History(ctx, who, r.Params.Side == api.ListLedgerParamsSideHost, page)
	if err != nil {
		return nil, err
	}
	txs, next := cut(s, list, txs, r.Params.Limit, func(t domainbilling.Transaction) domain.ID { return t.ID })
	own := map[domainbilling.Account]api.LedgerAccount{
		domainbilling.Wallet(who.User): api.LedgerAccountWallet, domainbilling.Hold(who.User): api.LedgerAccountHold,
		domainbilling.HostPending(who.User): api.LedgerAccountPending, domainbilling.HostAvailable(who.User): api.LedgerAccountAvailable,
	}
	answer := api.ListLedger200JSONResponse{Items: []api.LedgerTransaction{}, Next: next}
	for _, tx := range txs {
		shown := api.LedgerTransaction{
			ID: tx.ID.Prefixed("ltx"), Kind: api.LedgerKind(tx.Kind), Entries: []api.LedgerEntry{}, Currency: tx.Currency,
			JobID: tx.Job.Prefixed("job"), Memo: tx.Memo, CreatedAt: tx.At,
		}
		for _, e := range tx.Entries {
			if account, mine := own[e.Account]; mine {
				shown.Entries = append(shown.Entries, api.LedgerEntry{Account: account, AmountMicros: int64(e.Amount)})
			}
		}
		answer.Items = append(answer.Items, shown)
	}
	return answer, nil
}

// ListStatements lists the statements of jobs whose money has settled.
func (s *server) ListStatements(ctx context.Context, r api.ListStatementsRequestObject) (api.ListStatementsResponseObject, error) {
	list := "statements:" + string(r.Params.Side)
	page, err := s.page(list, r.Params.After, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	who := actorOf(ctx)
	txs, err := s.Billing.Settlements(ctx, who, r.Params.Side == api.ListStatementsParamsSideHost, page)
	if err != nil {
		return nil, err
	}
	txs, next := cut(s, list, txs, r.Params.Limit, func(t domainbilling.Transaction) domain.ID { return t.ID })
	refs, answer := s.userRefs(), api.ListStatements200JSONResponse{Items: []api.Statement{}, Next: next}
	for _, tx := range txs {
		shown, err := s.statement(ctx, refs, tx.Job)
		if domain.KindOf(err) == domain.KindNotFound {
			continue // a hold whose job was never stored
		}
		if err != nil {
			return nil, err
		}
		answer.Items = append(answer.Items, shown)
	}
	return answer, nil
}

// GetJobStatement shows a job in money.
func (s *server) GetJobStatement(ctx context.Context, r api.GetJobStatementRequestObject) (api.GetJobStatementResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	shown, err := s.statement(ctx, s.userRefs(), id)
	if err != nil {
		return nil, err
	}
	return api.GetJobStatement200JSONResponse(shown), nil
}

func (s *server) statement(ctx context.Context, refs *userRefs, id domain.ID) (api.Statement, error) {
	v, err := s.Jobs.Billed(ctx, actorOf(ctx), id)
	if err != nil {
		return api.Statement{}, err
	}
	posted, err := s.Billing.JobStatement(ctx, id)
	if err != nil {
		return api.Statement{}, err
	}
	fee := s.Billing.Settings().Fee
	shown := api.Statement{
		JobID: v.ID.Prefixed("job"), JobName: v.Spec.Name, State: api.StatementStateOpen,
		Renter:   api.UserRef{ID: v.Renter.Prefixed("usr"), Handle: v.RenterHandle},
		Currency: posted.Currency, HoldMicros: int64(v.Hold), FeeBPS: int(fee), CreatedAt: v.CreatedAt,
		Attempts: mapped(v.Attempts, func(a domainjobs.Attempt) api.StatementAttempt { return attemptJSON(a, v.At) }),
		Lines:    []api.StatementLine{},
	}
	if a := v.Current(); a != nil {
		if shown.HostOwner, err = refs.of(ctx, a.HostOwner); err != nil {
			return shown, err
		}
	}
	// Oldest first, as an account is read.
	for _, tx := range slices.Backward(posted.Lines) {
		addLines(&shown, tx)
	}
	if v.State.Terminal() && v.Hold == 0 && shown.State == api.StatementStateOpen {
		shown.State, shown.SettledAt = api.StatementStateReleased, v.FinishedAt // nothing was held: nothing is posted
	}
	addSplit(&shown, v, fee)
	return shown, nil
}

// addLines adds what one transaction moved.
func addLines(shown *api.Statement, tx domainbilling.Transaction) {
	switch tx.Kind {
	case domainbilling.KindSettle:
		shown.State, shown.SettledAt = api.StatementStateSettled, tx.At
	case domainbilling.KindRelease:
		shown.State, shown.SettledAt = api.StatementStateReleased, tx.At
	case domainbilling.KindHold, domainbilling.KindTopUp:
	}
	for _, e := range tx.Entries {
		if account, known := statementAccount(e.Account); known {
			shown.Lines = append(shown.Lines, api.StatementLine{
				Kind: api.LedgerKind(tx.Kind), Account: account, AmountMicros: int64(e.Amount), CreatedAt: tx.At,
			})
		}
	}
}

// addSplit adds who gets what. Before the end nothing is certain but the hold.
func addSplit(shown *api.Statement, v jobs.View, fee domainbilling.FeeBasis) {
	amount := v.Cost()
	platform, host := fee.Split(amount)
	shown.AmountMicros, shown.FeeMicros, shown.HostMicros = int64(amount), int64(platform), int64(host)
	if shown.State != api.StatementStateOpen {
		shown.ReleasedMicros = int64(v.Hold - amount)
	}
}

func statementAccount(a domainbilling.Account) (api.StatementAccount, bool) {
	owner, kind, _ := strings.Cut(string(a), ":")
	switch {
	case a == domainbilling.PlatformFee:
		return api.StatementAccountPlatformFee, true
	case owner == "renter" && strings.HasSuffix(kind, ":wallet"):
		return api.StatementAccountRenterWallet, true
	case owner == "renter" && strings.HasSuffix(kind, ":hold"):
		return api.StatementAccountRenterHold, true
	case owner == "host" && strings.HasSuffix(kind, ":pending"):
		return api.StatementAccountHostPending, true
	}
	return "", false
}

func attemptJSON(a domainjobs.Attempt, now time.Time) api.StatementAttempt {
	ran, amount := a.SoFar(now)
	shown := api.StatementAttempt{
		Attempt: a.Number, Host: api.HostRef{ID: a.Host.Prefixed("hst"), Name: a.HostName}, Outcome: outcomeJSON(a),
		Reason: string(a.Reason), HourlyPriceMicros: int64(a.HourlyPrice), BillableMS: ran.Milliseconds(), AmountMicros: int64(amount),
		Billed: amount > 0, StartedAt: a.StartedAt, ExitedAt: a.ExitedAt,
	}
	if !a.Active() {
		shown.Explanation = domainjobs.Rulings[a.Reason].Explanation
	}
	return shown
}
