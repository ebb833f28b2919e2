package daemon

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/faults"
)

// offered decides about a manifest and answers it. It runs in the reader, so that a
// cancel that follows finds the attempt.
func (d *Daemon) offered(s *session, signed string) {
	claims, bad := d.verified(signed)
	if bad == nil {
		if a := d.find(attemptKey{claims.JobID, claims.Attempt}); a != nil && a.stopped() == nil {
			// The server asks again because it did not hear the accept. One that is
			// held does not run twice, whatever happens here.
			a.courier.tell(&wire.Accept{JobID: claims.JobID, Attempt: claims.Attempt})
			return
		}
		bad = d.accept(claims)
	}
	if bad != nil {
		job, attempt := peek(signed)
		d.log.Warn("a manifest was rejected", "job", job, "attempt", attempt, "reason", bad.Reason, "detail", bad.Detail)
		_ = s.ask(&wire.Reject{JobID: job, Attempt: attempt, Reason: bad.Reason, Detail: clip(bad.Detail)}, func(wire.Frame) {})
	}
}

// verified checks a manifest's signature, form, addressee and time, in this order.
func (d *Daemon) verified(signed string) (*wire.ManifestClaims, *rejection) {
	payload, bad := d.trust.verify(wire.TypManifest, signed)
	if bad != nil {
		return nil, bad
	}
	var c wire.ManifestClaims
	if err := wire.ParseClaims(payload, &c); err != nil {
		return nil, reject(wire.RejectReasonMalformed, "%v", err)
	}
	now, _ := d.time.now(d.clock.Boot())
	if bad := d.trust.check(stamp{c.Iss, c.Aud, c.JTI, c.Iat, c.Nbf, c.Exp}, d.identity.HostID, now); bad != nil {
		return nil, bad
	}
	return &c, sensible(&c)
}

// accept begins an attempt, or says why not. What it begins is in the journal first.
func (d *Daemon) accept(c *wire.ManifestClaims) *rejection {
	key := attemptKey{c.JobID, c.Attempt}
	if why := d.journal.replayed(key, c.JTI); why != "" {
		return reject(wire.RejectReasonReplayed, "%s", why)
	}
	if bad := d.cfg.Policy.judge(c, d.cfg.Trusted); bad != nil {
		return bad
	}
	if bad := able(c, d.ports.Runtime.Info(), d.inventory.Load().gpus, d.cfg.Trusted); bad != nil {
		return bad
	}
	after, bad := d.room(c)
	if bad != nil {
		return bad
	}
	a, err := d.newAttempt(key, c)
	if err != nil {
		d.log.Error("the attempt's folder cannot be made", "error", err)
		return reject(wire.RejectReasonBusy, "the host cannot write its state folder")
	}
	a.after = after
	if err := d.journal.begin(key, c.JTI, c.Exp, d.clock.Now()); err != nil {
		a.log.Error("the journal cannot be written", "error", err)
		a.spool.close()
		_ = d.ports.Folders.RemoveDir(a.dir)
		return reject(wire.RejectReasonBusy, "the host cannot write its journal")
	}
	_ = faults.Point("offer.after_persist_before_accept")
	d.mu.Lock()
	d.attempts[key] = a
	d.mu.Unlock()
	a.log.Info("job accepted", "kind", c.Kind, "gpus", len(c.GPUs.UUIDs))
	a.courier.tell(&wire.Accept{JobID: c.JobID, Attempt: c.Attempt})
	d.workers.Go(func() { a.courier.carry(a.held, d.link) })
	d.workers.Go(a.work)
	return nil
}

// room checks that there is place for one more, and lists what has to be gone before it
// starts: an older attempt of the job, which the server has given up, and attempts that
// are on their way out and still have one of its GPUs.
func (d *Daemon) room(c *wire.ManifestClaims) ([]<-chan struct{}, *rejection) {
	d.mu.Lock()
	stopping, policy := d.stopping, d.policy
	d.mu.Unlock()
	if stopping {
		return nil, reject(wire.RejectReasonAgentStopping, "the agent is stopping")
	}
	if policy.Ver > 0 && !policy.Accepting {
		return nil, reject(wire.RejectReasonPolicy, "the platform gives this host no work")
	}
	if policy.MaxRuntimeMs > 0 && c.Limits.MaxRuntimeMs > policy.MaxRuntimeMs {
		return nil, reject(wire.RejectReasonPolicy, "the platform lets jobs run here for at most %s", time.Duration(policy.MaxRuntimeMs)*time.Millisecond)
	}
	var after []<-chan struct{}
	running := 0
	for _, a := range d.all() {
		if a.key.Job == c.JobID {
			a.stop(order{drop: true})
			after = append(after, a.gone)
			continue
		}
		if !a.runs() {
			continue
		}
		shares := a.claims != nil && slices.ContainsFunc(c.GPUs.UUIDs, func(uuid string) bool {
			return slices.Contains(a.claims.GPUs.UUIDs, uuid)
		})
		switch {
		case shares && a.stopped() == nil:
			return nil, reject(wire.RejectReasonBusy, "a GPU of the job is in use by another")
		case shares:
			after = append(after, a.gone)
		default:
			running++
		}
	}
	for _, limit := range []int{d.cfg.Policy.MaxConcurrent, policy.MaxConcurrent} {
		if limit > 0 && running >= limit {
			return nil, reject(wire.RejectReasonBusy, "the host runs at most %d jobs at a time", limit)
		}
	}
	return after, nil
}

// cancelled obeys a cancel command. Obeying one twice changes nothing.
func (d *Daemon) cancelled(s *session, signed string) {
	payload, bad := d.trust.verify(wire.TypCancel, signed)
	var c wire.CancelClaims
	if bad == nil {
		if err := wire.ParseClaims(payload, &c); err != nil {
			bad = reject(wire.RejectReasonMalformed, "%v", err)
		}
	}
	if bad == nil {
		now, _ := d.time.now(d.clock.Boot())
		bad = d.trust.check(stamp{c.Iss, c.Aud, c.JTI, c.Iat, c.Nbf, c.Exp}, d.identity.HostID, now)
	}
	if bad != nil {
		d.log.Error("a cancel command was refused", "reason", bad.Reason, "detail", bad.Detail)
		return
	}
	key := attemptKey{c.JobID, c.Attempt}
	if a := d.find(key); a != nil {
		a.log.Info("job cancelled by the server")
		grace := min(d.cfg.StopGrace, max(0, time.Duration(c.GraceMs)*time.Millisecond))
		a.stop(order{reason: wire.ReasonCancelledByRenter, detail: "cancelled", grace: grace})
		return
	}
	// The manifest may still be on its way, or lost: it must not start later.
	if err := d.journal.see(key, c.JTI, c.Exp); err != nil {
		d.log.Error("the journal cannot be written", "error", err)
		return
	}
	empty := wire.LogSummary{SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	_ = s.ask(&wire.Finished{
		JobID: c.JobID, Attempt: c.Attempt, Reason: wire.ReasonCancelledByRenter, Detail: "cancelled before it began", Log: empty,
	}, func(wire.Frame) {})
}

// restricted takes over the platform's limits for this host.
func (d *Daemon) restricted(signed string) {
	payload, bad := d.trust.verify(wire.TypPolicy, signed)
	var c wire.PolicyClaims
	if bad == nil {
		if err := wire.ParseClaims(payload, &c); err != nil {
			bad = reject(wire.RejectReasonMalformed, "%v", err)
		}
	}
	if bad == nil {
		now, _ := d.time.now(d.clock.Boot())
		bad = d.trust.check(stamp{c.Iss, c.Aud, c.JTI, c.Iat, c.Nbf, c.Exp}, d.identity.HostID, now)
	}
	if bad != nil {
		d.log.Error("a policy was refused", "reason", bad.Reason, "detail", bad.Detail)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.Ver > d.policy.Ver {
		d.policy = c
		d.log.Info("the platform's policy for this host changed", "ver", c.Ver, "accepting", c.Accepting)
	}
}

// peek reads which attempt a rejected manifest speaks of, without trusting it.
func peek(signed string) (job string, attempt int) {
	payload, err := unverified(signed)
	if err != nil || len(payload) > wire.MaxClaims {
		return "", 0
	}
	var c struct {
		JobID   string `json:"job_id"`
		Attempt int    `json:"attempt"`
	}
	if json.Unmarshal(payload, &c) != nil || !wire.ValidJobID(c.JobID) || c.Attempt < 1 || int64(c.Attempt) > 1<<32-1 {
		return "", 0
	}
	return c.JobID, c.Attempt
}
