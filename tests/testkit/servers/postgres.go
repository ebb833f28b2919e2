package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresVariable names the environment variable by which the runner tells
// the tests of the server that it has started.
const PostgresVariable = "PEERGPU_TEST_POSTGRES"

// Postgres is a private PostgreSQL server on a loopback port, with its data in
// a folder that goes when it stops. It is not durable, on purpose, unless its settings
// say so.
type Postgres struct {
	// URL reaches the server's one database as its superuser.
	URL string

	dir string
	process
}

// StartPostgres makes a new cluster and returns once it answers. The server
// dies with the calling process, even if that is killed. Settings such as "fsync=on"
// go before our own.
func StartPostgres(ctx context.Context, settings ...string) (*Postgres, error) {
	bin, err := postgresBinaries()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "peergpu-pg-")
	if err != nil {
		return nil, err
	}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"),
		"-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8", "-U", "peergpu", "-D", filepath.Join(dir, "data"))
	initdb.Dir = dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	// A port that is free now may be gone when the server takes it.
	for attempt := 1; ; attempt++ {
		p, err := startPostgres(ctx, bin, dir, as, settings)
		if err == nil {
			return p, nil
		}
		if attempt == 3 || ctx.Err() != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// Stop ends the server, without waiting for its clients, and removes its data.
func (p *Postgres) Stop() error {
	// SIGINT is what PostgreSQL calls a fast shutdown.
	return errors.Join(p.stop(syscall.SIGINT, 10*time.Second), os.RemoveAll(p.dir))
}

// Restart ends the server, with "fast" clean, with "immediate" as if it had crashed, and
// starts it again with the same data at the same address.
func (p *Postgres) Restart(ctx context.Context, mode string) error {
	ask := map[string]syscall.Signal{"fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}[mode]
	if err := p.stop(ask, 30*time.Second); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.cmd.Path, p.cmd.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.dir, log, log, p.cmd.SysProcAttr
	if err := p.start(cmd); err != nil {
		return err
	}
	return p.ready(ctx)
}

func startPostgres(ctx context.Context, bin, dir string, as *syscall.Credential, settings []string) (*Postgres, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own handle
	cmd := exec.Command(filepath.Join(bin, "postgres"),
		"-D", filepath.Join(dir, "data"), "-k", dir, "-h", "127.0.0.1", "-p", strconv.Itoa(port),
		"-F", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
		"-c", "max_connections=400", "-c", "shared_buffers=64MB")
	for _, set := range settings {
		cmd.Args = append(cmd.Args, "-c", set) // the last of a name counts
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: as,
		Setpgid:    true, // Ctrl-C is for the runner: it stops the server last
		Pdeathsig:  syscall.SIGQUIT,
	}
	p := &Postgres{dir: dir, URL: (&url.URL{
		Scheme: "postgres", User: url.User("peergpu"),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable",
	}).String()}
	if err := p.start(cmd); err != nil {
		return nil, err
	}
	if err := p.ready(ctx); err != nil {
		said, _ := os.ReadFile(log.Name())
		_ = p.stop(syscall.SIGKILL, time.Second)
		return nil, fmt.Errorf("postgres does not start: %w\n%s", err, said)
	}
	return p, nil
}

// PID is the server's process; its children are the backends.
func (p *Postgres) PID() int { return p.cmd.Process.Pid }

// ready waits until the server takes a connection.
func (p *Postgres) ready(ctx context.Context) error {
	return p.await(ctx, 30*time.Second, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.URL)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

func probePostgres(context.Context) error {
	if _, err := postgresBinaries(); err != nil {
		return err
	}
	_, err := unprivileged()
	return err
}

// postgresBinaries returns the folder of initdb and postgres. Debian keeps
// them off PATH, in a folder for each version.
func postgresBinaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		// initdb looks for postgres beside itself: follow links to the real folder.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	best, version := "", -1
	for _, path := range found {
		bin := filepath.Dir(path)
		if v, err := strconv.Atoi(strings.Split(bin, "/")[4]); err == nil && v > version {
			best, version = bin, v
		}
	}
	if best == "" {
		return "", errors.New("postgres is not installed")
	}
	return best, nil
}

// unprivileged returns whom to run a server as, which is nobody else unless
// this process is root: PostgreSQL refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("postgres does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
