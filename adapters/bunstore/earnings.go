package bunstore

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Earnings is the ledger as owners of hosts see it.
func (s *Store) Earnings() ports.Earnings { return earnings{s} }

type earnings struct{ s *Store }

func (e earnings) ByDay(ctx context.Context, f ports.EarningsFilter) ([]billing.Earnings, error) {
	db, err := e.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []struct{ Day, Jobs, Net, Fee int64 }
	fee := db.NewSelect().TableExpr("ledger_entries AS p").ColumnExpr("SUM(p.amount)").Where("p.tx_id = t.id").
		Where("p.account_id IN (SELECT id FROM ledger_accounts WHERE code = ?)", string(billing.PlatformFee))
	each := db.NewSelect().TableExpr("ledger_accounts AS c").Join("JOIN ledger_entries AS e ON e.account_id = c.id").
		Join("JOIN ledger_txs AS t ON t.id = e.tx_id").
		ColumnExpr("t.at / ? AS day", (24*time.Hour).Microseconds()).ColumnExpr("e.amount AS net").ColumnExpr("COALESCE((?), 0) AS fee", fee).
		Where("c.code = ?", string(billing.HostPending(f.Owner))).Where("t.kind = ?", string(billing.KindSettle))
	if !f.From.IsZero() {
		each.Where("t.at >= ?", stamp(f.From))
	}
	if !f.Host.IsZero() {
		each.Where("t.host_id = ?", key(f.Host))
	}
	err = db.NewSelect().TableExpr("(?) AS d", each).ColumnExpr("d.day").ColumnExpr("COUNT(*) AS jobs").
		ColumnExpr("CAST(SUM(d.net) AS BIGINT) AS net").ColumnExpr("CAST(SUM(d.fee) AS BIGINT) AS fee").
		GroupExpr("d.day").OrderExpr("d.day DESC").Scan(ctx, &rows)
	if err != nil {
		return nil, e.s.failed(ctx, err)
	}
	days := make([]billing.Earnings, len(rows))
	for i, r := range rows {
		days[i] = billing.Earnings{
			Day: time.Unix(r.Day*24*60*60, 0).UTC(), Jobs: r.Jobs, Net: domain.Micros(r.Net), Fee: domain.Micros(r.Fee),
		}
	}
	return days, nil
}
