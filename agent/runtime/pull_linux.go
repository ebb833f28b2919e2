package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/system"

	"github.com/peergpu/peergpu/agent/daemon"
)

// pull brings an image unless it is there. The engine checks that what comes has the
// digest that was asked for.
func (d *Docker) pull(ctx context.Context, ref string, progress func(daemon.Progress)) error {
	_, err := d.api.ImageInspect(ctx, ref)
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	if strings.HasPrefix(ref, "sha256:") {
		return fmt.Errorf("the image %s is not on this machine, and an id names no registry: %w", ref, daemon.ErrFetch)
	}
	// The engine waits for a registry that says nothing for as long as it likes.
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	stalled := fmt.Errorf("nothing came for %s", d.o.PullIdle)
	idle := time.AfterFunc(d.o.PullIdle, func() { giveUp(stalled) })
	defer idle.Stop()
	answer, err := d.api.ImagePull(ctx, ref, image.PullOptions{})
	if err == nil {
		err = followPull(answer, func(p daemon.Progress) {
			idle.Reset(d.o.PullIdle)
			if progress != nil {
				progress(p)
			}
		})
		_ = answer.Close() // all was read, or it is given up
	}
	if err != nil {
		if context.Cause(ctx) == stalled { //nolint:errorlint // it is this very one
			err = stalled
		}
		return fmt.Errorf("pull %s: %w: %w", ref, daemon.ErrFetch, err)
	}
	return nil
}

// layer is how far one part of an image has come.
type layer struct{ done, total int64 }

// followPull reads what the engine tells of a pull, and adds it up.
func followPull(answer io.Reader, progress func(daemon.Progress)) error {
	layers, last := map[string]layer{}, int64(0)
	for lines := json.NewDecoder(answer); ; {
		var said struct {
			Status   string `json:"status"`
			ID       string `json:"id"`
			Error    string `json:"error"`
			Progress struct {
				Current int64 `json:"current"`
				Total   int64 `json:"total"`
			} `json:"progressDetail"`
		}
		if err := lines.Decode(&said); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if said.Error != "" {
			return errors.New(said.Error)
		}
		l := layers[said.ID]
		switch said.Status {
		case "Downloading":
			l = layer{max(l.done, said.Progress.Current), max(l.total, said.Progress.Total)}
		case "Download complete", "Pull complete", "Verifying Checksum":
			l.done = l.total
		default:
			continue
		}
		layers[said.ID] = l
		var sum layer
		for _, l := range layers {
			sum.done, sum.total = sum.done+l.done, sum.total+l.total
		}
		if sum.done >= last {
			last = sum.done
			progress(daemon.Progress{Phase: "pulling", Done: sum.done, Total: sum.total})
		}
	}
}

// confines says that the engine knows AppArmor.
func confines(engine system.Info) bool {
	return slices.ContainsFunc(engine.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=apparmor") })
}
