package bundle

import (
	"bufio"
	"compress/flate"
	"hash/crc32"
	"io"
	"math"
)

// The methods of compression that bundles use.
const (
	methodStore   = 0
	methodDeflate = 8
)

// inflater reads what entries hold, one after the other, and holds it to what was
// declared. It keeps its buffers from one entry to the next.
type inflater struct {
	src     io.ReaderAt
	packed  *bufio.Reader
	deflate io.ReadCloser
	buf     []byte
}

func newInflater(src io.ReaderAt) *inflater {
	packed := bufio.NewReaderSize(nil, 64<<10)
	return &inflater{src: src, packed: packed, deflate: flate.NewReader(packed), buf: make([]byte, 64<<10)}
}

// copy writes one entry's content to w. It never writes more than the declared
// size and one read beyond it is what tells a lie.
func (f *inflater) copy(w io.Writer, e *entry) error {
	start, err := f.findData(e)
	if err != nil {
		return err
	}
	// Both readers take single bytes from a bufio.Reader, so that what is left in
	// it afterwards is what the entry does not need.
	f.packed.Reset(io.NewSectionReader(f.src, start, e.packed))
	var content io.Reader = f.packed
	if e.method == methodDeflate {
		if err := f.deflate.(flate.Resetter).Reset(f.packed, nil); err != nil {
			return err
		}
		content = f.deflate
	}
	sum := crc32.NewIEEE()
	for left := e.size; ; {
		n, err := content.Read(f.buf[:min(int64(len(f.buf)), left+1)])
		if int64(n) > left {
			return fail(SizeMismatch, e.raw, "it declares %d bytes and has more", e.size)
		}
		left -= int64(n)
		sum.Write(f.buf[:n]) // never fails
		if _, err := w.Write(f.buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF && left > 0:
			return fail(SizeMismatch, e.raw, "it declares %d bytes and has %d", e.size, e.size-left)
		case err == io.EOF:
			return f.verify(e, sum.Sum32())
		case err != nil:
			return fail(CorruptData, e.raw, "its compressed data are damaged")
		}
	}
}

// verify looks at what can be known only after the last byte.
func (f *inflater) verify(e *entry, crc uint32) error {
	if _, err := f.packed.Peek(1); err != io.EOF {
		return fail(SizeMismatch, e.raw, "its compressed data end before the %d bytes that it declares", e.packed)
	}
	if crc != e.crc {
		return fail(ChecksumMismatch, e.raw, "its content has the checksum %08x, where %08x is declared", crc, e.crc)
	}
	return nil
}

// findData says where an entry's data begin, once the header in front of them and
// the descriptor behind them say the same as the directory.
func (f *inflater) findData(e *entry) (int64, error) {
	var h [localLen]byte
	if err := f.readAt(h[:], e.start); err != nil {
		return 0, err
	}
	if string(h[:4]) != sigLocal {
		return 0, fail(Malformed, e.raw, "its header is not where the directory says")
	}
	nameLen, extraLen := int64(le.Uint16(h[26:])), int64(le.Uint16(h[28:]))
	data := e.start + localLen + nameLen + extraLen
	gap := e.end - data - e.packed
	if gap < 0 {
		return 0, fail(OverlappingEntry, e.raw, "its %d bytes run into what follows it in the ZIP file", e.packed)
	}
	rest := make([]byte, nameLen+extraLen)
	if err := f.readAt(rest, e.start+localLen); err != nil {
		return 0, err
	}
	name, extra := string(rest[:nameLen]), rest[nameLen:]
	const same = flagEncrypted | flagDescriptor | flagPatch | flagStrong | flagMaskedNames
	if name != e.raw || le.Uint16(h[8:]) != e.method || (le.Uint16(h[6:])^e.flags)&same != 0 {
		return 0, fail(HeaderMismatch, e.raw, "its header, which names %q, and the directory disagree", printable(name))
	}
	if err := e.checkUnicodePath(extra); err != nil {
		return 0, err
	}
	crc, packed, size := le.Uint32(h[14:]), uint64(le.Uint32(h[18:])), uint64(le.Uint32(h[22:]))
	described := e.flags&flagDescriptor != 0
	// With a descriptor the header was written before its values were known.
	agrees := func(declared, known uint64) bool { return declared == known || described && declared == 0 }
	if !widen(extra, &size, &packed) || !agrees(size, uint64(e.size)) ||
		!agrees(packed, uint64(e.packed)) || !agrees(uint64(crc), uint64(e.crc)) {
		return 0, fail(HeaderMismatch, e.raw, "its header declares other sizes or another checksum than the directory")
	}
	if described {
		return data, f.checkDescriptor(e, data+e.packed, gap)
	}
	if gap > 0 {
		return 0, fail(UnaccountedBytes, e.raw, "%d bytes after it belong to no entry", gap)
	}
	return data, nil
}

// checkDescriptor reads the checksum and the sizes that follow an entry's data.
// The format leaves open whether a signature comes first and how wide the sizes
// are; as nothing may stand between entries, the room tells.
func (f *inflater) checkDescriptor(e *entry, at, room int64) error {
	var d [24]byte
	if room != 12 && room != 16 && room != 20 && room != 24 {
		return fail(UnaccountedBytes, e.raw, "%d bytes after it are not its descriptor", room)
	}
	if err := f.readAt(d[:room], at); err != nil {
		return err
	}
	b := d[:room]
	ok := true
	if room == 16 || room == 24 {
		ok, b = string(b[:4]) == sigDescribed, b[4:]
	}
	crc := le.Uint32(b)
	var packed, size uint64
	if b = b[4:]; len(b) == 8 {
		packed, size = uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		ok = ok && max(e.packed, e.size) <= math.MaxUint32
	} else {
		packed, size = le.Uint64(b), le.Uint64(b[8:])
	}
	if !ok || crc != e.crc || packed != uint64(e.packed) || size != uint64(e.size) {
		return fail(HeaderMismatch, e.raw, "the descriptor behind its data and the directory disagree")
	}
	return nil
}

// readAt fills p. The directory was found to be in place, so that an early end is
// the fault of the reader.
func (f *inflater) readAt(p []byte, at int64) error {
	if n, err := f.src.ReadAt(p, at); n < len(p) {
		return noEOF(err)
	}
	return nil
}
