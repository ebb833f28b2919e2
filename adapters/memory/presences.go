package memory

import (
	"context"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Presences is who is online, and when it was.
func (s *Store) Presences() ports.Presences { return presences{s} }

type presences struct{ s *Store }

// presence is that of one host. The last interval is open while the host is connected,
// and reaches to its last beat.
type presence struct {
	hosts.Presence
	intervals []hosts.Interval
}

func (r presences) Connect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	at = domain.Time(at)
	p := r.s.presences[host]
	switch {
	case p == nil:
		p = &presence{}
		r.s.presences[host] = p
	case epoch < p.Epoch:
		return domain.Conflict("session_fenced", "the host has a newer session")
	case epoch == p.Epoch && p.Connected:
		return nil
	}
	p.Presence = hosts.Presence{Host: host, Epoch: epoch, Connected: true, Since: at, LastBeat: at}
	p.intervals = append(p.intervals, hosts.Interval{From: at, To: at})
	return nil
}

func (r presences) Disconnect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	if p := r.s.presences[host]; p != nil && p.Epoch == epoch && p.Connected {
		p.Connected = false
		p.intervals[len(p.intervals)-1].To = domain.Time(at)
	}
	return nil
}

func (r presences) Beat(ctx context.Context, beats []hosts.Presence) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	for _, b := range beats {
		p, at := r.s.presences[b.Host], domain.Time(b.LastBeat)
		if p == nil || p.Epoch != b.Epoch || !at.After(p.LastBeat) {
			continue
		}
		p.LastBeat = at
		if p.Connected {
			p.intervals[len(p.intervals)-1].To = at
		}
	}
	return nil
}

func (r presences) List(ctx context.Context, ids ...domain.ID) ([]hosts.Presence, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	var list []hosts.Presence
	for id, p := range r.s.presences {
		if len(ids) == 0 || slices.Contains(ids, id) {
			list = append(list, p.Presence)
		}
	}
	slices.SortFunc(list, func(a, b hosts.Presence) int { return compareIDs(a.Host, b.Host) })
	return list, nil
}

func (r presences) Intervals(ctx context.Context, host domain.ID, from time.Time) ([]hosts.Interval, error) {
	if err := r.s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	var list []hosts.Interval
	if p := r.s.presences[host]; p != nil {
		for _, i := range p.intervals {
			if !i.To.Before(domain.Time(from)) {
				list = append(list, i)
			}
		}
	}
	return list, nil
}
