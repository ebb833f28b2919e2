package contract

import (
	"crypto/ed25519"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bridge"
	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/josetokens"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/stripepay"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	queue "github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/ports"
)

// site is a server's use cases on one storage. Nothing goes on in its background.
type site struct {
	Storage
	tokens    ports.Tokens
	occupancy *bridge.Occupancy
	hosts     *hosts.Service
	billing   *billing.Service
	jobs      *queue.Service
}

// parts is what a site may have of its own; nil is the real one.
type parts struct {
	jobs     ports.Jobs
	channels ports.Channels
}

// nobody is Channels without agents.
type nobody struct{}

func (nobody) Wake(domain.ID)          {}
func (nobody) Close(domain.ID, string) {}

// settle makes a site of what a storage has.
func settle(t *testing.T, s Storage, p parts) *site {
	t.Helper()
	if p.jobs == nil {
		p.jobs = s.Jobs()
	}
	if p.channels == nil {
		p.channels = nobody{}
	}
	log, live := slog.New(slog.DiscardHandler), memory.NewLive()
	tokens, err := josetokens.NewTokens(secret(), system.Clock{})
	require.NoError(t, err)
	vault, err := system.NewVault(secret())
	require.NoError(t, err)
	blobs, err := cloudblob.Open(t.Context(), "mem://", cloudblob.Options{Key: secret(), Clock: system.Clock{}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, blobs.Close()) })

	x := &site{Storage: s, tokens: tokens, occupancy: &bridge.Occupancy{}}
	x.hosts = hosts.New(hosts.Deps{
		Clock: system.Clock{}, IDs: &ids, Hosts: s.Hosts(), Users: s.Users(), Enrollments: s.Enrollments(), Presences: s.Presences(),
		Tokens: tokens, Channels: p.channels, Occupancy: x.occupancy, Live: live, Limiter: memory.NewLimiter(system.Clock{}), Log: log,
	}, hosts.Settings{Currency: "EUR", LeaseTTL: time.Minute, Heartbeat: 10 * time.Second})
	x.billing = billing.New(billing.Deps{
		Clock: system.Clock{}, IDs: &ids, Ledger: s.Ledger(), Earnings: s.Earnings(), Gateway: stripepay.NewSandbox(), Endings: bridge.Endings{Jobs: s.Jobs()}, Log: log,
	}, billing.Settings{Currency: "EUR", Fee: 1000, SmallestUp: unit, LargestUp: 10_000 * unit})
	x.jobs = queue.New(queue.Deps{
		Clock: system.Clock{}, IDs: &ids, Jobs: p.jobs, Logs: s.Logs(), Artifacts: s.Artifacts(), Blobs: blobs,
		Bundles: bridge.Bundles{Blobs: blobs, Limits: bundle.DefaultLimits()}, Offers: bridge.Offers{Hosts: x.hosts},
		Funds: bridge.Funds{Service: x.billing}, Channels: p.channels, Live: live, Vault: vault, Users: s.Users(), Log: log,
	}, queue.Settings{Currency: "EUR", LeaseTTL: time.Minute, ReassignAfter: 5 * time.Minute, LogBytes: 1 << 20, PIDs: 512})
	x.occupancy.Jobs = x.jobs
	require.NoError(t, x.jobs.Load(t.Context()))
	return x
}

// thisMachine is where all hosts run: a key that is used on two machines was copied.
var thisMachine = strings.Repeat("0123456789abcdef", 4)

// enrol stores a host of two devices under an id, with the public half of its key.
func enrol(t *testing.T, s Storage, id domain.ID) (domainhosts.Snapshot, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	h := machine()
	h.ID, h.PublicKey, h.Facts.Isolation, h.Facts.Trusted = id, public, "container", false
	h.Facts.MachineID = thisMachine
	h.Facts.CPUs, h.Facts.MemoryMB, h.Facts.DiskMB = 16, 64_000, 200_000
	require.NoError(t, s.Hosts().Add(t.Context(), domainhosts.Restore(h)))
	return h, private
}
