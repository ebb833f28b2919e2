package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime/entry"
)

// outcome is how the command ended, by its entry's word.
func (r *dockerRun) outcome(end *entry.End) daemon.Exit {
	e := daemon.Exit{Code: end.Code, Duration: end.Duration, PeakMemoryBytes: end.PeakMemoryBytes, CPUTime: end.CPUTime}
	if limit := r.task.Limits.MemoryBytes; limit > 0 {
		e.PeakMemoryBytes = min(e.PeakMemoryBytes, limit) // its entry counts too
	}
	r.mu.Lock()
	e.Reason, e.Detail = r.cause, r.detail
	r.mu.Unlock()
	switch {
	case end.NoDir:
		return notFound(fmt.Sprintf("The working folder %q is not in the bundle.", r.task.Workdir))
	case end.Missing != "":
		return notFound(commandDetail(r.argv0, end.Missing))
	case e.Reason != "":
	case end.TimedOut:
		e.Reason, e.Detail = daemon.ReasonTimeout, timeoutDetail(r.task.Limits)
	case e.Code != 0 && end.OOMKills > 0:
		// A killed child alone is not the job's end: a job that copes exits 0.
		e.Reason, e.Detail = daemon.ReasonOutOfMemory, memoryDetail(r.task.Limits)
	default:
		if detail := filledDisk(r.task, e.Code); detail != "" {
			e.Reason, e.Detail = daemon.ReasonDiskFull, detail
		} else if e.Code != 0 && e.Code != killedCode && end.ForksRefused > 0 {
			e.Reason, e.Detail = daemon.ReasonTooManyPIDs, processesDetail(r.task.Limits)
		}
	}
	return e
}

// killed is the end of a container whose entry said nothing: somebody killed it.
func (r *dockerRun) killed(lost error) (daemon.Exit, error) {
	ctx, cancel := context.WithTimeout(context.Background(), engineAnswers)
	defer cancel()
	e := daemon.Exit{Code: 128 + 9}
	r.mu.Lock()
	e.Reason, e.Detail = r.cause, r.detail
	r.mu.Unlock()
	c, err := r.d.api.ContainerInspect(ctx, r.id)
	if err == nil && c.State != nil {
		e.Duration = span(c.State)
		e.Code = c.State.ExitCode
		if e.Reason == "" && c.State.OOMKilled {
			e.Reason, e.Detail = daemon.ReasonOutOfMemory, memoryDetail(r.task.Limits)
		}
	}
	if e.Reason == "" {
		return e, errors.Join(fmt.Errorf("the container of %s was killed from outside", r.name), lost, err)
	}
	return e, nil
}

// span is how long a container ran, by the engine's clock.
func span(s *container.State) time.Duration {
	began, err := time.Parse(time.RFC3339Nano, s.StartedAt)
	if err != nil {
		return 0
	}
	ended, err := time.Parse(time.RFC3339Nano, s.FinishedAt)
	if err != nil {
		return 0
	}
	return max(0, ended.Sub(began))
}
