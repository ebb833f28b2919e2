// Command testrun is for running the tests with everything that they need: it
// installs and starts the servers, runs the command that it is given, stops
// the servers and sums up. The output of a `go test -json` is turned into
// something to read; that of any other command is left as it is.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(code)
}

// run returns the status to exit with: that of the command, or 1 where the
// command did well and the run did not.
func run(ctx context.Context, command []string, out io.Writer) int {
	if len(command) == 0 {
		fmt.Fprintln(out, "usage: testrun command [argument ...]")
		return 2
	}
	missing := prepare(ctx, out)
	env := os.Environ()
	for _, shared := range sharedServers {
		if slices.ContainsFunc(missing, func(l lack) bool { return l.Name == shared.need.Name }) {
			continue
		}
		server, variable, err := shared.start(ctx)
		if err != nil {
			fmt.Fprintln(out, err)
			return 1
		}
		defer func() {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(out, err)
			}
		}()
		env = append(env, variable)
	}

	begun := time.Now()
	report := newReport(out)
	to := out
	if slices.Contains(command, "-json") {
		to = report
	}
	err := execute(ctx, command, env, to)
	if to == out {
		return status(err)
	}
	report.sum(time.Since(begun), missing)
	switch {
	case err != nil:
		return status(err)
	case !report.good(servers.InCI()):
		return 1
	}
	return 0
}

// sharedServers are those that all tests use at the same time, and the variable by which
// they are told of each.
var sharedServers = []struct {
	need  servers.Need
	start func(context.Context) (interface{ Stop() error }, string, error)
}{
	{servers.PostgreSQL, func(ctx context.Context) (interface{ Stop() error }, string, error) {
		p, err := servers.StartPostgres(ctx)
		if err != nil {
			return nil, "", err
		}
		return p, servers.PostgresVariable + "=" + p.URL, nil
	}},
	{servers.RedisServer, func(ctx context.Context) (interface{ Stop() error }, string, error) {
		r, err := servers.StartRedis(ctx)
		if err != nil {
			return nil, "", err
		}
		return r, servers.RedisVariable + "=" + r.URL, nil
	}},
	{servers.S3Server, func(ctx context.Context) (interface{ Stop() error }, string, error) {
		s, err := servers.StartS3(ctx)
		if err != nil {
			return nil, "", err
		}
		return s, servers.S3Variable + "=" + s.URL + " " + s.AccessKey + " " + s.SecretKey + " " + s.Data(), nil
	}},
	{servers.DockerEngine, func(ctx context.Context) (interface{ Stop() error }, string, error) {
		e, err := servers.StartDocker(ctx)
		if err != nil {
			return nil, "", err
		}
		return e, servers.DockerVariable + "=" + e.Host() + " " + e.Image, nil
	}},
}

// execute runs the command until it ends. An interrupt is passed on to it and
// waited for: the servers have to outlive it.
func execute(ctx context.Context, command, env []string, to io.Writer) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, to, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd.Run()
}

func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// lack is a need that is not met, and why.
type lack struct {
	servers.Need
	why error
}

// prepare installs what is not there and returns what still is not.
func prepare(ctx context.Context, out io.Writer) []lack {
	missing := probe(ctx)
	if len(missing) == 0 {
		return nil
	}
	var needs []servers.Need
	var names []string
	for _, l := range missing {
		needs, names = append(needs, l.Need), append(names, l.Name)
	}
	fmt.Fprintf(out, "installing %s\n", strings.Join(names, ", "))
	if err := servers.Install(ctx, out, needs...); err != nil {
		fmt.Fprintf(out, "%v; the tests that need it are skipped\n", err)
	}
	return probe(ctx)
}

func probe(ctx context.Context) (missing []lack) {
	for _, n := range servers.All() {
		if err := n.Probe(ctx); err != nil {
			missing = append(missing, lack{n, err})
		}
	}
	return missing
}
