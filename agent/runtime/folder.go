package runtime

import (
	"io/fs"
	"os"
	"path"

	"github.com/peergpu/peergpu/agent/daemon"
)

// Machine is a runtime with the folders that its jobs work in.
type Machine interface {
	daemon.Runtime
	daemon.Folders
}

// removeTree removes a folder that a job may have closed to its owner.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	// WalkDir does not follow links, so nothing outside is opened up.
	_ = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path.Join(dir, name), 0o700) //nolint:gosec // it is a folder, to be entered
		}
		if err != nil {
			return fs.SkipDir
		}
		return nil
	})
	return os.RemoveAll(dir)
}
