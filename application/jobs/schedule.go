package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// The numbers of the scheduler.
const (
	tick          = 2 * time.Second
	placed        = 64   // at a time, because of one host's news
	placers       = 8    // leases that are stored side by side
	sweepPage     = 1000 // rows a sweep takes at a time
	breakerHosts  = 5    // at least so many lost hosts trip the breaker
	breakerShare  = 5    // when they are more than one in five
	HostsChanged  = "hosts"
	archiveReader = "jobs-archive"
)

// Load reads the market, who occupies it and who waits. It runs once, before the
// first use case.
func (s *Service) Load(ctx context.Context) error {
	if err := s.reload(ctx); err != nil {
		return err
	}
	if err := s.recount(ctx); err != nil {
		return err
	}
	return s.readQueue(ctx)
}

// reload replaces the picture of all hosts.
func (s *Service) reload(ctx context.Context) error {
	all, err := s.Offers.All(ctx)
	if err != nil {
		return err
	}
	byHost := grouped(all)
	for host, offers := range byHost {
		s.fleet.replace(host, offers)
	}
	for _, host := range s.fleet.hosts() {
		if _, there := byHost[host]; !there {
			s.fleet.replace(host, nil)
		}
	}
	return nil
}

// refresh replaces the picture of some hosts.
func (s *Service) refresh(ctx context.Context, hosts ...domain.ID) error {
	offers, err := s.Offers.Of(ctx, hosts...)
	if err != nil {
		return err
	}
	byHost := grouped(offers)
	for _, host := range hosts {
		s.fleet.replace(host, byHost[host])
	}
	return nil
}

// grouped are offers by their host.
func grouped(offers []ports.Offer) map[domain.ID][]ports.Offer {
	byHost := map[domain.ID][]ports.Offer{}
	for _, o := range offers {
		byHost[o.HostID] = append(byHost[o.HostID], o)
	}
	return byHost
}

// recount reads from the database which devices are taken.
func (s *Service) recount(ctx context.Context) error {
	s.fleet.recounting()
	taken := map[domain.ID]domain.ID{}
	err := s.each(ctx, ports.JobFilter{States: []jobs.State{jobs.Assigned, jobs.Running, jobs.Cancelling}}, func(j jobs.Snapshot) error {
		for _, id := range j.Current().DeviceIDs() {
			taken[id] = j.ID
		}
		return nil
	})
	if err != nil {
		s.fleet.refused()
		return err
	}
	s.fleet.occupy(taken)
	return nil
}

// readQueue parks every queued job that is not waiting here yet, and lets those go that
// another replica placed: the queue is a query.
func (s *Service) readQueue(ctx context.Context) error {
	gone := map[domain.ID]struct{}{}
	for _, id := range s.fleet.parkedJobs() {
		gone[id] = struct{}{}
	}
	err := s.each(ctx, ports.JobFilter{States: []jobs.State{jobs.Queued}}, func(j jobs.Snapshot) error {
		delete(gone, j.ID)
		declined := func(a jobs.Attempt) bool { return a.Outcome == jobs.OutcomeDeclined }
		// Hosts that declined it may be asked again by now.
		if !s.fleet.waits(j.ID) || slices.ContainsFunc(j.Attempts, declined) {
			s.fleet.park(j.ID, s.request(ctx, j), j.CreatedAt)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := range gone {
		s.fleet.unpark(id) // one that was queued again meanwhile is read the next time
	}
	return nil
}

// each goes through all jobs of a filter.
func (s *Service) each(ctx context.Context, f ports.JobFilter, visit func(jobs.Snapshot) error) error {
	page := ports.Page{Limit: sweepPage}
	for {
		list, err := s.Jobs.List(ctx, f, page)
		if err != nil {
			return err
		}
		for _, j := range list {
			if err := visit(j); err != nil {
				return err
			}
		}
		if len(list) < sweepPage {
			return nil
		}
		page.After = list[len(list)-1].ID
	}
}

// Schedule places waiting jobs whenever something became free or new, until ctx ends.
func (s *Service) Schedule(ctx context.Context) error {
	changed, cancel := s.Live.Subscribe(HostsChanged)
	defer cancel()
	moves, cancelMoves := s.Live.Subscribe(movesTopic)
	defer cancelMoves()
	// Nobody told us what changed before we listened.
	stale := false // something of it could not be read
	market := func(err error) {
		stale = stale || err != nil
		s.warn("the market cannot be read", err)
	}
	market(s.reload(ctx))
	s.fleet.refused()
	others := &others{}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case message := <-changed:
			market(s.hostsChanged(ctx, message, changed))
		case message := <-moves:
			others.heard(s.fleet, message)
		case <-s.fleet.news:
			// What has been told already counts: a host that is gone gets nothing.
			for told := true; told; {
				select {
				case message := <-changed:
					market(s.hostsChanged(ctx, message, changed))
				case message := <-moves:
					others.heard(s.fleet, message)
				default:
					told = false
				}
			}
			s.placeAll(ctx)
		case <-ticker.C:
			if stale {
				stale = false
				market(s.reload(ctx))
			}
			if doubtful := s.fleet.doubtful(); others.due() || doubtful {
				s.warn("occupancy cannot be read", s.recount(ctx))
			}
			s.warn("the queue cannot be read", s.readQueue(ctx))
			s.fleet.retry()
		}
	}
}

// hostsAtOnce is how many changes are read together.
const hostsAtOnce = 200

// hostsChanged takes over a change, and those that were told since.
func (s *Service) hostsChanged(ctx context.Context, message []byte, more <-chan []byte) error {
	var changed []domain.ID
	lost, told := false, true
	for n := 0; told && n < hostsAtOnce; n++ {
		if host, ok := hostOf(message); !ok {
			lost = true
		} else if !slices.Contains(changed, host) {
			changed = append(changed, host)
		}
		select {
		case message = <-more:
		default:
			told = false
		}
	}
	if lost {
		return s.reload(ctx)
	}
	return s.refresh(ctx, changed...)
}

// hostOf reads which host a message is about; one without says that others were lost.
func hostOf(message []byte) (host domain.ID, ok bool) {
	n := copy(host[:], message) // what follows is which change it was
	return host, n == len(host)
}

func (s *Service) warn(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.Log.Warn(what, "error", err)
	}
}

// placeAll serves every host that has news.
func (s *Service) placeAll(ctx context.Context) {
	for ctx.Err() == nil {
		found, more := s.fleet.next(placed)
		if !more {
			return
		}
		var group sync.WaitGroup
		slots := make(chan struct{}, placers)
		for _, p := range found {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				s.warn("a waiting job cannot be placed", s.place(ctx, p))
			})
		}
		group.Wait()
	}
}

// place stores the lease that was reserved for a waiting job. A job that cannot be
// stored now waits again from the next reading of the queue on.
func (s *Service) place(ctx context.Context, p placement) error {
	_, err := s.update(ctx, p.job, func(j *jobs.Job) error { return j.Lease(p.lease, s.Clock.Now()) })
	if err != nil && unsure(err) {
		if now, again := s.Jobs.Get(context.WithoutCancel(ctx), p.job, domain.ID{}); again == nil && leased(now, p.lease) {
			err = nil
		}
	}
	switch {
	case err == nil:
		_ = faults.Point("sched.after_offer_commit_before_send")
		s.Channels.Wake(p.lease.Host)
	case errors.Is(err, ports.ErrDeviceTaken):
		s.fleet.refused() // they stay occupied here until they are read again
		s.fleet.park(p.job, p.request, p.since)
	case unsure(err):
		// Others would fare no better now: all are looked at again with the queue.
		s.fleet.postpone(p.lease.Host, deviceIDs(p.lease.Devices)...)
		return err
	default: // it was cancelled, or is placed already, perhaps on the same devices by another replica
		if now, err := s.Jobs.Get(ctx, p.job, domain.ID{}); err != nil || !leased(now, p.lease) {
			s.fleet.free(p.lease.Host, deviceIDs(p.lease.Devices)...)
		}
	}
	return nil
}

// unsure says that a change may be stored although its answer is an error.
func unsure(err error) bool {
	kind := domain.KindOf(err)
	return kind == domain.KindInternal || kind == domain.KindUnavailable
}

// leased says that a job has exactly this lease.
func leased(j jobs.Snapshot, l jobs.Lease) bool {
	a := j.Current()
	return a != nil && a.Active() && a.Host == l.Host && slices.Equal(a.DeviceIDs(), deviceIDs(l.Devices))
}

// Sweep does what time alone brings: jobs expire, uploads never come, hosts are lost.
// One replica at a time does it.
func (s *Service) Sweep(ctx context.Context) error {
	every := min(tick, max(s.settings.LeaseTTL/4, 50*time.Millisecond))
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		s.warn("jobs cannot be expired", s.expire(ctx))
		err := s.findLost(ctx)
		if err != nil {
			s.steady = s.Clock.Now()
		}
		s.warn("lost hosts cannot be looked for", err)
		before := s.Clock.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if waited := s.Clock.Now().Sub(before); waited < 0 || waited > every+s.settings.LeaseTTL/2 {
			// The clock was set, or this process stood still: what happened before is of
			// another time.
			s.Log.WarnContext(ctx, "the clock jumped: no host is held to what it said before", "by", waited-every)
			s.jumped = s.Clock.Now()
			s.began, s.steady = s.jumped, s.jumped
		}
	}
}

// expire ends jobs that waited too long.
func (s *Service) expire(ctx context.Context) error {
	now := s.Clock.Now()
	for _, f := range []ports.JobFilter{
		{States: []jobs.State{jobs.Queued}, WaitedUntil: now},
		{States: []jobs.State{jobs.Pending}, Before: now.Add(-s.settings.UploadTTL)},
	} {
		list, err := s.Jobs.List(ctx, f, ports.Page{Limit: sweepPage})
		if err != nil {
			return err
		}
		for _, j := range list {
			why := ""
			if j.State == jobs.Queued {
				why = s.obstacles(ctx, j)
			}
			_, err := s.update(ctx, j.ID, func(j *jobs.Job) error { return j.Expire(why, s.Clock.Now()) })
			if domain.KindOf(err) == domain.KindConflict && err != nil {
				continue // somebody was faster: it goes on, and needs its bundle
			}
			if err != nil {
				return err
			}
			if j.State == jobs.Pending && j.Bundle.Key != "" {
				s.forget(ctx, j.Bundle.Key)
			}
		}
	}
	return nil
}

// obstacles says in words what keeps the hosts from a job, for the time when it does
// not wait any more.
func (s *Service) obstacles(ctx context.Context, j jobs.Snapshot) string {
	if why := s.fleet.explain(s.request(ctx, j)).String(); why != "" {
		return "; " + why
	}
	return ""
}

// findLost takes attempts away from hosts that do not do in time what they have to, and
// from those that were not heard of for too long. After a
// start of ours everybody gets a lease's time to come back, and when too many are
// missing at once the fault is rather ours: then nothing is taken away.
func (s *Service) findLost(ctx context.Context) error {
	byHost := map[domain.ID][]jobs.Snapshot{}
	err := s.each(ctx, ports.JobFilter{States: []jobs.State{jobs.Assigned, jobs.Running, jobs.Cancelling}}, func(j jobs.Snapshot) error {
		late, err := s.overdue(ctx, j)
		if err != nil {
			return err
		}
		if late != "" {
			return s.lose(ctx, j, jobs.ReasonHostError, late)
		}
		host := j.Current().Host
		byHost[host] = append(byHost[host], j)
		return nil
	})
	if err != nil || len(byHost) == 0 {
		return err
	}
	hosts := make([]domain.ID, 0, len(byHost))
	for h := range byHost {
		hosts = append(hosts, h)
	}
	heard, err := s.Offers.Heard(ctx, hosts...)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	var lost []domain.ID
	for _, h := range hosts {
		last := heard[h]
		if last.Before(s.jumped) || last.After(now) {
			last = s.jumped // the agent, too, counts from a moment before and stops in time
		}
		deadline := last.Add(s.settings.ReassignAfter)
		if grace := s.began.Add(s.settings.LeaseTTL); deadline.Before(grace) {
			deadline = grace
		}
		if now.After(deadline) {
			lost = append(lost, h)
		}
	}
	if len(lost) >= breakerHosts && len(lost)*breakerShare > len(hosts) {
		s.Log.ErrorContext(ctx, "too many hosts are silent at once; nothing is reassigned", "silent", len(lost), "of", len(hosts))
		return nil
	}
	for _, h := range lost {
		for _, j := range byHost[h] {
			if err := s.lose(ctx, j, jobs.ReasonHostLost, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// Subscribe registers the reactions of jobs to events.
func (s *Service) Subscribe(bus ports.Bus) {
	bus.Subscribe(archiveReader, s.archiveEnded, jobs.EventSucceeded, jobs.EventFailed, jobs.EventCancelled, jobs.EventLost)
}

// archiveEnded moves the log of an attempt that ended into the blob store.
func (s *Service) archiveEnded(ctx context.Context, e domain.Event) error {
	var h jobs.Happening
	if err := json.Unmarshal(e.Data, &h); err != nil || h.Attempt == 0 {
		return err
	}
	log, err := s.archive(ctx, Ref{e.Key, h.Attempt})
	if err != nil || e.Type == jobs.EventSucceeded {
		return err
	}
	// One that was taken from its host has had nobody who said how long its log is.
	_, err = s.update(ctx, e.Key, func(j *jobs.Job) error { return j.LogKept(h.Attempt, log.Size, log.SHA256) })
	if errors.Is(err, jobs.ErrLogKnown) {
		return nil
	}
	return err
}
