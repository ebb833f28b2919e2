// Package application puts the use cases together: it makes the service of each bounded
// context and subscribes their reactions to events.
package application

import (
	"log/slog"

	"go.uber.org/fx"

	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Module makes the services. Their settings and ports come from the adapters.
var Module = fx.Module("application", fx.Provide(newIdentity, newHosts, newBilling, newJobs))

type identityDeps struct {
	fx.In
	Clock     ports.Clock
	IDs       ports.IDs
	Users     ports.Users
	Sessions  ports.Sessions
	APITokens ports.APITokens
	Tokens    ports.Tokens
	Passwords ports.Passwords
	Limiter   ports.Limiter
	Log       *slog.Logger
	Settings  identity.Settings
}

func newIdentity(d identityDeps) *identity.Service {
	return identity.New(identity.Deps{
		Clock: d.Clock, IDs: d.IDs, Users: d.Users, Sessions: d.Sessions, APITokens: d.APITokens,
		Tokens: d.Tokens, Passwords: d.Passwords, Limiter: d.Limiter, Log: d.Log,
	}, d.Settings)
}

type hostsDeps struct {
	fx.In
	Clock       ports.Clock
	IDs         ports.IDs
	Hosts       ports.Hosts
	Users       ports.Users
	Enrollments ports.Enrollments
	Presences   ports.Presences
	Tokens      ports.Tokens
	Channels    ports.Channels
	Occupancy   ports.Occupancy
	Live        ports.Live
	Limiter     ports.Limiter
	Bus         ports.Bus
	Log         *slog.Logger
	Settings    hosts.Settings
}

func newHosts(d hostsDeps) *hosts.Service {
	s := hosts.New(hosts.Deps{
		Clock: d.Clock, IDs: d.IDs, Hosts: d.Hosts, Users: d.Users, Enrollments: d.Enrollments, Presences: d.Presences,
		Tokens: d.Tokens, Channels: d.Channels, Occupancy: d.Occupancy, Live: d.Live, Limiter: d.Limiter, Log: d.Log,
	}, d.Settings)
	s.Subscribe(d.Bus)
	return s
}

type billingDeps struct {
	fx.In
	Clock    ports.Clock
	IDs      ports.IDs
	Ledger   ports.Ledger
	Earnings ports.Earnings
	Gateway  ports.Gateway
	Endings  ports.Endings
	Bus      ports.Bus
	Log      *slog.Logger
	Settings billing.Settings
}

func newBilling(d billingDeps) *billing.Service {
	s := billing.New(billing.Deps{
		Clock: d.Clock, IDs: d.IDs, Ledger: d.Ledger, Earnings: d.Earnings, Gateway: d.Gateway, Endings: d.Endings, Log: d.Log,
	}, d.Settings)
	s.Subscribe(d.Bus)
	return s
}

type jobsDeps struct {
	fx.In
	Clock     ports.Clock
	IDs       ports.IDs
	Jobs      ports.Jobs
	Logs      ports.Logs
	Artifacts ports.Artifacts
	Blobs     ports.Blobs
	BlobIndex ports.BlobIndex
	Bundles   ports.Bundles
	Offers    ports.Offers
	Funds     ports.Funds
	Channels  ports.Channels
	Live      ports.Live
	Images    ports.Images
	Pins      ports.Pins
	Vault     ports.Vault
	Users     ports.Users
	Bus       ports.Bus
	Log       *slog.Logger
	Settings  jobs.Settings
}

func newJobs(d jobsDeps) *jobs.Service {
	s := jobs.New(jobs.Deps{
		Clock: d.Clock, IDs: d.IDs, Jobs: d.Jobs, Logs: d.Logs, Artifacts: d.Artifacts,
		Blobs: d.Blobs, BlobIndex: d.BlobIndex, Bundles: d.Bundles, Offers: d.Offers, Funds: d.Funds, Channels: d.Channels, Live: d.Live, Images: d.Images, Pins: d.Pins, Vault: d.Vault, Users: d.Users, Log: d.Log,
	}, d.Settings)
	s.Subscribe(d.Bus)
	return s
}
