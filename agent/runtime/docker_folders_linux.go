package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// tries is the folder for what is tried out.
func (d *Docker) tries() string { return filepath.Join(d.o.Dir, "tries") }

// whyWatched says why folders of jobs are no file systems of their own; nil: they are.
func (d *Docker) whyWatched() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.watched
}

// MakeDir implements daemon.Folders.
func (d *Docker) MakeDir(ctx context.Context, dir string, size int64) error {
	// Too little may have been free at the start alone.
	if why := d.whyWatched(); size > 0 && (why == nil || errors.Is(why, errNoRoom)) {
		if err := makeVolume(ctx, dir, size); !errors.Is(err, errNoRoom) {
			return err
		}
	}
	return os.Mkdir(dir, 0o700)
}

// RemoveDir implements daemon.Folders.
func (d *Docker) RemoveDir(dir string) error { return removeFolder(dir) }

// ExamineVolumes says how what a job writes is limited; a Probe may find that it is not.
func (d *Docker) ExamineVolumes() Finding {
	why := d.whyWatched()
	if why == nil {
		return Finding{What: "volumes", Verdict: Good, Found: "each job writes into a file system of its own, where half of what is free is enough for it"}
	}
	f := Finding{What: "volumes", Verdict: Better, Found: "what a job writes is watched instead of limited: " + why.Error()}
	switch {
	case errors.Is(why, errUnseen):
		f.Fix = "run both in one mount namespace: an agent as a systemd unit without ProtectSystem, PrivateDevices and their like, and in no container"
	case errors.Is(why, errNoRoom):
		f.Fix = "free some of the state folder's disk: no job gets more than half of what is free for itself"
	case errors.Is(why, errors.ErrUnsupported):
		f.Fix = "put the state folder (--home) on ext4, XFS or Btrfs"
	default:
		f.Fix = "run the agent as root where there are mkfs.ext4 and mount (apt install e2fsprogs mount)"
	}
	return f
}
