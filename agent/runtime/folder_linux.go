package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mount"
	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/agent/daemon"
)

// What a job's file system has room for beside the bytes: a file for each 4 KiB, and more
// files than a bundle may have.
const (
	bytesPerFile = 4 << 10
	leastFiles   = 16 << 10
	inodeSize    = 256
)

// volumeTime is how long making a file system may take; it writes little.
const volumeTime = 30 * time.Second

// errNoRoom is a machine whose disk has no room to set apart.
var errNoRoom = errors.New("too little of the disk is free")

// makeVolume makes a folder that is a file system of its own, of no more than size bytes
// and what ext4 needs for itself. It lies in a file that goes with the mount. All of it is
// set apart from the start: a disk that filled up behind it would lose what a job believes
// to be written. So that others find room too, it takes half of what is free at most. This
// takes root, mkfs.ext4 and mount.
func makeVolume(ctx context.Context, dir string, size int64) (err error) {
	ctx, cancel := context.WithTimeout(ctx, volumeTime)
	defer cancel()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	image := dir + ".img"
	defer func() {
		err = errors.Join(err, os.Remove(image)) // what is mounted keeps it
		if err != nil {
			err = errors.Join(err, removeFolder(dir))
		}
	}()
	f, err := os.OpenFile(image, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	inodes := max(size/bytesPerFile, leastFiles)
	// Beyond the limit, so that a job meets it first: the watch tells it why it ends. What
	// is more is a wall for one that is quicker.
	if err := errors.Join(setApart(f, size+size/16+inodes*inodeSize+4<<20), f.Close()); err != nil {
		return err
	}
	// Nothing in it outlives the machine's next boot, so no journal.
	err = say(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-N", fmt.Sprint(inodes), "-I", fmt.Sprint(inodeSize),
		"-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", image)
	if err != nil {
		return err
	}
	// The kernel lets the loop device go with the mount.
	err = say(ctx, "mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noatime,nodiscard,noinit_itable", image, dir)
	if err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, 0o700), os.Remove(filepath.Join(dir, "lost+found"))) //nolint:gosec // it is a folder, to be entered
}

// setApart gives a file its blocks.
func setApart(f *os.File, size int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Bsize; size > free/2 {
		return errNoRoom
	}
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the state folder's file system sets nothing apart: %w", err)
	}
	return err
}

// say runs a program that has nothing to say when all is well.
func say(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return err
}

// tryVolume says why no folder can be a file system of its own here.
func tryVolume(ctx context.Context, dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("the agent does not run as root")
	}
	dir, err := os.MkdirTemp(dir, "volume-")
	if err != nil {
		return err
	}
	return errors.Join(makeVolume(ctx, filepath.Join(dir, "work"), probeDisk), removeFolder(dir))
}

// removeFolder removes a folder with all that is in it, file systems of jobs too.
func removeFolder(dir string) error {
	var err error
	if _, own := volume(dir); own {
		err = mount.Unmount(dir) // before, for it holds what would be removed one by one
	}
	if err = errors.Join(err, removeTree(dir)); err == nil {
		return nil
	}
	// Something is mounted in it.
	above, err := filepath.EvalSymlinks(filepath.Dir(dir)) // as the kernel lists mounts
	if err != nil {
		return err
	}
	return errors.Join(mount.RecursiveUnmount(filepath.Join(above, filepath.Base(dir))), removeTree(dir))
}

// written is what a job has written into its file system. What the file system itself
// needs to keep it, some thousandths, is not counted.
func written(fs syscall.Statfs_t) int64 {
	return max(0, int64(fs.Blocks-fs.Bfree)-int64(fs.Blocks/64)) * fs.Bsize
}

// volume is the file system of a job's folder, when it has one of its own.
func volume(dir string) (fs syscall.Statfs_t, own bool) {
	own = daemon.Apart(dir) && syscall.Statfs(dir, &fs) == nil
	return fs, own
}
