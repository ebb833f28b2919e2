package jobs

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Order is what a host has to do: run an attempt, or stop it.
type Order struct {
	Job     jobs.Snapshot
	Attempt jobs.Attempt
	Cancel  bool // stop it; the fields below are empty
	Env     []EnvValue
	Bundle  *ports.SignedRequest // where the ZIP is fetched; nil without one
	Image   jobs.PinnedImage     // what it runs in; the zero value leaves that to the host
	Limits  OrderLimits
}

// OrderLimits bounds an attempt on its host.
type OrderLimits struct {
	CPUMilli      int64
	MemoryBytes   int64
	DiskBytes     int64
	PIDs          int
	LogBytes      int64
	ArtifactBytes int64
	ArtifactFiles int
}

// StartBy is how long an order to run may wait on its way to the start.
const StartBy = 10 * time.Minute

// Orders is what the agent's host has not confirmed yet, and all attempts that it holds.
// The rows of jobs are the truth about it: a gateway asks when it is woken, when a host
// connects, and on its tick.
func (s *Service) Orders(ctx context.Context, who domain.Actor) (orders []Order, holds []Ref, err error) {
	if who.Host.IsZero() {
		return nil, nil, domain.Unauthenticated("only agents have orders")
	}
	held, err := s.held(ctx, who.Host)
	if err != nil {
		return nil, nil, err
	}
	for _, j := range held {
		a := *j.Current()
		holds = append(holds, Ref{j.ID, a.Number})
		switch {
		case j.State == jobs.Cancelling:
			orders = append(orders, Order{Job: j, Attempt: a, Cancel: true})
		case j.State == jobs.Assigned && a.AcceptedAt.IsZero():
			o, err := s.order(ctx, j, a)
			if err != nil {
				return orders, nil, err
			}
			orders = append(orders, o)
		}
	}
	return orders, holds, nil
}

// Outstanding is an order that a host has not confirmed yet, without what it says.
type Outstanding struct {
	Host   domain.ID
	Ref    Ref
	Cancel bool
}

// AllOutstanding is what Orders has for any host: one query, whose answer is small
// because orders are confirmed within moments.
func (s *Service) AllOutstanding(ctx context.Context) ([]Outstanding, error) {
	var found []Outstanding
	err := s.each(ctx, ports.JobFilter{States: []jobs.State{jobs.Assigned, jobs.Cancelling}}, func(j jobs.Snapshot) error {
		a := j.Current()
		if a != nil && a.Active() && (j.State == jobs.Cancelling || a.AcceptedAt.IsZero()) {
			found = append(found, Outstanding{Host: a.Host, Ref: Ref{j.ID, a.Number}, Cancel: j.State == jobs.Cancelling})
		}
		return nil
	})
	return found, err
}

// Withdraw takes a host off the market at once, before anybody else hears of it.
func (s *Service) Withdraw(host domain.ID) { s.fleet.withdraw(host) }

// held lists the jobs whose active attempt is on the host.
func (s *Service) held(ctx context.Context, host domain.ID) ([]jobs.Snapshot, error) {
	return s.Jobs.List(ctx, ports.JobFilter{Holder: host}, ports.Page{Limit: 1000})
}

func (s *Service) order(ctx context.Context, j jobs.Snapshot, a jobs.Attempt) (Order, error) {
	o := Order{Job: j, Attempt: a, Limits: s.limits(j, a), Image: s.image(ctx, j, a)}
	var err error
	if o.Env, err = s.unseal(j); err != nil {
		return o, err
	}
	if j.Bundle.Key != "" {
		get, err := s.Blobs.SignGet(ctx, j.Bundle.Key, ports.GetOptions{Expires: StartBy + 5*time.Minute})
		if err != nil {
			return o, err
		}
		o.Bundle = &get
	}
	return o, nil
}

// limits is what the job asked for, or else its slots' share of the machine; of the disk
// at most the default.
func (s *Service) limits(j jobs.Snapshot, a jobs.Attempt) OrderLimits {
	l := OrderLimits{
		CPUMilli: j.Spec.Needs.CPUMilli, MemoryBytes: j.Spec.Needs.MemoryMB << 20, DiskBytes: j.Spec.Needs.DiskMB << 20,
		PIDs: s.settings.PIDs, LogBytes: s.settings.LogBytes,
		ArtifactBytes: s.settings.ArtifactBytes, ArtifactFiles: s.settings.ArtifactFiles,
	}
	var share OrderLimits
	for _, slot := range s.fleet.slots(a.Devices) {
		share.CPUMilli += slot.CPUMilli
		share.MemoryBytes += slot.MemoryMB << 20
		share.DiskBytes += slot.DiskMB << 20
	}
	if l.CPUMilli == 0 {
		l.CPUMilli = share.CPUMilli
	}
	if l.MemoryBytes == 0 {
		l.MemoryBytes = share.MemoryBytes
	}
	if l.DiskBytes == 0 {
		l.DiskBytes = jobs.DefaultDiskMB << 20
		if share.DiskBytes > 0 { // 0: nothing is known of the host at this moment
			l.DiskBytes = min(l.DiskBytes, share.DiskBytes)
		}
	}
	return l
}

// Cancel stops a job of the renter, or any for an admin.
func (s *Service) Cancel(ctx context.Context, who domain.Actor, id domain.ID) (jobs.Snapshot, error) {
	if err := who.Allow(domain.ScopeJobsWrite); err != nil {
		return jobs.Snapshot{}, err
	}
	j, err := s.get(ctx, who, id)
	if err != nil {
		return j, err
	}
	reason := jobs.ReasonCancelledByRenter
	if j.Renter != who.User {
		reason = jobs.ReasonCancelledByAdmin
	}
	j, err = s.update(ctx, id, func(j *jobs.Job) error { return j.Cancel(reason, s.Clock.Now()) })
	if err == nil && j.State == jobs.Cancelling {
		s.Channels.Wake(j.Current().Host)
	}
	return j, err
}
