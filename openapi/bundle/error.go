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
	NotAZip           Code = "not_a_zip"
	Truncated         Code = "truncated"
	Malformed         Code = "malformed"
	Empty             Code = "empty_archive"
	ArchiveTooLarge   Code = "archive_too_large"
	TooManyEntries    Code = "too_many_entries"
	DirectoryTooLarge Code = "directory_too_large"
	TooLarge          Code = "too_large"
	RatioExceeded     Code = "ratio_exceeded"
	UnaccountedBytes  Code = "unaccounted_bytes"
)

// The rules of names.
const (
	EmptyName         Code = "empty_name"
	NameTooLong       Code = "name_too_long"
	PathTooLong       Code = "path_too_long"
	PathTooDeep       Code = "path_too_deep"
	NameNotUTF8       Code = "name_not_utf8"
	ControlCharacter  Code = "control_character"
	Backslash         Code = "backslash"
	DriveLetter       Code = "drive_letter"
	AbsolutePath      Code = "absolute_path"
	PathTraversal     Code = "path_traversal"
	DotName           Code = "dot_name"
	DuplicateName     Code = "duplicate_name"
	FileFolderClash   Code = "file_folder_conflict"
	HeaderMismatch    Code = "header_mismatch"
	OverlappingEntry  Code = "overlapping_entries"
	SymlinkEntry      Code = "symlink_entry"
	SpecialFile       Code = "special_file"
	SetuidEntry       Code = "setuid_entry"
	TypeMismatch      Code = "type_mismatch"
	Encrypted         Code = "encrypted"
	UnsupportedMethod Code = "unsupported_method"
	SizeMismatch      Code = "size_mismatch"
	ChecksumMismatch  Code = "checksum_mismatch"
	CorruptData       Code = "corrupt_data"
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

// Error gives entry, detail and code in one line.
func (e *Error) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("bundle: %s (%s)", e.Detail, e.Code)
	}
	return fmt.Sprintf("bundle: %s: %s (%s)", e.Entry, e.Detail, e.Code)
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
