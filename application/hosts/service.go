// Package hosts holds the use cases of hosts: enrolment, sessions of agents, what they
// report, what owners change, and the public market.
package hosts

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Settings are the operator's choices about hosts.
type Settings struct {
	Currency  string        // ISO 4217, the installation's only one
	LeaseTTL  time.Duration // without a heartbeat: the host is unreachable
	Heartbeat time.Duration // how often agents report
}

// Deps is what the use cases need of the world.
type Deps struct {
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
	Limiter     ports.Limiter // counts for all replicas together
	Log         *slog.Logger
}

// Service is the use cases of hosts. It is safe for concurrent use.
type Service struct {
	Deps
	settings  Settings
	beats     *beats
	market    *market
	telemetry *telemetry
	told      *told
}

// New makes the use cases.
func New(d Deps, s Settings) *Service {
	return &Service{
		Deps: d, settings: s, beats: newBeats(), market: newMarket(), telemetry: newTelemetry(), told: newTold(),
	}
}

// Settings tells the operator's choices.
func (s *Service) Settings() Settings { return s.settings }

// EnrollmentPrefix begins every enrolment token; EnrollmentTTL is how long one is good.
const (
	EnrollmentPrefix = "pgpu_enr_"
	EnrollmentTTL    = 15 * time.Minute
)

// EnrollmentToken makes a one-time token that adds a host to the account.
func (s *Service) EnrollmentToken(ctx context.Context, who domain.Actor) (string, time.Time, error) {
	if err := who.Require(domain.RoleHost, domain.ScopeHostsWrite); err != nil {
		return "", time.Time{}, err
	}
	token := EnrollmentPrefix + rand.Text()
	now := s.Clock.Now()
	e := hosts.Enrollment{ID: s.IDs.New(), Owner: who.User, TokenHash: hashToken(token), CreatedAt: now, ExpiresAt: now.Add(EnrollmentTTL)}
	return token, e.ExpiresAt, s.Enrollments.Add(ctx, e)
}

// Enrolment is what an agent sends to become a host. The caller has checked its proof
// of the key.
type Enrolment struct {
	Token     string
	PublicKey []byte
	Name      string
	Facts     hosts.Facts
	GPUs      []hosts.Device
	Price     *domain.Micros // per GPU-hour: the devices are listed at once
	Tags      []string
	Region    string
}

// Register makes a host of an enrolment. The token is used up even when the rest of it
// is refused for being somebody's already: it has been shown.
func (s *Service) Register(ctx context.Context, e Enrolment) (hosts.Snapshot, error) {
	id, now := s.IDs.New(), s.Clock.Now()
	r := hosts.Registration{ID: id, Name: e.Name, PublicKey: e.PublicKey, Facts: e.Facts, Tags: e.Tags}
	for _, d := range e.GPUs {
		d.ID = s.IDs.New()
		d.Model = Canonical(d.Model)
		r.Devices = append(r.Devices, d)
	}
	build := func() (*hosts.Host, error) {
		h, err := hosts.Register(r, now)
		if err == nil && e.Region != "" {
			err = h.Describe(hosts.Details{Region: &e.Region}, now)
		}
		listed := true
		for _, d := range r.Devices {
			if err == nil && e.Price != nil {
				err = h.Offer(d.ID, e.Price, &listed, now)
			}
		}
		return h, err
	}
	if _, err := build(); err != nil { // before the token is used up
		return hosts.Snapshot{}, err
	}
	grant, err := s.Enrollments.Use(ctx, hashToken(e.Token), id, now)
	if err != nil {
		return hosts.Snapshot{}, err
	}
	r.Owner = grant.Owner
	h, err := build()
	if err != nil {
		return hosts.Snapshot{}, err
	}
	if err := s.Hosts.Add(ctx, h); err != nil {
		return hosts.Snapshot{}, err
	}
	s.changed(ctx, id)
	return s.Hosts.Get(ctx, id, domain.ID{})
}

// AgentTokenTTL is how long an agent's access token is good.
const AgentTokenTTL = 10 * time.Minute

// AgentToken exchanges a signed assertion of a host for an access token. An assertion
// is good once.
func (s *Service) AgentToken(ctx context.Context, host domain.ID, assertion string) (string, error) {
	refused := domain.Unauthenticated("the assertion is not by a host that may connect")
	h, err := s.Hosts.Get(ctx, host, domain.ID{})
	if domain.KindOf(err) == domain.KindNotFound {
		return "", refused
	}
	if err != nil {
		return "", err
	}
	jti, expires, err := s.Tokens.VerifyAssertion(assertion, host, h.PublicKey)
	if err != nil {
		return "", err
	}
	if err := h.Admit(); err != nil {
		return "", err
	}
	once := ports.Limit{Times: 1, Per: time.Minute + max(0, expires.Sub(s.Clock.Now()))}
	_, first, err := s.Limiter.Allow(ctx, fmt.Sprintf("assertion:%s:%x", host, hashToken(jti)), once)
	if err != nil {
		return "", err
	}
	if !first {
		return "", refused
	}
	return s.Tokens.Issue(ports.AudienceAgent, ports.Claims{
		Subject: host, Key: hosts.Thumbprint(h.PublicKey), Expires: s.Clock.Now().Add(AgentTokenTTL),
	})
}

// AuthenticateAgent tells which host presents an access token, and the thumbprint of the
// key that it has to prove as well: the token alone lets nobody in.
func (s *Service) AuthenticateAgent(_ context.Context, token string) (who domain.Actor, key string, err error) {
	c, err := s.Tokens.Verify(ports.AudienceAgent, token)
	if err != nil {
		return domain.Actor{}, "", err
	}
	return domain.AgentOf(c.Subject), c.Key, nil
}

// View is a host with what belongs to others: its presence, and what occupies it.
type View struct {
	hosts.Snapshot
	Presence hosts.Presence
	Online   bool
	Busy     map[domain.ID]domain.ID // device → job
}

// List shows the account's hosts; an admin sees everybody's.
func (s *Service) List(ctx context.Context, who domain.Actor, p ports.Page) ([]View, error) {
	if err := who.Allow(domain.ScopeHostsRead); err != nil {
		return nil, err
	}
	owner, _ := who.Owner()
	list, err := s.Hosts.List(ctx, ports.HostFilter{Owner: owner}, p)
	if err != nil {
		return nil, err
	}
	return s.views(ctx, list)
}

// Get shows one host of the account, or any to an admin.
func (s *Service) Get(ctx context.Context, who domain.Actor, id domain.ID) (View, error) {
	if err := who.Allow(domain.ScopeHostsRead); err != nil {
		return View{}, err
	}
	owner, _ := who.Owner()
	h, err := s.Hosts.Get(ctx, id, owner)
	if err != nil {
		return View{}, err
	}
	v, err := s.views(ctx, []hosts.Snapshot{h})
	if err != nil {
		return View{}, err
	}
	return v[0], nil
}

func (s *Service) views(ctx context.Context, list []hosts.Snapshot) ([]View, error) {
	if len(list) == 0 {
		return nil, nil
	}
	presences, err := s.presences(ctx, list)
	if err != nil {
		return nil, err
	}
	views := make([]View, len(list))
	for i, h := range list {
		views[i] = s.view(h, presences[h.ID])
	}
	return views, nil
}

func (s *Service) view(h hosts.Snapshot, p hosts.Presence) View {
	return View{Snapshot: h, Presence: p, Online: s.online(p), Busy: s.Occupancy.Busy(deviceIDs(h)...)}
}

// presences reads who is online. What this replica heard is newer than what is stored.
func (s *Service) presences(ctx context.Context, list []hosts.Snapshot) (map[domain.ID]hosts.Presence, error) {
	ids := make([]domain.ID, len(list))
	for i, h := range list {
		ids[i] = h.ID
	}
	stored, err := s.Presences.List(ctx, ids...)
	found := make(map[domain.ID]hosts.Presence, len(stored))
	for _, p := range stored {
		found[p.Host] = s.beats.freshen(p)
	}
	return found, err
}

func (s *Service) online(p hosts.Presence) bool {
	return p.Connected && s.Clock.Now().Sub(p.LastBeat) < s.settings.LeaseTTL
}

// Change is what an owner changes about a host; nil leaves it.
type Change struct {
	hosts.Details
	Price  *domain.Micros // for all its devices
	Listed *bool
}

// Update changes a host of the account.
func (s *Service) Update(ctx context.Context, who domain.Actor, id domain.ID, c Change) (View, error) {
	return s.change(ctx, who, id, func(h *hosts.Host, now time.Time) error {
		if c.Name != nil || c.Tags != nil || c.Region != nil {
			if err := h.Describe(c.Details, now); err != nil {
				return err
			}
		}
		if c.Price == nil && c.Listed == nil {
			return nil
		}
		for _, d := range h.Snapshot().Devices {
			if err := h.Offer(d.ID, c.Price, c.Listed, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// UpdateDevice changes price and listing of one device. Jobs that run keep theirs.
func (s *Service) UpdateDevice(ctx context.Context, who domain.Actor, id, device domain.ID, price *domain.Micros, listed *bool) (View, error) {
	return s.change(ctx, who, id, func(h *hosts.Host, now time.Time) error { return h.Offer(device, price, listed, now) })
}

// Retire removes a host of the account. Its session ends; its history stays.
func (s *Service) Retire(ctx context.Context, who domain.Actor, id domain.ID) error {
	_, err := s.change(ctx, who, id, func(h *hosts.Host, now time.Time) error { return h.Retire(now) })
	if err == nil {
		s.Channels.Close(id, "the host was removed by its owner")
	}
	return err
}

func (s *Service) change(ctx context.Context, who domain.Actor, id domain.ID, change func(*hosts.Host, time.Time) error) (View, error) {
	if err := who.Require(domain.RoleHost, domain.ScopeHostsWrite); err != nil {
		return View{}, err
	}
	owner, _ := who.Owner()
	if _, err := s.Hosts.Get(ctx, id, owner); err != nil {
		return View{}, err
	}
	h, err := s.Hosts.Update(ctx, id, func(h *hosts.Host) error { return change(h, s.Clock.Now()) })
	if err != nil {
		return View{}, err
	}
	if h.Standing == hosts.Retired {
		s.telemetry.know(h)
	}
	s.changed(ctx, id)
	v, err := s.views(ctx, []hosts.Snapshot{h})
	if err != nil {
		return View{}, err
	}
	return v[0], nil
}

func deviceIDs(h hosts.Snapshot) []domain.ID {
	ids := make([]domain.ID, len(h.Devices))
	for i, d := range h.Devices {
		ids[i] = d.ID
	}
	return ids
}

// Canonical is the catalogue's name of a GPU model, or the driver's for one that is not
// in it.
func Canonical(model string) string {
	if m, ok := hosts.Lookup(model); ok {
		return m.Name
	}
	return model
}
