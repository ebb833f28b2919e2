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
)

// Settings are the operator's choices about jobs.
type Settings struct {
	Currency      string        // ISO 4217, the installation's only one
	LeaseTTL      time.Duration // without a heartbeat: the host is unreachable
	ReassignAfter time.Duration // without a heartbeat: its attempts go to others
	UploadTTL     time.Duration // in which a pending job's bundle has to come
	LogBytes      int64         // of one attempt; the agent cuts with a marker
	ArtifactBytes int64         // of one attempt
	ArtifactFiles int           // of one attempt
	BundleBytes   int64         // of a ZIP
	PIDs          int           // processes and threads of one job
}

// Deps is what the use cases need of the world.
type Deps struct {
	Clock     ports.Clock
	IDs       ports.IDs
	Jobs      ports.Jobs
	Logs      ports.Logs
	Artifacts ports.Artifacts
	Blobs     ports.Blobs
	Bundles   ports.Bundles
	Offers    ports.Offers
	Funds     ports.Funds
	Channels  ports.Channels
	Live      ports.Live
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
	began    time.Time
	handles  sync.Map // account → its handle, which never changes
}

// New makes the use cases. Load has to run before the first of them.
func New(d Deps, s Settings) *Service {
	return &Service{Deps: d, settings: s, fleet: newFleet(), books: newBooks(), recent: newRecent(), began: d.Clock.Now()}
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

// announce tells those who watch a job that it changed.
func (s *Service) announce(j jobs.Snapshot) {
	s.recent.put(j)
	data, err := json.Marshal(UpdateOf(j))
	if err != nil {
		s.Log.Error("an update cannot be told", "job", j.ID, "error", err)
		return
	}
	s.Live.Publish(JobTopic(j.ID), data)
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
		s.fleet.free(was.Host, was.DeviceIDs()...)
	}
	switch {
	case after.State == jobs.Queued && before.State != jobs.Queued:
		s.fleet.park(id, s.request(ctx, after), after.CreatedAt)
	case after.State != jobs.Queued:
		s.fleet.unpark(id)
	}
	if after.Version != before.Version {
		s.announce(after)
	}
}

// get finds a job of the actor, or any for an admin.
func (s *Service) get(ctx context.Context, who domain.Actor, id domain.ID) (jobs.Snapshot, error) {
	owner, _ := who.Owner()
	return s.Jobs.Get(ctx, id, owner)
}
