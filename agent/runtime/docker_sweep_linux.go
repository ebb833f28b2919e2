package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// Sweep implements daemon.Runtime.
func (d *Docker) Sweep(ctx context.Context) error {
	listing, cancel := context.WithTimeout(ctx, engineAnswers)
	defer cancel()
	found, err := d.containers(listing)
	if err != nil {
		return err
	}
	d.mu.Lock()
	kept := map[string]bool{}
	for name := range d.runs {
		kept[name] = true
	}
	d.mu.Unlock()
	var errs []error
	var cleared sync.WaitGroup
	failed := make(chan error, len(found))
	for _, c := range found {
		if !kept[c.Labels[labelJob]+"."+c.Labels[labelAttempt]] {
			cleared.Go(func() { failed <- d.clear(ctx, c.ID) })
		}
	}
	cleared.Wait()
	close(failed)
	for err := range failed {
		errs = append(errs, err)
	}
	entries, err := os.ReadDir(filepath.Join(d.o.Dir, "runs"))
	errs = append(errs, err)
	for _, e := range entries {
		if !kept[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(d.o.Dir, "runs", e.Name())))
		}
	}
	return errors.Join(errs...)
}

// clear removes a container that nobody wants. One that has ended and cannot be removed is
// in nobody's way: it is tried again while others go on.
func (d *Docker) clear(ctx context.Context, id string) error {
	removing, cancel := context.WithTimeout(ctx, engineRemoves)
	defer cancel()
	err := d.remove(removing, id)
	if err == nil {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, engineAnswers)
	defer cancel()
	_ = d.api.ContainerKill(asking, id, "KILL") // what follows tells whether it runs
	c, unknown := d.api.ContainerInspect(asking, id)
	if unknown != nil || c.State == nil || c.State.Running {
		return err
	}
	d.removeLater(id)
	return nil
}

// remove kills and removes a container with what it wrote. One that is not there is no
// error.
func (d *Docker) remove(ctx context.Context, id string) error {
	err := d.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return err
}

// removeLater goes on trying for as long as the agent lives.
func (d *Docker) removeLater(id string) {
	d.jobs.Go(func() {
		for pause := engineRetry; ; pause = min(2*pause, time.Minute) {
			select {
			case <-d.life.Done():
				return // the next agent sweeps
			case <-time.After(pause):
			}
			ctx, cancel := context.WithTimeout(d.life, engineAnswers)
			err := d.remove(ctx, id)
			cancel()
			if err == nil {
				return
			}
		}
	})
}
