package hosts

import (
	"context"
	"slices"
	"sync"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

// OwnerTopic is where changes of an owner's hosts are published live, as ReadChange reads them.
// Told shows what they are now.
func OwnerTopic(owner domain.ID) string { return "owner:" + owner.String() }

// ReadChange reads a message of Topic or OwnerTopic, or the id of a host alone: which host, and
// which of its changes. False says that messages were lost.
func ReadChange(message []byte) (host, change domain.ID, ok bool) {
	if len(message) != len(host) && len(message) != len(host)+len(change) {
		return host, change, false
	}
	copy(host[:], message)
	copy(change[:], message[len(host):])
	return host, change, true
}

// told remembers hosts that somebody watches, so that a change is read once, however
// many are told of it.
type told struct {
	mu    sync.Mutex
	hosts map[domain.ID]*toldHost
	// owners is who is told of a host; it never changes.
	owners sync.Map
}

// toldHost is a host as it was after some changes.
type toldHost struct {
	reading sync.Mutex // held while it is read, so that one reads for all

	after    []domain.ID // changes that were read, the latest last
	host     hosts.Snapshot
	presence hosts.Presence
	handle   string // of its owner
}

// remembered is how many changes of a host are remembered as read.
const remembered = 8

func newTold() *told { return &told{hosts: map[domain.ID]*toldHost{}} }

// drop makes the next look read the host again.
func (t *told) drop(id domain.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.hosts, id)
}

// dropAll makes the next looks read again.
func (t *told) dropAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.hosts)
}

func (t *told) find(id domain.ID) *toldHost {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hosts[id]
	if h == nil {
		h = &toldHost{}
		t.hosts[id] = h
	}
	return h
}

// Told shows a host of the actor after a change, and its owner's short name. It costs no
// query if somebody looked after that change already; the zero change is none.
func (s *Service) Told(ctx context.Context, who domain.Actor, id, change domain.ID) (View, string, error) {
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
	if known := slices.Contains(t.after, change) || change.IsZero() && len(t.after) > 0; !known {
		if err := s.readAgain(ctx, id, t); err != nil {
			return View{}, "", err
		}
		t.after = append(t.after, change)
		t.after = t.after[max(0, len(t.after)-remembered):]
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

// Topic is where changes of the offer or the presence of any host are published live, as
// ReadChange reads them.
const Topic = "hosts"

// elsewhereTopic is where replicas tell each other which hosts they changed: 16 bytes each.
const elsewhereTopic = "changed-hosts"

// changed tells everybody who keeps something about a host that it is not so any more.
func (s *Service) changed(ctx context.Context, id domain.ID) {
	s.market.forget()
	s.told.drop(id)
	change := s.IDs.New()
	message := slices.Concat(id[:], change[:])
	s.Live.Elsewhere(elsewhereTopic, id[:])
	s.Live.Publish(Topic, message)
	owner, err := s.ownerOf(context.WithoutCancel(ctx), id)
	if err != nil {
		s.Log.WarnContext(ctx, "the owner of a host cannot be told of a change", "host", id.Prefixed("hst"), "error", err)
		return
	}
	s.Live.Publish(OwnerTopic(owner), message)
}

// Follow takes over what other replicas tell, until ctx ends: which hosts changed, and the
// load of those that are connected there.
func (s *Service) Follow(ctx context.Context) error {
	changes, cancelChanges := s.Live.Subscribe(elsewhereTopic)
	defer cancelChanges()
	loads, cancelLoads := s.Live.Subscribe(loadsTopic)
	defer cancelLoads()
	for {
		select {
		case <-ctx.Done():
			return nil
		case message := <-changes:
			s.market.forget()
			if id, _, ok := ReadChange(message); ok {
				s.told.drop(id)
			} else {
				s.told.dropAll()
			}
		case message := <-loads:
			s.telemetry.take(message, s.Clock.Now())
		}
	}
}
