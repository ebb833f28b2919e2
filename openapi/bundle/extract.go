package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
)

// Owner is whom the unpacked files belong to.
type Owner struct{ UID, GID int }

// Extract unpacks the archive into the folder dir, which it makes unless it is there
// and empty, under the same rules as Check, each file's content being checked while
// it is written. The folder gets the mode 0700, those in it 0755, files 0644 or,
// where anybody may execute them, 0755, whatever the process's umask is. With an
// owner everything is given to it, which takes the rights to do so.
//
// On any error nothing is left in dir, nor of it where it was not there. Nothing is written anywhere else. An error
// that is no *Error comes from r or from the file system.
func Extract(r io.ReaderAt, size int64, dir string, limits Limits, owner *Owner) (Summary, error) {
	src := &source{r: r}
	a, err := open(src, size, limits)
	if err != nil {
		return Summary{}, src.blame(err)
	}
	made, err := makeDir(dir)
	if err != nil {
		return Summary{}, fmt.Errorf("unpack: %w", err)
	}
	if err := src.blame(unpack(src, a, dir, owner)); err != nil {
		return Summary{}, errors.Join(err, clearDir(dir, made))
	}
	return a.summary, nil
}

// makeDir makes a folder that may be there when it is empty.
func makeDir(dir string) (made bool, err error) {
	if err := os.Mkdir(dir, 0o700); !errors.Is(err, os.ErrExist) {
		return err == nil, err
	}
	left, err := os.ReadDir(dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("the folder %s is not empty: %w", dir, os.ErrExist)
	}
	return false, err
}

// clearDir removes what is in a folder, or all of it.
func clearDir(dir string, all bool) error {
	if all {
		return os.RemoveAll(dir)
	}
	left, err := os.ReadDir(dir)
	for _, e := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// unpack writes the entries below dir, which os.Root makes impossible to leave
// even if a rule of names had a hole.
func unpack(src *source, a *archive, dir string, owner *Owner) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &extraction{root: root, owner: owner, content: newInflater(src), made: map[string]bool{".": true}}
	for i := range a.entries {
		if err := x.write(&a.entries[i]); err != nil {
			return err
		}
	}
	return x.own(".")
}

type extraction struct {
	root    *os.Root
	owner   *Owner
	content *inflater
	made    map[string]bool // folders
}

// write makes one entry and the folders on the way to it.
func (x *extraction) write(e *entry) error {
	if e.folder {
		if err := x.mkdir(e.name); err != nil {
			return err
		}
		return x.content.copy(io.Discard, e)
	}
	if err := x.mkdir(path.Dir(e.name)); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if e.exec {
		mode = 0o755
	}
	// O_EXCL: two entries that are one file to this file system, and to none that
	// the rules know, fail here.
	f, err := x.root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	err = x.content.copy(f, e)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return x.own(e.name)
}

// mkdir makes a folder and those that it is in, each once.
func (x *extraction) mkdir(name string) error {
	if x.made[name] {
		return nil
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := x.root.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if err := x.root.Chmod(name, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	x.made[name] = true
	return x.own(name)
}

func (x *extraction) own(name string) error {
	if x.owner == nil {
		return nil
	}
	if err := x.root.Lchown(name, x.owner.UID, x.owner.GID); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}
