package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/agent/transfer"
)

// enrollCommand adds this machine to an account.
type enrollCommand struct {
	Server string   `help:"URL of the marketplace." required:"" placeholder:"URL"`
	Token  string   `help:"One-time token from the marketplace (Hosts, Add a host); good for 15 minutes." required:"" env:"PEERGPU_ENROLLMENT_TOKEN" placeholder:"pgpu_enr_…"`
	Name   string   `help:"How the host is listed; the hostname by default."`
	Price  *price   `help:"Asking price for each GPU and hour in millionths of the currency; without one the host is not listed yet." name:"price-micros" placeholder:"MICROS"`
	Tags   []string `help:"Words that renters search by."`
	Region string   `help:"Where the machine stands, such as eu-de."`
	GPUs   string   `help:"auto, none, or simulated:COUNTxMODEL[@GIB]." name:"gpus" default:"auto"`
	Force  bool     `help:"Enrol again with a new key; the old host stays behind."`
}

// price is an amount in millionths of the currency.
type price int64

// Decode reads the price itself, because the parser would take a negative one for a flag.
func (p *price) Decode(ctx *kong.DecodeContext) error {
	given := ctx.Scan.Pop().String()
	micros, err := strconv.ParseInt(given, 10, 64)
	if err != nil || micros < 0 {
		return fmt.Errorf("a price is a whole number of millionths, at least 0, such as 350000 for 0.35 an hour: not %q", given)
	}
	*p = price(micros)
	return nil
}

// Help is shown by peergpu-agent enroll --help.
func (enrollCommand) Help() string {
	return `The host's key is made on this machine and never leaves it; the token is used up.

Examples:

  peergpu-agent enroll --server https://peergpu.example --token pgpu_enr_… --price-micros 350000
  PEERGPU_ENROLLMENT_TOKEN=pgpu_enr_… peergpu-agent enroll --server https://peergpu.example`
}

// Run enrols.
func (c *enrollCommand) Run(p *program) error {
	gpus, err := parseGPUs(c.GPUs, p.home)
	if err != nil {
		return err
	}
	server, err := transfer.NewServer(c.Server, versionName())
	if err != nil {
		return err
	}
	id, err := daemon.Enrol(p.ctx, p.home, daemon.Ports{Server: server, GPUs: gpus}, daemon.Enrolment{
		Token: c.Token, Server: c.Server, Name: c.Name, HourlyPrice: (*int64)(c.Price), Tags: c.Tags, Region: c.Region,
		Version: versionName(), Again: c.Force,
	})
	if err != nil {
		return explain(err)
	}
	path := filepath.Join(p.home, settingsFile)
	written, err := writeTemplate(path, c.Server, c.GPUs)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "This machine is now host %s.\n", id.HostID)
	if !written {
		fmt.Fprintf(p.stdout, "%s was there already and is left as it is: see that its server is %s.\n", path, c.Server)
	} else {
		fmt.Fprintf(p.stdout, "What it gives is decided in %s.\n", path)
	}
	fmt.Fprintln(p.stdout, "Next: peergpu-agent doctor, then peergpu-agent run.")
	return nil
}

// writeTemplate writes agent.yaml, unless there is one.
func writeTemplate(path, server, gpus string) (bool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = fmt.Fprintf(f, template, server, gpus)
	return true, errors.Join(err, f.Close())
}

// explain adds what to do to what the server said.
func explain(err error) error {
	var refused *daemon.Refusal
	if errors.As(err, &refused) && refused.Status == 401 {
		return fmt.Errorf("%w\nThe token is unknown, used up or older than 15 minutes: get a new one from the marketplace.", err) //nolint:revive,staticcheck // two sentences for a person
	}
	if do := daemon.Advice(err); do != "" {
		return fmt.Errorf("%w\n→ %s", err, do)
	}
	return err
}

// runCommand is the host at work.
type runCommand struct {
	GPUs string `help:"Overrides gpus of agent.yaml: auto, none, or simulated:COUNTxMODEL[@GIB]." name:"gpus"`
}

// Help is shown by peergpu-agent run --help.
func (runCommand) Help() string {
	return `Interrupt it once to stop taking work: running jobs may go on for drain_for and are then
given back. Interrupt it twice to end at once; what was running is requeued elsewhere.

It ends with 3 when the host was removed from the marketplace: starting it again does not
help (systemd: RestartPreventExitStatus=3). A suspended host waits to be reinstated.

With runtime docker jobs outlive the agent: one that was killed, or ended by SIGHUP to be
upgraded, is started again and goes on with them; until then its watchdog stands by.

Examples:

  peergpu-agent run
  PEERGPU_AGENT_HOME=/var/lib/peergpu-agent peergpu-agent run --log-level debug`
}

// Run works until the context ends.
func (c *runCommand) Run(p *program) error {
	s, err := loadSettings(p.home)
	if err != nil {
		return err
	}
	if c.GPUs != "" {
		s.GPUs = c.GPUs
	}
	s = s.chosen(p.ctx)
	log, err := p.logger(s.LogLevel)
	if err != nil {
		return err
	}
	gpus, err := parseGPUs(s.GPUs, p.home)
	if err != nil {
		return err
	}
	server, err := transfer.NewServer(s.Server, versionName())
	if err != nil {
		return err
	}
	files, err := transfer.New(s.Server)
	if err != nil {
		return err
	}
	jobs, closeRuntime, err := newRuntime(p.ctx, s, p.home)
	if err != nil {
		return err
	}
	if d, ok := jobs.(*runtime.Docker); ok {
		if err := safe(d.Examine(p.ctx, realGPU(p.ctx, gpus) != "")); err != nil {
			return errors.Join(err, closeRuntime())
		}
	}
	ports := daemon.Ports{Server: server, Transfer: files, Runtime: jobs, Folders: jobs, GPUs: gpus}
	if s.Runtime != "simulated" {
		watchdog, err := runtime.NewWatchdog(log, "/proc/self/exe", "watchdog")
		if err != nil {
			return errors.Join(fmt.Errorf("the watchdog does not start: %w", err), closeRuntime())
		}
		ports.Watchdog = watchdog
		stop := closeRuntime
		closeRuntime = func() error { return errors.Join(stop(), watchdog.Close()) }
	}
	d, err := daemon.New(daemon.Config{
		Dir: p.home, Version: versionName(), Trusted: s.Trusted, Policy: s.Policy.policy(),
		DrainFor: time.Duration(s.DrainFor), Log: log,
	}, ports)
	if err != nil {
		return errors.Join(err, closeRuntime())
	}
	log.Info("starting", "host", d.HostID(), "server", s.Server, "runtime", s.Runtime, "version", versionName())
	err = d.Run(p.ctx)
	if errors.Is(err, daemon.ErrRemoved) {
		err = fmt.Errorf("%w: its owner took host %s away\nTo offer this machine again, get a token there (Hosts, Add a host):\n  peergpu-agent --home %s enroll --force --server %s --token pgpu_enr_…", err, d.HostID(), p.home, s.Server)
	}
	return errors.Join(err, closeRuntime())
}

// watchdogCommand is the process beside a host at work.
type watchdogCommand struct{}

// Run obeys the agent that started it, until that ends.
func (*watchdogCommand) Run(*program) error { return runtime.Guard(os.Stdin, os.Stdout) }
