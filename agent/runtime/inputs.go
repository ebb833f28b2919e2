package runtime

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peergpu/peergpu/agent/daemon"
)

// copyInputs puts copies where a sandbox would mount: the job may spoil those.
func copyInputs(ctx context.Context, t daemon.Task, progress func(daemon.Progress)) error {
	if progress == nil {
		progress = func(daemon.Progress) {}
	}
	var done, total int64
	each := func(visit func(in daemon.Input, path string, d fs.DirEntry) error) error {
		for _, in := range t.Inputs {
			err := filepath.WalkDir(in.Source, func(path string, d fs.DirEntry, err error) error {
				if err = errors.Join(err, ctx.Err()); err != nil {
					return err
				}
				return visit(in, path, d)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	err := each(func(_ daemon.Input, _ string, d fs.DirEntry) error {
		if i, err := d.Info(); err == nil && i.Mode().IsRegular() {
			total += i.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return each(func(in daemon.Input, path string, d fs.DirEntry) error {
		rel, err := filepath.Rel(in.Source, path)
		if err != nil {
			return err
		}
		target := filepath.Join(in.Target, rel)
		switch {
		case d.IsDir():
			return root.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		n, err := copyFile(root, path, target)
		done += n
		progress(daemon.Progress{Phase: "copying", Done: done, Total: total})
		return err
	})
}

func copyFile(root *os.Root, from, to string) (int64, error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	if err := root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	if err := root.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	dst, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(dst, src)
	return n, errors.Join(err, dst.Close())
}
