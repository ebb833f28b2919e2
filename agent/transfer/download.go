package transfer

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/peergpu/peergpu/agent/daemon"
)

// download is a file on its way, summed as it comes.
type download struct {
	file     *os.File
	size     int64 // as signed
	done     int64
	sum      hash.Hash
	progress func(int64)
}

// restart begins again from the first byte.
func (d *download) restart() error {
	if d.done == 0 {
		return nil
	}
	d.done = 0
	d.sum.Reset()
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return d.file.Truncate(0)
}

// read takes the rest of the file from r. It reads one byte more than was signed, never
// all that a server may send.
func (d *download) read(r io.Reader, alive func()) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			alive()
			if d.done+int64(n) > d.size {
				return fmt.Errorf("%w: it is longer than %d bytes", daemon.ErrContent, d.size)
			}
			if _, err := d.file.Write(buf[:n]); err != nil {
				return err
			}
			d.sum.Write(buf[:n])
			d.done += int64(n)
			if d.progress != nil {
				d.progress(d.done)
			}
		}
		switch {
		case errors.Is(err, io.EOF) && d.done == d.size:
			return nil
		case errors.Is(err, io.EOF):
			return &brokenError{fmt.Errorf("it ended after %d of %d bytes", d.done, d.size)}
		case err != nil:
			return &brokenError{err}
		}
	}
}
