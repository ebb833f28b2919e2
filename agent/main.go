// Command peergpu-agent offers this machine's GPUs on a PeerGPU marketplace: it enrols
// the host, keeps one connection to the server, runs the jobs that come with a signed
// manifest, and checks that the machine is fit for that.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/peergpu/peergpu/agent/daemon"
)

// version is set when a release is built.
var version = ""

// cli is the command line.
type cli struct {
	Home     string           `help:"State folder: agent.yaml, the host's key, the journal, running jobs." env:"PEERGPU_AGENT_HOME" default:"${home}" type:"path" placeholder:"DIR"`
	LogLevel string           `help:"debug, info, warn or error; overrides log_level of agent.yaml." enum:"debug,info,warn,error," default:""`
	Version  kong.VersionFlag `help:"Print the version."`

	Enroll enrollCommand `cmd:"" help:"Add this machine to your account with a one-time token."`
	Run    runCommand    `cmd:"" help:"Take jobs until interrupted."`
	Doctor doctorCommand `cmd:"" help:"Check this machine and its connection, and say how to fix what fails."`

	Watchdog watchdogCommand `cmd:"" hidden:"" help:"Started by run: kills the jobs when the agent cannot."`
}

// program is what a command needs of the world around it.
type program struct {
	ctx    context.Context
	home   string
	level  string
	stdout io.Writer
	stderr io.Writer
}

const description = `peergpu-agent offers this machine's GPUs on a PeerGPU marketplace.

Examples:

  peergpu-agent enroll --server https://peergpu.example --token pgpu_enr_…
  peergpu-agent doctor
  peergpu-agent run

Without a GPU, to try it out:

  peergpu-agent enroll --server http://localhost:8080 --token pgpu_enr_… --gpus 'simulated:1xNVIDIA GeForce RTX 4090'`

func main() {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		s := <-signals
		signal.Stop(signals) // a second one ends the process at once
		if s == syscall.SIGHUP {
			end(daemon.ErrHandOver)
		}
		end(nil)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// exit is thrown by --help and --version, which end in the middle of parsing.
type exit int

// run is main with its surroundings as arguments. It answers the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			code = int(r)
		default:
			panic(r)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("peergpu-agent"), kong.Description(description),
		kong.Vars{"home": defaultHome(), "version": versionName()},
		kong.Writers(stdout, stderr), kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
		kong.Exit(func(code int) { panic(exit(code)) }),
	)
	if err != nil {
		fmt.Fprintln(stderr, "peergpu-agent:", err)
		return 2
	}
	return execute(ctx, parser, &c, args, stdout, stderr)
}

// execute runs the command that the arguments name: 2 is a command line that is not
// understood, 1 a command that failed, 3 a host that was removed.
func execute(ctx context.Context, parser *kong.Kong, c *cli, args []string, stdout, stderr io.Writer) int {
	if err := misspelt(os.Environ(), variables(parser)); err != nil {
		fmt.Fprintf(stderr, "peergpu-agent: %v\n", err)
		return 2
	}
	selected, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "peergpu-agent: %v\nTry peergpu-agent --help.\n", err)
		return 2
	}
	home, err := filepath.Abs(c.Home)
	if err != nil {
		fmt.Fprintln(stderr, "peergpu-agent:", err)
		return 1
	}
	err = selected.Run(&program{ctx: ctx, home: home, level: c.LogLevel, stdout: stdout, stderr: stderr})
	var silent *unfit
	switch {
	case errors.As(err, &silent):
		return 1
	case errors.Is(err, daemon.ErrRemoved):
		fmt.Fprintln(stderr, "peergpu-agent:", err)
		return 3
	case err != nil:
		fmt.Fprintln(stderr, "peergpu-agent:", err)
		return 1
	}
	return 0
}

// defaultHome is the state folder of the user who runs the agent.
func defaultHome() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "peergpu-agent"
	}
	return filepath.Join(dir, "peergpu-agent")
}

// versionName is the version of a release, or what the Go tool knows of the build.
func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// logger writes to stderr at the level of the command line, or else of the file.
func (p *program) logger(level string) (*slog.Logger, error) {
	if p.level != "" {
		level = p.level
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); level != "" && err != nil {
		return nil, fmt.Errorf("log_level: %q is not debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: l})), nil
}
