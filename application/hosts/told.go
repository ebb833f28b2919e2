package hosts

import (
	"context"
	"sync"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

// OwnerTopic is where ids of an owner's hosts are published live that changed: 16 bytes
// each. Told shows what they are now.
func OwnerTopic(owner domain.ID) string { return "owner:" + owner.String() }

// told remembers hosts that somebody watches, so that a change is read once, however
// many are told of it.
type told struct {
	mu    sync.Mutex
	hosts map[domain.ID]*toldHost
	// owners is who is told of a host; it never changes.
	owners sync.Map
}

// toldHost is a host as it was after a number of changes.
type toldHost struct {
	reading sync.Mutex // held while it is read, so that one reads for all

	changes, read int // counted under told.mu
	host          hosts.Snapshot
	presence      hosts.Presence
	handle        string // of its owner
}

func newTold() *told { return &told{hosts: map[domain.ID]*toldHost{}} }

// stale makes the next look read the host again.
func (t *told) stale(id domain.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hosts[id]; h != nil {
		h.changes++
	}
}

func (t *told) find(id domain.ID) *toldHost {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hosts[id]
	if h == nil {
		h = &toldHost{changes: 1}
		t.hosts[id] = h
	}
	return h
}

// Told shows a host of the actor after a message of OwnerTopic, and its owner's short
// name. It costs no query unless the host changed since somebody looked.
func (s *Service) Told(ctx context.Context, who domain.Actor, id domain.ID) (View, string, error) {
	if err := who.Allow(domain.ScopeHostsRead); err != nil {
		return View{}, "", err
	}
	owner, err := s.ownerOf(ctx, id)
	if err == nil && owner != who.User {
		err = domain.NotFound("host")
	}
	if err != nil {
		return View{}, "", err
	}
	t := s.told.find(id)
	t.reading.Lock()
	defer t.reading.Unlock()
	s.told.mu.Lock()
	changes, fresh := t.changes, t.changes == t.read
	s.told.mu.Unlock()
	if !fresh {
		if err := s.readAgain(ctx, id, t); err != nil {
			return View{}, "", err
		}
		s.told.mu.Lock()
		t.read = changes // what changed while it was read makes it stale again
		s.told.mu.Unlock()
	}
	return s.view(t.host, s.beats.freshen(t.presence)), t.handle, nil
}

func (s *Service) readAgain(ctx context.Context, id domain.ID, t *toldHost) error {
	h, err := s.Hosts.Get(ctx, id, domain.ID{})
	if err != nil {
		return err
	}
	present, err := s.presences(ctx, []hosts.Snapshot{h})
	if err != nil {
		return err
	}
	if t.handle == "" {
		u, err := s.Users.Get(ctx, h.Owner)
		if err != nil && domain.KindOf(err) != domain.KindNotFound {
			return err
		}
		t.handle = u.Handle
	}
	t.host, t.presence = h, present[id]
	return nil
}

// ownerOf is who a host belongs to.
func (s *Service) ownerOf(ctx context.Context, id domain.ID) (domain.ID, error) {
	if known, ok := s.told.owners.Load(id); ok {
		return known.(domain.ID), nil
	}
	h, err := s.Hosts.Get(ctx, id, domain.ID{})
	if err == nil {
		s.told.owners.Store(id, h.Owner)
	}
	return h.Owner, err
}

// Topic is where ids of hosts are published live whose offer or presence changed: 16
// bytes each.
const Topic = "hosts"

// changed tells everybody who keeps something about a host that it is not so any more.
func (s *Service) changed(ctx context.Context, id domain.ID) {
	s.market.forget()
	s.told.stale(id)
	s.Live.Publish(Topic, id[:])
	owner, err := s.ownerOf(context.WithoutCancel(ctx), id)
	if err != nil {
		s.Log.Warn("the owner of a host cannot be told of a change", "host", id, "error", err)
		return
	}
	s.Live.Publish(OwnerTopic(owner), id[:])
}
