package invariants

import (
	"strings"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/domain/jobs"
)

// ledger adds everything up.
func (c *check) ledger() {
	for _, statement := range c.mutable {
		c.broken("M2", "the database does what it is to refuse: %s", statement)
	}
	sums, total := map[string]int64{}, int64(0)
	for _, t := range c.txs {
		var sum int64
		for _, e := range t.entries {
			sum += e.amount
			sums[e.account] += e.amount
		}
		if sum != 0 || len(t.entries) < 2 {
			c.broken("M1", "transaction %s has %d entries that sum to %d", t.key, len(t.entries), sum)
		}
		total += sum
	}
	if total != 0 {
		c.broken("M1", "all entries sum to %d", total)
	}
	for _, a := range c.accounts {
		sum := sums[a.code]
		if a.guarded != billing.Account(a.code).Guarded() {
			c.broken("M7", "account %s is guarded=%t", a.code, a.guarded)
		}
		if a.guarded && (sum < 0 || a.balance < 0) {
			c.broken("M7", "account %s is below zero: %d by its entries, %d by its balance", a.code, sum, a.balance)
		}
		if a.guarded && sum != a.balance {
			c.broken("M1", "account %s has a balance of %d and entries of %d", a.code, a.balance, sum)
		}
	}
}

// holds pairs each hold with what ended it.
func (c *check) holds() {
	opened, ended := map[string]*tx{}, map[string][]*tx{}
	for _, t := range c.txs {
		switch billing.Kind(t.kind) {
		case billing.KindHold:
			if other := opened[t.job]; other != nil {
				c.broken("M11", "job %s has two holds, %s and %s, and one end of one", t.job, other.key, t.key)
			}
			opened[t.job] = t
		case billing.KindSettle, billing.KindRelease:
			ended[t.job] = append(ended[t.job], t)
		case billing.KindTopUp:
		}
	}
	for id, hold := range opened {
		j, ends := c.byID[id], ended[id]
		switch {
		case len(ends) > 1:
			c.broken("M4", "the hold of job %s ended %d times", id, len(ends))
		case len(ends) == 0 && j == nil:
			c.broken("M11", "the hold %s is of no job", hold.key)
		case len(ends) == 0 && jobs.State(j.state).Terminal():
			c.broken("M11", "the hold of job %s outlives it", id)
		case len(ends) == 1 && j != nil && !jobs.State(j.state).Terminal():
			c.broken("M4", "job %s is %s, and its hold ended", id, j.state)
		}
		if j != nil && amountOn(hold, ":hold") != j.hold {
			c.broken("M5", "job %s believes in a hold of %d, and %d are held", id, j.hold, amountOn(hold, ":hold"))
		}
	}
	for _, j := range c.jobs {
		if j.hold > 0 && opened[j.id] == nil {
			c.broken("M5", "job %s believes in a hold of %d, and nothing is held", j.id, j.hold)
		}
		if j.cost > 0 && len(ended[j.id]) == 0 {
			c.broken("M4", "job %s costs %d and is not settled", j.id, j.cost)
		}
	}
	for id, ends := range ended {
		if opened[id] == nil {
			c.broken("M4", "%s of job %s ends no hold", ends[0].kind, id)
		}
	}
}

// amountOn is what a transaction moves onto the accounts of one kind.
func amountOn(t *tx, suffix string) (sum int64) {
	for _, e := range t.entries {
		if strings.HasSuffix(e.account, suffix) {
			sum += e.amount
		}
	}
	return sum
}

// money holds what a job cost against what was paid for it.
func (c *check) money(j *job) {
	var cost int64
	for i, a := range j.attempts {
		cost += a.amount
		if a.amount == 0 {
			continue
		}
		if i != len(j.attempts)-1 {
			c.broken("M4", "attempt %s/%d is billed, and another followed", j.id, a.number)
		}
		if want := int64(domain.Cost(domain.Micros(a.price), 1, a.billable)); a.amount != want {
			c.broken("M4", "attempt %s/%d is billed %d for %d ms at %d an hour, which is %d", j.id, a.number, a.amount, a.billable, a.price, want)
		}
		if a.billable > a.MaxRuntime/1e6 {
			c.broken("M5", "attempt %s/%d is billed for %d ms of %d", j.id, a.number, a.billable, a.MaxRuntime/1e6)
		}
	}
	if cost != j.cost || cost > j.hold {
		c.broken("M4", "job %s costs %d, its attempts %d, of a hold of %d", j.id, j.cost, cost, j.hold)
	}
	for _, t := range c.txs {
		if t.job != j.id || (t.kind != string(billing.KindSettle) && t.kind != string(billing.KindRelease)) {
			continue
		}
		fee, host := amountOn(t, ":fee"), amountOn(t, ":pending")
		if fee+host != cost || -amountOn(t, ":hold") != amountOn(t, ":wallet")+cost {
			c.broken("M4", "job %s costs %d; %s paid %d to the host and %d to the platform, and gave %d of %d back", j.id, cost, t.kind, host, fee, amountOn(t, ":wallet"), -amountOn(t, ":hold"))
		}
		if taken := -amountOn(t, ":hold"); taken != j.hold {
			c.broken("M5", "%s of job %s takes %d of the %d that were held", t.kind, j.id, taken, j.hold)
		}
		for _, e := range t.entries {
			if strings.HasSuffix(e.account, ":pending") && !strings.Contains(e.account, j.attempts[len(j.attempts)-1].owner) {
				c.broken("M4", "the settlement of job %s pays %s, who is not its host", j.id, e.account)
			}
		}
	}
}
