// Command peergpu runs the marketplace: the server, the demo and the operator's commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/peergpu/peergpu/adapters"
	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/gpu"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/agent/transfer"
)

const about = `PeerGPU is a marketplace for GPU time that anyone can run.

Examples:
  peergpu demo                          the whole marketplace on this machine, with an example job
  peergpu serve                         the server; its configuration is environment variables
  PEERGPU_LISTEN=:8081 peergpu serve    on another port
  peergpu migrate                       bring the database up to date, and end
  peergpu admin grant ada@example.org   make an account an administrator
  peergpu ready && echo yes             ask the server on this machine whether it takes requests`

var commands struct {
	Serve   serveCommand   `cmd:"" default:"1" help:"Run the server until it is stopped (the default)."`
	Demo    demoCommand    `cmd:"" help:"Run everything on this machine, with demo accounts, a demo host and an example job."`
	Migrate migrateCommand `cmd:"" help:"Bring the database up to date, and end."`
	Admin   struct {
		Grant grantCommand `cmd:"" help:"Give an account a role."`
	} `cmd:"" help:"Commands of the operator."`
	Ready   readyCommand   `cmd:"" help:"Ask the server at PEERGPU_LISTEN whether it takes requests; the status is 0 if it does (for health checks of containers)."`
	Version versionCommand `cmd:"" help:"Print the version, and end."`
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k := kong.Parse(&commands, kong.Name("peergpu"), kong.Description(about), kong.BindTo(ctx, (*context.Context)(nil)))
	if err := k.Run(); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) { // not merely interrupted
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(os.Stderr, "peergpu:", strings.TrimSuffix(line, "\n"))
		}
		return 1
	}
	return 0
}

func logger(level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
	slog.SetDefault(log)
	return log
}

type serveCommand struct{}

// Help lists the configuration.
func (serveCommand) Help() string {
	text := "Configuration (environment variables, with their defaults):\n"
	for _, v := range adapters.Variables() {
		text += "\n" + v.Name
		if v.Default != "" {
			text += "=" + v.Default
		}
		text += "\n    " + v.Doc
	}
	return text
}

// Run serves until the process is told to stop.
func (serveCommand) Run(ctx context.Context) error {
	c, err := adapters.ReadConfig()
	if err != nil {
		return err
	}
	i, err := adapters.Start(ctx, c, logger(c.LogLevel))
	if err != nil {
		return err
	}
	fmt.Println("PeerGPU serves at", i.Server.URL)
	standing(c)
	select {
	case <-ctx.Done():
	case <-i.Ended():
	}
	fmt.Println("stopping")
	return i.Stop()
}

// standing prints which adapter stands behind which port.
func standing(c adapters.Config) {
	for _, line := range c.Standing() {
		fmt.Printf("  %-9s %s\n", line[0], line[1])
	}
}

type migrateCommand struct{}

// Run opens the database, which brings it up to date.
func (migrateCommand) Run(ctx context.Context) error {
	c, err := adapters.ReadConfig()
	if err != nil {
		return err
	}
	if err := adapters.Migrate(ctx, c, logger(c.LogLevel)); err != nil {
		return err
	}
	fmt.Println("the database is up to date")
	return nil
}

type grantCommand struct {
	Email string `arg:"" help:"E-mail address of the account."`
	Role  string `default:"admin" enum:"renter,host,admin" help:"renter, host or admin."`
}

// Run gives a role to an account, directly in the database.
func (g grantCommand) Run(ctx context.Context) error {
	c, err := adapters.ReadConfig()
	if err != nil {
		return err
	}
	if _, err := adapters.Grant(ctx, c, logger(c.LogLevel), g.Email, g.Role); err != nil {
		return err
	}
	fmt.Printf("%s has the role %s now\n", g.Email, g.Role)
	return nil
}

type readyCommand struct{}

// Run asks /readyz.
func (readyCommand) Run(ctx context.Context) error {
	c, err := adapters.ReadConfig()
	if err != nil {
		return err
	}
	return adapters.Ready(ctx, c)
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	version := "dev"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	_, err := fmt.Println("peergpu", version)
	return err
}

type demoCommand struct {
	Example string `default:"examples/digits" help:"Folder of the example job: its files, and a job.json."`
}

// Run starts the marketplace on this machine, connects a host, runs the example, and
// serves until it is stopped.
func (d demoCommand) Run(ctx context.Context) error {
	if os.Getenv("PEERGPU_LOG_LEVEL") == "" {
		_ = os.Setenv("PEERGPU_LOG_LEVEL", "warn") // the story is told here
	}
	c, err := adapters.ReadConfig()
	if err != nil {
		return err
	}
	if c, err = c.ForDemo(); err != nil {
		return err
	}
	log := logger(c.LogLevel)
	i, err := adapters.Start(ctx, c, log)
	if err != nil {
		return err
	}
	fmt.Println("PeerGPU serves at", i.Server.URL)
	standing(c)
	if err := i.DemoAccounts(ctx); err != nil {
		return errors.Join(err, i.Stop())
	}
	fmt.Printf("\nDemo accounts, password %s:\n", adapters.DemoPassword)
	for _, email := range []string{adapters.DemoRenter, adapters.DemoHost, adapters.DemoAdmin} {
		fmt.Println(" ", email)
	}
	disconnect, err := d.play(ctx, c, i.Server.URL, log)
	if err == nil {
		fmt.Printf("\nOpen %s in a browser; the API can be tried at %[1]s/docs. Ctrl-C stops everything.\n", i.Server.URL)
		select {
		case <-ctx.Done():
		case <-i.Ended():
		}
	}
	if err == nil || ctx.Err() != nil {
		fmt.Println("\nstopping")
		err = nil // it was interrupted
	}
	if disconnect != nil {
		disconnect()
	}
	return errors.Join(err, i.Stop())
}

// play connects the demo host and runs the example as the demo renter.
func (d demoCommand) play(ctx context.Context, c adapters.Config, url string, log *slog.Logger) (disconnect func(), err error) {
	owner, folder, trusted := adapters.DemoHost, filepath.Join(c.Data, "agent"), false
	box, err := runtime.NewProcess(ctx, runtime.Options{Dir: filepath.Join(folder, "runtime")})
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		// Without a wall around jobs a host takes those of its own owner alone.
		fmt.Printf("\nNo sandbox: %v\nTherefore the demo host runs jobs of %s alone, without isolation.\n", err, adapters.DemoRenter)
		owner, folder, trusted = adapters.DemoRenter, filepath.Join(c.Data, "agent-unsandboxed"), true
		box, err = runtime.NewProcess(ctx, runtime.Options{Dir: filepath.Join(folder, "runtime"), Unsandboxed: true})
		if err != nil {
			return nil, err
		}
	}
	h, err := adapters.SignIn(ctx, url, owner)
	if err != nil {
		return nil, err
	}
	disconnect, err = connect(ctx, h, url, folder, box, trusted, log)
	if stop := disconnect; stop != nil {
		disconnect = func() {
			stop()
			_ = box.Close() // nothing of a job is left by now
		}
	}
	if err != nil {
		return disconnect, fmt.Errorf("the demo host does not connect: %w", err)
	}
	fmt.Printf("\nThe demo host of %s is connected: one simulated GPU, isolation %s.\n", owner, box.Info().Isolation)
	if _, err := exec.LookPath("python3"); err != nil {
		fmt.Println("\nThere is no python3 here, which the example job needs. Install it (Debian: apt-get install python3) and run this again.")
		return disconnect, nil //nolint:nilerr // the server is of use without it
	}
	renter, err := adapters.SignIn(ctx, url, adapters.DemoRenter)
	if err != nil {
		return disconnect, err
	}
	if err := renter.RunExample(ctx, d.Example, h, os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Printf("\nThe example ends here: %v\n", err) // the marketplace does not
	}
	return disconnect, nil
}

const (
	demoPrice   = 350_000 // an hour, in millionths
	connectTime = 20 * time.Second
)

// connect enrols the demo host at its first start, runs its agent in this process, over
// a real WebSocket, and waits until the server has welcomed it.
func connect(ctx context.Context, owner *adapters.Visitor, url, folder string, box runtime.Machine, trusted bool, log *slog.Logger) (func(), error) {
	server, err := transfer.NewServer(url, "demo")
	if err != nil {
		return nil, err
	}
	files, err := transfer.New(url)
	if err != nil {
		return nil, err
	}
	clock := daemon.SystemClock{}
	outside := daemon.Ports{Server: server, Transfer: files, Runtime: box, Folders: box, Clock: clock, GPUs: gpu.Simulated{Count: 1, Now: clock.Now}}
	if _, err := daemon.LoadIdentity(folder); err != nil {
		token, err := owner.EnrollmentToken(ctx)
		if err != nil {
			return nil, err
		}
		price := int64(demoPrice)
		_, err = daemon.Enrol(ctx, folder, outside, daemon.Enrolment{
			Token: token, Server: url, Name: "demo host", HourlyPrice: &price, Tags: []string{"demo"}, Version: "demo", Again: true,
		})
		if err != nil {
			return nil, err
		}
	}
	d, err := daemon.New(daemon.Config{
		Dir: folder, Version: "demo", Trusted: trusted, Log: log, StopGrace: 2 * time.Second, StopWithin: 5 * time.Second,
		Retry: daemon.Retry{First: 500 * time.Millisecond, Base: 200 * time.Millisecond, Cap: 5 * time.Second},
	}, outside)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(life) }()
	disconnect := func() {
		end()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "peergpu: the demo host:", err)
		}
	}
	select {
	case <-d.Connected():
		return disconnect, nil
	case err := <-ended:
		end()
		return nil, err
	case <-ctx.Done():
		return disconnect, ctx.Err()
	case <-time.After(connectTime):
		return disconnect, errors.New("no welcome from the server in time")
	}
}
