package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/peergpu/peergpu/agent/daemon"
)

// probeDisk is what a probe may write, which is nothing much.
const probeDisk = 1 << 20

// probeCommand runs a command as a job, in a folder below dir, and answers its first line.
func probeCommand(ctx context.Context, r Machine, dir, command string) (string, error) {
	dir, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return "", err
	}
	defer func() { _ = r.RemoveDir(dir) }()
	work := filepath.Join(dir, "work")
	if err := r.MakeDir(ctx, work, probeDisk); err != nil {
		return "", err
	}
	argv := []string{command, "--version"}
	if command == "sh" {
		argv = []string{"sh", "-c", "echo ok"}
	}
	t := daemon.Task{JobID: filepath.Base(dir), Attempt: 1, Argv: argv, Dir: work, Trusted: true, Limits: daemon.Limits{DiskBytes: probeDisk}}
	if err := r.Prepare(ctx, t, nil); err != nil {
		return "", err
	}
	run, err := r.Start(ctx, t)
	if err != nil {
		return "", err
	}
	defer func() { _ = run.Cleanup() }()
	defer context.AfterFunc(ctx, func() { _ = run.Stop(ctx, 0) })()
	first := firstLine(run.Output())
	exit, err := run.Wait(ctx)
	switch {
	case err != nil:
		return "", err
	case exit.Reason != "":
		return "", errors.New(exit.Detail)
	case exit.Code != 0:
		return "", fmt.Errorf("%s ended with %d: %s", strings.Join(argv, " "), exit.Code, first)
	}
	return first, nil
}
