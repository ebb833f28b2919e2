package invariants

import (
	"slices"

	"github.com/peergpu/peergpu/domain/jobs"
)

// job holds a job against its states: at rest it is over, or waits for a host.
func (c *check) job(j *job) {
	switch s := jobs.State(j.state); {
	case s.Terminal() && !j.finished:
		c.broken("J3", "job %s is %s and has no end", j.id, j.state)
	case s.Active():
		c.broken("J4", "job %s is %s still", j.id, j.state)
	case !s.Terminal() && s != jobs.Queued && s != jobs.Pending:
		c.broken("J3", "job %s is %q, which is no state", j.id, j.state)
	}
	if j.state == string(jobs.Queued) && len(j.attempts) > 0 && j.reason == "" {
		c.broken("J4", "job %s waits again and no reason is told", j.id)
	}
}

// attempts holds what was tried against the rules for it.
func (c *check) attempts(j *job) {
	active, lost := 0, 0
	for i, a := range j.attempts {
		last := i == len(j.attempts)-1
		if a.number != i+1 {
			c.broken("J3", "attempt %d of job %s follows %d", a.number, j.id, i)
		}
		outcome := jobs.Outcome(a.outcome)
		if a.active != (outcome == jobs.OutcomeActive) {
			c.broken("J1", "attempt %s/%d is active=%t with outcome %q", j.id, a.number, a.active, a.outcome)
		}
		if a.active {
			active++
		}
		switch outcome {
		case jobs.OutcomeLost:
			lost++
		case jobs.OutcomeSucceeded, jobs.OutcomeFailed, jobs.OutcomeCancelled:
			if !last {
				c.broken("J6", "attempt %s/%d %s, and yet another followed", j.id, a.number, a.outcome)
			}
		case jobs.OutcomeActive, jobs.OutcomeDeclined:
		}
		times := slices.DeleteFunc([]int64{a.leased, a.accepted, a.started, a.exited, a.end}, func(at int64) bool { return at == 0 })
		if !slices.IsSorted(times) {
			c.broken("J3", "the times of attempt %s/%d go backwards: %v", j.id, a.number, times)
		}
	}
	if active > 1 {
		c.broken("J1", "job %s has %d active attempts", j.id, active)
	}
	if active == 1 != jobs.State(j.state).Active() {
		c.broken("J1", "job %s is %s with %d active attempts", j.id, j.state, active)
	}
	if lost != j.losses || lost > jobs.MaxLosses {
		c.broken("J6", "job %s counts %d losses and has %d lost attempts, of %d at most", j.id, j.losses, lost, jobs.MaxLosses)
	}
}

// timeline holds the events against the table of transitions: each begins where the
// one before ended, and the last where the job stands. What is told of an attempt after
// its successor began was done by a stale one.
func (c *check) timeline(j *job) {
	state, attempt := jobs.State(""), int64(0)
	for i, e := range j.events {
		if e.Attempt < attempt {
			c.broken("J5", "event %d of job %s, %s, is of attempt %d, and attempt %d had begun", e.seq, j.id, e.kind, e.Attempt, attempt)
		}
		attempt = e.Attempt
		// What is no transition tells of no state before it.
		if i > 0 && e.From == "" && jobs.State(e.State) == state {
			continue
		}
		step := slices.IndexFunc(jobs.Transitions, func(t jobs.Transition) bool {
			return t.From == jobs.State(e.From) && t.To == jobs.State(e.State) && t.Event == e.kind
		})
		if step < 0 {
			c.broken("J3", "event %d of job %s, %s, goes from %q to %q", e.seq, j.id, e.kind, e.From, e.State)
		}
		if jobs.State(e.From) != state {
			c.broken("E1", "event %d of job %s, %s, begins at %q, and the one before ended at %q", e.seq, j.id, e.kind, e.From, state)
		}
		state = jobs.State(e.State)
	}
	if string(state) != j.state {
		c.broken("E1", "the events of job %s end at %q, and it is %q", j.id, state, j.state)
	}
}

// acknowledged looks for the jobs that the server said it had taken.
func (c *check) acknowledged() {
	for _, id := range c.Acknowledged {
		if c.byID[id] == nil {
			c.broken("J4", "job %s was acknowledged and is not there", id)
		}
	}
}

// devices holds what is reserved against the attempts that reserve it.
func (c *check) devices() {
	holders := map[string][]string{}
	for _, d := range c.reserved {
		j := c.byID[d.job]
		if j == nil || d.attempt < 1 || d.attempt > len(j.attempts) {
			c.broken("C1", "device %s is reserved by attempt %s/%d, which is not there", d.id, d.job, d.attempt)
			continue
		}
		if d.active != j.attempts[d.attempt-1].active {
			c.broken("C1", "device %s is reserved=%t by attempt %s/%d, which is active=%t", d.id, d.active, d.job, d.attempt, j.attempts[d.attempt-1].active)
		}
		if d.active {
			holders[d.id] = append(holders[d.id], d.job)
		}
	}
	for id, by := range holders {
		if len(by) > 1 {
			c.broken("C1", "device %s is reserved by %v", id, by)
		}
	}
}

// outbox wants nothing left to be told.
func (c *check) outbox() {
	for _, e := range c.pending {
		c.broken("E2", "event %d, %s of %s, is not published", e.seq, e.kind, e.key)
	}
}
