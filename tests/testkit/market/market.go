// Package market is for trying the use cases together: a whole marketplace in the
// memory of one process, where tests play the people and the agents. It lives in a
// bubble of testing/synctest, where a day passes in no time.
package market

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bridge"
	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/josetokens"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/registries"
	"github.com/peergpu/peergpu/adapters/stripepay"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/ports"
)

// T is what a market needs of a test: testing.TB and rapid.T have it.
type T interface {
	require.TestingT
	Helper()
	Cleanup(func())
	Context() context.Context
}

// Options changes a market before it opens. Each function may be nil.
type Options struct {
	Jobs     func(*jobs.Settings)
	Hosts    func(*hosts.Settings)
	Identity func(*identity.Settings)
	// The ports of the use cases, for tests that put faults between.
	JobDeps      func(*jobs.Deps)
	HostDeps     func(*hosts.Deps)
	BillingDeps  func(*billing.Deps)
	IdentityDeps func(*identity.Deps)
	// Manual leaves everything in the background to the test: the relay, the scheduler,
	// the sweeps.
	Manual bool
}

// Market is a running marketplace.
type Market struct {
	t       T
	options Options

	Clock    *Clock
	Store    *memory.Store
	Blobs    *cloudblob.Store
	Bus      *Bus
	Live     *memory.Live
	Channels *Channels
	Images   memory.Images // that jobs may name
	Tokens   *josetokens.Tokens
	// Manifests signs what agents obey.
	Manifests *josetokens.Manifests

	Identity *identity.Service
	Hosts    *hosts.Service
	Jobs     *jobs.Service
	Billing  *billing.Service

	stop func()

	beats atomic.Pointer[hosts.Service] // where agents send their heartbeats, which a restart moves
}

// Open starts a marketplace that closes with the test, which runs in a bubble.
func Open(t T, o Options) *Market {
	t.Helper()
	m := &Market{t: t, options: o, Clock: &Clock{}}
	m.Store = memory.New(memory.Options{Clock: m.Clock, IDs: system.IDs{}})
	var err error
	m.Blobs, err = cloudblob.Open(t.Context(), "mem://", cloudblob.Options{Key: key(1), Clock: m.Clock})
	require.NoError(t, err)
	m.Tokens, err = josetokens.NewTokens(key(2), m.Clock)
	require.NoError(t, err)
	m.Manifests, err = josetokens.NewManifests(key(4), m.Clock, josetokens.Rotation{})
	require.NoError(t, err)
	m.begin()
	t.Cleanup(func() { m.stop() })
	return m
}

// Restart ends the server and starts it again on the same storage: all that it kept in
// memory is gone, and every agent has lost its connection.
func (m *Market) Restart() {
	m.t.Helper()
	m.Down(0)
}

// Down stops the server for a time, and starts it again.
func (m *Market) Down(d time.Duration) {
	m.t.Helper()
	m.stop()
	time.Sleep(d)
	m.begin()
	synctest.Wait()
}

// begin makes the use cases and runs what goes on in the background.
func (m *Market) begin() {
	m.t.Helper()
	log := slog.New(slog.DiscardHandler)
	ids := system.IDs{}
	m.Bus, m.Live, m.Channels = &Bus{outbox: m.Store.Outbox()}, memory.NewLive(), &Channels{}
	vault, err := system.NewVault(key(3))
	require.NoError(m.t, err)
	occupancy := &bridge.Occupancy{}

	accounts := identity.Settings{}
	call(m.options.Identity, &accounts)
	people := identity.Deps{
		Clock: m.Clock, IDs: ids, Users: m.Store.Users(), Sessions: m.Store.Sessions(), APITokens: m.Store.APITokens(),
		Tokens: m.Tokens, Passwords: cheapPasswords{}, Limiter: memory.NewLimiter(m.Clock), Log: log,
	}
	call(m.options.IdentityDeps, &people)
	m.Identity = identity.New(people, accounts)

	machines := hosts.Settings{Currency: "USD", LeaseTTL: time.Minute, Heartbeat: beat}
	call(m.options.Hosts, &machines)
	places := hosts.Deps{
		Clock: m.Clock, IDs: ids, Hosts: m.Store.Hosts(), Users: m.Store.Users(), Enrollments: m.Store.Enrollments(),
		Presences: m.Store.Presences(), Tokens: m.Tokens, Channels: m.Channels, Occupancy: occupancy, Live: m.Live,
		Limiter: memory.NewLimiter(m.Clock), Log: log,
	}
	call(m.options.HostDeps, &places)
	m.Hosts = hosts.New(places, machines)
	m.beats.Store(m.Hosts)

	money := billing.Deps{
		Clock: m.Clock, IDs: ids, Ledger: m.Store.Ledger(), Earnings: m.Store.Earnings(), Gateway: stripepay.NewSandbox(),
		Endings: bridge.Endings{Jobs: m.Store.Jobs()}, Log: log,
	}
	call(m.options.BillingDeps, &money)
	m.Billing = billing.New(money, billing.Settings{Currency: "USD", Fee: 1000, SmallestUp: 1_000_000, LargestUp: 10_000_000_000})

	work := jobs.Settings{
		Currency: "USD", LeaseTTL: machines.LeaseTTL, ReassignAfter: 5 * time.Minute, UploadTTL: time.Hour, OrphanAge: 12 * time.Hour,
		LogBytes: 4 << 20, ArtifactBytes: 1 << 20, ArtifactFiles: 20, BundleBytes: 1 << 20, PIDs: 512,
		CheckImage: registries.List{}.Check,
	}
	call(m.options.Jobs, &work)
	deps := jobs.Deps{
		Clock: m.Clock, IDs: ids, Jobs: m.Store.Jobs(), Logs: m.Store.Logs(), Artifacts: m.Store.Artifacts(),
		Blobs: m.Blobs, BlobIndex: m.Blobs,
		Bundles: bridge.Bundles{Blobs: m.Blobs, Limits: bundle.DefaultLimits()}, Offers: bridge.Offers{Hosts: m.Hosts},
		Funds: bridge.Funds{Service: m.Billing}, Channels: m.Channels, Live: m.Live, Vault: vault, Images: &m.Images, Pins: m.Store.Pins(),
		Users: m.Store.Users(), Log: log,
	}
	call(m.options.JobDeps, &deps)
	m.Jobs = jobs.New(deps, work)
	occupancy.Jobs = m.Jobs

	m.Hosts.Subscribe(m.Bus)
	m.Billing.Subscribe(m.Bus)
	m.Jobs.Subscribe(m.Bus)
	require.NoError(m.t, m.Jobs.Load(m.t.Context()))
	m.run()
}

// run starts the background, and makes stop end it and wait for it.
func (m *Market) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	var group sync.WaitGroup
	m.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
	})
	if m.options.Manual {
		return
	}
	for _, task := range []func(context.Context) error{
		m.Bus.Run, m.Hosts.Persist, m.Identity.WatchRevocations, m.Jobs.Schedule, m.Jobs.Sweep, m.Jobs.SweepOrphans, m.Billing.Sweep,
	} {
		group.Go(func() { _ = task(ctx) })
	}
}

// Send does a signed request, as a client without any other credential, and gives the
// status of the answer with its body.
func (m *Market) Send(r ports.SignedRequest, body io.Reader) (status int, answer []byte) {
	m.t.Helper()
	request := httptest.NewRequestWithContext(m.t.Context(), r.Method, r.URL, body)
	for name, values := range r.Header {
		request.Header[name] = values
	}
	w := httptest.NewRecorder()
	m.Blobs.Handler().ServeHTTP(w, request)
	return w.Code, w.Body.Bytes()
}

func call[S any](change func(*S), s *S) {
	if change != nil {
		change(s)
	}
}

// key is a key that nobody should use elsewhere.
func key(n byte) []byte {
	k := make([]byte, system.KeySize)
	k[0] = n
	return k
}
