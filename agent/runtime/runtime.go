// Package runtime runs jobs on this machine: behind the port daemon.Runtime it
// holds the process runtime (a bubblewrap sandbox, Linux only) and the
// simulated one, which acts out the job's own command for tests.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/peergpu/peergpu/agent/daemon"
)

// jobID keeps names of cgroups and folders harmless.
var jobID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// runName names everything that belongs to one attempt.
func runName(t daemon.Task) string { return fmt.Sprintf("%s.%d", t.JobID, t.Attempt) }

// check refuses what no runtime of this package can start. The daemon has
// verified the manifest; this is the last wall before the command line.
func check(t daemon.Task) error {
	if !jobID.MatchString(t.JobID) {
		return fmt.Errorf("job id %q is not a plain name", t.JobID)
	}
	if len(t.Argv) == 0 || t.Argv[0] == "" {
		return errors.New("the command is empty")
	}
	for _, s := range slices.Concat(t.Argv, t.Env) {
		if strings.ContainsRune(s, 0) {
			return errors.New("the command or its environment contains a NUL byte")
		}
	}
	for _, e := range t.Env {
		if i := strings.IndexByte(e, '='); i < 1 {
			return errors.New("an environment variable has no name")
		}
	}
	if !filepath.IsAbs(t.Dir) {
		return fmt.Errorf("the job's folder %q is not absolute", t.Dir)
	}
	if i, err := os.Stat(t.Dir); err != nil || !i.IsDir() {
		return fmt.Errorf("the job's folder %q is not there", t.Dir)
	}
	if t.Workdir != "" && !filepath.IsLocal(t.Workdir) {
		return fmt.Errorf("the working folder %q leaves the job's folder", t.Workdir)
	}
	for _, in := range t.Inputs {
		if !filepath.IsAbs(in.Source) || !filepath.IsLocal(in.Target) || filepath.Clean(in.Target) == "." {
			return fmt.Errorf("the input %q leaves the job's folder", in.Target)
		}
	}
	return nil
}

// environment is what the command sees: defaults, then the job's own, then the
// choice of GPUs, which the job cannot widen.
func environment(t daemon.Task, defaults map[string]string) []string {
	env := map[string]string{}
	for k, v := range defaults {
		env[k] = v
	}
	for _, e := range t.Env {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	// An empty list hides all devices from CUDA; "void" does the same for
	// NVIDIA's container tools, should the job bring them.
	env["CUDA_VISIBLE_DEVICES"] = strings.Join(t.GPUs, ",")
	env["NVIDIA_VISIBLE_DEVICES"] = "void"
	if len(t.GPUs) > 0 {
		env["NVIDIA_VISIBLE_DEVICES"] = env["CUDA_VISIBLE_DEVICES"]
	}
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// notFound is the end of a run whose command never started.
func notFound(detail string) daemon.Exit {
	return daemon.Exit{Code: 127, Reason: daemon.ReasonCommandNotFound, Detail: detail}
}

// wait is Run.Wait for every runtime here.
func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
