//go:build faults

package e2e

import (
	"slices"
	"syscall"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/faults"
)

// Provoke runs a job in a way that leads past a crash point, with what is to happen
// there, such as "kill@1", until everything is over.
func (f *Faulty) Provoke(point, action string, seed uint64) {
	f.t.Helper()
	f.Kill()
	server, agent := point+"="+action, ""
	if slices.Contains(faults.Agent, point) {
		server, agent = "", server
	}
	switch point {
	case "migrate.mid": // it was armed at the very first start
		server = ""
	case "lost.after_mark_before_requeue":
		agent = "log.after_spool_before_send=kill@1"
	}
	var command []string
	switch point {
	case "release.mid": // nothing is billed
		command = []string{"missing"}
	case "fence.before_kill": // it has to run until the lease is over
		command = []string{"simulate", "wait 20s"}
	}
	s := f.Draft(seed, command...)
	f.begin(server)
	pid := f.proc.Process.Pid
	if point != "sched.after_offer_commit_before_send" { // there a job waits for a host
		f.beginAgent(agent)
		f.until("the agent is online", func() bool { f.revive(); return f.User.online("box") })
	}
	if point == "hb.before_commit" { // a short job is over before the first
		f.until("a heartbeat is stored", func() bool { return f.passed(pid, point) })
	}
	f.Submit(s)
	switch point {
	case "sched.after_offer_commit_before_send":
		f.beginAgent(agent)
	case "drain.mid":
		require.NoError(f.t, f.proc.Process.Signal(syscall.SIGTERM))
	case "fence.before_kill":
		pid := f.agents["box"].Process.Pid
		f.until("the agent comes to a point", func() bool { return f.passed(pid, "start.after_start_before_persist") })
		f.Kill()
		f.until("the agent comes to a point", func() bool { return f.passed(pid, point) })
		f.Start()
	}
	f.Finish()
}

// passed says whether a process came to a point, armed or not.
func (f *Faulty) passed(pid int, point string) bool { return f.noted(pid, point, 4) }
