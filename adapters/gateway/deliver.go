package gateway

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/peergpu/peergpu/application/jobs"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/faults"
)

const (
	cancelGrace  = 10 * time.Second // between SIGTERM and SIGKILL
	deliverAgain = time.Second      // after orders could not be read
	deliverTick  = 2 * time.Second  // the most that a lost wake delays an order
)

// Deliver wakes sessions that have something to send and were not told, until ctx ends.
// Thousands of hosts without an order cost it nothing: it asks for the orders.
func (g *Gateway) Deliver(ctx context.Context) error {
	ticker := time.NewTicker(deliverTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if g.channels.empty() {
			continue
		}
		all, err := g.Jobs.AllOutstanding(ctx)
		if err != nil && ctx.Err() == nil {
			g.Log.WarnContext(ctx, "orders cannot be looked for", "error", err)
		}
		for _, o := range all {
			if s := g.channels.find(o.Host); s != nil && !s.knows(order{o.Ref, o.Cancel}) {
				s.wake()
			}
		}
	}
}

// knows says whether the order was sent in this session.
func (s *session) knows(o order) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[o]
}

// wake looks for orders soon, and again if it was looking already. Before the welcome
// nothing is sent.
func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	if s.ready && !s.busy {
		s.busy = true
		s.g.all.Go(s.deliver)
	}
}

// deliver sends orders that this session has not sent yet. The rows are the truth: what
// is not accepted when the connection breaks is sent again by the next session.
func (s *session) deliver() {
	for {
		s.mu.Lock()
		if !s.woken || s.ctx.Err() != nil {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.woken = false
		s.mu.Unlock()
		orders, holds, err := s.g.Jobs.Orders(s.ctx, s.who)
		for _, o := range orders {
			if err := s.give(o); err != nil {
				s.g.Log.ErrorContext(s.ctx, "an order cannot be signed", "job", o.Job.ID.Prefixed("job"), "error", err)
			}
		}
		if err == nil {
			err = s.dismiss(holds)
		}
		if err != nil && s.ctx.Err() == nil {
			s.g.Log.WarnContext(s.ctx, "orders cannot be read", "error", err)
			time.AfterFunc(deliverAgain, s.wake)
		}
	}
}

// over notes that the result of an attempt was taken.
func (s *session) over(ref jobs.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent[order{ref: ref}] {
		s.ended[ref] = true
	}
}

// dismiss forgets the attempts of this session that the host does not hold any more, and
// tells the agent of those that were taken from it: it stops them.
func (s *session) dismiss(holds []jobs.Ref) error {
	s.mu.Lock()
	over := map[jobs.Ref]bool{} // and whether it ended by itself
	for o := range s.sent {
		over[o.ref] = s.ended[o.ref]
	}
	s.mu.Unlock()
	for _, ref := range holds {
		delete(over, ref)
	}
	for ref, ended := range over {
		taken := false
		if !ended {
			var err error
			if taken, err = s.g.Jobs.Taken(s.ctx, s.who, ref); err != nil {
				return err
			}
		}
		if taken {
			s.send(&wire.LogAck{JobID: ref.Job.Prefixed("job"), Attempt: ref.Attempt, Stale: true}, "")
		}
		s.mu.Lock()
		delete(s.sent, order{ref: ref})
		delete(s.sent, order{ref: ref, cancel: true})
		delete(s.ended, ref)
		s.mu.Unlock()
	}
	return nil
}

// give signs and sends one order, once in this session.
func (s *session) give(o jobs.Order) error {
	key := order{ref: jobs.Ref{Job: o.Job.ID, Attempt: o.Attempt.Number}, cancel: o.Cancel}
	s.mu.Lock()
	known := s.sent[key]
	s.sent[key] = true
	s.mu.Unlock()
	if known {
		return nil
	}
	if o.Cancel {
		now := s.g.Clock.Now()
		jws, err := s.sign(wire.TypCancel, &wire.CancelClaims{
			Iss: wire.Issuer, Aud: s.Host.Prefixed("hst"), JTI: rand.Text(),
			Iat: now.Unix(), Nbf: now.Unix(), Exp: now.Add(jobs.StartBy).Unix(),
			JobID: o.Job.ID.Prefixed("job"), Attempt: o.Attempt.Number, GraceMs: cancelGrace.Milliseconds(),
		})
		if err == nil {
			s.send(&wire.Cancel{JWS: jws}, "")
		}
		return err
	}
	jws, err := s.sign(wire.TypManifest, s.manifest(o))
	if err == nil {
		s.send(&wire.Manifest{JWS: jws}, "")
		_ = faults.Point("offer.after_send")
	}
	return err
}

func (s *session) sign(typ string, claims any) (string, error) {
	payload, err := wire.MarshalClaims(claims)
	if err != nil {
		return "", err
	}
	return s.g.Manifests.Sign(typ, payload)
}

// manifest says everything that the host needs to run an attempt.
func (s *session) manifest(o jobs.Order) *wire.ManifestClaims {
	now, spec, settings := s.g.Clock.Now(), o.Job.Spec, s.g.Jobs.Settings()
	m := &wire.ManifestClaims{
		Iss: wire.Issuer, Aud: s.Host.Prefixed("hst"), JTI: rand.Text(),
		Iat: now.Unix(), Nbf: now.Unix(), Exp: now.Add(jobs.StartBy).Unix(),
		JobID: o.Job.ID.Prefixed("job"), Attempt: o.Attempt.Number,
		LeaseTTLMs: settings.LeaseTTL.Milliseconds(), ReassignAfterMs: settings.ReassignAfter.Milliseconds(),
		Kind: "command", Argv: spec.Command, Env: map[string]string{}, Outputs: spec.Outputs,
		Limits: wire.ManifestLimits{
			CPUMilli: o.Limits.CPUMilli, MemoryBytes: o.Limits.MemoryBytes, PIDs: int64(o.Limits.PIDs),
			DiskBytes: o.Limits.DiskBytes, MaxRuntimeMs: max(1, o.Attempt.MaxRuntime.Milliseconds()),
			LogBytes: o.Limits.LogBytes, ArtifactBytes: o.Limits.ArtifactBytes, ArtifactFiles: o.Limits.ArtifactFiles,
		},
		Network:   wire.ManifestNetwork{Mode: wire.ManifestNetworkMode(spec.Network.Mode), Allow: spec.Network.Allow},
		Isolation: wire.ManifestIsolation{Min: wire.ManifestIsolationMin(spec.Needs.Isolation)},
		Renter:    wire.ManifestRenter{ID: o.Job.Renter.Prefixed("usr"), Owner: o.Job.Renter == o.Attempt.HostOwner},
		Price:     wire.ManifestPrice{HourlyMicros: int64(o.Attempt.HourlyPrice), Currency: o.Job.Currency},
	}
	if spec.Needs.Isolation == "" {
		m.Isolation.Min = wire.ManifestIsolationMin(domainjobs.IsolationNone)
	}
	for _, d := range o.Attempt.Devices {
		m.GPUs.UUIDs = append(m.GPUs.UUIDs, d.UUID)
	}
	for _, e := range o.Env {
		m.Env[e.Name] = e.Value
	}
	if spec.Source.Kind == domainjobs.SourceImage {
		m.Kind = "image"
	}
	if o.Image.Digest != "" {
		m.Image = &wire.ManifestImage{Ref: o.Image.Ref, Digest: o.Image.Digest, Platform: "linux"}
	}
	if o.Bundle != nil {
		m.Kind = "bundle"
		m.Bundle = &wire.ManifestBundle{URL: o.Bundle.URL, Size: o.Job.Bundle.Size, SHA256: o.Job.Bundle.SHA256}
	}
	if spec.Checkpoint != "" {
		m.Checkpoint = &wire.ManifestCheckpoint{Path: spec.Checkpoint}
	}
	return m
}
