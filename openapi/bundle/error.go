package bundle

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Code names the rule that an archive breaks. It is stable and meant for programs.
type Code string

// The rules of the archive as a whole.
const (
	NotAZip           Code = "not_a_zip"           // it has no end record and no local header
	Truncated         Code = "truncated"           // it ends before its directory, or within it
	Malformed         Code = "malformed"           // its records contradict the format or each other
	Empty             Code = "empty_archive"       // it has no file; folders alone do not count
	ArchiveTooLarge   Code = "archive_too_large"   // Limits.ArchiveBytes
	TooManyEntries    Code = "too_many_entries"    // Limits.Entries
	DirectoryTooLarge Code = "directory_too_large" // Limits.DirectoryBytes
	TooLarge          Code = "too_large"           // Limits.TotalBytes
	RatioExceeded     Code = "ratio_exceeded"      // Limits.Ratio
	UnaccountedBytes  Code = "unaccounted_bytes"   // some belong to no entry: a prefix, a gap
)

// The rules of names, alone and among each other.
const (
	EmptyName        Code = "empty_name"           // no name, or an empty part: a//b
	NameTooLong      Code = "name_too_long"        // Limits.NameBytes
	PathTooLong      Code = "path_too_long"        // Limits.PathBytes
	PathTooDeep      Code = "path_too_deep"        // Limits.Depth
	NameNotUTF8      Code = "name_not_utf8"        // whatever its flag says
	ControlCharacter Code = "control_character"    // NUL, C0, C1, DEL, overrides of direction
	Backslash        Code = "backslash"            // a separator on Windows
	DriveLetter      Code = "drive_letter"         // C:
	AbsolutePath     Code = "absolute_path"        // a leading slash
	PathTraversal    Code = "path_traversal"       // a part that is ..
	DotName          Code = "dot_name"             // a part that is .
	DuplicateName    Code = "duplicate_name"       // twice, or equal but for case and normal form
	FileFolderClash  Code = "file_folder_conflict" // a is a file, and a/b is there
)

// The rules of single entries.
const (
	SymlinkEntry      Code = "symlink_entry"
	SpecialFile       Code = "special_file"        // a device, a pipe, a socket
	SetuidEntry       Code = "setuid_entry"        // setuid or setgid on a file
	TypeMismatch      Code = "type_mismatch"       // slash and mode disagree, or a folder has content
	Encrypted         Code = "encrypted"           // by any of the format's ways
	UnsupportedMethod Code = "unsupported_method"  // neither stored nor deflated
	HeaderMismatch    Code = "header_mismatch"     // local header or descriptor against directory
	OverlappingEntry  Code = "overlapping_entries" // it shares bytes with another entry
	SizeMismatch      Code = "size_mismatch"       // more or fewer bytes than declared
	ChecksumMismatch  Code = "checksum_mismatch"   // another CRC-32 than declared
	CorruptData       Code = "corrupt_data"        // no deflate stream, or half of one
)

// Error says which rule an archive breaks, and where.
type Error struct {
	Code Code
	// Entry is the name of the entry at fault, "" for the archive as a whole. It
	// is fit for display: what does not print is escaped, what is long is cut.
	Entry string
	// Detail is one sentence for the person who made the archive.
	Detail string
}

// Error gives code, entry and detail in one line.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Sentence() }

// Sentence gives entry and detail, for where the code stands beside it.
func (e *Error) Sentence() string {
	if e.Entry == "" {
		return e.Detail
	}
	return e.Entry + ": " + e.Detail
}

// Is matches another *Error with the same code and either the same entry or none.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Entry == "" || t.Entry == e.Entry)
}

// fail is an error about one entry, or about the archive when the name is "".
func fail(code Code, name, format string, args ...any) *Error {
	return &Error{Code: code, Entry: printable(name), Detail: fmt.Sprintf(format, args...)}
}

// printable makes a hostile name fit for a terminal, a log line and JSON.
func printable(name string) string {
	const longest = 160
	var b strings.Builder
	for i, r := range name {
		if b.Len() >= longest {
			b.WriteRune('…')
			break
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(name[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, name[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}
