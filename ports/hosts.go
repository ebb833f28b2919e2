package ports

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

// HostFilter selects hosts. Its zero value selects all.
type HostFilter struct {
	IDs          []domain.ID // these alone; nil: any
	Owner        domain.ID   // zero: anybody's
	ChangedSince time.Time   // stored at or after; zero: any
	Retired      bool        // include those that were removed
}

// Hosts stores hosts with their devices.
type Hosts interface {
	// Add stores a new host with its events. A public key that another host has is
	// Conflict key_taken.
	Add(ctx context.Context, h *hosts.Host) error
	// Update is the only way to change a host; see Users.Update.
	Update(ctx context.Context, id domain.ID, change func(*hosts.Host) error) (hosts.Snapshot, error)
	// Get finds a host. With an owner that is not zero, another's host is NotFound.
	Get(ctx context.Context, id, owner domain.ID) (hosts.Snapshot, error)
	// List gives the hosts of a filter by id.
	List(ctx context.Context, f HostFilter, p Page) ([]hosts.Snapshot, error)
}

// Enrollments stores one-time permissions to add a host.
type Enrollments interface {
	// Add stores a permission.
	Add(ctx context.Context, e hosts.Enrollment) error
	// Use takes the permission with the hash for a host, once: of many that try, one
	// gets it. An unknown, used or expired one is Unauthenticated.
	Use(ctx context.Context, tokenHash []byte, host domain.ID, now time.Time) (hosts.Enrollment, error)
}

// Presences stores who is online, and each interval in which it was.
type Presences interface {
	// Connect begins an interval for a session. An older session's interval, if it is
	// open still, ends. A session with an older epoch than the present one is Conflict
	// session_fenced.
	Connect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error
	// Disconnect ends the interval of a session; an older session's changes nothing.
	Disconnect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error
	// Beat notes the latest heartbeats of many hosts at once and extends their open
	// intervals. A beat of an older session, or earlier than the one stored, changes
	// nothing.
	Beat(ctx context.Context, beats []hosts.Presence) error
	// List gives the presence of the hosts, or of all that ever connected when none is
	// named.
	List(ctx context.Context, ids ...domain.ID) ([]hosts.Presence, error)
	// Intervals gives a host's times online that end at or after from, oldest first.
	Intervals(ctx context.Context, host domain.ID, from time.Time) ([]hosts.Interval, error)
}

// Channels reaches the agents that are connected.
type Channels interface {
	// Wake makes the host's session look for work that it has not been told of. It
	// never blocks, and does nothing for a host that is not connected.
	Wake(host domain.ID)
	// Close ends the host's session, if it has one.
	Close(host domain.ID, reason string)
}

// Occupancy is jobs as hosts sees it: which devices are taken.
type Occupancy interface {
	// Busy tells the job that has each of the devices; free ones are missing.
	Busy(devices ...domain.ID) map[domain.ID]domain.ID
}
