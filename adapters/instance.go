package adapters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/fx"

	"github.com/peergpu/peergpu/adapters/bunstore"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
)

// The bounds of starting and stopping the whole server.
const (
	startWithin = 2 * time.Minute
	stopWithin  = 30 * time.Second
)

// Instance is a server that runs in this process.
type Instance struct {
	Server   *Server
	Accounts *identity.Service
	app      *fx.App
	unlock   func()
}

// Start starts the server of a configuration.
func Start(ctx context.Context, c Config, log *slog.Logger) (*Instance, error) {
	unlock, err := lockFolder(c.Data)
	if err != nil {
		return nil, err
	}
	if _, err := c.keys(); err != nil { // before the database is brought up to date
		unlock()
		return nil, err
	}
	if len(c.unknown) > 0 {
		log.WarnContext(ctx, "these environment variables are none of the server's and have no effect; peergpu serve --help lists them", "unknown", c.unknown)
	}
	i := &Instance{unlock: unlock}
	i.app = fx.New(quiet, Ports(c, log), application.Module, running,
		fx.StopTimeout(stopWithin), fx.StartTimeout(startWithin), fx.Populate(&i.Server, &i.Accounts))
	if err := i.app.Err(); err != nil {
		unlock()
		return nil, plain(err)
	}
	begin, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := i.app.Start(begin); err != nil {
		unlock()
		return nil, plain(err)
	}
	return i, nil
}

// Ended receives when the server cannot go on by itself.
func (i *Instance) Ended() <-chan fx.ShutdownSignal { return i.app.Wait() }

// Stop ends the server in the reverse order of its start.
func (i *Instance) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	defer i.unlock()
	return i.app.Stop(ctx)
}

// plain is the error that a constructor gave, without the tale of who called it.
func plain(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || !wired(err) {
			return err
		}
		err = inner
	}
}

// wired says that an error only tells how the wiring library got to its cause.
func wired(err error) bool {
	kind := fmt.Sprintf("%T", err)
	return strings.HasPrefix(kind, "dig.") || strings.HasPrefix(kind, "*dig.") || strings.HasPrefix(kind, "*fx.") || strings.HasPrefix(kind, "fx.")
}

// Migrate brings the database up to date.
func Migrate(ctx context.Context, c Config, log *slog.Logger) error {
	if !oneOf(c.Database, "sqlite", "postgres") {
		return errors.New("PEERGPU_DATABASE: only sqlite:// and postgres:// have tables")
	}
	if err := makeFolder(c.Database); err != nil {
		return err
	}
	db, err := bunstore.Open(ctx, c.Database, bunstore.Options{Clock: system.Clock{}, IDs: system.IDs{}, Log: log})
	if err != nil {
		return unopened(c.Database, err)
	}
	return db.Close()
}

// Grant gives an account a role, directly in the database.
func Grant(ctx context.Context, c Config, log *slog.Logger, email, role string) (domain.ID, error) {
	var accounts *identity.Service
	app := fx.New(quiet, Ports(c, log), application.Module, fx.Populate(&accounts))
	if err := app.Err(); err != nil {
		return domain.ID{}, plain(err)
	}
	if err := app.Start(ctx); err != nil {
		return domain.ID{}, plain(err)
	}
	u, err := accounts.Grant(ctx, domain.System(), email, domain.Role(role))
	if domain.KindOf(err) == domain.KindNotFound {
		err = fmt.Errorf("there is no account with the address %s: sign up first", email)
	}
	return u.ID, errors.Join(err, app.Stop(context.WithoutCancel(ctx)))
}

// lockFolder makes sure that one process uses the data folder.
func lockFolder(folder string) (unlock func(), err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("PEERGPU_DATA: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("PEERGPU_DATA: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another PeerGPU uses %s: stop it, or choose another folder with PEERGPU_DATA", folder)
	}
	return func() { _ = f.Close() }, nil
}
