package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Ledger is the double-entry book. How it is written stands in poster.go.
func (s *Store) Ledger() ports.Ledger { return ledger{s} }

type ledger struct{ s *Store }

// accountRow is an account. Balance is kept for guarded accounts alone.
type accountRow struct {
	bun.BaseModel `bun:"table:ledger_accounts,alias:c"`

	ID       int64 `bun:",pk,autoincrement"`
	Code     string
	Currency string
	Guarded  bool
	Balance  int64
	Version  int64
}

type txRow struct {
	bun.BaseModel `bun:"table:ledger_txs,alias:t"`

	ID       key `bun:",pk"`
	Kind     text
	Key      text
	Currency text
	JobID    key
	HostID   key
	Memo     text
	At       stamp
}

type entryRow struct {
	bun.BaseModel `bun:"table:ledger_entries,alias:e"`

	TxID      key   `bun:",pk"`
	AccountID int64 `bun:",pk"`
	Amount    int64
}

// txLine is a transaction beside one of its entries; one without entries has none.
type txLine struct {
	txRow  `bun:",extend"`
	Code   string
	Amount int64
}

func (l ledger) Balances(ctx context.Context, accounts ...billing.Account) (map[billing.Account]domain.Micros, error) {
	db, err := l.s.reader()
	if err != nil {
		return nil, err
	}
	balances := make(map[billing.Account]domain.Micros, len(accounts))
	for _, a := range accounts {
		balances[a] = 0
	}
	if len(accounts) == 0 {
		return balances, ctx.Err()
	}
	var rows []struct {
		Code    string
		Balance int64
	}
	sum := db.NewSelect().TableExpr("ledger_entries AS e").ColumnExpr("CAST(COALESCE(SUM(e.amount), 0) AS BIGINT)").
		Where("e.account_id = c.id")
	err = db.NewSelect().TableExpr("ledger_accounts AS c").ColumnExpr("c.code").
		ColumnExpr("CASE WHEN c.guarded THEN c.balance ELSE (?) END AS balance", sum).
		Where("c.code IN (?)", bun.List(accounts)).Scan(ctx, &rows)
	for _, r := range rows {
		balances[billing.Account(r.Code)] += domain.Micros(r.Balance)
	}
	if err != nil {
		return nil, l.s.failed(ctx, err)
	}
	return balances, nil
}

func (l ledger) List(ctx context.Context, f ports.LedgerFilter, p ports.Page) ([]billing.Transaction, error) {
	db, err := l.s.reader()
	if err != nil {
		return nil, err
	}
	page := db.NewSelect().TableExpr("ledger_txs AS t").ColumnExpr("t.*").OrderExpr(newestFirst).Limit(int64(max(p.Limit, 1)))
	if f.Account != "" {
		page.Where("t.id IN (SELECT e.tx_id FROM ledger_entries AS e JOIN ledger_accounts AS c ON c.id = e.account_id WHERE c.code = ?)",
			string(f.Account))
	}
	if !f.Job.IsZero() {
		page.Where("t.job_id = ?", key(f.Job))
	}
	if !p.After.IsZero() {
		page.Where("t.id < ?", key(p.After))
	}
	list, err := readTransactions(ctx, db, page, newestFirst)
	return list, l.s.failed(ctx, err)
}

func (l ledger) Find(ctx context.Context, k string) (billing.Transaction, error) {
	db, err := l.s.reader()
	if err != nil {
		return billing.Transaction{}, err
	}
	list, err := readTransactions(ctx, db, db.NewSelect().TableExpr("ledger_txs AS t").ColumnExpr("t.*").Where("t.key = ?", text(k)), newestFirst)
	if err != nil {
		return billing.Transaction{}, l.s.failed(ctx, err)
	}
	if len(list) == 0 {
		return billing.Transaction{}, domain.NotFound("transaction")
	}
	return list[0], nil
}

func (l ledger) Unsettled(ctx context.Context, before time.Time, limit int) ([]billing.Transaction, error) {
	db, err := l.s.reader()
	if err != nil {
		return nil, err
	}
	const oldestFirst = "t.at, t.id"
	page := db.NewSelect().TableExpr("ledger_txs AS t").ColumnExpr("t.*").OrderExpr(oldestFirst).Limit(int64(max(limit, 1))).
		Where("t.kind = 'hold'").Where("t.at < ?", stamp(before)).
		Where("NOT EXISTS (SELECT 1 FROM ledger_txs AS o WHERE o.job_id = t.job_id AND o.kind IN (?))",
			bun.List([]billing.Kind{billing.KindSettle, billing.KindRelease}))
	list, err := readTransactions(ctx, db, page, oldestFirst)
	return list, l.s.failed(ctx, err)
}

func (l ledger) Total(ctx context.Context) (map[string]domain.Micros, error) {
	db, err := l.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []struct {
		Currency string
		Sum      int64
	}
	err = db.NewSelect().TableExpr("ledger_entries AS e").Join("JOIN ledger_txs AS t ON t.id = e.tx_id").
		ColumnExpr("t.currency AS currency").ColumnExpr("CAST(SUM(e.amount) AS BIGINT) AS sum").
		GroupExpr("t.currency").Scan(ctx, &rows)
	if err != nil {
		return nil, l.s.failed(ctx, err)
	}
	total := make(map[string]domain.Micros, len(rows))
	for _, r := range rows {
		total[r.Currency] = domain.Micros(r.Sum)
	}
	return total, nil
}

const newestFirst = "t.id DESC"

// readTransactions reads the transactions of a page with all their entries.
func readTransactions(ctx context.Context, db bun.IDB, page *bun.SelectQuery, order string) ([]billing.Transaction, error) {
	var lines []txLine
	err := db.NewSelect().TableExpr("(?) AS t", page).
		Join("LEFT JOIN ledger_entries AS e ON e.tx_id = t.id").Join("LEFT JOIN ledger_accounts AS c ON c.id = e.account_id").
		ColumnExpr("t.*").ColumnExpr("c.code AS code").ColumnExpr("e.amount AS amount").
		OrderExpr(order).Scan(ctx, &lines)
	if err != nil {
		return nil, err
	}
	list := make([]billing.Transaction, 0, len(lines))
	for i := range lines {
		line := &lines[i]
		if len(list) == 0 || list[len(list)-1].ID != domain.ID(line.ID) {
			list = append(list, billing.Transaction{
				ID: domain.ID(line.ID), Kind: billing.Kind(line.Kind), Key: string(line.Key), Currency: string(line.Currency),
				Job: domain.ID(line.JobID), Host: domain.ID(line.HostID), Memo: string(line.Memo), At: time.Time(line.At),
			})
		}
		if line.Code == "" {
			continue
		}
		t := &list[len(list)-1]
		t.Entries = append(t.Entries, billing.Entry{Account: billing.Account(line.Code), Amount: domain.Micros(line.Amount)})
	}
	for i := range list {
		// The order of normalized entries, which no collation of a database changes.
		list[i] = list[i].Normalized()
	}
	return list, nil
}
