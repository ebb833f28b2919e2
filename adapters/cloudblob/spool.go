package cloudblob

import (
	"bytes"
	"io"
	"os"
)

// spooled is how much of an upload is held in memory. Most are logs and small bundles.
const spooled = 1 << 20

// spool holds what was written until it is read, the large in a file of the folder for
// temporary files. Its zero value is ready; close it.
type spool struct {
	head bytes.Buffer
	file *os.File
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.head.Len()+len(p) <= spooled {
		return s.head.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "peergpu-upload-")
		if err != nil {
			return 0, err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil { // it goes with the process
			return 0, err
		}
		if _, err := s.head.WriteTo(f); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

// content reads from the beginning.
func (s *spool) content() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.head.Bytes()), nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

// close gives everything back.
func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // its bytes are of no use any more
	}
	*s = spool{}
}
