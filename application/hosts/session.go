package hosts

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// Hello is what an agent says of itself when it connects.
type Hello struct {
	// Signed says whether the hello is signed by the host's key, which it is given. Nothing
	// is changed by one that is not.
	Signed       func(key []byte) bool
	AgentVersion string
	MachineID    string
	Inventory    string // hash of what it would report
}

// Session is a connection of an agent. A newer one of the host fences it.
type Session struct {
	Host          domain.ID
	Epoch         int64
	WantInventory bool // what is stored is not what the agent has
}

// takeovers are how often a session may come from another machine than the one before.
// More suspends the host: its key was copied.
var takeovers = ports.Limit{Times: 2, Per: 10 * time.Minute}

// Connect begins a session and fences the older ones.
func (s *Service) Connect(ctx context.Context, who domain.Actor, hello Hello) (Session, error) {
	now := s.Clock.Now()
	var epoch int64
	var before hosts.Snapshot
	h, err := s.Hosts.Update(ctx, who.Host, func(h *hosts.Host) error {
		before = h.Snapshot()
		if !hello.Signed(before.PublicKey) {
			return domain.Unauthenticated("the hello is not signed by the host's key, or the token is another key's")
		}
		var err error
		epoch, err = h.Connect(now)
		return err
	})
	if err != nil {
		return Session{}, err
	}
	if before.Facts.MachineID != "" && before.Facts.MachineID != hello.MachineID {
		_, ok, err := s.Limiter.Allow(ctx, "takeover:"+who.Host.String(), takeovers)
		if err != nil {
			return Session{}, err
		}
		if !ok {
			return Session{}, s.suspend(ctx, who.Host, "two machines use this host's key")
		}
	}
	if err := s.Presences.Connect(ctx, who.Host, epoch, now); err != nil {
		return Session{}, err
	}
	s.telemetry.know(h)
	s.told.owners.Store(h.ID, h.Owner)
	s.beats.note(hosts.Presence{Host: who.Host, Epoch: epoch, Connected: true, Since: now, LastBeat: now})
	s.changed(ctx, who.Host)
	return Session{Host: who.Host, Epoch: epoch, WantInventory: h.Facts.Inventory != hello.Inventory || h.Facts.MachineID != hello.MachineID}, nil
}

// Admit says why the agent's host may not be connected now; nil means that it may. A
// gateway asks once Channels knows the session: whoever suspends or retires the host from
// then on finds it there to close.
func (s *Service) Admit(ctx context.Context, who domain.Actor) error {
	h, err := s.Hosts.Get(ctx, who.Host, domain.ID{})
	if err != nil {
		return err
	}
	return h.Admit()
}

func (s *Service) suspend(ctx context.Context, host domain.ID, why string) error {
	_, err := s.Hosts.Update(ctx, host, func(h *hosts.Host) error { return h.Suspend(why, s.Clock.Now()) })
	s.Channels.Close(host, why)
	s.changed(ctx, host)
	return errors.Join(domain.NewError(domain.KindForbidden, hosts.ErrSuspended.Code, "the host is suspended: %s", why), err)
}

// Disconnect ends a session. One that was fenced changes nothing.
func (s *Service) Disconnect(ctx context.Context, x Session) error {
	if !s.beats.drop(x.Host, x.Epoch) {
		return nil
	}
	err := s.Presences.Disconnect(ctx, x.Host, x.Epoch, s.Clock.Now())
	s.changed(ctx, x.Host)
	return err
}

// Report takes a new inventory.
func (s *Service) Report(ctx context.Context, x Session, f hosts.Facts, gpus []hosts.Device) error {
	for i := range gpus {
		gpus[i].Model = Canonical(gpus[i].Model)
	}
	h, err := s.Hosts.Update(ctx, x.Host, func(h *hosts.Host) error {
		if h.Snapshot().Epoch != x.Epoch {
			return domain.Conflict("session_fenced", "a newer session of this host took over")
		}
		h.Inventory(f, gpus, s.IDs.New, s.Clock.Now())
		return nil
	})
	if err == nil {
		s.telemetry.know(h)
		s.changed(ctx, x.Host)
	}
	return err
}

// Heard tells when hosts were last heard of.
func (s *Service) Heard(ctx context.Context, ids ...domain.ID) (map[domain.ID]time.Time, error) {
	stored, err := s.Presences.List(ctx, ids...)
	heard := make(map[domain.ID]time.Time, len(stored))
	for _, p := range stored {
		heard[p.Host] = s.beats.freshen(p).LastBeat
	}
	return heard, err
}

// Persist writes heartbeats down and takes hosts off the market that went silent, until
// ctx ends; then it writes a last time.
func (s *Service) Persist(ctx context.Context) error {
	ticker := time.NewTicker(max(min(s.settings.Heartbeat, s.settings.LeaseTTL/4), 20*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return s.Presences.Beat(last, s.beats.take())
		case <-ticker.C:
		}
		if err := s.persist(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "heartbeats cannot be stored", "error", err)
		}
	}
}

func (s *Service) persist(ctx context.Context) error {
	s.telemetry.sweep(s.Clock.Now())
	if fresh := s.beats.take(); len(fresh) > 0 {
		_ = faults.Point("hb.before_commit")
		if err := s.Presences.Beat(ctx, fresh); err != nil {
			return err
		}
	}
	all, err := s.Presences.List(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if !p.Connected {
			if err := s.revive(ctx, p); err != nil {
				return err
			}
			continue
		}
		p = s.beats.freshen(p)
		if s.online(p) {
			continue
		}
		// The interval ends with the last sign of life, not with our noticing.
		s.beats.drop(p.Host, p.Epoch)
		if err := s.Presences.Disconnect(ctx, p.Host, p.Epoch, p.LastBeat); err != nil {
			return err
		}
		s.changed(ctx, p.Host)
	}
	return nil
}

// revive puts a host back that was taken off the market, and whose session was only
// silent: it beats again.
func (s *Service) revive(ctx context.Context, p hosts.Presence) error {
	now, ok := s.beats.of(p.Host)
	if !ok || now.Epoch != p.Epoch || !s.online(now) {
		return nil
	}
	if err := s.Presences.Connect(ctx, p.Host, p.Epoch, now.LastBeat); err != nil {
		return err
	}
	s.changed(ctx, p.Host)
	return nil
}

// Subscribe registers the reactions of hosts to events.
func (s *Service) Subscribe(bus ports.Bus) {
	bus.Subscribe("hosts-judge", s.judge, "jobs.succeeded", "jobs.failed", "jobs.lost")
}

// verdict is what hosts reads of the events that end an attempt.
type verdict struct {
	Host   domain.ID `json:"host"`
	From   string    `json:"from"`
	Cause  string    `json:"cause"`
	Reason string    `json:"reason"`

	Fetched int64 `json:"fetched"`  // bytes
	FetchMS int64 `json:"fetch_ms"` // how long they took
}

// judge counts how an attempt ended for the host that had it, and how fast it fetched. A declined job says
// nothing about the host, and neither does one that ended while no host had it.
func (s *Service) judge(ctx context.Context, e domain.Event) error {
	var v verdict
	if err := json.Unmarshal(e.Data, &v); err != nil || v.Host.IsZero() || v.Reason == "rejected" || v.From == "queued" {
		return err
	}
	_, err := s.Hosts.Update(ctx, v.Host, func(h *hosts.Host) error {
		if h.Judge(e.ID, v.Cause != "host") {
			h.Measure(v.Fetched, time.Duration(v.FetchMS)*time.Millisecond)
		}
		return nil
	})
	if domain.KindOf(err) == domain.KindNotFound {
		return nil
	}
	if err == nil {
		s.changed(ctx, v.Host)
	}
	return err
}

// beats are the heartbeats that this replica received.
type beats struct {
	mu    sync.Mutex
	last  map[domain.ID]hosts.Presence
	dirty map[domain.ID]struct{}
}

func newBeats() *beats {
	return &beats{last: map[domain.ID]hosts.Presence{}, dirty: map[domain.ID]struct{}{}}
}

// note takes a sign of life, unless a newer session has given one.
func (b *beats) note(p hosts.Presence) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, ok := b.last[p.Host]
	if ok && known.Epoch > p.Epoch {
		return false
	}
	if p.Since.IsZero() {
		p.Since = known.Since
	}
	b.last[p.Host] = p
	b.dirty[p.Host] = struct{}{}
	return true
}

func (b *beats) drop(host domain.ID, epoch int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last[host].Epoch != epoch {
		return false
	}
	delete(b.last, host)
	delete(b.dirty, host)
	return true
}

func (b *beats) freshen(p hosts.Presence) hosts.Presence {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.last[p.Host]; ok && known.Epoch >= p.Epoch {
		p.LastBeat, p.Connected, p.Epoch = known.LastBeat, true, known.Epoch
	}
	return p
}

// of is the latest heartbeat of a host, if it has a session here.
func (b *beats) of(host domain.ID) (hosts.Presence, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.last[host]
	return p, ok
}

func (b *beats) take() []hosts.Presence {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := make([]hosts.Presence, 0, len(b.dirty))
	for id := range b.dirty {
		fresh = append(fresh, b.last[id])
	}
	clear(b.dirty)
	return fresh
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
