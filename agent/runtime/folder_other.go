//go:build !linux

package runtime

// removeFolder removes a folder with all that is in it.
func removeFolder(dir string) error { return removeTree(dir) }
