package bunstore

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// jobRow is a job without its attempts. Columns are what is filtered, sorted and
// reported by; the rest are documents.
type jobRow struct {
	bun.BaseModel `bun:"table:jobs,alias:j"`

	ID                 key `bun:",pk"`
	Renter             key
	Version            int64
	State              string
	Reason             string
	Detail             text
	Losses             int
	Hold               int64
	Cost               int64
	Currency           string
	RerunOf            key
	Origin             key
	RunVersion         int
	CreatedAt          stamp
	QueuedAt           stamp
	WaitUntil          stamp
	FinishedAt         stamp
	IdempotencyKey     text
	IdempotencyRequest string
	BundleKey          string
	BundleSize         int64
	BundleSHA256       string `bun:"bundle_sha256"`
	Search             text
	Spec               json.RawMessage
	Phase              json.RawMessage
	Avoid              json.RawMessage
	SealedEnv          []byte
	Metrics            []byte
}

// fixed are the columns that an update leaves alone, because they never change.
var fixed = []string{"id", "renter", "origin", "rerun_of", "created_at", "idempotency_key", "idempotency_request", "search", "spec", "sealed_env"}

func toJobRow(s *jobs.Snapshot) jobRow {
	return jobRow{
		ID: key(s.ID), Renter: key(s.Renter), Version: s.Version, State: string(s.State), Reason: string(s.Reason),
		Detail: text(s.Detail), Losses: s.Losses, Hold: int64(s.Hold), Cost: int64(s.Cost()), Currency: s.Currency,
		RerunOf: key(s.RerunOf), Origin: key(s.Origin), RunVersion: s.RunVersion,
		CreatedAt: stamp(s.CreatedAt), QueuedAt: stamp(s.QueuedAt), WaitUntil: stamp(s.WaitUntil), FinishedAt: stamp(s.FinishedAt),
		IdempotencyKey: text(s.Idempotency.Key), IdempotencyRequest: s.Idempotency.Request,
		BundleKey: s.Bundle.Key, BundleSize: s.Bundle.Size, BundleSHA256: s.Bundle.SHA256,
		Search: text(strings.ToLower(s.Spec.Name)), Spec: document(s.Spec), Phase: document(s.Phase), Avoid: document(s.Avoid),
		SealedEnv: s.SealedEnv, Metrics: s.Metrics,
	}
}

func (r *jobRow) snapshot() (jobs.Snapshot, error) {
	s := jobs.Snapshot{
		ID: domain.ID(r.ID), Renter: domain.ID(r.Renter), Version: r.Version, State: jobs.State(r.State), Reason: jobs.Reason(r.Reason),
		Detail: string(r.Detail), Losses: r.Losses, Hold: domain.Micros(r.Hold), Currency: r.Currency,
		RerunOf: domain.ID(r.RerunOf), Origin: domain.ID(r.Origin), RunVersion: r.RunVersion,
		CreatedAt: r.CreatedAt.cut(), QueuedAt: r.QueuedAt.cut(), WaitUntil: r.WaitUntil.cut(), FinishedAt: r.FinishedAt.cut(),
		Idempotency: jobs.Idempotency{Key: string(r.IdempotencyKey), Request: r.IdempotencyRequest},
		Bundle:      jobs.Bundle{Key: r.BundleKey, Size: r.BundleSize, SHA256: r.BundleSHA256},
		SealedEnv:   slices.Clone(r.SealedEnv), Metrics: slices.Clone(r.Metrics),
	}
	return s, parse(r.Spec, &s.Spec, r.Phase, &s.Phase, r.Avoid, &s.Avoid)
}

// attemptRow is an attempt. It is also read beside its job, where every column may be
// NULL because the job has no attempt.
type attemptRow struct {
	bun.BaseModel `bun:"table:attempts,alias:a"`

	JobID       key `bun:",pk"`
	Number      int `bun:",pk"`
	Active      bool
	Host        key
	HostName    text
	HostOwner   key
	HourlyPrice int64
	LeasedAt    stamp
	AcceptedAt  stamp
	StartedAt   stamp
	ExitedAt    stamp
	EndedAt     stamp
	Outcome     string
	Reason      string
	Detail      text
	ExitCode    *int
	BillableMS  int64 `bun:"billable_ms"`
	Amount      int64
	Doc         json.RawMessage
}

// attemptDoc is what no query asks for.
type attemptDoc struct {
	Devices            []jobs.Device
	MaxRuntime         time.Duration
	Why                jobs.Explanation
	AgentRan           time.Duration
	LogBytes, LogLines int64
	LogSHA256          string
	PeakMemory         int64
	CPUTime            time.Duration
}

func toAttemptRow(job domain.ID, a *jobs.Attempt) attemptRow {
	return attemptRow{
		JobID: key(job), Number: a.Number, Active: a.Active(),
		Host: key(a.Host), HostName: text(a.HostName), HostOwner: key(a.HostOwner), HourlyPrice: int64(a.HourlyPrice),
		LeasedAt: stamp(a.LeasedAt), AcceptedAt: stamp(a.AcceptedAt), StartedAt: stamp(a.StartedAt),
		ExitedAt: stamp(a.ExitedAt), EndedAt: stamp(a.EndedAt),
		Outcome: string(a.Outcome), Reason: string(a.Reason), Detail: text(a.Detail), ExitCode: a.ExitCode,
		BillableMS: a.Billable.Milliseconds(), Amount: int64(a.Amount),
		Doc: document(attemptDoc{
			Devices: a.Devices, MaxRuntime: a.MaxRuntime, Why: a.Why, AgentRan: a.AgentRan,
			LogBytes: a.LogBytes, LogLines: a.LogLines, LogSHA256: a.LogSHA256, PeakMemory: a.PeakMemory, CPUTime: a.CPUTime,
		}),
	}
}

func (r *attemptRow) attempt() (jobs.Attempt, error) {
	var d attemptDoc
	err := parse(r.Doc, &d)
	a := jobs.Attempt{
		Number: r.Number, Host: domain.ID(r.Host), HostName: string(r.HostName), HostOwner: domain.ID(r.HostOwner),
		Devices: d.Devices, HourlyPrice: domain.Micros(r.HourlyPrice), MaxRuntime: d.MaxRuntime, Why: d.Why,
		LeasedAt: r.LeasedAt.cut(), AcceptedAt: r.AcceptedAt.cut(), StartedAt: r.StartedAt.cut(),
		ExitedAt: r.ExitedAt.cut(), EndedAt: r.EndedAt.cut(),
		Outcome: jobs.Outcome(r.Outcome), Reason: jobs.Reason(r.Reason), Detail: string(r.Detail),
		AgentRan: d.AgentRan, Billable: time.Duration(r.BillableMS) * time.Millisecond, Amount: domain.Micros(r.Amount),
		LogBytes: d.LogBytes, LogLines: d.LogLines, LogSHA256: d.LogSHA256, PeakMemory: d.PeakMemory, CPUTime: d.CPUTime,
	}
	if r.ExitCode != nil {
		code := *r.ExitCode
		a.ExitCode = &code
	}
	return a, err
}

// deviceRow makes that a device is held by one active attempt at most.
type deviceRow struct {
	bun.BaseModel `bun:"table:attempt_devices,alias:d"`

	JobID  key `bun:",pk"`
	Number int `bun:",pk"`
	Device key `bun:",pk"`
	Active bool
}

func toDeviceRows(job domain.ID, a *jobs.Attempt) []deviceRow {
	rows := make([]deviceRow, 0, len(a.Devices))
	for _, d := range a.Devices {
		rows = append(rows, deviceRow{JobID: key(job), Number: a.Number, Device: key(d.ID), Active: a.Active()})
	}
	// Two leases that want the same devices take them in the same order.
	slices.SortFunc(rows, func(a, b deviceRow) int { return slices.Compare(a.Device[:], b.Device[:]) })
	return rows
}

// writeAttempts stores the attempts that are new or changed since old.
func writeAttempts(t *tx, job domain.ID, old, next []jobs.Attempt) error {
	for i := range next {
		a := &next[i]
		row := toAttemptRow(job, a)
		var err error
		switch {
		case i >= len(old):
			err = t.later(t.store.write.NewInsert().Model(&row))
			if devices := toDeviceRows(job, a); err == nil && len(devices) > 0 {
				err = t.later(t.store.write.NewInsert().Model(&devices))
			}
		case !reflect.DeepEqual(&old[i], a):
			err = t.later(t.store.write.NewUpdate().Model(&row).WherePK())
			if err == nil && old[i].Active() != a.Active() {
				err = t.later(t.store.write.NewUpdate().Model((*deviceRow)(nil)).Set("active = ?", a.Active()).
					Where("job_id = ?", key(job)).Where("number = ?", a.Number))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
