package jobs

import (
	"context"
	"encoding/json"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// movesTopic is where replicas tell each other who took and gave back devices, as JSON of
// move. What is told is a hint like all of the fleet, and comes long before the next
// reading of the database.
const movesTopic = "moves"

// move is what a change of a job means for the market.
type move struct {
	Job    domain.ID `json:"job"`
	Queued bool      `json:"queued,omitempty"` // it waits still, or again

	Took []domain.ID `json:"took,omitempty"` // by the attempt that began
	Now  int         `json:"now,omitempty"`  // its number

	Gave []domain.ID `json:"gave,omitempty"` // by the attempt that ended
	Was  int         `json:"was,omitempty"`  // its number
	Host domain.ID   `json:"host,omitzero"`  // that got them back
}

// ended remembers the attempts that gave back their devices last. What different replicas
// tell comes in any order: that an attempt took devices may be told after it gave them back.
type ended struct {
	known map[Ref]struct{}
	ring  [endedAttempts]Ref
	next  int
}

const endedAttempts = 4096

func (e *ended) put(ref Ref) {
	if _, known := e.known[ref]; known {
		return
	}
	delete(e.known, e.ring[e.next])
	e.known[ref], e.ring[e.next] = struct{}{}, ref
	e.next = (e.next + 1) % endedAttempts
}

// tellMove tells other replicas what a change of a job means for the market.
func (s *Service) tellMove(ctx context.Context, before, after jobs.Snapshot) {
	m := move{Job: after.ID, Queued: after.State == jobs.Queued}
	was, is := active(before), active(after)
	if was != nil && (is == nil || is.Number != was.Number) {
		m.Host, m.Gave, m.Was = was.Host, was.DeviceIDs(), was.Number
	}
	if is != nil && (was == nil || is.Number != was.Number) {
		m.Took, m.Now = is.DeviceIDs(), is.Number
	}
	if len(m.Gave)+len(m.Took) == 0 && (m.Queued || before.State != jobs.Queued) {
		return
	}
	data, err := json.Marshal(m)
	if err != nil {
		s.Log.ErrorContext(ctx, "a move cannot be told", "job", after.ID.Prefixed("job"), "error", err)
		return
	}
	s.Live.Elsewhere(movesTopic, data)
}

// follow takes over a move that another replica told.
func (f *fleet) follow(m move) {
	f.mu.Lock()
	defer f.signal()
	defer f.mu.Unlock()
	if len(m.Gave) > 0 {
		f.ended.put(Ref{m.Job, m.Was})
	}
	for _, id := range m.Gave {
		if f.jobs[id] == m.Job {
			f.yield([]domain.ID{id})
			f.ready[m.Host] = struct{}{}
		}
	}
	_, over := f.ended.known[Ref{m.Job, m.Now}]
	for _, id := range m.Took {
		if _, taken := f.jobs[id]; !taken && !over {
			f.index.Occupy(id)
			f.jobs[id] = m.Job
			f.touch(id)
		}
	}
	if !m.Queued {
		f.leave(m.Job)
	}
}

// others is what is heard of other replicas.
type others struct {
	told  bool // there are some
	lost  bool // messages of theirs
	ticks int  // since occupancy was read because of them
}

// readEvery is after how many ticks occupancy is read, where other replicas change it too:
// what one of them did just before it died is told by nobody.
const readEvery = 15

// heard takes over a message.
func (o *others) heard(f *fleet, message []byte) {
	var m move
	if message == nil || json.Unmarshal(message, &m) != nil {
		o.lost = true // or it is of another version
		return
	}
	o.told = true
	f.follow(m)
}

// due says, once a tick, whether occupancy has to be read again because of the others.
func (o *others) due() bool {
	if o.ticks++; !o.lost && (!o.told || o.ticks < readEvery) {
		return false
	}
	o.ticks, o.lost = 0, false
	return true
}
