// Package adapters is the composition root of the server: the configuration, which
// adapter stands behind which port, and the order in which things start and stop.
package adapters

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"github.com/peergpu/peergpu/adapters/bridge"
	"github.com/peergpu/peergpu/adapters/bunstore"
	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/eventbus"
	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/josetokens"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/redislive"
	"github.com/peergpu/peergpu/adapters/registries"
	"github.com/peergpu/peergpu/adapters/stripepay"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/adapters/tracing"
	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/ports"
)

// Ports provides every port of a configuration, and the adapters that drive the use
// cases. Nothing runs yet.
func Ports(c Config, log *slog.Logger) fx.Option {
	return fx.Module("adapters",
		fx.Supply(c, c.jobs(), c.hosts(), c.identity(), c.billing()),
		fx.Provide(
			func() *slog.Logger { return slog.New(system.LogHandler{Handler: log.Handler()}) },
			keys, openStorage, newSystem, newSecurity, newBlobs, newBetween, newChannels, newPayments, newBridge, newImages, newTraces, newGateway, newServer,
			func(h *hosts.Service) ports.Offers { return bridge.Offers{Hosts: h} },
			func(b *billing.Service) ports.Funds { return bridge.Funds{Service: b} },
		),
	)
}

// running makes everything run, in this order.
var running = fx.Invoke(startRelay, startScheduler, serve)

// quiet keeps the wiring library from logging: what goes wrong comes back as an error.
var quiet = fx.WithLogger(func() fxevent.Logger { return fxevent.NopLogger })

func keys(c Config) (system.Keys, error) { return c.keys() }

// storage is all ports of one database.
type storage struct {
	fx.Out
	Users       ports.Users
	Sessions    ports.Sessions
	APITokens   ports.APITokens
	Hosts       ports.Hosts
	Enrollments ports.Enrollments
	Presences   ports.Presences
	Pins        ports.Pins
	Jobs        ports.Jobs
	Logs        ports.Logs
	Artifacts   ports.Artifacts
	Ledger      ports.Ledger
	Earnings    ports.Earnings
	Outbox      ports.Outbox
	Leader      ports.Leader
	Database    database
}

// database tells whether the database answers, and how its connections are used.
type database struct {
	ping   func(context.Context) (skew time.Duration, err error)
	meters []prometheus.Collector
}

// store is what both kinds of storage have.
type store interface {
	Users() ports.Users
	Sessions() ports.Sessions
	APITokens() ports.APITokens
	Hosts() ports.Hosts
	Enrollments() ports.Enrollments
	Presences() ports.Presences
	Pins() ports.Pins
	Jobs() ports.Jobs
	Logs() ports.Logs
	Artifacts() ports.Artifacts
	Ledger() ports.Ledger
	Earnings() ports.Earnings
	Outbox() ports.Outbox
	Leader() ports.Leader
}

func openStorage(lc fx.Lifecycle, c Config, clock ports.Clock, ids ports.IDs, log *slog.Logger) (storage, error) {
	if strings.HasPrefix(c.Database, "memory://") {
		return storageOf(memory.New(memory.Options{Clock: clock, IDs: ids}), database{
			ping: func(context.Context) (time.Duration, error) { return 0, nil },
		}), nil
	}
	if err := makeFolder(c.Database); err != nil {
		return storage{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	db, err := bunstore.Open(ctx, c.Database, bunstore.Options{Clock: clock, IDs: ids, Log: log})
	if err != nil {
		return storage{}, unopened(c.Database, err)
	}
	lc.Append(fx.StopHook(db.Close))
	d := database{ping: db.Ping}
	for name, pool := range db.Pools() {
		d.meters = append(d.meters, collectors.NewDBStatsCollector(pool, name))
	}
	return storageOf(db, d), nil
}

const openTimeout = time.Minute

// makeFolder makes the folder that an SQLite file lies in.
func makeFolder(database string) error {
	path, ok := strings.CutPrefix(database, "sqlite://")
	if !ok || strings.HasPrefix(path, ":") {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("PEERGPU_DATABASE: %w", err)
	}
	return nil
}

func storageOf(s store, db database) storage {
	return storage{
		Users: s.Users(), Sessions: s.Sessions(), APITokens: s.APITokens(), Hosts: s.Hosts(), Enrollments: s.Enrollments(),
		Presences: s.Presences(), Pins: s.Pins(), Jobs: s.Jobs(), Logs: s.Logs(), Artifacts: s.Artifacts(), Ledger: s.Ledger(), Earnings: s.Earnings(),
		Outbox: s.Outbox(), Leader: s.Leader(), Database: db,
	}
}

type systemPorts struct {
	fx.Out
	Clock     ports.Clock
	IDs       ports.IDs
	Passwords ports.Passwords
}

func newSystem() systemPorts {
	return systemPorts{Clock: system.Clock{}, IDs: system.IDs{}, Passwords: system.NewPasswords()}
}

type securityPorts struct {
	fx.Out
	Tokens    ports.Tokens
	Manifests ports.Manifests
	Vault     ports.Vault
}

func newSecurity(k system.Keys, clock ports.Clock) (securityPorts, error) {
	tokens, err := josetokens.NewTokens(k.TokenSeed, clock)
	if err != nil {
		return securityPorts{}, err
	}
	manifests, err := josetokens.NewManifests(k.ManifestSeed, clock, josetokens.Rotation{})
	if err != nil {
		return securityPorts{}, err
	}
	vault, err := system.NewVault(k.VaultKey)
	return securityPorts{Tokens: tokens, Manifests: manifests, Vault: vault}, err
}

type blobPorts struct {
	fx.Out
	Blobs   ports.Blobs
	Index   ports.BlobIndex
	Handler http.Handler `name:"blobs"`
}

func newBlobs(lc fx.Lifecycle, c Config, k system.Keys, clock ports.Clock) (blobPorts, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	blobs, err := cloudblob.Open(ctx, c.Blobs, cloudblob.Options{
		Key: k.BlobKey, PublicURL: c.PublicURL, Clock: clock, AccessKey: c.S3AccessKey, SecretKey: c.S3SecretKey,
	})
	if err != nil {
		return blobPorts{}, fmt.Errorf("PEERGPU_BLOBS: %w", err)
	}
	lc.Append(fx.StopHook(blobs.Close))
	return blobPorts{Blobs: blobs, Index: blobs, Handler: blobs.Handler()}, nil
}

// newTraces is nil where nobody collects them.
func newTraces(lc fx.Lifecycle, c Config, bus ports.Bus, store ports.Jobs) (*tracing.Traces, error) {
	if c.Traces == "" {
		return nil, nil //nolint:nilnil // there are none
	}
	t, err := tracing.Open(context.Background(), c.Traces)
	if err != nil {
		return nil, fmt.Errorf("PEERGPU_TRACES: %w", err)
	}
	t.Subscribe(bus, store)
	lc.Append(fx.StopHook(t.Close))
	return t, nil
}

// between is what the replicas of an installation tell each other through.
type between struct {
	fx.Out
	Live    ports.Live
	Limiter ports.Limiter
	Bus     ports.Bus
	Meters  redisMeters
}

// redisMeters are the figures of the connections to Redis, when there is one.
type redisMeters []prometheus.Collector

func metersOf(client *redislive.Client) redisMeters {
	gauge := func(name, help string, of func(redislive.Pool) int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(of(client.Pool())) })
	}
	counter := func(name, help string, of func(redislive.Pool) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(of(client.Pool())) })
	}
	return redisMeters{
		gauge("redis_client_open_connections", "Connections to Redis that are open.", func(p redislive.Pool) int64 { return p.Open }),
		counter("redis_client_opened_connections_total", "Connections to Redis that were opened.", func(p redislive.Pool) int64 { return p.Opened }),
		counter("redis_client_failed_connections_total", "Connections to Redis that could not be opened.", func(p redislive.Pool) int64 { return p.Failed }),
	}
}

// newBetween connects to Redis, or keeps everything in this process. A Redis that goes away
// later is no reason not to be ready: the replicas work on, and hear of each other later.
func newBetween(lc fx.Lifecycle, c Config, clock ports.Clock, log *slog.Logger) (between, error) {
	here, alone := memory.NewLive(), memory.NewLimiter(clock)
	if !oneOf(c.Events, redisSchemes...) {
		return between{Live: here, Limiter: alone, Bus: eventbus.NewMemory(log)}, nil
	}
	client, err := redislive.Open(context.Background(), c.redis, log)
	if err != nil {
		return between{}, fmt.Errorf("PEERGPU_EVENTS: %w", err)
	}
	live := redislive.NewLive(client, here, log)
	lc.Append(fx.StartStopHook(live.Start, func() {
		live.Stop()
		client.Close()
	}))
	return between{
		Live: live, Limiter: redislive.NewLimiter(client, alone, log), Bus: eventbus.NewRedis(client.Client, client.Prefix, live, log),
		Meters: metersOf(client),
	}, nil
}

type channelPorts struct {
	fx.Out
	Channels *gateway.Channels
	Reach    ports.Channels
}

func newChannels(live ports.Live) channelPorts {
	channels := gateway.NewChannels(live)
	return channelPorts{Channels: channels, Reach: channels}
}

func newPayments() ports.Gateway { return stripepay.NewSandbox() }

type bridges struct {
	fx.Out
	Occupancy *bridge.Occupancy
	AsHosts   ports.Occupancy
	Endings   ports.Endings
	Bundles   ports.Bundles
}

func newImages(c Config) ports.Images { return registries.NewResolver(c.images) }

func newBridge(c Config, store ports.Jobs, blobs ports.Blobs) bridges {
	limits := bundle.DefaultLimits()
	limits.ArchiveBytes = c.BundleBytes
	o := &bridge.Occupancy{}
	return bridges{Occupancy: o, AsHosts: o, Endings: bridge.Endings{Jobs: store}, Bundles: bridge.Bundles{Blobs: blobs, Limits: limits}}
}
