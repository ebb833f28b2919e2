package memory

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Hosts is the hosts with their devices.
func (s *Store) Hosts() ports.Hosts { return hostStore{s.hosts} }

type hostStore struct {
	*shelf[*hosts.Host, hosts.Snapshot]
}

func newHosts(s *Store) *shelf[*hosts.Host, hosts.Snapshot] {
	return &shelf[*hosts.Host, hosts.Snapshot]{
		store: s, name: "host", restore: hosts.Restore, snapshot: (*hosts.Host).Snapshot,
		row: func(h *hosts.Snapshot) (domain.ID, *int64) { return h.ID, &h.Version },
		admit: func(_, next *hosts.Snapshot) error {
			for id, other := range s.hosts.rows {
				if id != next.ID && bytes.Equal(other.PublicKey, next.PublicKey) {
					return domain.Conflict("key_taken", "another host has this public key")
				}
			}
			s.changed[next.ID] = domain.Time(s.Clock.Now())
			return nil
		},
		rows: map[domain.ID]hosts.Snapshot{},
	}
}

func (r hostStore) Add(ctx context.Context, h *hosts.Host) error { return r.add(ctx, h) }

func (r hostStore) Update(ctx context.Context, id domain.ID, change func(*hosts.Host) error) (hosts.Snapshot, error) {
	return r.update(ctx, id, change)
}

func (r hostStore) Get(ctx context.Context, id, owner domain.ID) (hosts.Snapshot, error) {
	h, err := r.get(ctx, id)
	if err == nil && !owner.IsZero() && h.Owner != owner {
		return hosts.Snapshot{}, domain.NotFound(r.name)
	}
	return h, err
}

func (r hostStore) List(ctx context.Context, f ports.HostFilter, p ports.Page) ([]hosts.Snapshot, error) {
	match := func(h *hosts.Snapshot) bool {
		return (f.IDs == nil || slices.Contains(f.IDs, h.ID)) && (f.Owner.IsZero() || h.Owner == f.Owner) && (f.Retired || h.Standing != hosts.Retired) && after(h.ID, p.After) &&
			(f.ChangedSince.IsZero() || !r.store.changed[h.ID].Before(domain.Time(f.ChangedSince)))
	}
	return r.list(ctx, match, func(a, b *hosts.Snapshot) int { return compareIDs(a.ID, b.ID) }, p.Limit)
}

// Enrollments is the one-time permissions to add a host.
func (s *Store) Enrollments() ports.Enrollments { return enrollments{s} }

type enrollments struct{ s *Store }

func (r enrollments) Add(ctx context.Context, e hosts.Enrollment) error {
	if err := r.s.enter(ctx); err != nil {
		return err
	}
	defer r.s.mu.Unlock()
	for id, other := range r.s.enrollments {
		if id == e.ID || bytes.Equal(other.TokenHash, e.TokenHash) {
			return domain.Conflict("exists", "there is such a permission already")
		}
	}
	r.s.enrollments[e.ID] = kept(e)
	return nil
}

func (r enrollments) Use(ctx context.Context, hash []byte, host domain.ID, now time.Time) (hosts.Enrollment, error) {
	if err := r.s.enter(ctx); err != nil {
		return hosts.Enrollment{}, err
	}
	defer r.s.mu.Unlock()
	for id, e := range r.s.enrollments {
		if bytes.Equal(e.TokenHash, hash) && e.UsedBy.IsZero() && domain.Time(now).Before(e.ExpiresAt) {
			e.UsedBy = host
			r.s.enrollments[id] = e
			return kept(e), nil
		}
	}
	return hosts.Enrollment{}, domain.Unauthenticated("the enrolment token is unknown, used or expired")
}
