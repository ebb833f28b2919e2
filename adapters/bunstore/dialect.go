package bunstore

import (
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/peergpu/peergpu/domain"
)

//go:embed migrations
var migrations embed.FS

// dialect is everything in which the databases differ for us.
type dialect struct {
	goose  goose.Dialect
	folder string // of its migrations
	begin  string // starts a transaction that will write
	lazy   string // makes the transaction's commit not wait for the disk; "" where none does
	lock   string // ends a SELECT of rows that are about to change
	now    string // SELECTs the database's clock; 0 when it has none of its own
	lanes  int    // transactions at the same time; see writer

	// unique tells which unique index an error is about, by its name on PostgreSQL and
	// by its columns on SQLite.
	unique func(error) (index string, ok bool)
	// transient says that the same transaction would go through if it ran again.
	transient func(error) bool
	// lost says that the database does not answer.
	lost func(error) bool
	// full says that the database's disk has no room.
	full func(error) bool
}

// connection is an open database.
type connection struct {
	dialect  *dialect
	read     *bun.DB // a pool of connections; on SQLite they cannot write
	write    *bun.DB // on SQLite a single connection, on PostgreSQL the pool again
	cleanup  func() error
	postgres *pgx.ConnConfig // for connections beside the pool; nil on SQLite
}

func connect(url string) (connection, error) {
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		return connectSQLite(path)
	}
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		return connectPostgres(url)
	}
	// The URL may hold a password, so it is not repeated.
	return connection{}, domain.Invalid("invalid_database", "the URL of a database begins with sqlite:// or postgres://")
}

var sqliteDialect = &dialect{
	goose: goose.DialectSQLite3, folder: "migrations/sqlite",
	begin: "BEGIN IMMEDIATE", now: "SELECT 0", lanes: 1,
	unique: func(err error) (string, bool) {
		var e *sqlite.Error
		if !errors.As(err, &e) {
			return "", false
		}
		if c := e.Code(); c != sqlite3.SQLITE_CONSTRAINT_UNIQUE && c != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return "", false
		}
		_, columns, _ := strings.Cut(e.Error(), "UNIQUE constraint failed: ")
		columns, _, _ = strings.Cut(columns, " (")
		return columns, true
	},
	transient: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
	},
	lost: func(error) bool { return false },
	full: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
	},
}

// connectSQLite opens one connection that writes and a pool that reads beside it,
// which is what WAL allows. synchronous=NORMAL survives kill -9, not power loss.
func connectSQLite(path string) (connection, error) {
	cleanup := func() error { return nil }
	if path == ":memory:" {
		// A database in memory would exist once for each connection.
		dir, err := os.MkdirTemp("", "peergpu-db-")
		if err != nil {
			return connection{}, unavailable.With(err)
		}
		path, cleanup = filepath.Join(dir, "peergpu.db"), func() error { return os.RemoveAll(dir) }
	}
	if path == "" {
		return connection{}, domain.Invalid("invalid_database", "the URL names no file: sqlite:///path/to/file")
	}
	if err := private(path); err != nil {
		return connection{}, errors.Join(unavailable.With(err), cleanup())
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_txlock=immediate&_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(ON)"
	write, err := sql.Open("sqlite", dsn)
	if err != nil {
		return connection{}, errors.Join(unavailable.With(err), cleanup())
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn+"&_pragma=query_only(ON)")
	if err != nil {
		return connection{}, errors.Join(unavailable.With(err), write.Close(), cleanup())
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	return connection{
		dialect: sqliteDialect, cleanup: cleanup,
		read: bun.NewDB(read, sqlitedialect.New()), write: bun.NewDB(write, sqlitedialect.New()),
	}, nil
}

// private makes the file readable for its owner alone; SQLite gives the files beside
// it the same mode.
func private(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

var postgresDialect = &dialect{
	goose: goose.DialectPostgres, folder: "migrations/postgres",
	begin: "BEGIN", lazy: "SET LOCAL synchronous_commit TO OFF", lock: "FOR UPDATE", lanes: 4,
	now: "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
	unique: func(err error) (string, bool) {
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "23505" {
			return "", false
		}
		return e.ConstraintName, true
	},
	transient: func(err error) bool {
		var e *pgconn.PgError
		// Serialization failure, deadlock, lock timeout.
		return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01" || e.Code == "55P03")
	},
	lost: func(err error) bool {
		var e *pgconn.PgError
		if errors.As(err, &e) {
			// Shutting down, starting up, or out of connections, memory or disk.
			return strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "53")
		}
		var c *pgconn.ConnectError
		return errors.As(err, &c)
	},
	full: func(err error) bool {
		var e *pgconn.PgError
		return errors.As(err, &e) && e.Code == "53100"
	},
}

// The bounds of the pool. Postgres ships with 100 connections in all.
const (
	poolSize    = 16
	poolMaximum = 30 * time.Minute
)

// connectPostgres opens a pool. bun writes values into the SQL, so statements are
// never the same twice and preparing them would only fill the server's memory.
func connectPostgres(url string) (connection, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// Its text may hold the password.
		return connection{}, domain.Invalid("invalid_database", "the URL of the database cannot be understood")
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(poolSize)
	pool.SetMaxIdleConns(poolSize)
	pool.SetConnMaxLifetime(poolMaximum)
	db := bun.NewDB(pool, pgdialect.New())
	return connection{dialect: postgresDialect, read: db, write: db, cleanup: func() error { return nil }, postgres: config}, nil
}

func (d *dialect) migrations() (fs.FS, error) { return fs.Sub(migrations, d.folder) }
