package bunstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
)

// poster posts what gathered while the last posting was under way in one go: one
// statement each to lock accounts, find keys, insert transactions, insert entries and
// move balances, however many posts there are. Whether each of them is covered is
// worked out in between, one after the other, on the locked balances.
type poster struct {
	store *Store

	mu    sync.Mutex
	queue []*post
	// open are the accounts without a guard: few, never locked, and always the same.
	open map[pair]*accountRow
}

// post is one call of Post.
type post struct {
	ticket
	txs     []billing.Transaction // normalized
	refused error
}

// pair names an account.
type pair struct {
	code     billing.Account
	currency string
}

// ledgerKey sorts behind all ids, so that a transaction of the writer locks accounts
// last and shortly.
var ledgerKey = domain.ID{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}

func (l ledger) Post(ctx context.Context, txs ...billing.Transaction) error {
	if err := l.s.nested.check(); err != nil {
		return err
	}
	p := &post{ticket: newTicket()}
	for _, t := range txs {
		if err := t.Check(); err != nil {
			return err
		}
		t = t.Normalized()
		if t.ID.IsZero() {
			t.ID = l.s.IDs.New()
		}
		if t.At.IsZero() {
			t.At = l.s.Clock.Now()
		}
		p.txs = append(p.txs, t)
	}
	if err := ctx.Err(); err != nil || len(p.txs) == 0 {
		return err
	}
	return l.s.posts.post(ctx, p)
}

// post waits for the posting of p. The first that waits hands the writer a unit, which
// takes whatever has gathered when its turn comes.
func (b *poster) post(ctx context.Context, p *post) error {
	b.mu.Lock()
	b.queue = append(b.queue, p)
	first := len(b.queue) == 1
	b.mu.Unlock()
	if first {
		go b.drain()
	}
	return p.wait(ctx)
}

// take gives what waits and has not been withdrawn.
func (b *poster) take() []*post {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := slices.DeleteFunc(b.queue, func(p *post) bool { return !p.take() })
	b.queue = nil
	return taken
}

// drain posts what waits. It belongs to all who wait, so it has no caller's context.
func (b *poster) drain() {
	var posts []*post
	taken := false
	err := b.commit(func(t *tx) (*posting, error) {
		if !taken {
			posts, taken = b.take(), true
		}
		return b.postAll(t, posts)
	})
	if !taken {
		posts = b.take() // the writer is closed or has no connection
	}
	for _, p := range posts {
		refused := err
		if err != nil && len(posts) > 1 && b.store.dialect.fatal(err) == nil {
			// One of them is not what the database takes; the others shall not suffer.
			refused = b.commit(func(t *tx) (*posting, error) { return b.postAll(t, []*post{p}) })
		}
		if refused == nil {
			refused = p.refused
		}
		p.finish(refused)
	}
}

// commit runs a posting, and again when another server posted one of its keys in the
// meantime: then the key is known.
func (b *poster) commit(work func(*tx) (*posting, error)) error {
	for try := 1; ; try++ {
		var g *posting
		err := b.store.commit(context.Background(), ledgerKey, func(t *tx) (err error) {
			g, err = work(t)
			return err
		})
		if errors.Is(err, errKeyRace) && try < maxTries {
			continue
		}
		if err != nil || g == nil {
			return err
		}
		// Only now are accounts that were made there to stay.
		b.mu.Lock()
		defer b.mu.Unlock()
		for p, a := range g.accounts {
			if !a.Guarded {
				b.open[p] = a
			}
		}
		return nil
	}
}

func (b *poster) postAll(t *tx, posts []*post) (*posting, error) {
	g := &posting{known: map[string]billing.Transaction{}, accounts: map[pair]*accountRow{}, before: map[pair]int64{}}
	if len(posts) == 0 {
		return g, nil
	}
	if err := b.lockAccounts(t, g, posts); err != nil {
		return nil, err
	}
	// After the locks: who waited for one sees what the other posted.
	if err := g.find(t, posts); err != nil {
		return nil, err
	}
	for _, p := range posts {
		p.refused = g.admit(p.txs)
	}
	return g, g.write(t)
}

// lockAccounts finds the accounts of the posts, makes those that are missing, and
// locks the guarded ones in the order of their ids.
func (b *poster) lockAccounts(t *tx, g *posting, posts []*post) error {
	missing := map[pair]bool{}
	b.mu.Lock()
	for _, p := range posts {
		for _, tx := range p.txs {
			for _, e := range tx.Entries {
				name := pair{e.Account, tx.Currency}
				if a := b.open[name]; a != nil {
					g.accounts[name] = a
				} else {
					missing[name] = true
				}
			}
		}
	}
	b.mu.Unlock()
	for try := 0; len(missing) > 0; try++ {
		if try == 1 {
			if err := makeAccounts(t, missing); err != nil {
				return err
			}
		}
		for _, guarded := range []bool{true, false} {
			rows, err := readAccounts(t, missing, guarded)
			if err != nil {
				return err
			}
			for i := range rows {
				name := pair{billing.Account(rows[i].Code), rows[i].Currency}
				if missing[name] {
					g.accounts[name], g.before[name] = &rows[i], rows[i].Balance
					delete(missing, name)
				}
			}
		}
		if try == 1 && len(missing) > 0 {
			return domain.NewError(domain.KindInternal, "accounts", "accounts that were made are not there")
		}
	}
	return nil
}

// readAccounts reads those of the named accounts that have a guard, and locks them, or
// those that have none.
func readAccounts(t *tx, names map[pair]bool, guarded bool) ([]accountRow, error) {
	var codes []billing.Account
	for n := range names {
		if n.code.Guarded() == guarded {
			codes = append(codes, n.code)
		}
	}
	if len(codes) == 0 {
		return nil, nil
	}
	db, err := t.rows()
	if err != nil {
		return nil, err
	}
	lock := ""
	if guarded {
		lock = t.store.dialect.lock
	}
	var rows []accountRow
	err = db.NewRaw("SELECT * FROM ledger_accounts WHERE code IN (?) ORDER BY id "+lock, bun.List(codes)).Scan(t.ctx, &rows)
	return rows, err
}

func makeAccounts(t *tx, names map[pair]bool) error {
	var rows []accountRow
	for n := range names {
		rows = append(rows, accountRow{Code: string(n.code), Currency: n.currency, Guarded: n.code.Guarded(), Version: 1})
	}
	slices.SortFunc(rows, func(a, b accountRow) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Currency, b.Currency))
	})
	return t.later(t.store.write.NewInsert().Model(&rows).ExcludeColumn("id").On("CONFLICT (code, currency) DO NOTHING"))
}
