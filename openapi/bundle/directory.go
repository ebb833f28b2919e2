package bundle

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
)

// entry is one file or folder, as the central directory declares it and the rules
// allow it.
type entry struct {
	name   string // without the slash that ends a folder's name
	raw    string // with it
	folder bool
	exec   bool
	flags  uint16
	method uint16
	crc    uint32
	packed int64 // bytes in the archive
	size   int64 // bytes unpacked
	start  int64 // where its local header begins
	end    int64 // where the next entry or the directory begins
}

// archive is a ZIP file whose directory keeps the rules. What the entries hold is
// not looked at yet.
type archive struct {
	entries []entry // in the order of the file
	summary Summary
}

// A ZIP file is, in this order and with nothing between:
//
//	for each entry: local header, name, extra data, content, perhaps a descriptor
//	the directory: for each entry a header, name, extra data, comment
//	perhaps the zip64 end and its locator
//	the end, with a comment
//
// These are the fixed parts of the records, in bytes, and their signatures.
const (
	endLen       = 22
	locatorLen   = 20
	end64Len     = 56
	headerLen    = 46
	localLen     = 30
	sigEnd       = "PK\x05\x06"
	sigLocator   = "PK\x06\x07"
	sigEnd64     = "PK\x06\x06"
	sigHeader    = "PK\x01\x02"
	sigLocal     = "PK\x03\x04"
	sigDescribed = "PK\x07\x08"
)

// Field ids of the extra data that carries meaning here.
const (
	extraZip64       = 0x0001
	extraUnicodePath = 0x7075
)

// The general purpose flags that carry meaning here.
const (
	flagEncrypted   = 1 << 0
	flagDescriptor  = 1 << 3
	flagPatch       = 1 << 5
	flagStrong      = 1 << 6
	flagMaskedNames = 1 << 13
)

var le = binary.LittleEndian

// open reads the directory and holds it to every rule that needs no content.
func open(src io.ReaderAt, size int64, limits Limits) (*archive, error) {
	if size > limits.ArchiveBytes {
		return nil, fail(ArchiveTooLarge, "", "the ZIP file has %d bytes; the limit is %d", size, limits.ArchiveBytes)
	}
	end, err := findEnd(src, size)
	if err != nil {
		return nil, err
	}
	switch {
	case end.count == 0:
		return nil, fail(Empty, "", "the ZIP file has no entries")
	case end.count > uint64(max(limits.Entries, 0)):
		return nil, fail(TooManyEntries, "", "the ZIP file declares %d entries; the limit is %d", end.count, limits.Entries)
	case end.length > uint64(max(limits.DirectoryBytes, 0)):
		return nil, fail(DirectoryTooLarge, "", "the directory of the ZIP file has %d bytes; the limit is %d", end.length, limits.DirectoryBytes)
	}
	a := &archive{entries: make([]entry, 0, end.count)}
	tree := newTree(limits)
	var total int64
	r := bufio.NewReaderSize(io.NewSectionReader(src, end.offset, int64(end.length)), 64<<10)
	for range end.count {
		e, err := readHeader(r, limits)
		if err != nil {
			return nil, err
		}
		if err := tree.add(e); err != nil {
			return nil, err
		}
		// Every file is held to its declared size later, so that bounding the sum
		// of what is declared bounds what is unpacked.
		if e.size > limits.TotalBytes-total {
			return nil, fail(TooLarge, "", "the files have more than %d bytes unpacked, which is the limit", limits.TotalBytes)
		}
		total += e.size
		a.entries = append(a.entries, *e)
	}
	// A directory with more in it than counted would look different to a program that
	// goes by its length.
	if _, err := r.Peek(1); err == nil {
		return nil, fail(Malformed, "", "the directory is longer than its %d entries", end.count)
	}
	if total >= limits.RatioFromBytes && (total-1)/size >= limits.Ratio {
		return nil, fail(RatioExceeded, "", "%d bytes unpack to %d, which is more than %d times as many", size, total, limits.Ratio)
	}
	if tree.files == 0 {
		return nil, fail(Empty, "", "the ZIP file has folders, but no file")
	}
	a.summary = Summary{Files: tree.files, Folders: tree.folders, Bytes: total}
	return a, a.layOut(end.offset)
}

// layOut sorts the entries by their place in the file and makes sure that each
// begins where the one before may end: this is what stops archives that unpack
// the same bytes many times.
func (a *archive) layOut(directory int64) error {
	slices.SortStableFunc(a.entries, func(x, y entry) int {
		switch {
		case x.start < y.start:
			return -1
		case x.start > y.start:
			return 1
		}
		return 0
	})
	if first := a.entries[0].start; first != 0 {
		return fail(UnaccountedBytes, "", "%d bytes stand before the first entry; self-extracting archives are not accepted", first)
	}
	for i := range a.entries {
		e := &a.entries[i]
		e.end = directory
		if i+1 < len(a.entries) {
			e.end = a.entries[i+1].start
		}
		if room := e.end - e.start - localLen - int64(len(e.raw)); e.packed > room {
			return fail(OverlappingEntry, e.raw, "its %d bytes run into what follows it in the ZIP file", e.packed)
		}
	}
	return nil
}

// readHeader reads one entry of the central directory.
func readHeader(r io.Reader, limits Limits) (*entry, error) {
	var h [headerLen]byte
	if err := readDirectory(r, h[:]); err != nil {
		return nil, err
	}
	if string(h[:4]) != sigHeader {
		return nil, fail(Malformed, "", "the directory holds something other than entries")
	}
	nameLen, extraLen, commentLen := int(le.Uint16(h[28:])), int(le.Uint16(h[30:])), int(le.Uint16(h[32:]))
	rest := make([]byte, nameLen+extraLen+commentLen)
	if err := readDirectory(r, rest); err != nil {
		return nil, err
	}
	e := &entry{
		raw:    string(rest[:nameLen]),
		flags:  le.Uint16(h[8:]),
		method: le.Uint16(h[10:]),
		crc:    le.Uint32(h[16:]),
	}
	// Names come first: every later complaint shows one.
	if err := checkName(e.raw, limits); err != nil {
		return nil, err
	}
	e.name, e.folder = strings.CutSuffix(e.raw, "/")
	if err := e.readMode(le.Uint32(h[38:])); err != nil {
		return nil, err
	}
	if err := e.readMethod(); err != nil {
		return nil, err
	}
	extra := rest[nameLen : nameLen+extraLen]
	if err := e.checkUnicodePath(extra); err != nil {
		return nil, err
	}
	packed, size, start := uint64(le.Uint32(h[20:])), uint64(le.Uint32(h[24:])), uint64(le.Uint32(h[42:]))
	disk := uint64(le.Uint16(h[34:]))
	if disk == math.MaxUint16 {
		disk = 0 // the true number is the zip64 field's last, and no bigger than ours
	}
	if !widen(extra, &size, &packed, &start) || disk != 0 ||
		packed > math.MaxInt64/2 || size > math.MaxInt64/2 || start > math.MaxInt64/2 {
		return nil, fail(Malformed, e.raw, "its sizes or its place in the ZIP file cannot be")
	}
	e.packed, e.size, e.start = int64(packed), int64(size), int64(start)
	if e.folder && e.size != 0 {
		return nil, fail(TypeMismatch, e.raw, "it is a folder that has content")
	}
	return e, nil
}

// readMode turns the external attributes into what is kept of them: whether a
// file is executable. The upper half counts whatever system claims to have made
// the entry, because extractors differ in whether they look at that.
func (e *entry) readMode(attributes uint32) error {
	const (
		typeMask, typeFolder, typeFile, typeLink = 0o170000, 0o040000, 0o100000, 0o120000
		setIDs, execAny                          = 0o6000, 0o111
		dosFolder                                = 0x10
	)
	mode := attributes >> 16
	switch mode & typeMask {
	case 0, typeFile, typeFolder:
	case typeLink:
		return fail(SymlinkEntry, e.raw, "it is a symbolic link; put the file itself into the bundle")
	default:
		return fail(SpecialFile, e.raw, "it is a device, a pipe or a socket; only files and folders are accepted")
	}
	isFolder := mode&typeMask == typeFolder || mode&typeMask == 0 && attributes&dosFolder != 0
	if isFolder && !e.folder || e.folder && mode&typeMask == typeFile {
		return fail(TypeMismatch, e.raw, "its name and its type disagree on whether it is a folder")
	}
	// On a folder the bit means that files inherit the group, which is common in
	// shared folders and is simply not kept.
	if !e.folder && mode&setIDs != 0 {
		return fail(SetuidEntry, e.raw, "it would run with somebody else's rights (setuid or setgid)")
	}
	e.exec = mode&execAny != 0
	return nil
}

// readMethod refuses what could not be read back.
func (e *entry) readMethod() error {
	if e.flags&(flagEncrypted|flagStrong|flagMaskedNames) != 0 || e.method == 99 {
		return fail(Encrypted, e.raw, "it is encrypted; pack the bundle without a password")
	}
	if e.method != methodStore && e.method != methodDeflate || e.flags&flagPatch != 0 {
		return fail(UnsupportedMethod, e.raw, "it is compressed with %s; pack the bundle with deflate", methodName(e.method))
	}
	return nil
}

// checkUnicodePath refuses an entry that carries a second, different name.
func (e *entry) checkUnicodePath(extra []byte) error {
	// One byte of version and four of checksum precede the name.
	field, ok := extraField(extra, extraUnicodePath)
	if ok && (len(field) < 5 || string(field[5:]) != e.raw) {
		return fail(HeaderMismatch, e.raw, "it carries a second name, %q", printable(string(field[min(5, len(field)):])))
	}
	return nil
}

// methodName is how people know the methods that we refuse.
func methodName(method uint16) string {
	names := map[uint16]string{1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "XZ", 98: "PPMd"}
	if name, ok := names[method]; ok {
		return name
	}
	return "an unknown method"
}

// extraField finds one field of an entry's extra data. Data that is no list of
// fields is ignored, as old tools pad with it.
func extraField(extra []byte, id uint16) ([]byte, bool) {
	for len(extra) >= 4 {
		size := int(le.Uint16(extra[2:]))
		if size > len(extra)-4 {
			return nil, false
		}
		if le.Uint16(extra) == id {
			return extra[4 : 4+size], true
		}
		extra = extra[4+size:]
	}
	return nil, false
}

// widen replaces those values that do not fit 32 bits by the ones of the zip64
// field, which lists just these, in this order. It says whether that worked out.
func widen(extra []byte, values ...*uint64) bool {
	field, present := extraField(extra, extraZip64)
	for _, v := range values {
		if *v != math.MaxUint32 {
			continue
		}
		if !present || len(field) < 8 {
			return false
		}
		*v, field = le.Uint64(field), field[8:]
	}
	return true
}

// readDirectory fills p from the directory.
func readDirectory(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fail(Malformed, "", "the directory ends in the middle of an entry")
	}
	return err
}
