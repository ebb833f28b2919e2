package adapters

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/fx"

	"github.com/peergpu/peergpu/adapters/bridge"
	"github.com/peergpu/peergpu/adapters/eventbus"
	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/httpapi"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/adapters/tracing"
	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/web"
)

// The times of the server.
const (
	largestSkew  = 2 * time.Second // between our clock and the database's
	readyTimeout = 2 * time.Second
	stopHTTP     = 10 * time.Second
	retryPause   = time.Second
)

// background runs a task from start to stop. One that ends early with an error is
// started again after a pause: it is a loop over something that may be away.
func background(lc fx.Lifecycle, log *slog.Logger, name string, task func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	lc.Append(fx.Hook{
		OnStart: func(context.Context) error {
			done.Go(func() {
				for ctx.Err() == nil {
					err := task(ctx)
					if err == nil || ctx.Err() != nil {
						return
					}
					log.ErrorContext(ctx, "a background task failed and is started again", "task", name, "error", err)
					select {
					case <-ctx.Done():
					case <-time.After(retryPause):
					}
				}
			})
			return nil
		},
		OnStop: func(stop context.Context) error {
			cancel()
			ended := make(chan struct{})
			go func() {
				done.Wait()
				close(ended)
			}()
			select {
			case <-ended:
				return nil
			case <-stop.Done():
				return fmt.Errorf("%s does not stop", name)
			}
		},
	})
}

// startRelay carries events from the outbox to their reactions. It stops before the
// bus, so that its last flush is still handled.
func startRelay(lc fx.Lifecycle, log *slog.Logger, bus ports.Bus, outbox ports.Outbox, leader ports.Leader, live ports.Live,
	_ *jobs.Service, _ *hosts.Service, _ *billing.Service, // they subscribe when they are made
) {
	background(lc, log, "bus", bus.Run)
	background(lc, log, "relay", eventbus.NewRelay(outbox, bus, leader, live, log).Run)
}

// startScheduler loads the market, matches, and sweeps what time alone brings.
func startScheduler(lc fx.Lifecycle, log *slog.Logger, leader ports.Leader, o *bridge.Occupancy,
	j *jobs.Service, h *hosts.Service, b *billing.Service, i *identity.Service, g *gateway.Gateway,
) {
	o.Jobs = j
	lc.Append(fx.StartHook(j.Load))
	background(lc, log, "heartbeats", h.Persist)
	background(lc, log, "hosts of other replicas", h.Follow)
	background(lc, log, "revocations", i.WatchRevocations)
	background(lc, log, "match", j.Schedule)
	background(lc, log, "deliveries", g.Deliver)
	background(lc, log, "calls of other replicas", g.Listen)
	for name, sweep := range map[string]func(context.Context) error{
		"sweep-jobs": j.Sweep, "sweep-orphans": j.SweepOrphans, "sweep-holds": b.Sweep,
	} {
		background(lc, log, name, func(ctx context.Context) error { return leader.Lead(ctx, name, sweep) })
	}
}

type gatewayDeps struct {
	fx.In
	Jobs      *jobs.Service
	Hosts     *hosts.Service
	Identity  *identity.Service
	Manifests ports.Manifests
	Clock     ports.Clock
	IDs       ports.IDs
	Live      ports.Live
	Limiter   ports.Limiter
	Log       *slog.Logger
	Channels  *gateway.Channels
	Config    Config
}

func newGateway(d gatewayDeps) (*gateway.Gateway, error) {
	address, err := d.Config.clientAddress()
	return gateway.New(gateway.Deps{
		Jobs: d.Jobs, Hosts: d.Hosts, Identity: d.Identity, Manifests: d.Manifests, Clock: d.Clock, IDs: d.IDs,
		Live: d.Live, Limiter: d.Limiter, Log: d.Log, JobJSON: httpapi.JobJSON, HostJSON: httpapi.HostJSON, LoadJSON: httpapi.LoadJSON,
		Connects: perMinute(d.Config.ConnectsPerMinute), AgentsPerSecond: d.Config.AgentsPerSecond, Address: address,
	}, d.Channels), err
}

// Server is the HTTP server, once it serves.
type Server struct {
	Handler  http.Handler
	URL      string // where it is reached from this machine; known after the start
	stopping atomic.Bool
}

type serverDeps struct {
	fx.In
	Config    Config
	Keys      system.Keys
	Identity  *identity.Service
	Hosts     *hosts.Service
	Jobs      *jobs.Service
	Billing   *billing.Service
	Users     ports.Users
	Manifests ports.Manifests
	Clock     ports.Clock
	Limiter   ports.Limiter
	Blobs     http.Handler `name:"blobs"`
	Gateway   *gateway.Gateway
	Outbox    ports.Outbox
	Database  database
	Redis     redisMeters
	Log       *slog.Logger
	Traces    *tracing.Traces
}

func newServer(d serverDeps) (*Server, error) {
	s := &Server{}
	pages, err := webApp()
	if err != nil {
		return nil, err
	}
	link := hmac.New(sha256.New, d.Keys.BlobKey)
	link.Write([]byte("links of the API"))
	address, err := d.Config.clientAddress()
	if err != nil {
		return nil, err
	}
	var tracer trace.Tracer
	if d.Traces != nil {
		tracer = d.Traces.Tracer()
	}
	e, err := httpapi.New(httpapi.Deps{
		Tracer:   tracer,
		Identity: d.Identity, Hosts: d.Hosts, Jobs: d.Jobs, Billing: d.Billing, Users: d.Users, Manifests: d.Manifests,
		Clock: d.Clock, Log: d.Log, Blobs: d.Blobs, Pages: pages, AgentSocket: d.Gateway.Agent, JobSocket: d.Gateway.Job, MeSocket: d.Gateway.Me,
		Ready: s.ready(d.Database), LinkKey: link.Sum(nil), Limiter: d.Limiter, Address: address,
		Settings: httpapi.Settings{
			PublicURL: d.Config.PublicURL, Secure: strings.HasPrefix(d.Config.PublicURL, "https://"),
			Demo: demoSignIn(d.Config), BundleBytes: d.Config.BundleBytes,
			Requests: perMinute(d.Config.RequestsPerMinute), Submits: perMinute(d.Config.JobsPerMinute),
			MetricsToken: d.Config.MetricsToken,
		},
		Outbox: d.Outbox, Meters: slices.Concat(d.Database.meters, d.Redis),
	})
	if err != nil {
		return nil, err
	}
	s.Handler = e
	return s, nil
}

// webApp is the web app as it was compiled into this program.
func webApp() (http.Handler, error) {
	dist, err := web.Dist()
	if err != nil {
		return nil, err
	}
	return web.New(dist)
}

// ready tells what keeps the server from its work; nothing means ready.
func (s *Server) ready(db database) func(context.Context) map[string]error {
	return func(ctx context.Context) map[string]error {
		ctx, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		skew, err := db.ping(ctx)
		if err == nil && skew.Abs() > largestSkew {
			err = domain.Unavailable("clock_skew", "the clocks of server and database differ by %s", skew)
		}
		checks := map[string]error{"database": err, "server": nil}
		if s.stopping.Load() {
			checks["server"] = domain.Unavailable("stopping", "the server stops")
		}
		return checks
	}
}

// serve is the last to start and the first to stop: readiness goes, the listener
// closes and requests finish, then the agents are told to come back.
func serve(lc fx.Lifecycle, shutdown fx.Shutdowner, c Config, s *Server, g *gateway.Gateway, log *slog.Logger) {
	h := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	lc.Append(fx.Hook{OnStop: g.Stop})
	lc.Append(fx.Hook{
		OnStart: func(ctx context.Context) error {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("%s is taken by another program: stop it, or choose another port with PEERGPU_LISTEN=127.0.0.1:8081", c.Listen)
			}
			if err != nil {
				return fmt.Errorf("PEERGPU_LISTEN: %w", err)
			}
			s.URL = localURL(l.Addr())
			go func() {
				if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
					log.ErrorContext(ctx, "the server cannot serve any more", "error", err)
					_ = shutdown.Shutdown(fx.ExitCode(1))
				}
			}()
			return nil
		},
		OnStop: func(ctx context.Context) error {
			s.stopping.Store(true)
			ctx, cancel := context.WithTimeout(ctx, stopHTTP)
			defer cancel()
			if err := h.Shutdown(ctx); err != nil {
				return h.Close() // somebody follows a log; the agents and the data matter more
			}
			return nil
		},
	})
}

// localURL is how this machine reaches an address that may be "all of them".
func localURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Standing describes which adapter stands behind which port, without secrets.
func (c Config) Standing() [][2]string {
	return [][2]string{
		{"database", redact(c.Database)}, {"blobs", redact(c.Blobs)}, {"events", redact(c.Events)},
		{"payments", redact(c.Payments) + " (no real money)"}, {"listen", c.Listen},
	}
}

// unopened is a database that did not open, with what to do about it on the same line.
func unopened(url string, err error) error {
	next := "PEERGPU_DATABASE says where it is"
	if domain.KindOf(err) == domain.KindUnavailable {
		next = "start it, or " + next
	}
	why := strings.Join(strings.Fields(err.Error()), " ")
	return fmt.Errorf("the database %s cannot be opened (%s): %s", redact(url), next, why)
}

// redact shows a URL without its password.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a malformed URL)"
	}
	if u.User == nil {
		return raw
	}
	return u.Redacted()
}
