package invariants

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Run is an attempt that had a process from one moment to another.
type Run struct {
	Job      string // as agents name it
	Attempt  string
	From, To time.Time
}

// Died notes in a file of reached crash points that the process is gone now: what it
// was running is over.
func Died(file string, pid int) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %d died - \n", time.Now().UnixNano(), pid)
	return err
}

// Runs reads from a file of reached crash points when attempts had a process. One that
// has not ended runs until now.
func Runs(file string) ([]Run, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var runs []Run
	open := map[[2]string]int{} // process, attempt → where it stands
	for line := range strings.Lines(string(content)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		nanos, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, line, err)
		}
		at, of := time.Unix(0, nanos), [2]string{f[1], f[3]}
		switch f[2] {
		case "run.begin":
			job, number, _ := strings.Cut(f[3], "/")
			open[of] = len(runs)
			runs = append(runs, Run{Job: job, Attempt: number, From: at})
		case "run.end":
			if i, known := open[of]; known {
				runs[i].To = at
				delete(open, of)
			}
		case "died":
			for of, i := range open {
				if of[0] == f[1] {
					runs[i].To = at
					delete(open, of)
				}
			}
		}
	}
	for _, i := range open {
		runs[i].To = time.Now()
	}
	return runs, nil
}

// runs wants that no two attempts of a job ever ran at the same time.
func (c *check) runs() {
	byJob := map[string][]Run{}
	for _, r := range c.Runs {
		byJob[r.Job] = append(byJob[r.Job], r)
	}
	for job, runs := range byJob {
		slices.SortFunc(runs, func(a, b Run) int { return a.From.Compare(b.From) })
		for i := 1; i < len(runs); i++ {
			if before := runs[i-1]; runs[i].From.Before(before.To) {
				c.broken("J2", "attempt %s of job %s began %s before attempt %s ended", runs[i].Attempt, job, before.To.Sub(runs[i].From), before.Attempt)
			}
		}
	}
}
