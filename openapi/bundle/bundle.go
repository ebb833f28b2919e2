// Package bundle is the rules of a job's ZIP file, for the server that accepts one
// and for the agent that unpacks it: both refuse exactly the same archives, with
// the same words. It also packs bundles.
//
// It reads a strict subset of the format (PKWARE's APPNOTE 6.3.10): every byte of
// the file belongs to one entry or to the one directory, local headers say what
// the directory says, and names are plain relative UTF-8 paths. Two programs
// cannot see two different things in such a file. Nothing that the archive
// declares is trusted: sizes and checksums count only once they were met.
//
// Archives inside the archive are ordinary files and are never opened.
package bundle

import (
	"errors"
	"fmt"
	"io"
)

// Limits bound what an archive may ask of the machine that unpacks it. A field
// that is zero lets nothing through; start from DefaultLimits.
type Limits struct {
	// ArchiveBytes bounds the ZIP file itself.
	ArchiveBytes int64
	// TotalBytes bounds the files together, unpacked.
	TotalBytes int64
	// Entries bounds files and folders together, folders that exist only because
	// a path runs through them included: it is what a disk pays for in inodes.
	Entries int
	// DirectoryBytes bounds the archive's central directory, and with it the
	// memory that reading one takes.
	DirectoryBytes int64
	// Ratio bounds the unpacked bytes per byte of the ZIP file, over the whole of
	// it. It does not bind below RatioFromBytes, because a small file of zeros
	// compresses a thousandfold and harms nobody.
	Ratio          int64
	RatioFromBytes int64
	// NameBytes bounds each part of a path, PathBytes the path, both in bytes of
	// UTF-8; Depth bounds the parts of a path.
	NameBytes, PathBytes, Depth int
}

// DefaultLimits are the platform's: a ZIP of 2 GiB, 8 GiB and 10,000 files and
// folders unpacked, 200 times the ZIP's size from 1 MiB on, parts of 255 bytes,
// paths of 1,024 bytes and 32 parts.
func DefaultLimits() Limits {
	return Limits{
		ArchiveBytes:   2 << 30,
		TotalBytes:     8 << 30,
		Entries:        10_000,
		DirectoryBytes: 16 << 20,
		Ratio:          200,
		RatioFromBytes: 1 << 20,
		NameBytes:      255,
		PathBytes:      1024,
		Depth:          32,
	}
}

// Summary is what a checked archive unpacks to.
type Summary struct {
	Files   int   // regular files
	Folders int   // implied ones included
	Bytes   int64 // of all files together, unpacked
}

// Check reads the whole archive and answers what it holds, or an *Error for the
// first rule that it breaks. Any other error comes from r. It writes nothing, and
// needs memory for the directory alone. An archive that passes can be extracted.
func Check(r io.ReaderAt, size int64, limits Limits) (Summary, error) {
	src := &source{r: r}
	a, err := open(src, size, limits)
	if err != nil {
		return Summary{}, src.blame(err)
	}
	content := newInflater(src)
	for i := range a.entries {
		if err := content.copy(io.Discard, &a.entries[i]); err != nil {
			return Summary{}, src.blame(err)
		}
	}
	return a.summary, nil
}

// source remembers that reading failed, so that a broken disk or connection is
// never taken for a broken archive.
type source struct {
	r   io.ReaderAt
	err error
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// blame prefers the reason why bytes were missing to what followed from that.
func (s *source) blame(err error) error {
	if s.err != nil {
		return fmt.Errorf("read the archive: %w", s.err)
	}
	return err
}
