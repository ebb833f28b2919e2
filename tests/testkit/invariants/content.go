package invariants

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/domain/jobs"
)

// counts says that the attempt's results count.
func (a attempt) counts() bool {
	switch jobs.Outcome(a.outcome) {
	case jobs.OutcomeSucceeded, jobs.OutcomeFailed, jobs.OutcomeCancelled:
		return true
	case jobs.OutcomeActive, jobs.OutcomeLost, jobs.OutcomeDeclined:
	}
	return false
}

func logKey(j *job, a attempt) string { return fmt.Sprintf("logs/%s/%d.log", j.id, a.number) }

// logs holds the archived log of each attempt against what its agent said of it.
func (c *check) logs(j *job) {
	for _, a := range j.attempts {
		if a.active {
			continue
		}
		if n := c.chunks[fmt.Sprintf("%s/%d", j.id, a.number)]; n > 0 {
			c.broken("L1", "the log of attempt %s/%d lies in %d chunks still", j.id, a.number, n)
		}
		o, stored := c.objects[logKey(j, a)]
		switch {
		case !a.counts():
			continue // what arrived before the loss
		case !stored && a.LogBytes > 0:
			c.broken("L1", "the log of attempt %s/%d, %d bytes, is not stored", j.id, a.number, a.LogBytes)
		case stored && (o.size != a.LogBytes || a.LogBytes > 0 && o.sha256 != a.LogSHA256):
			c.broken("L1", "the log of attempt %s/%d is %d bytes of %s, and %d of %s were printed", j.id, a.number, o.size, o.sha256, a.LogBytes, a.LogSHA256)
		}
		if want, known := c.Logs[j.id]; known && a.outcome == string(jobs.OutcomeSucceeded) && o.sha256 != want {
			c.broken("L1", "the log of attempt %s/%d, %d bytes, is not what the command prints", j.id, a.number, o.size)
		}
	}
}

// artifacts holds what renters see against what is stored.
func (c *check) artifacts(j *job) {
	for _, f := range j.files {
		if f.attempt < 1 || f.attempt > len(j.attempts) {
			c.broken("A1", "%s of job %s is of attempt %d, which is not there", f.path, j.id, f.attempt)
			continue
		}
		a := j.attempts[f.attempt-1]
		if !f.confirmed {
			if a.outcome == string(jobs.OutcomeSucceeded) {
				c.broken("A1", "%s of job %s is not visible, and the attempt succeeded", f.path, j.id)
			}
			continue
		}
		if f.attempt != len(j.attempts) {
			continue // nobody sees it
		}
		if !a.counts() && !a.active {
			c.broken("A1", "%s of job %s is visible, and its attempt is %s", f.path, j.id, a.outcome)
		}
		if o, stored := c.objects[f.key]; !stored || o.size != f.size || o.sha256 != f.sha256 {
			c.broken("A1", "%s of job %s is to have %d bytes of %s, and has %d of %s", f.path, j.id, f.size, f.sha256, o.size, o.sha256)
		}
	}
}

// orphans looks for objects that nothing refers to, and for sums that are wrong.
func (c *check) orphans() {
	used := map[string]bool{}
	for _, j := range c.jobs {
		used[j.bundle] = true
		for _, a := range j.attempts {
			used[logKey(j, a)] = true
		}
		for _, f := range j.files {
			if f.confirmed && f.attempt == len(j.attempts) {
				used[f.key] = true
			}
		}
	}
	swept := func(key string) bool { return c.Swept != nil && c.Swept(key) }
	for key, o := range c.objects {
		if !used[key] && !swept(key) {
			c.broken("A2", "nothing refers to the object %s, %d bytes", key, o.size)
		}
		if sum, noted := c.sums[key]; noted && sum != o.sha256 {
			c.broken("A1", "the object %s is of %s, and noted as %s", key, o.sha256, sum)
		} else if !noted && used[key] {
			c.broken("A1", "the object %s has no sum", key)
		}
	}
	for key := range c.sums {
		if _, there := c.objects[key]; !there && !swept("_sha256/"+key) {
			c.broken("A2", "there is a sum of %s, and no such object", key)
		}
	}
}

// Later is what a sweep by age will take: what was being written, bundles of jobs that
// were never stored, uploads that were not confirmed or whose attempt was lost, sums.
func Later(key string) bool {
	return slices.ContainsFunc([]string{"_sha256/", "bundles/", "jobs/"}, func(prefix string) bool {
		return strings.HasPrefix(key, prefix)
	}) || strings.HasSuffix(key, ".tmp")
}
