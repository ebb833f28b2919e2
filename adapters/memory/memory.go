// Package memory keeps things in the memory of one process: all of storage for tests,
// where a day passes in no time under testing/synctest, and what a server that runs
// alone needs beside its database: live fan-out, limits and leadership.
package memory

import (
	"context"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Options is what a store needs from outside.
type Options struct {
	Clock ports.Clock
	IDs   ports.IDs
}

// Store is storage that is gone with the process. Its methods give the ports; they may
// all be used at once, by any number of goroutines. What goes in and what comes out is
// copied, so that nobody shares memory with it.
type Store struct {
	Options
	nested nesting
	leader *Leader
	wake   chan struct{}

	mu          sync.Mutex // guards all that follows
	users       *shelf[*identity.User, identity.Snapshot]
	hosts       *shelf[*hosts.Host, hosts.Snapshot]
	jobs        *shelf[*jobs.Job, jobs.Snapshot]
	changed     map[domain.ID]time.Time // when a host was stored last
	devices     map[domain.ID]domain.ID // which job's attempt holds a device
	sessions    map[domain.ID]identity.Session
	tokens      map[domain.ID]identity.APIToken
	enrollments map[domain.ID]hosts.Enrollment
	presences   map[domain.ID]*presence
	pinned      map[string]jobs.PinnedImage
	logs        map[attempt][]byte
	artifacts   map[domain.ID]ports.Artifact
	posted      map[string]billing.Transaction // by key
	balances    map[pair]domain.Micros
	outbox      []queued
	undone      int                 // no event before this index is pending
	timelines   map[domain.ID][]int // indexes of the outbox, by the key of the events
}

// New makes an empty store.
func New(o Options) *Store {
	s := &Store{
		Options: o, leader: NewLeader(), wake: make(chan struct{}, 1),
		changed: map[domain.ID]time.Time{}, devices: map[domain.ID]domain.ID{},
		sessions: map[domain.ID]identity.Session{}, tokens: map[domain.ID]identity.APIToken{},
		enrollments: map[domain.ID]hosts.Enrollment{}, presences: map[domain.ID]*presence{}, pinned: map[string]jobs.PinnedImage{},
		logs: map[attempt][]byte{}, artifacts: map[domain.ID]ports.Artifact{},
		posted: map[string]billing.Transaction{}, balances: map[pair]domain.Micros{}, timelines: map[domain.ID][]int{},
	}
	s.users, s.hosts, s.jobs = newUsers(s), newHosts(s), newJobs(s)
	return s
}

// Leader gives leadership among all who use this store.
func (s *Store) Leader() ports.Leader { return s.leader }

// enter begins a call: it refuses one from within a change and one whose context has
// ended, and locks the store for any other.
func (s *Store) enter(ctx context.Context) error {
	if err := s.nested.check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	return nil
}
