package invariants

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "modernc.org/sqlite"             // the driver sqlite
)

// data is all that was read.
type data struct {
	jobs     []*job
	byID     map[string]*job
	reserved []device
	accounts []account
	txs      []*tx
	pending  []event
	objects  map[string]object // by key
	sums     map[string]string // of objects, as the store noted them
	chunks   map[string]int    // job/attempt → rows that are not archived
	mutable  []string          // what the database lets be done to the ledger
}

type job struct {
	id, renter, state, reason string
	losses                    int
	hold, cost                int64
	finished                  bool
	bundle                    string
	attempts                  []attempt
	files                     []file
	events                    []event
}

type attempt struct {
	number                                 int
	active                                 bool
	owner, outcome, reason                 string
	price, billable, amount                int64
	leased, accepted, started, exited, end int64
	LogBytes                               int64
	LogSHA256                              string
	MaxRuntime                             int64
}

type device struct {
	job, id string
	attempt int
	active  bool
}

type file struct {
	path, sha256, key string
	size              int64
	attempt           int
	confirmed         bool
}

type event struct {
	seq           int64
	kind, key     string
	From, State   string
	Attempt, Hold int64
}

type account struct {
	id       int64
	code     string
	guarded  bool
	balance  int64
	currency string
}

type tx struct {
	id, kind, key, job string
	entries            []entry
}

type entry struct {
	account string
	amount  int64
}

type object struct {
	size   int64
	sha256 string
}

// connect opens the database as it is, without the programs' own ways.
func connect(raw string) (*sql.DB, error) {
	if path, ok := strings.CutPrefix(raw, "sqlite://"); ok {
		return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	}
	return sql.Open("pgx", raw)
}

func read(ctx context.Context, w World) (*data, error) {
	db, err := connect(w.Database)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	d := &data{byID: map[string]*job{}, objects: map[string]object{}, sums: map[string]string{}, chunks: map[string]int{}}
	for _, step := range []func(context.Context, *sql.DB) error{d.readJobs, d.readAttempts, d.readFiles, d.readEvents, d.readLedger, d.tryLedger} {
		if err := step(ctx, db); err != nil {
			return nil, err
		}
	}
	return d, d.readObjects(w.Blobs)
}

// each runs a query and scans its rows.
func each(ctx context.Context, db *sql.DB, query string, scan func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
	}
	return rows.Err()
}

func (d *data) readJobs(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT CAST(id AS TEXT), CAST(renter AS TEXT), state, reason, losses, hold, cost, finished_at IS NOT NULL, bundle_key
		FROM jobs ORDER BY id`, func(r *sql.Rows) error {
		j := &job{}
		d.jobs = append(d.jobs, j)
		err := r.Scan(&j.id, &j.renter, &j.state, &j.reason, &j.losses, &j.hold, &j.cost, &j.finished, &j.bundle)
		d.byID[j.id] = j
		return err
	})
}

func (d *data) readAttempts(ctx context.Context, db *sql.DB) error {
	err := each(ctx, db, `SELECT CAST(job_id AS TEXT), number, active, CAST(host_owner AS TEXT), outcome, reason, hourly_price, billable_ms, amount,
		COALESCE(leased_at, 0), COALESCE(accepted_at, 0), COALESCE(started_at, 0), COALESCE(exited_at, 0), COALESCE(ended_at, 0),
		CAST(doc AS TEXT) FROM attempts ORDER BY job_id, number`, func(r *sql.Rows) error {
		var id, doc string
		var a attempt
		err := r.Scan(&id, &a.number, &a.active, &a.owner, &a.outcome, &a.reason, &a.price, &a.billable, &a.amount,
			&a.leased, &a.accepted, &a.started, &a.exited, &a.end, &doc)
		if err == nil {
			err = json.Unmarshal([]byte(doc), &a)
		}
		j := d.byID[id]
		if err == nil && j == nil {
			err = fmt.Errorf("an attempt of no job: %s", id)
		}
		if err == nil {
			j.attempts = append(j.attempts, a)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, db, `SELECT CAST(job_id AS TEXT), number, CAST(device AS TEXT), active FROM attempt_devices`, func(r *sql.Rows) error {
		var x device
		err := r.Scan(&x.job, &x.attempt, &x.id, &x.active)
		d.reserved = append(d.reserved, x)
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, db, `SELECT CAST(job_id AS TEXT), attempt, count(*) FROM log_chunks GROUP BY job_id, attempt`, func(r *sql.Rows) error {
		var id string
		var number, n int
		err := r.Scan(&id, &number, &n)
		d.chunks[fmt.Sprintf("%s/%d", id, number)] = n
		return err
	})
}

func (d *data) readFiles(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT CAST(job_id AS TEXT), attempt, path, size, sha256, blob_key, confirmed FROM artifacts ORDER BY path`, func(r *sql.Rows) error {
		var id string
		var f file
		err := r.Scan(&id, &f.attempt, &f.path, &f.size, &f.sha256, &f.key, &f.confirmed)
		if j := d.byID[id]; j != nil {
			j.files = append(j.files, f)
		}
		return err
	})
}

func (d *data) readEvents(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT seq, type, CAST(key AS TEXT), CAST(data AS TEXT), done_at IS NULL FROM outbox ORDER BY seq`, func(r *sql.Rows) error {
		var e event
		var body string
		var open bool
		if err := r.Scan(&e.seq, &e.kind, &e.key, &body, &open); err != nil {
			return err
		}
		if open {
			d.pending = append(d.pending, e)
		}
		if j := d.byID[e.key]; j != nil && strings.HasPrefix(e.kind, "jobs.") {
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				return err
			}
			j.events = append(j.events, e)
		}
		return nil
	})
}

func (d *data) readLedger(ctx context.Context, db *sql.DB) error {
	codes := map[int64]string{}
	err := each(ctx, db, `SELECT id, code, currency, guarded, balance FROM ledger_accounts ORDER BY code`, func(r *sql.Rows) error {
		var a account
		err := r.Scan(&a.id, &a.code, &a.currency, &a.guarded, &a.balance)
		d.accounts, codes[a.id] = append(d.accounts, a), a.code
		return err
	})
	if err != nil {
		return err
	}
	byID := map[string]*tx{}
	err = each(ctx, db, `SELECT CAST(id AS TEXT), kind, key, COALESCE(CAST(job_id AS TEXT), '') FROM ledger_txs ORDER BY id`, func(r *sql.Rows) error {
		t := &tx{}
		err := r.Scan(&t.id, &t.kind, &t.key, &t.job)
		d.txs, byID[t.id] = append(d.txs, t), t
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, db, `SELECT CAST(tx_id AS TEXT), account_id, amount FROM ledger_entries`, func(r *sql.Rows) error {
		var id string
		var at int64
		var e entry
		err := r.Scan(&id, &at, &e.amount)
		e.account = codes[at]
		if t := byID[id]; t != nil {
			t.entries = append(t.entries, e)
		}
		return err
	})
}

// tryLedger asks for what no ledger grants, and takes it back whatever the answer is.
func (d *data) tryLedger(ctx context.Context, db *sql.DB) error {
	if len(d.txs) == 0 {
		return nil // SQLite's triggers are for rows
	}
	for _, statement := range []string{
		"UPDATE ledger_entries SET amount = amount", "UPDATE ledger_txs SET memo = memo", "DELETE FROM ledger_entries", "DELETE FROM ledger_txs",
	} {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, statement); err == nil {
			d.mutable = append(d.mutable, statement)
		} else if !strings.Contains(err.Error(), "immutable") {
			err = fmt.Errorf("%s: %w", statement, err)
		} else {
			err = nil
		}
		if err := errors.Join(err, tx.Rollback()); err != nil {
			return err
		}
	}
	return nil
}

// readObjects reads and sums every file of the store. An object's own sha256 lies
// beside it in a folder of its own, or with the S3 server of the tests in an attribute of
// the file.
func (d *data) readObjects(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) && path == folder {
			return nil
		}
		if err == nil && entry.Name() == ".sgwtmp" {
			return fs.SkipDir // where the S3 server of the tests has what is unfinished
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		key, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		key = filepath.ToSlash(key)
		if of, isSum := strings.CutPrefix(key, "_sha256/"); isSum {
			d.sums[of] = string(content)
			return nil
		}
		if sum, err := attribute(path); err != nil {
			return err
		} else if sum != "" {
			d.sums[key] = sum
		}
		sum := sha256.Sum256(content)
		d.objects[key] = object{int64(len(content)), hex.EncodeToString(sum[:])}
		return nil
	})
}

// attribute is the sum that the S3 server notes at a file, as hexadecimal, or empty.
func attribute(path string) (string, error) {
	value := make([]byte, 1024)
	n, err := syscall.Getxattr(path, "user.checksums", value)
	if errors.Is(err, syscall.ENODATA) || errors.Is(err, syscall.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var noted struct{ SHA256 []byte }
	err = json.Unmarshal(value[:n], &noted)
	return hex.EncodeToString(noted.SHA256), err
}
