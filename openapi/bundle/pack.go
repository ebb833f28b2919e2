package bundle

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// packedAt is the time that every packed file bears: the first that ZIP can tell.
var packedAt = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// Pack writes the files below the top of dir as a bundle: the same tree gives the
// same bytes. Of a file's mode only whether it is executable is kept. Folders
// named .git and __pycache__ are left out. A tree that Check would refuse for its
// names or its kinds of files is refused here, with the same *Error, so that a
// renter learns of it before an upload.
func Pack(dir fs.FS, w io.Writer) error {
	z := zip.NewWriter(w)
	tree := newTree(DefaultLimits())
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() && skipped[d.Name()] {
			return fs.SkipDir
		}
		return packOne(z, tree, dir, name, d)
	})
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if tree.files == 0 {
		return fmt.Errorf("pack: %w", fail(Empty, "", "there is no file to pack"))
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// skipped are the folders that no job needs: history and what Python makes anew.
var skipped = map[string]bool{".git": true, "__pycache__": true}

func packOne(z *zip.Writer, tree *tree, dir fs.FS, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	e := &entry{raw: name, name: name, folder: d.IsDir(), exec: info.Mode()&0o111 != 0}
	h := &zip.FileHeader{Name: name, Modified: packedAt, Method: zip.Deflate}
	switch {
	case d.IsDir():
		e.raw, h.Name, h.Method = name+"/", name+"/", zip.Store
		h.SetMode(fs.ModeDir | 0o755)
	case info.Mode()&fs.ModeSymlink != 0:
		return fail(SymlinkEntry, name, "it is a symbolic link; put the file itself into the bundle")
	case !info.Mode().IsRegular():
		return fail(SpecialFile, name, "it is a device, a pipe or a socket; only files and folders are accepted")
	case e.exec:
		h.SetMode(0o755)
	default:
		h.SetMode(0o644)
	}
	if err := checkName(e.raw, tree.limits); err != nil {
		return err
	}
	if err := tree.add(e); err != nil {
		return err
	}
	out, err := z.CreateHeader(h)
	if err != nil || d.IsDir() {
		return err
	}
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // opened for reading alone
	_, err = io.Copy(out, f)
	return err
}
