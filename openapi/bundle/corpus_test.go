package bundle_test

import (
	"fmt"
	"math"
	"strings"

	"github.com/peergpu/peergpu/openapi/bundle"
)

// hostile is an archive and the rule that it breaks.
type hostile struct {
	name    string
	archive []byte
	code    bundle.Code
	limits  func(*bundle.Limits)
}

// corpus is every way to break a rule that we know of.
func corpus() []hostile {
	var all []hostile
	all = append(all, badNames()...)
	all = append(all, badKinds()...)
	all = append(all, badStructure()...)
	all = append(all, badContent()...)
	return append(all, badSizes()...)
}

func badNames() []hostile {
	named := func(what, name string, code bundle.Code) hostile {
		return hostile{name: what, archive: one(file(name, "x")), code: code}
	}
	pair := func(what string, code bundle.Code, entries ...forged) hostile {
		return hostile{name: what, archive: archive(entries), code: code}
	}
	return []hostile{
		named("a path that climbs out", "../evil", bundle.PathTraversal),
		named("a path that climbs out halfway", "a/../../evil", bundle.PathTraversal),
		named("a path that climbs and stays", "a/../b", bundle.PathTraversal),
		named("a path that ends climbing", "a/..", bundle.PathTraversal),
		named("an absolute path", "/etc/passwd", bundle.AbsolutePath),
		named("a network path", "//server/share", bundle.AbsolutePath),
		named("the root alone", "/", bundle.AbsolutePath),
		named("a backslash", `a\b`, bundle.Backslash),
		named("a climb with backslashes", `..\..\evil`, bundle.Backslash),
		named("a drive letter", "C:/evil", bundle.DriveLetter),
		named("a drive letter without a folder", "c:evil", bundle.DriveLetter),
		named("no name", "", bundle.EmptyName),
		named("an empty part", "a//b", bundle.EmptyName),
		named("two slashes at the end", "a//", bundle.EmptyName),
		named("a single dot", ".", bundle.DotName),
		named("a dot in front", "./a", bundle.DotName),
		named("a dot inside", "a/./b", bundle.DotName),
		named("a NUL", "a\x00.py", bundle.ControlCharacter),
		named("a line break", "a\nb", bundle.ControlCharacter),
		named("an escape sequence", "\x1b[2J", bundle.ControlCharacter),
		named("a DEL", "a\x7f", bundle.ControlCharacter),
		named("a C1 control", "a\u009bb", bundle.ControlCharacter),
		named("a change of writing direction", "evil\u202egnp.exe", bundle.ControlCharacter),
		named("a line separator", "a\u2028b", bundle.ControlCharacter),
		named("a name in Latin-1", "caf\xe9", bundle.NameNotUTF8),
		named("an overlong slash", "..\xc0\xafevil", bundle.NameNotUTF8),
		named("a surrogate", "a\xed\xa0\x80", bundle.NameNotUTF8),
		named("a long name", strings.Repeat("n", 256), bundle.NameTooLong),
		named("a long path", strings.Repeat("folder/", 147), bundle.PathTooLong),
		named("a deep path", strings.Repeat("d/", 32)+"f", bundle.PathTooDeep),
		pair("the same file twice", bundle.DuplicateName, file("a", "1"), file("a", "2")),
		pair("the same folder twice", bundle.DuplicateName, file("f", "1"), folder("a/"), folder("a/")),
		pair("names that differ in case", bundle.DuplicateName, file("README", "1"), file("readme", "2")),
		pair("folders that differ in case", bundle.DuplicateName, file("A/x", "1"), file("a/y", "2")),
		pair("names that differ in case beyond ASCII", bundle.DuplicateName, file("ÄΣ", "1"), file("äς", "2")),
		pair("names that differ in a Kelvin sign", bundle.DuplicateName, file("K", "1"), file("k", "2")),
		pair("names that differ in normal form", bundle.DuplicateName, file("caf\u00e9", "1"), file("cafe\u0301", "2")),
		pair("names that differ in normal form and case", bundle.DuplicateName, file("CAF\u00c9", "1"), file("cafe\u0301", "2")),
		pair("a file, then a folder of that name", bundle.FileFolderClash, file("a", "1"), file("a/b", "2")),
		pair("a folder, then a file of that name", bundle.FileFolderClash, file("a/b", "1"), file("a", "2")),
		pair("a file and the entry of a folder", bundle.FileFolderClash, file("a", "1"), folder("a/")),
		pair("the entry of a folder and a file", bundle.FileFolderClash, folder("a/"), file("a", "1")),
		pair("a folder below a file", bundle.FileFolderClash, file("a/b", "1"), folder("a/b/c/")),
	}
}

func badKinds() []hostile {
	mode := func(what string, bits uint32, code bundle.Code) hostile {
		return hostile{name: what, archive: one(file("entry", "../target", attributes(bits<<16))), code: code}
	}
	all := []hostile{
		mode("a symbolic link", 0o120777, bundle.SymlinkEntry),
		mode("a character device", 0o020666, bundle.SpecialFile),
		mode("a block device", 0o060666, bundle.SpecialFile),
		mode("a pipe", 0o010666, bundle.SpecialFile),
		mode("a socket", 0o140666, bundle.SpecialFile),
		mode("a type that does not exist", 0o170000, bundle.SpecialFile),
		mode("setuid", 0o104755, bundle.SetuidEntry),
		mode("setgid", 0o102755, bundle.SetuidEntry),
		mode("setuid without a type", 0o004755, bundle.SetuidEntry),
		mode("a folder without a slash", 0o040755, bundle.TypeMismatch),
	}
	link := file("entry", "target", attributes(0o120777<<16))
	link.central.creator = 0
	return append(all,
		hostile{name: "a symbolic link that claims to come from DOS", archive: one(link), code: bundle.SymlinkEntry},
		hostile{name: "a symbolic link with a slash", archive: one(file("entry/", "", attributes(0o120777<<16))), code: bundle.SymlinkEntry},
		hostile{name: "a DOS folder without a slash", archive: one(file("entry", "", attributes(0x10))), code: bundle.TypeMismatch},
		hostile{name: "a file with a slash", archive: one(file("entry/", "", attributes(modeFile))), code: bundle.TypeMismatch},
		hostile{name: "a folder with content", archive: one(folder("entry/", func(f *forged) { *f = file("entry/", "x", attributes(modeFolder)) })), code: bundle.TypeMismatch},
		hostile{name: "a password", archive: one(file("f", "x", both(func(h *header) { h.flags |= 1 }))), code: bundle.Encrypted},
		hostile{name: "strong encryption", archive: one(file("f", "x", both(func(h *header) { h.flags |= 1 << 6 }))), code: bundle.Encrypted},
		hostile{name: "an encrypted directory", archive: one(file("f", "x", both(func(h *header) { h.flags |= 1 << 13 }))), code: bundle.Encrypted},
		hostile{name: "AES", archive: one(file("f", "x", both(func(h *header) { h.method = 99 }))), code: bundle.Encrypted},
		hostile{name: "zstd", archive: one(file("f", "x", both(func(h *header) { h.method = 93 }))), code: bundle.UnsupportedMethod},
		hostile{name: "deflate64", archive: one(file("f", "x", both(func(h *header) { h.method = 9 }))), code: bundle.UnsupportedMethod},
		hostile{name: "a method that does not exist", archive: one(file("f", "x", both(func(h *header) { h.method = 4711 }))), code: bundle.UnsupportedMethod},
		hostile{name: "a patch", archive: one(file("f", "x", both(func(h *header) { h.flags |= 1 << 5 }))), code: bundle.UnsupportedMethod},
	)
}

func badStructure() []hostile {
	honest := one(file("a", "content"))
	ends := func(edit func(*end)) []byte { return archive([]forged{file("a", "content")}, edit) }
	at := func(offset uint64) []byte {
		f := file("b", "content")
		f.central.offset, f.central.forceOffset = offset, true
		return archive([]forged{file("a", "content"), f})
	}
	local := func(change func(*header)) []byte {
		return one(file("a", "content", func(f *forged) { change(&f.local) }))
	}
	wide := archive([]forged{file("a", "content")}, func(e *end) { e.zip64 = true })
	wrongWide := func(offset int, value byte) []byte {
		b := []byte(string(wide))
		b[len(b)-22-20-56+offset] = value
		return b
	}
	return []hostile{
		{name: "nothing", archive: nil, code: bundle.NotAZip},
		{name: "three bytes", archive: []byte("PK\x03"), code: bundle.NotAZip},
		{name: "text", archive: []byte(strings.Repeat("print('hello')\n", 100)), code: bundle.NotAZip},
		{name: "an end that is cut", archive: honest[:len(honest)-1], code: bundle.Truncated},
		{name: "an archive cut in the middle", archive: honest[:len(honest)/2], code: bundle.Truncated},
		{name: "an archive without its beginning", archive: honest[10:], code: bundle.Truncated},
		{name: "no entries", archive: archive(nil), code: bundle.Empty},
		{name: "no entries, zip64", archive: archive(nil, func(e *end) { e.zip64 = true }), code: bundle.Empty},
		{name: "folders alone", archive: archive([]forged{folder("a/"), folder("a/b/")}), code: bundle.Empty},
		{name: "bytes in front", archive: append([]byte("#!/bin/sh\n"), honest...), code: bundle.UnaccountedBytes},
		{name: "bytes in front that offsets count", archive: shifted("#!/bin/sh\n"), code: bundle.UnaccountedBytes},
		{name: "bytes behind", archive: append([]byte(string(honest)), "trailer"...), code: bundle.Malformed},
		{name: "a comment that is longer than it says", archive: append(ends(func(e *end) { e.comment = "abc" }), 'd'), code: bundle.Malformed},
		{name: "two archives in a row", archive: append([]byte(string(honest)), honest...), code: bundle.UnaccountedBytes},
		{name: "a directory that claims more entries", archive: ends(func(e *end) { e.count = 2 }), code: bundle.Malformed},
		{name: "a directory that claims fewer entries", archive: archive([]forged{file("a", "1"), file("b", "2")}, func(e *end) { e.count = 1 }), code: bundle.Malformed},
		{name: "a directory that claims to be longer", archive: ends(func(e *end) { e.length++ }), code: bundle.Truncated},
		{name: "a directory that claims to be shorter", archive: ends(func(e *end) { e.length-- }), code: bundle.UnaccountedBytes},
		{name: "a directory beyond the file", archive: ends(func(e *end) { e.offset = 1 << 30 }), code: bundle.Truncated},
		{name: "a directory that is no directory", archive: ends(func(e *end) { e.offset, e.length = 0, e.offset+e.length }), code: bundle.Malformed},
		{name: "one part of several", archive: ends(func(e *end) { e.disk = 1 }), code: bundle.Malformed},
		{name: "an entry on another disk", archive: one(file("a", "x", func(f *forged) { f.central.disk = 1 })), code: bundle.Malformed},
		{name: "a zip64 end with another count", archive: wrongWide(32, 9), code: bundle.Malformed},
		{name: "a zip64 end without a signature", archive: wrongWide(0, 0), code: bundle.Malformed},
		{name: "a zip64 end of another length", archive: wrongWide(4, 45), code: bundle.Malformed},
		{name: "a zip64 mark without the wide value", archive: one(file("a", "x", func(f *forged) { f.central.size = math.MaxUint32 })), code: bundle.Malformed},
		{name: "a zip64 size that wraps", archive: one(file("a", "x", func(f *forged) {
			f.central.size, f.central.extra = math.MaxUint32, field(1, numbers(math.MaxUint64))
		})), code: bundle.Malformed},
		{name: "entries that share their data", archive: sharedKernel(100), code: bundle.OverlappingEntry},
		{name: "entries that quote each other", archive: quotedOverlap(50), code: bundle.OverlappingEntry, limits: func(l *bundle.Limits) { l.Ratio = 1 << 20 }},
		{name: "an entry inside another", archive: at(3), code: bundle.OverlappingEntry},
		{name: "an entry in the directory", archive: at(90), code: bundle.OverlappingEntry},
		{name: "an entry beyond the file", archive: at(1 << 20), code: bundle.OverlappingEntry},
		{name: "an entry whose extra data take its room", archive: one(file("a", "content", func(f *forged) {
			f.local.extra, f.payload = []byte("extra"), f.payload[5:]
		})), code: bundle.OverlappingEntry},
		{name: "an entry without its signature", archive: append([]byte("PK\x03\x05"), honest[4:]...), code: bundle.Malformed},
		{name: "a gap between entries", archive: archive([]forged{file("a", "x", func(f *forged) { f.payload = []byte("x, hidden") }), file("b", "y")}), code: bundle.UnaccountedBytes},
		{name: "a local header with another name", archive: local(func(h *header) { h.name = "b" }), code: bundle.HeaderMismatch},
		{name: "a local header with another method", archive: local(func(h *header) { h.method = 8 }), code: bundle.HeaderMismatch},
		{name: "a local header that is encrypted", archive: local(func(h *header) { h.flags = 1 }), code: bundle.HeaderMismatch},
		{name: "a local header with another size", archive: local(func(h *header) { h.size++ }), code: bundle.HeaderMismatch},
		{name: "a local header with another packed size", archive: local(func(h *header) { h.packed-- }), code: bundle.HeaderMismatch},
		{name: "a local header with another checksum", archive: local(func(h *header) { h.crc++ }), code: bundle.HeaderMismatch},
		{name: "a local header without its sizes", archive: local(func(h *header) { h.size, h.packed, h.crc = 0, 0, 0 }), code: bundle.HeaderMismatch},
		{name: "a local header that is too long", archive: local(func(h *header) { h.extra = field(0x9999, make([]byte, 64)); h.name = "a" + strings.Repeat("/b", 40) }), code: bundle.HeaderMismatch},
		{name: "a second name", archive: one(file("a", "x", both(func(h *header) { h.extra = field(0x7075, []byte("\x01....evil")) }))), code: bundle.HeaderMismatch},
		{name: "a second name in the local header", archive: local(func(h *header) { h.extra = field(0x7075, []byte("\x01....evil")) }), code: bundle.HeaderMismatch},
		{name: "a second name that is cut", archive: one(file("a", "x", both(func(h *header) { h.extra = field(0x7075, []byte("\x01")) }))), code: bundle.HeaderMismatch},
	}
}

// shifted is a self-extracting archive: what stands in front is counted.
func shifted(prefix string) []byte {
	b := archive([]forged{file("a", "x", func(f *forged) {
		f.central.offset, f.central.forceOffset = uint64(len(prefix)), true
	})}, func(e *end) { e.offset += uint64(len(prefix)) })
	return append([]byte(prefix), b...)
}

func badContent() []hostile {
	text := strings.Repeat("abc", 100)
	described := func(at int) []byte {
		return one(file("a", text, deflated, streamed(true, 4), func(f *forged) { f.descriptor[at]++ }))
	}
	return []hostile{
		{name: "a wrong checksum", archive: one(file("a", text, both(func(h *header) { h.crc++ }))), code: bundle.ChecksumMismatch},
		{name: "a wrong checksum of compressed data", archive: one(file("a", text, deflated, both(func(h *header) { h.crc++ }))), code: bundle.ChecksumMismatch},
		{name: "a wrong checksum in the last of many", archive: archive(append(many(20), file("last", text, both(func(h *header) { h.crc++ })))), code: bundle.ChecksumMismatch},
		{name: "a declared size that is too small", archive: one(file("a", text, deflated, both(func(h *header) { h.size-- }))), code: bundle.SizeMismatch},
		{name: "a declared size of nothing", archive: one(file("a", text, deflated, both(func(h *header) { h.size, h.crc = 0, 0 }))), code: bundle.SizeMismatch},
		{name: "a declared size that is too large", archive: one(file("a", text, deflated, both(func(h *header) { h.size++ }))), code: bundle.SizeMismatch},
		{name: "a stored size that is too small", archive: one(file("a", text, both(func(h *header) { h.size-- }))), code: bundle.SizeMismatch},
		{name: "a stored size that is too large", archive: one(file("a", text, both(func(h *header) { h.size++ }))), code: bundle.SizeMismatch},
		{name: "a packed size that is too large", archive: one(file("a", text, both(func(h *header) { h.packed++ }))), code: bundle.OverlappingEntry},
		{name: "a packed size that is too small", archive: one(file("a", text, both(func(h *header) { h.packed-- }))), code: bundle.UnaccountedBytes},
		{name: "bytes behind compressed data", archive: one(file("a", text, deflated, func(f *forged) {
			f.payload = append(f.payload, "hidden"...)
			both(func(h *header) { h.packed += 6 })(f)
		})), code: bundle.SizeMismatch},
		{name: "compressed data that are cut", archive: one(file("a", text, deflated, func(f *forged) {
			f.payload = f.payload[:len(f.payload)-3]
			both(func(h *header) { h.packed -= 3 })(f)
		})), code: bundle.CorruptData},
		{name: "compressed data that are none", archive: one(file("a", text, both(func(h *header) { h.method = 8 }))), code: bundle.CorruptData},
		{name: "a descriptor with another checksum", archive: described(4), code: bundle.HeaderMismatch},
		{name: "a descriptor with another packed size", archive: described(8), code: bundle.HeaderMismatch},
		{name: "a descriptor with another size", archive: described(12), code: bundle.HeaderMismatch},
		{name: "a descriptor with another signature", archive: described(0), code: bundle.HeaderMismatch},
		{name: "a descriptor that is too long", archive: one(file("a", text, streamed(true, 4), func(f *forged) { f.descriptor = append(f.descriptor, 0) })), code: bundle.UnaccountedBytes},
		{name: "a descriptor that is missing", archive: one(file("a", text, streamed(true, 4), func(f *forged) { f.descriptor = nil })), code: bundle.UnaccountedBytes},
	}
}

func badSizes() []hostile {
	zeros := strings.Repeat("\x00", 2<<20)
	declared := func(size uint64) forged {
		return file("a", "x", both(func(h *header) {
			h.size, h.extra = math.MaxUint32, field(1, numbers(size, 1))
			h.packed = math.MaxUint32
		}))
	}
	return []hostile{
		{name: "a bomb of entries that quote each other", archive: quotedOverlap(50), code: bundle.RatioExceeded},
		{name: "a ratio bomb", archive: one(file("a", zeros, deflated)), code: bundle.RatioExceeded},
		{name: "a ratio bomb in many files", archive: archive([]forged{file("a", zeros, deflated), file("b", zeros, deflated)}), code: bundle.RatioExceeded},
		{name: "a size that only claims to be a bomb", archive: one(declared(4 << 30)), code: bundle.RatioExceeded},
		{name: "a size beyond the limit", archive: one(declared(9 << 30)), code: bundle.TooLarge},
		{name: "sizes that are beyond the limit together", archive: archive(many(11)), code: bundle.TooLarge, limits: func(l *bundle.Limits) { l.TotalBytes = 20 }},
		{name: "a ZIP file beyond the limit", archive: one(file("a", "x")), code: bundle.ArchiveTooLarge, limits: func(l *bundle.Limits) { l.ArchiveBytes = 100 }},
		{name: "too many entries", archive: archive(many(10_001)), code: bundle.TooManyEntries},
		{name: "too many entries, zip64", archive: archive(many(66_000), func(e *end) { e.zip64 = true }), code: bundle.TooManyEntries},
		{name: "too many implied folders", archive: archive(branches(400)), code: bundle.TooManyEntries},
		{name: "a count that is a lie", archive: archive(many(1), func(e *end) { e.zip64, e.count = true, 1<<40 }), code: bundle.TooManyEntries},
		{name: "a directory full of comments", archive: archive(wordy(400)), code: bundle.DirectoryTooLarge},
	}
}

func many(n int) (entries []forged) {
	for i := range n {
		entries = append(entries, file(fmt.Sprintf("f%05d", i), "xy"))
	}
	return entries
}

// branches needs 30 folders for each of its files.
func branches(n int) (entries []forged) {
	for i := range n {
		entries = append(entries, file(fmt.Sprintf("%d/%sf", i, strings.Repeat("d/", 29)), ""))
	}
	return entries
}

func wordy(n int) []forged {
	entries := many(n)
	for i := range entries {
		entries[i].central.comment = make([]byte, math.MaxUint16)
	}
	return entries
}
