package bunstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var (
	unavailable    = domain.Unavailable("database_unavailable", "the database does not answer")
	busy           = domain.Unavailable("database_busy", "the database has too much to do; try again")
	full           = domain.Unavailable("disk_full", "the server's disk has no room; try again later")
	errWrongOffset = domain.Conflict("wrong_offset", "the log has another size")
	closed         = domain.Unavailable("database_closed", "the database is being closed")
)

// taken tells what it means when a unique index refuses a row. PostgreSQL names the
// index, SQLite its columns.
var taken = map[string]*domain.Error{
	"users_email":                       domain.Conflict("email_taken", "there is an account with this e-mail address"),
	"users.email":                       domain.Conflict("email_taken", "there is an account with this e-mail address"),
	"users_handle":                      domain.Conflict("handle_taken", "the handle belongs to another account"),
	"users.handle":                      domain.Conflict("handle_taken", "the handle belongs to another account"),
	"hosts_key":                         domain.Conflict("key_taken", "another host has this public key"),
	"hosts.public_key":                  domain.Conflict("key_taken", "another host has this public key"),
	"jobs_request":                      ports.ErrDuplicateRequest,
	"jobs.renter, jobs.idempotency_key": ports.ErrDuplicateRequest,
	"jobs_version":                      ports.ErrVersionTaken,
	"jobs.origin, jobs.run_version":     ports.ErrVersionTaken,
	"attempt_devices_active":            ports.ErrDeviceTaken,
	"attempt_devices.device":            ports.ErrDeviceTaken,
	"attempts_active":                   domain.Conflict("attempt_active", "the job has an active attempt already"),
	"attempts.job_id":                   domain.Conflict("attempt_active", "the job has an active attempt already"),
	"ledger_txs_key":                    errKeyRace,
	"ledger_txs.key":                    errKeyRace,
	"log_chunks_pkey":                   errWrongOffset,
	"log_chunks.job_id, log_chunks.attempt, log_chunks.start": errWrongOffset,
}

// failed translates an error of a call that had a context.
func (s *Store) failed(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return translate(s.dialect, err)
}

// translate is the one place in which drivers' errors become ours.
func translate(d *dialect, err error) error {
	var theirs *changeError
	if errors.As(err, &theirs) {
		return theirs.err
	}
	var ours *domain.Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	if index, ok := d.unique(err); ok {
		if meaning, ok := taken[index]; ok {
			return meaning.With(err)
		}
		return domain.Conflict("exists", "it exists already").With(err)
	}
	switch {
	case d.full(err):
		return full.With(err)
	case d.transient(err):
		return busy.With(err)
	case disconnected(d, err):
		return unavailable.With(err)
	}
	return domain.NewError(domain.KindInternal, "database", "the database refused").With(err)
}

// fatal passes on an error that takes the whole transaction with it, and swallows one
// that belongs to a single statement.
func (d *dialect) fatal(err error) error {
	if err != nil && (d.transient(err) || d.full(err) || disconnected(d, err)) {
		return err
	}
	return nil
}

// changeError hides what a caller's change returned within a transaction: that may be
// any error, also a lost connection's, and says nothing about the database.
type changeError struct{ err error }

func (e *changeError) Error() string { return e.err.Error() }

// disconnected says that nobody knows what became of the statement.
func disconnected(d *dialect, err error) bool {
	var n net.Error
	return d.lost(err) || errors.As(err, &n) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err.Error() == "sql: database is closed"
}
