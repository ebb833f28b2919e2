package bundle_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// forged is one entry of a hand-made archive. Every field of both headers can be
// made to lie.
type forged struct {
	local, central header
	payload        []byte // as it stands in the archive
	descriptor     []byte // behind the payload
	at             *int   // shares this offset instead of being written
}

// header is what a local header and the directory both say.
type header struct {
	name           string
	flags, method  uint16
	crc            uint32
	packed, size   uint64 // from 2^32-1 on, 2^32-1 is written
	attributes     uint32 // directory only
	creator        byte   // directory only
	extra, comment []byte
	disk           uint16
	offset         uint64 // directory only, set by archive unless forceOffset
	forceOffset    bool
}

// File types and permissions as Unix keeps them in the external attributes.
const (
	modeFile   = 0o100644 << 16
	modeExec   = 0o100755 << 16
	modeFolder = 0o040755 << 16
)

// file is an honest stored entry, changed by the edits.
func file(name, content string, edits ...func(*forged)) forged {
	h := header{
		name: name, crc: crc32.ChecksumIEEE([]byte(content)), attributes: modeFile, creator: 3,
		packed: uint64(len(content)), size: uint64(len(content)),
	}
	f := forged{local: h, central: h, payload: []byte(content)}
	for _, edit := range edits {
		edit(&f)
	}
	return f
}

// folder is an honest entry of a folder; name ends with a slash.
func folder(name string, edits ...func(*forged)) forged {
	return file(name, "", append([]func(*forged){attributes(modeFolder)}, edits...)...)
}

// both changes both headers in the same way.
func both(change func(*header)) func(*forged) {
	return func(f *forged) { change(&f.local); change(&f.central) }
}

func attributes(a uint32) func(*forged) {
	return func(f *forged) { f.central.attributes = a }
}

// deflated compresses the payload.
func deflated(f *forged) {
	f.payload = deflate(f.payload)
	both(func(h *header) { h.method, h.packed = 8, uint64(len(f.payload)) })(f)
}

// streamed moves checksum and sizes into a descriptor, with or without its
// signature and with sizes of 4 or 8 bytes.
func streamed(signature bool, width int) func(*forged) {
	return func(f *forged) {
		both(func(h *header) { h.flags |= 8 })(f)
		var b []byte
		if signature {
			b = append(b, "PK\x07\x08"...)
		}
		b = binary.LittleEndian.AppendUint32(b, f.central.crc)
		for _, v := range []uint64{f.central.packed, f.central.size} {
			if width == 8 {
				b = binary.LittleEndian.AppendUint64(b, v)
			} else {
				b = binary.LittleEndian.AppendUint32(b, uint32(v))
			}
		}
		f.local.crc, f.local.packed, f.local.size = 0, 0, 0
		f.descriptor = b
	}
}

func deflate(content []byte) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write(content)
	_ = w.Close()
	return b.Bytes()
}

// field is one field of extra data.
func field(id uint16, data []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, id)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// numbers is a row of 64-bit numbers, as zip64 fields have it.
func numbers(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// end is the record that ends an archive.
type end struct {
	count, length, offset uint64
	zip64                 bool // write the wide records, and marks into the plain one
	comment               string
	disk                  uint16
}

// archive writes the entries and an honest end, changed by the edits.
func archive(entries []forged, edits ...func(*end)) []byte {
	var body, directory []byte
	for _, f := range entries {
		offset := uint64(len(body))
		if f.at != nil {
			offset = uint64(*f.at)
		} else {
			body = append(body, localHeader(f.local)...)
			body = append(body, f.payload...)
			body = append(body, f.descriptor...)
		}
		if !f.central.forceOffset {
			f.central.offset = offset
		}
		directory = append(directory, centralHeader(f.central)...)
	}
	e := end{count: uint64(len(entries)), length: uint64(len(directory)), offset: uint64(len(body))}
	for _, edit := range edits {
		edit(&e)
	}
	body = append(body, directory...)
	return append(body, endRecord(e, len(body))...)
}

func one(f forged) []byte { return archive([]forged{f}) }

func localHeader(h header) []byte {
	b := []byte("PK\x03\x04")
	b = shorts(b, 20, h.flags, h.method, 0, 0x21)
	b = longs(b, uint64(h.crc), h.packed, h.size)
	b = shorts(b, uint16(len(h.name)), uint16(len(h.extra)))
	return append(append(b, h.name...), h.extra...)
}

func centralHeader(h header) []byte {
	b := []byte("PK\x01\x02")
	b = shorts(b, uint16(h.creator)<<8|20, 20, h.flags, h.method, 0, 0x21)
	b = longs(b, uint64(h.crc), h.packed, h.size)
	b = shorts(b, uint16(len(h.name)), uint16(len(h.extra)), uint16(len(h.comment)), h.disk, 0)
	b = longs(b, uint64(h.attributes), h.offset)
	return append(append(append(b, h.name...), h.extra...), h.comment...)
}

func endRecord(e end, at int) (b []byte) {
	if e.zip64 {
		b = append(b, "PK\x06\x06"...)
		b = append(b, numbers(44)...)
		b = shorts(b, 45, 45)
		b = longs(b, 0, 0)
		b = append(b, numbers(e.count, e.count, e.length, e.offset)...)
		b = longs(append(b, "PK\x06\x07"...), 0)
		b = longs(append(b, numbers(uint64(at))...), 1)
		e.count, e.length, e.offset = math.MaxUint16, math.MaxUint32, math.MaxUint32
	}
	count := uint16(min(e.count, math.MaxUint16))
	b = shorts(append(b, "PK\x05\x06"...), e.disk, e.disk, count, count)
	b = longs(b, e.length, e.offset)
	b = shorts(b, uint16(len(e.comment)))
	return append(b, e.comment...)
}

func shorts(b []byte, values ...uint16) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

func longs(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, uint32(min(v, math.MaxUint32)))
	}
	return b
}

// sharedKernel is an archive whose entries all point at the same data.
func sharedKernel(n int) []byte {
	entries := []forged{file("0", "kernel")}
	for i := 1; i < n; i++ {
		f := file(fmt.Sprint(i), "kernel")
		f.at = new(int)
		entries = append(entries, f)
	}
	return archive(entries)
}

// quotedOverlap is David Fifield's zip bomb ("A better zip bomb", 2019): each
// entry's deflate stream quotes the next entry's header in a stored block and
// goes on with that entry's own stream, so that all of them unpack one kernel.
func quotedOverlap(n int) []byte {
	content := make([]byte, 1<<16)
	stream := deflate(content)
	var body []byte
	var entries []forged
	for i := n - 1; i >= 0; i-- {
		if body != nil {
			quote := body[:len(body)-len(stream)]
			block := shorts([]byte{0}, uint16(len(quote)), ^uint16(len(quote)))
			content = append(bytes.Clone(quote), content...)
			stream = append(block, body...)
		}
		h := header{
			name: fmt.Sprintf("%04d", i), method: 8, crc: crc32.ChecksumIEEE(content), attributes: modeFile, creator: 3,
			packed: uint64(len(stream)), size: uint64(len(content)), forceOffset: true,
		}
		body = append(localHeader(h), stream...)
		entries = append(entries, forged{local: h, central: h, at: new(int)})
	}
	out := bytes.Clone(body)
	var directory []byte
	for _, f := range entries {
		// The streams all end together, so that length tells the place.
		f.central.offset = uint64(len(body)) - f.central.packed - uint64(len(localHeader(f.local)))
		directory = append(directory, centralHeader(f.central)...)
	}
	out = append(out, directory...)
	return append(out, endRecord(end{count: uint64(n), length: uint64(len(directory)), offset: uint64(len(body))}, 0)...)
}
