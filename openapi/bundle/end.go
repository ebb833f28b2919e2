package bundle

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// end is what the end of the file says of the directory.
type end struct {
	count  uint64
	offset int64
	length uint64
}

// findEnd finds the record that ends the file and holds it to its place: the
// directory ends where the record begins.
func findEnd(src io.ReaderAt, size int64) (end, error) {
	tail := make([]byte, min(size, endLen+math.MaxUint16+locatorLen+end64Len))
	if n, err := src.ReadAt(tail, size-int64(len(tail))); n < len(tail) {
		return end{}, noEOF(err)
	}
	// The last signature counts. An earlier one whose comment would hold the true end
	// is then part of the content or the directory, and held to their rules.
	at := bytes.LastIndex(tail, []byte(sigEnd))
	if at < 0 || len(tail)-at < endLen {
		return end{}, endless(src, size)
	}
	rec := tail[at:]
	if comment := int(le.Uint16(rec[20:])); comment != len(rec)-endLen {
		return end{}, fail(Malformed, "", "the ZIP file has %d bytes after its end, where it announces %d", len(rec)-endLen, comment)
	}
	count, length, offset := uint64(le.Uint16(rec[10:])), uint64(le.Uint32(rec[12:])), uint64(le.Uint32(rec[16:]))
	disk, firstDisk, onDisk := le.Uint16(rec[4:]), le.Uint16(rec[6:]), uint64(le.Uint16(rec[8:]))
	stop := size - int64(len(rec)) // where the directory has to end
	if at >= locatorLen && string(tail[at-locatorLen:at-locatorLen+4]) == sigLocator {
		var ok bool
		stop -= locatorLen + end64Len
		if count, length, offset, ok = readEnd64(tail[:at], stop, count, length, offset); !ok {
			return end{}, fail(Malformed, "", "the two ends of the ZIP file, zip64 and plain, disagree")
		}
		onDisk, disk, firstDisk = count, 0, 0
	}
	if disk != 0 || firstDisk != 0 || onDisk != count {
		return end{}, fail(Malformed, "", "the ZIP file is one part of several; pack it in one piece")
	}
	// Unsigned, so that neither sum can wrap unnoticed.
	if length > uint64(stop) || offset > uint64(stop)-length {
		return end{}, fail(Truncated, "", "the ZIP file is shorter than its directory says")
	}
	if gap := uint64(stop) - length - offset; gap > 0 {
		return end{}, fail(UnaccountedBytes, "", "%d bytes of the ZIP file belong to no entry; self-extracting archives are not accepted", gap)
	}
	return end{count: count, offset: int64(offset), length: length}, nil
}

// readEnd64 reads the zip64 end, which stands at stop, right before the locator
// that ends b. Each plain value has to be the same, or the mark for "see there".
func readEnd64(b []byte, stop int64, count, length, offset uint64) (_, _, _ uint64, ok bool) {
	if len(b) < locatorLen+end64Len {
		return 0, 0, 0, false
	}
	locator, rec := b[len(b)-locatorLen:], b[len(b)-locatorLen-end64Len:]
	if string(rec[:4]) != sigEnd64 || le.Uint64(rec[4:]) != end64Len-12 ||
		le.Uint32(locator[4:]) != 0 || int64(le.Uint64(locator[8:])) != stop || le.Uint32(locator[16:]) > 1 ||
		le.Uint32(rec[16:]) != 0 || le.Uint32(rec[20:]) != 0 || le.Uint64(rec[24:]) != le.Uint64(rec[32:]) {
		return 0, 0, 0, false
	}
	wide := [3]uint64{le.Uint64(rec[32:]), le.Uint64(rec[40:]), le.Uint64(rec[48:])}
	ok = (count == wide[0] || count == math.MaxUint16) &&
		(length == wide[1] || length == math.MaxUint32) &&
		(offset == wide[2] || offset == math.MaxUint32)
	return wide[0], wide[1], wide[2], ok
}

// endless tells a ZIP file that was cut short from what never was one.
func endless(src io.ReaderAt, size int64) error {
	var first [4]byte
	if n, err := src.ReadAt(first[:], 0); n < len(first) && size >= int64(len(first)) {
		return noEOF(err)
	}
	if string(first[:]) == sigLocal {
		return fail(Truncated, "", "the ZIP file ends before its directory; was the upload cut short?")
	}
	return fail(NotAZip, "", "this is no ZIP file")
}

// noEOF makes an error of an end that comes too early: size was promised.
func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
