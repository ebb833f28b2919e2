package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// own keeps objects in a folder or in memory, and beside each of them its sha256 as a
// small object of its own: it is known only when the last byte has been written, and then
// no bucket lets metadata be added without copying. The sha256 is written first, so that
// an object exists, whole and described, from the moment in which its own bytes appear.
type own struct {
	bucket *blob.Bucket
	links  *links
	keys   keyLock
}

func openFolder(u *url.URL, now time.Time) (*blob.Bucket, error) {
	folder := filepath.FromSlash(u.Path)
	if u.Host == "." {
		folder = "." + folder
	} else if u.Host != "" && u.Host != "localhost" {
		return nil, fmt.Errorf("file://%s%s names a host; a folder has three slashes, or is relative with file://./", u.Host, u.Path)
	}
	if err := sweep(folder, now.Add(-time.Hour)); err != nil {
		return nil, fmt.Errorf("the folder of the blobs cannot be read: %w", err)
	}
	return fileblob.OpenBucket(folder, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o700,
		NoTempDir: true,                       // a rename works within one file system only
		Metadata:  fileblob.MetadataDontWrite, // it would cost an MD5 of everything
	})
}

// unfinished is how fileblob names what it is writing.
var unfinished = regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`)

// sweep removes what a killed process did not write to its end.
func sweep(folder string, before time.Time) error {
	root, err := os.OpenRoot(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || !unfinished.MatchString(d.Name()) {
			return err
		}
		if info, err := d.Info(); err == nil && info.ModTime().Before(before) {
			return root.Remove(path)
		}
		return nil
	})
}

// sumKey is where the sha256 of an object is kept.
func sumKey(key string) string { return "_sha256/" + key }

func (o *own) put(ctx context.Context, key string, r io.Reader) (ports.BlobInfo, error) {
	return o.store(ctx, key, r, func(ports.BlobInfo) error { return nil })
}

// store writes an object in one pass. It appears when all of it is written and check
// does not refuse it; else nothing is left.
func (o *own) store(ctx context.Context, key string, r io.Reader, check func(ports.BlobInfo) error) (ports.BlobInfo, error) {
	// Closing a writer stores the object, unless its context has ended.
	write, abandon := context.WithCancel(ctx)
	defer abandon()
	w, err := o.bucket.NewWriter(write, key, &blob.WriterOptions{ContentType: octets})
	if err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	stored := false
	defer func() {
		if !stored {
			abandon()
			_ = w.Close() // it says that it was abandoned
		}
	}()
	info, err := pour(ctx, w, r)
	if err != nil {
		return ports.BlobInfo{}, err
	}
	info.Key = key
	if err := check(info); err != nil {
		return ports.BlobInfo{}, err
	}
	unlock, err := o.keys.lock(ctx, key)
	if err != nil {
		return ports.BlobInfo{}, err
	}
	defer unlock()
	switch old, err := o.stat(ctx, key); {
	case err == nil && old == info:
		return info, nil
	case err == nil:
		return ports.BlobInfo{}, errExists
	case domain.KindOf(err) != domain.KindNotFound:
		return ports.BlobInfo{}, err
	}
	if err := o.bucket.WriteAll(ctx, sumKey(key), []byte(info.SHA256), nil); err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	stored = true
	if err := w.Close(); err != nil {
		_ = o.bucket.Delete(context.WithoutCancel(ctx), sumKey(key)) // it is unseen without its object anyway
		return ports.BlobInfo{}, translate(ctx, err)
	}
	return info, nil
}

func (o *own) stat(ctx context.Context, key string) (ports.BlobInfo, error) {
	attrs, err := o.bucket.Attributes(ctx, key)
	if err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	sum, err := o.bucket.ReadAll(ctx, sumKey(key))
	if err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	return ports.BlobInfo{Key: key, Size: attrs.Size, SHA256: string(sum)}, nil
}

func (o *own) remove(ctx context.Context, key string) error {
	unlock, err := o.keys.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range []string{key, sumKey(key)} {
		if err := o.bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return translate(ctx, err)
		}
	}
	return nil
}

func (o *own) signPut(_ context.Context, key string, p ports.PutOptions) (ports.SignedRequest, error) {
	return o.links.put(key, p)
}

func (o *own) signGet(_ context.Context, key string, g ports.GetOptions) (ports.SignedRequest, error) {
	return o.links.get(key, g)
}
