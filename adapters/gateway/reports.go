package gateway

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/wire"
)

// text takes a text frame. An error closes the connection.
func (s *session) text(data []byte) error {
	f, err := wire.Decode(data)
	if errors.Is(err, wire.ErrUnknownType) {
		return nil
	}
	if err == nil {
		err = check(f)
	}
	if err != nil {
		bad := domain.Invalid("bad_frame", "%s", err.Error())
		if f.ID == "" {
			return bad
		}
		s.g.Log.WarnContext(s.ctx, "an agent's frame is not as the protocol says", "error", err)
		s.ack(f.ID, bad)
		return nil
	}
	switch b := f.Body.(type) {
	case *wire.Heartbeat:
		if !s.stopping {
			s.g.Hosts.Heartbeat(s.Session, loadsOf(b.GPUs))
		}
		if f.ID != "" {
			now := s.g.Clock.Now()
			s.send(&wire.Ack{Ok: true, ServerTime: &now}, f.ID)
		}
	case *wire.Inventory:
		s.ack(f.ID, s.inventory(b))
	case *wire.Accept:
		return s.report(f.ID, b.JobID, b.Attempt, func(ref jobs.Ref) error { return s.g.Jobs.Accept(s.ctx, s.who, ref) })
	case *wire.Reject:
		return s.rejected(f.ID, b)
	case *wire.Phase:
		return s.report(f.ID, b.JobID, b.Attempt, func(ref jobs.Ref) error {
			return s.g.Jobs.Advance(s.ctx, s.who, ref, domainjobs.Progress{Name: domainjobs.Phase(b.Name), Done: b.Done, Total: b.Total})
		})
	case *wire.Exited:
		return s.report(f.ID, b.JobID, b.Attempt, func(ref jobs.Ref) error {
			return s.g.Jobs.Exited(s.ctx, s.who, ref, exitOf(b.ExitCode, b.Reason, b.Detail, b.DurationMs))
		})
	case *wire.UploadRequest:
		return s.uploads(f.ID, b)
	case *wire.Uploaded:
		return s.report(f.ID, b.JobID, b.Attempt, func(ref jobs.Ref) error {
			return s.g.Jobs.ConfirmUploads(s.ctx, s.who, ref, filesOf(b.Files))
		})
	case *wire.Finished:
		return s.report(f.ID, b.JobID, b.Attempt, func(ref jobs.Ref) error {
			err := s.g.Jobs.Finished(s.ctx, s.who, ref, domainjobs.Result{
				Exit:     exitOf(b.ExitCode, b.Reason, b.Detail, b.DurationMs),
				LogBytes: b.Log.Bytes, LogLines: b.Log.Lines, LogSHA256: b.Log.SHA256,
				PeakMemory: b.Usage.PeakMemoryBytes, CPUTime: time.Duration(b.Usage.CPUMs) * time.Millisecond,
				Fetched: b.Usage.FetchedBytes, FetchTook: time.Duration(b.Usage.FetchMs) * time.Millisecond,
				Files: filesOf(b.Artifacts),
			})
			if err == nil {
				s.over(ref)
			}
			return err
		})
	case *wire.Reclaim:
		if b.Stopping {
			s.leaving()
		}
		s.ack(f.ID, nil) // each attempt ends with its own finished
	default:
		return domain.Invalid("bad_frame", "an agent does not send %s", wire.TypeOf(f.Body))
	}
	return nil
}

// check holds a frame to its schema, as it was understood: JSON knows more ways to write
// a field than the schema sees.
func check(f wire.Frame) error {
	data, err := wire.Encode(f)
	if err != nil {
		return err
	}
	return openapi.CheckFrame(wire.TypeOf(f.Body), data)
}

func loadsOf(gpus []wire.GPULoad) []hosts.Load {
	loads := make([]hosts.Load, len(gpus))
	for i, g := range gpus {
		loads[i] = hosts.Load{
			UUID: g.UUID, Utilization: min(max(g.UtilPct, 0), 100), MemoryUsedMB: max(g.MemoryUsedMB, 0),
			TemperatureC: g.TempC, PowerW: max(g.PowerW, 0),
		}
	}
	return loads
}

// leaving takes a host that stops off the market, so that what it gives back is not
// offered to it again. Its session goes on until it has told everything.
func (s *session) leaving() {
	s.g.Jobs.Withdraw(s.Host)
	s.disconnect()
	s.stopping = true
}

// report does something for an attempt after everything that was reported of it
// before, and acks it.
func (s *session) report(id, job string, attempt int, do func(jobs.Ref) error) error {
	ref, err := refOf(job, attempt)
	if err != nil {
		return err
	}
	task := func() { s.ack(id, do(ref)) }
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting, running := s.queues[ref]
	if len(waiting) >= mostQueued {
		return domain.Invalid("bad_frame", "too many reports at once")
	}
	s.queues[ref] = append(waiting, task)
	if !running {
		s.g.all.Go(func() { s.work(ref) })
	}
	return nil
}

// work does the queued reports of an attempt.
func (s *session) work(ref jobs.Ref) {
	for {
		s.mu.Lock()
		waiting := s.queues[ref]
		if len(waiting) == 0 {
			delete(s.queues, ref)
			s.mu.Unlock()
			return
		}
		s.queues[ref] = waiting[1:]
		s.mu.Unlock()
		waiting[0]()
	}
}

// ack answers a frame that wants it.
func (s *session) ack(id string, err error) {
	if id == "" {
		return
	}
	if err == nil {
		s.send(&wire.Ack{Ok: true}, id)
		return
	}
	s.send(&wire.Ack{Error: s.refusal(err)}, id)
}

func (s *session) refusal(err error) *wire.AckError {
	var log *jobs.LogMismatch
	var e *domain.Error
	switch {
	case errors.As(err, &log):
		return &wire.AckError{Code: wire.CodeLogMismatch, Detail: log.Error(), Offset: log.Offset}
	case errors.Is(err, domainjobs.ErrStale):
		return &wire.AckError{Code: wire.CodeStale, Detail: domainjobs.ErrStale.Detail, Stale: true}
	case errors.As(err, &e):
		switch {
		case e.Code == wire.CodeUploadMismatch, e.Code == wire.CodeArtifactLimit:
			return &wire.AckError{Code: e.Code, Detail: e.Detail}
		case e.Kind == domain.KindInvalid, e.Kind == domain.KindConflict:
			return &wire.AckError{Code: wire.CodeInvalid, Detail: e.Detail}
		}
	}
	if !errors.Is(err, context.Canceled) {
		s.g.Log.WarnContext(s.ctx, "a report cannot be taken now", "error", err)
	}
	return &wire.AckError{Code: wire.CodeUnavailable, Detail: "the server cannot take it now; repeat it", RetryAfterS: 1}
}

func exitOf(code *int, reason wire.Reason, detail string, ms int64) domainjobs.Exit {
	return domainjobs.Exit{Code: code, Reason: domainjobs.Reason(reason), Detail: detail, Ran: time.Duration(ms) * time.Millisecond}
}

// rejected takes a manifest back. One that the agent could not verify is an alarm: keys
// differ, or somebody tampers.
func (s *session) rejected(id string, b *wire.Reject) error {
	switch b.Reason {
	case wire.RejectReasonBadSignature, wire.RejectReasonWrongType, wire.RejectReasonMalformed, wire.RejectReasonWrongAudience, wire.RejectReasonWrongIssuer:
		s.g.Log.ErrorContext(s.ctx, "an agent refuses what we signed", "job", b.JobID, "reason", b.Reason, "detail", b.Detail)
	default: // its own affairs, or a matter of time
	}
	if b.JobID == "" || b.Attempt == 0 {
		s.ack(id, nil)
		return nil
	}
	return s.report(id, b.JobID, b.Attempt, func(ref jobs.Ref) error {
		return s.g.Jobs.Decline(s.ctx, s.who, ref, string(b.Reason)+": "+b.Detail)
	})
}

func filesOf(named []wire.Artifact) []domainjobs.File {
	files := make([]domainjobs.File, len(named))
	for i, a := range named {
		files[i] = domainjobs.File{Path: a.Path, Size: a.Size, SHA256: a.SHA256}
	}
	return files
}

// uploads answers where the results go.
func (s *session) uploads(id string, b *wire.UploadRequest) error {
	return s.report("", b.JobID, b.Attempt, func(ref jobs.Ref) error {
		uploads, err := s.g.Jobs.AuthorizeUploads(s.ctx, s.who, ref, filesOf(b.Files))
		if err != nil {
			s.ack(id, err)
			return err
		}
		answer := &wire.Upload{JobID: b.JobID, Attempt: b.Attempt}
		for _, u := range uploads {
			t := wire.UploadTarget{Path: u.Path, Method: "PUT", Headers: map[string]string{}}
			if u.Put != nil {
				t.URL = u.Put.URL
				for name := range u.Put.Header {
					t.Headers[name] = u.Put.Header.Get(name)
				}
			}
			answer.Files = append(answer.Files, t)
		}
		s.send(answer, id)
		return nil
	})
}

// inventory stores what the machine is now.
func (s *session) inventory(b *wire.Inventory) error {
	h := b.Host
	if h.Cpus < 1 || h.Cpus > 1<<16 || h.MemoryMB < 1 || h.MemoryMB > 1<<30 || h.DiskMB < 0 || h.DiskMB > 1<<40 || len(b.GPUs) > 64 {
		return domain.Invalid("invalid_inventory", "no machine has these sizes")
	}
	gpus := make([]domainhosts.Device, 0, len(b.GPUs))
	seen := map[string]bool{}
	for _, g := range b.GPUs {
		if g.UUID == "" || len(g.UUID) > 96 || strings.ContainsFunc(g.UUID, unicode.IsControl) || seen[g.UUID] || g.VRAMMB < 0 || g.VRAMMB > 1<<30 {
			return domain.Invalid("invalid_inventory", "each GPU has a UUID of its own and a size")
		}
		seen[g.UUID] = true
		if !g.MIG { // a partitioned GPU is not offered as a whole
			gpus = append(gpus, domainhosts.Device{UUID: g.UUID, Model: g.Model, VRAMMB: g.VRAMMB, Driver: g.Driver, CUDA: g.CUDA})
		}
	}
	return s.g.Hosts.Report(s.ctx, s.Session, factsOf(b), gpus)
}

// factsOf takes the strongest wall that the machine has.
func factsOf(b *wire.Inventory) domainhosts.Facts {
	f := domainhosts.Facts{
		AgentVersion: b.Host.AgentVersion, MachineID: b.Host.MachineID, OS: b.Host.Os, Arch: b.Host.Arch,
		CPUs: b.Host.Cpus, MemoryMB: b.Host.MemoryMB, DiskMB: b.Host.DiskMB, Inventory: b.Hash,
	}
	best := domainjobs.Isolation("")
	for _, r := range b.Runtimes {
		if i := domainjobs.Isolation(r.Isolation); f.Runtime == "" || i.AtLeast(best) {
			best = i
			f.Runtime, f.Isolation, f.Limits = r.Name, domainhosts.Isolation(r.Isolation), string(r.MemoryLimit)
			f.Trusted = r.Trusted || i == domainjobs.IsolationNone
		}
	}
	return f
}
