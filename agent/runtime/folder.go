package runtime

import (
	"io/fs"
	"os"

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
	_ = os.Chmod(dir, 0o700) //nolint:gosec // it is a folder, to be entered
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	// Nothing outside is opened up: WalkDir follows no links, and a root lets nobody out.
	_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = root.Chmod(name, 0o700)
		}
		if err != nil {
			return fs.SkipDir
		}
		return nil
	})
	return os.RemoveAll(dir)
}
