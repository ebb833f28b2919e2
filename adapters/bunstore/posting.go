package bunstore

import (
	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
)

var (
	errKeyReused    = domain.Conflict("key_reused", "the key was used for another transaction")
	errInsufficient = domain.NewError(domain.KindPaymentRequired, "insufficient_funds", "there is not enough credit")
	errTooLarge     = domain.Invalid("amount_too_large", "the amount does not fit into an account")
	// errKeyRace never leaves the poster.
	errKeyRace = domain.Conflict("key_race", "another server posts the same key")
)

// posting is one go of the poster: what is known of the ledger, and what will be
// written to it.
type posting struct {
	known    map[string]billing.Transaction // by key
	accounts map[pair]*accountRow
	before   map[pair]int64 // balances as they were
	txs      []txRow
	entries  []entryRow
}

// find learns which of the keys are posted already.
func (g *posting) find(t *tx, posts []*post) error {
	var keys []text
	for _, p := range posts {
		for _, tx := range p.txs {
			keys = append(keys, text(tx.Key))
		}
	}
	db, err := t.rows()
	if err != nil {
		return err
	}
	list, err := readTransactions(t.ctx, db, db.NewSelect().TableExpr("ledger_txs AS t").ColumnExpr("t.*").
		Where("t.key IN (?)", bun.List(keys)), newestFirst)
	for _, tx := range list {
		g.known[tx.Key] = tx
	}
	return err
}

// admit adds the transactions of one post, all or none.
func (g *posting) admit(txs []billing.Transaction) (err error) {
	balances, keys := map[*accountRow]int64{}, []string{}
	txCount, entryCount := len(g.txs), len(g.entries)
	defer func() {
		if err == nil {
			return
		}
		for a, balance := range balances {
			a.Balance = balance
		}
		for _, k := range keys {
			delete(g.known, k)
		}
		g.txs, g.entries = g.txs[:txCount], g.entries[:entryCount]
	}()
	for _, t := range txs {
		if known, ok := g.known[t.Key]; ok {
			if !known.SameEntries(t) {
				return errKeyReused
			}
			continue
		}
		for _, e := range t.Entries {
			a := g.accounts[pair{e.Account, t.Currency}]
			g.entries = append(g.entries, entryRow{TxID: key(t.ID), AccountID: a.ID, Amount: int64(e.Amount)})
			if !a.Guarded {
				continue
			}
			if _, moved := balances[a]; !moved {
				balances[a] = a.Balance
			}
			after := a.Balance + int64(e.Amount)
			if (after > a.Balance) != (e.Amount > 0) {
				return errTooLarge
			}
			if after < 0 {
				return errInsufficient
			}
			a.Balance = after
		}
		g.known[t.Key] = t
		keys = append(keys, t.Key)
		g.txs = append(g.txs, txRow{
			ID: key(t.ID), Kind: text(t.Kind), Key: text(t.Key), Currency: text(t.Currency),
			JobID: key(t.Job), HostID: key(t.Host), Memo: text(t.Memo), At: stamp(t.At),
		})
	}
	return nil
}

// move is the net change of a guarded account. Its types are for the cast that
// PostgreSQL needs.
type move struct {
	ID    int64 `bun:"id,type:bigint"`
	Delta int64 `bun:"delta,type:bigint"`
}

// write stores what was admitted. The table itself refuses a balance below zero.
func (g *posting) write(t *tx) error {
	if len(g.txs) == 0 {
		return nil
	}
	db := t.store.write
	if err := t.later(db.NewInsert().Model(&g.txs)); err != nil {
		return err
	}
	if len(g.entries) > 0 {
		if err := t.later(db.NewInsert().Model(&g.entries)); err != nil {
			return err
		}
	}
	var moves []move
	for name, a := range g.accounts {
		if delta := a.Balance - g.before[name]; a.Guarded && delta != 0 {
			moves = append(moves, move{a.ID, delta})
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return t.later(db.NewUpdate().With("_moves", db.NewValues(&moves)).Model((*accountRow)(nil)).TableExpr("_moves").
		Set("balance = c.balance + _moves.delta").Set("version = c.version + 1").Where("c.id = _moves.id"))
}
