package eventbus

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

const (
	relayTick  = time.Second            // for events of which nobody told
	linger     = 10 * time.Millisecond  // between two looks, so that what comes in between is read and marked together
	relayPage  = 256                    // events read at a time, more when others block them
	relayKeys  = 64                     // keys published at the same time
	firstPause = 250 * time.Millisecond // after a failed publish, doubled at each
	lastPause  = 30 * time.Second
	flushTime  = 5 * time.Second // for what is left at a stop
)

// Relay publishes what the outbox holds, one process at a time. Events of one key go
// one after another; a failed one is tried again and again and blocks its own key
// alone. An event may be published twice when a process ends in between, never zero
// times.
type Relay struct {
	outbox ports.Outbox
	bus    ports.Bus
	leader ports.Leader
	live   ports.Live
	log    *slog.Logger
}

// relayTopic is where replicas tell the one that relays that they stored events.
const relayTopic = "outbox"

// NewRelay makes a relay. Replicas that share live and the leader have one that works.
func NewRelay(outbox ports.Outbox, bus ports.Bus, leader ports.Leader, live ports.Live, log *slog.Logger) *Relay {
	return &Relay{outbox: outbox, bus: bus, leader: leader, live: live, log: log}
}

// Run relays until ctx ends. Then it publishes what is still pending, for some seconds
// at most, and returns nil; the bus has to run until then.
func (r *Relay) Run(ctx context.Context) error {
	stored, cancel := r.live.Subscribe(relayTopic)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go r.tell(over)
	return r.leader.Lead(ctx, "relay", func(lead context.Context) error {
		// A stop leaves time for the last events; lost leadership does not, because
		// another process relays already.
		out, end := context.WithCancel(context.WithoutCancel(lead))
		defer end()
		defer context.AfterFunc(lead, func() {
			if ctx.Err() == nil {
				end()
			}
		})()
		defer context.AfterFunc(ctx, func() {
			select {
			case <-time.After(flushTime):
				end()
			case <-out.Done():
			}
		})()
		s := &shift{Relay: r, stored: stored, stop: ctx, out: out, reports: make(chan report), slots: make(chan struct{}, relayKeys), page: relayPage, busy: map[domain.ID]bool{}}
		s.work()
		return nil
	})
}

// tell tells whoever relays of the events that are stored here.
func (r *Relay) tell(over <-chan struct{}) {
	for {
		select {
		case <-r.outbox.Wake():
			r.live.Publish(relayTopic, nil)
		case <-over:
			return
		}
	}
}

// shift is one time as the leader. Its fields belong to work, but for what lanes get.
type shift struct {
	*Relay
	stored    <-chan []byte // somebody did
	stop, out context.Context
	reports   chan report   // from lanes
	slots     chan struct{} // of lanes that publish
	blocked   atomic.Int64  // lanes that wait after a failure

	page     int
	busy     map[domain.ID]bool // keys in hand; true: given up, because of the stop
	lanes    int
	unmarked []domain.ID      // published events
	idle     []domain.ID      // keys whose lanes are over, busy until their events are marked
	waiting  []domain.Event   // read, and without a lane
	skipped  bool             // pending events wait for a key, or for a lane
	rest     <-chan time.Time // the outbox is left alone until it tells; nil: it may be asked
}

// report is what a lane tells: an event was published, or its end.
type report struct {
	published domain.ID
	key       domain.ID
	over      bool
	gaveUp    bool
}

func (s *shift) work() {
	tick := time.NewTicker(relayTick)
	defer tick.Stop()
	stopped := s.stop.Done()
	for look := true; s.out.Err() == nil; {
		taken, more := 0, false
		if look {
			taken, more = s.take()
		}
		if freed := s.mark(); more || freed && s.skipped {
			look = true
			continue
		}
		if s.stop.Err() != nil && look && taken == 0 && s.lanes == 0 && len(s.unmarked) == 0 {
			return
		}
		look = true
		select {
		case <-s.stored:
			s.linger()
		case <-tick.C:
		case <-stopped:
			stopped = nil
		case r := <-s.reports:
			s.note(r)
			look = s.linger() || s.stop.Err() != nil // else mark tells
		case <-s.out.Done():
		}
	}
	for s.lanes > 0 {
		s.note(<-s.reports)
	}
}

// linger waits until the outbox may be asked again, and says whether more was stored until
// then.
func (s *shift) linger() (stored bool) {
	for s.rest != nil {
		select {
		case <-s.rest:
			s.rest = nil
		case <-s.stop.Done():
			return stored
		case <-s.out.Done():
			return stored
		case <-s.stored:
			stored = true
		case r := <-s.reports:
			s.note(r)
		}
	}
	return stored
}

// take gives pending events to lanes, one for each key that is free. It says how many
// it gave, and whether there are more behind them.
func (s *shift) take() (taken int, more bool) {
	s.skipped = false
	if len(s.waiting) > 0 {
		taken = s.give(s.waiting)
		return taken, len(s.waiting) == 0
	}
	events, err := s.outbox.Pending(s.out, s.page)
	s.rest = time.After(linger)
	if err != nil {
		if s.out.Err() == nil {
			s.log.Error("the outbox cannot be read", "error", err)
		}
		return 0, false
	}
	taken = s.give(events)
	switch {
	case len(events) < s.page:
		s.page = relayPage
		return taken, false
	case taken == 0 && len(s.waiting) == 0:
		s.page *= 2 // behind a page of events that have to wait there may be others
		return s.take()
	}
	return taken, len(s.waiting) == 0
}

// give starts lanes for events whose keys are free, and keeps those that find no lane:
// reading them again would cost more than they do. It says how many it gave.
func (s *shift) give(events []domain.Event) (taken int) {
	room := relayKeys - s.lanes + int(s.blocked.Load())
	var order []domain.ID
	var waiting []domain.Event
	fresh := map[domain.ID][]domain.Event{}
	for _, e := range events {
		gaveUp, busy := s.busy[e.Key]
		switch {
		case busy:
			s.skipped = s.skipped || !gaveUp
			continue
		case fresh[e.Key] != nil:
		case len(fresh) >= room:
			s.skipped = true
			waiting = append(waiting, e)
			continue
		default:
			order = append(order, e.Key)
		}
		fresh[e.Key] = append(fresh[e.Key], e)
		taken++
	}
	s.waiting = waiting
	for _, key := range order {
		s.busy[key] = false
		s.lanes++
		go s.lane(key, fresh[key])
	}
	return taken
}

// lane publishes events of one key.
func (s *shift) lane(key domain.ID, events []domain.Event) {
	end := report{key: key, over: true}
	for _, e := range events {
		if !s.publish(e) {
			end.gaveUp = true
			break
		}
		s.reports <- report{published: e.ID}
	}
	s.reports <- end
}

// publish tries until it succeeds. At a stop it tries once more at most.
func (s *shift) publish(e domain.Event) bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case s.slots <- struct{}{}:
		case <-s.out.Done():
			return false
		}
		err := s.bus.Publish(s.out, e)
		<-s.slots
		if err == nil {
			return true
		}
		if s.out.Err() != nil {
			return false
		}
		s.log.Warn("an event could not be published; its key waits", "event", e.Type, "id", e.ID, "key", e.Key, "error", err)
		if s.stop.Err() != nil || !s.wait(pause) {
			return false
		}
	}
}

// wait says whether the relay still runs after a pause.
func (s *shift) wait(pause time.Duration) bool {
	s.blocked.Add(1)
	defer s.blocked.Add(-1)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop.Done():
	case <-s.out.Done():
	}
	return false
}

// note takes a report, and those that are there with it: they are marked together.
func (s *shift) note(r report) {
	for {
		if r.over {
			s.lanes--
			s.idle = append(s.idle, r.key)
			s.busy[r.key] = r.gaveUp
		} else {
			s.unmarked = append(s.unmarked, r.published)
		}
		select {
		case r = <-s.reports:
		default:
			return
		}
	}
}

// mark stores what is done. Until that is stored the keys stay busy: their events are
// still pending and would be published again. It says whether it freed any.
func (s *shift) mark() (freed bool) {
	if len(s.unmarked) > 0 {
		_ = faults.Point("outbox.after_publish_before_mark")
		s.rest = time.After(linger)
		if err := s.outbox.Done(s.out, s.unmarked...); err != nil {
			if s.out.Err() == nil {
				s.log.Error("published events cannot be marked", "error", err)
			}
			return false
		}
		s.unmarked = nil
	}
	for _, key := range s.idle {
		if gaveUp := s.busy[key]; !gaveUp {
			delete(s.busy, key)
		}
	}
	freed = len(s.idle) > 0
	s.idle = nil
	return freed
}
