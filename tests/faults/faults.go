// Package faults is for the crash points: places in the programs at which a test can
// make them die, fail or wait. In a normal build Point and Note are empty and leave
// nothing behind, not even their names; built with `-tags faults` they do what the
// environment says:
//
//	PEERGPU_FAULTS      name=action[@n], separated by commas. Without n it happens each
//	                    time that the point is reached, with it at the n-th time only.
//	                    kill sends SIGKILL to the program itself, err makes the step fail,
//	                    panic panics, delay:200ms waits. A name that is not in All is an
//	                    error at the start.
//	PEERGPU_FAULTS_LOG  a file to which a line is appended whenever a point is reached,
//	                    before its action: time in nanoseconds since 1970, process id,
//	                    name, how many times (for notes: what they are of) and the action.
package faults

// Server lists the points of the server, in the order of a job's life.
var Server = []string{
	"migrate.mid",
	"submit.after_hold",
	"sched.after_reserve",
	"submit.after_insert",
	"submit.after_outbox",
	"sched.after_offer_commit_before_send",
	"offer.after_send",
	"accept.before_commit",
	"accept.after_commit",
	"hb.before_commit",
	"log.after_append_before_ack",
	"artifact.after_put_before_confirm",
	"finish.before_commit",
	"finish.after_commit_before_ack",
	"settle.mid",
	"release.mid",
	"outbox.after_publish_before_mark",
	"consumer.after_effect_before_ack",
	"lost.after_mark_before_requeue",
	"drain.mid",
}

// Agent lists the points of the agent.
var Agent = []string{
	"offer.after_persist_before_accept",
	"fetch.mid",
	"start.after_create_before_start",
	"start.after_start_before_persist",
	"log.after_spool_before_send",
	"log.after_send_before_ack",
	"upload.mid_part",
	"upload.after_put_before_confirm",
	"exit.before_persist",
	"exit.after_persist_before_send",
	"fence.before_kill",
	"cleanup.mid",
}

// Notes lists what is noted: no place to fail at, but a fact for tests to read.
var Notes = []string{"run.begin", "run.end"}
