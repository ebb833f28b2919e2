// Package jobs holds the use cases of jobs: submit, match, dispatch, what agents
// report, logs, artifacts, cancel and rerun, and the sweeps that keep it all moving.
package jobs

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// Settings are the operator's choices about jobs.
type Settings struct {
	Currency      string        // ISO 4217, the installation's only one
	LeaseTTL      time.Duration // without a heartbeat: the host is unreachable
	ReassignAfter time.Duration // without a heartbeat: its attempts go to others
	UploadTTL     time.Duration // in which a pending job's bundle has to come
	OrphanAge     time.Duration // after which an object that no job needs is removed
	LogBytes      int64         // of one attempt; the agent cuts with a marker
	ArtifactBytes int64         // of one attempt
	ArtifactFiles int           // of one attempt
	FileBytes     int64         // of one result file; 0: as many as all may have
	BundleBytes   int64         // of a ZIP
	PIDs          int           // processes and threads of one job
	// Named are images of the operator's choice by short names, which jobs may give for a
	// reference. The one of DefaultImage is what jobs run in that name none, on hosts with
	// containers.
	Named map[string]string
	// CheckImage refuses, as Invalid, an image that hosts are not to fetch.
	CheckImage func(image string) error
}

// Deps is what the use cases need of the world.
type Deps struct {
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
	Log       *slog.Logger
}

// Service is the use cases of jobs. It is safe for concurrent use.
type Service struct {
	Deps
	settings Settings
	fleet    *fleet
	books    *books
	recent   *recent
	tally    tally
	began    time.Time
	jumped   time.Time // when the clock was set last; the sweep's alone
	steady   time.Time // since when storage has answered without a break; the sweep's alone
	handles  sync.Map  // account → its handle, which never changes
	chosen   chosen
	counters counters
}

// New makes the use cases. Load has to run before the first of them.
func New(d Deps, s Settings) *Service {
	now := d.Clock.Now()
	return &Service{Deps: d, settings: s, fleet: newFleet(), books: newBooks(), recent: newRecent(), began: now, steady: now}
}

// Settings tells the operator's choices.
func (s *Service) Settings() Settings { return s.settings }

// JobTopic is where changes of a job are published live, as JSON of Update.
func JobTopic(job domain.ID) string { return "job:" + job.String() }

// Update is what watchers of a job are told when it changed.
type Update struct {
	Job     domain.ID     `json:"job"`
	State   jobs.State    `json:"state"`
	Phase   jobs.Progress `json:"phase"`
	Reason  jobs.Reason   `json:"reason,omitempty"`
	Attempt int           `json:"attempt"`
	Cost    domain.Micros `json:"cost"`
	Version int64         `json:"version"`
}

// UpdateOf is the update that tells the whole present state.
func UpdateOf(j jobs.Snapshot) Update {
	return Update{
		Job: j.ID, State: j.State, Phase: j.Phase, Reason: j.Reason,
		Attempt: j.Attempt(), Cost: j.Cost(), Version: j.Version,
	}
}

// RenterTopic is where changes of all jobs of a renter are published live, as JSON of
// Update.
func RenterTopic(renter domain.ID) string { return "jobs-of:" + renter.String() }

// HostsTopic is where ids of an owner's hosts are published live that got or gave back
// a job: 16 bytes each.
func HostsTopic(owner domain.ID) string { return "busy-of:" + owner.String() }

// announce tells those who watch a job, all jobs of its renter, or the hosts that have
// or had it, what it was and is.
func (s *Service) announce(ctx context.Context, before, j jobs.Snapshot) {
	s.recent.put(j)
	data, err := json.Marshal(UpdateOf(j))
	if err != nil {
		s.Log.ErrorContext(ctx, "an update cannot be told", "job", j.ID.Prefixed("job"), "error", err)
		return
	}
	if before.State != j.State || before.Attempt() != j.Attempt() {
		s.log(ctx, j)
	}
	s.Live.Publish(JobTopic(j.ID), data)
	s.Live.Publish(RenterTopic(j.Renter), data)
	was, is := active(before), active(j)
	s.tellMove(ctx, before, j)
	if is != nil && (was == nil || was.Number != is.Number) {
		s.counters.leased(j, is)
	}
	if was == nil || is == nil || was.Number != is.Number {
		for _, a := range []*jobs.Attempt{was, is} {
			if a != nil {
				s.Live.Publish(HostsTopic(a.HostOwner), a.Host[:])
			}
		}
	}
}

// log notes where a job stands: what an operator follows its life by.
func (s *Service) log(ctx context.Context, j jobs.Snapshot) {
	attrs := []slog.Attr{slog.String("job", j.ID.Prefixed("job")), slog.String("state", string(j.State))}
	if a := j.Current(); a != nil {
		attrs = append(attrs, slog.Int("attempt", a.Number), slog.String("host", a.Host.Prefixed("hst")))
	}
	if j.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(j.Reason)))
	}
	s.Log.LogAttrs(ctx, slog.LevelInfo, "job", attrs...)
}

// active is the attempt that holds devices; nil: none.
func active(j jobs.Snapshot) *jobs.Attempt {
	if a := j.Current(); a != nil && a.Active() {
		return a
	}
	return nil
}

// update changes a job and lets everything follow that depends on it: devices that it
// gave back are free, a job that is queued again waits, watchers are told.
func (s *Service) update(ctx context.Context, id domain.ID, change func(*jobs.Job) error) (jobs.Snapshot, error) {
	var before jobs.Snapshot
	after, err := s.Jobs.Update(ctx, id, func(j *jobs.Job) error {
		before = j.Snapshot()
		return change(j)
	})
	if err != nil {
		s.recover(ctx, err, before)
		return after, err
	}
	if before.State.Active() && after.State == jobs.Queued {
		_ = faults.Point("lost.after_mark_before_requeue")
	}
	s.follow(ctx, before, after)
	return after, nil
}

// recover lets follow what a change brought whose answer was lost: the row decides.
func (s *Service) recover(ctx context.Context, err error, before jobs.Snapshot) {
	if before.ID.IsZero() || !unsure(err) {
		return
	}
	now, again := s.Jobs.Get(context.WithoutCancel(ctx), before.ID, domain.ID{})
	if again != nil {
		s.fleet.refused()
		return
	}
	s.follow(ctx, before, now)
}

// follow does what depends on a change.
func (s *Service) follow(ctx context.Context, before, after jobs.Snapshot) {
	id := after.ID
	if was := before.Current(); was != nil && was.Active() && !after.Attempts[was.Number-1].Active() {
		s.books.close(id, was.Number)
		s.fleet.over(Ref{id, was.Number}, was.Host, was.DeviceIDs()...)
	}
	switch {
	case after.State == jobs.Queued && before.State != jobs.Queued:
		s.fleet.park(id, s.request(ctx, after), after.CreatedAt)
	case after.State != jobs.Queued:
		s.fleet.unpark(id)
	}
	if after.Version != before.Version {
		s.announce(ctx, before, after)
	}
}

// get finds a job of the actor, or any for an admin.
func (s *Service) get(ctx context.Context, who domain.Actor, id domain.ID) (jobs.Snapshot, error) {
	owner, _ := who.Owner()
	return s.Jobs.Get(ctx, id, owner)
}
