package bundle

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// checkName holds one entry's name, as it stands in the archive, to the rules of
// paths: relative, plain, and the same path on every system.
func checkName(raw string, limits Limits) error {
	name := strings.TrimSuffix(raw, "/")
	switch {
	case raw == "":
		return fail(EmptyName, raw, "an entry has no name")
	case !utf8.ValidString(raw):
		return fail(NameNotUTF8, raw, "its name is not UTF-8; pack the bundle with a tool that writes UTF-8 names")
	case strings.ContainsFunc(raw, isControl):
		return fail(ControlCharacter, raw, "its name has characters that do not print")
	case strings.Contains(raw, `\`):
		return fail(Backslash, raw, "its name has a backslash; folders are separated by /")
	case raw[0] == '/':
		return fail(AbsolutePath, raw, "its path begins at the root of the file system")
	case len(raw) > 1 && raw[1] == ':' && isLetter(raw[0]):
		return fail(DriveLetter, raw, "its path begins with a drive letter")
	case len(name) > limits.PathBytes:
		return fail(PathTooLong, raw, "its path has %d bytes; the limit is %d", len(name), limits.PathBytes)
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		depth++
		switch {
		case part == "":
			return fail(EmptyName, raw, "its path has an empty part")
		case part == ".":
			return fail(DotName, raw, "its path has a part that is a single dot")
		case part == "..":
			return fail(PathTraversal, raw, "its path leads out of its folder")
		case len(part) > limits.NameBytes:
			return fail(NameTooLong, raw, "a part of its path has %d bytes; the limit is %d", len(part), limits.NameBytes)
		}
	}
	if depth > limits.Depth {
		return fail(PathTooDeep, raw, "its path has %d parts; the limit is %d", depth, limits.Depth)
	}
	return nil
}

// isControl says whether a rune could change how the text around it is shown:
// controls, line separators and the overrides of writing direction.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// tree is the folders and files that the entries make. Each is found by its
// folder and its name as a file system would compare it that ignores case and
// normal form, because bundles are made and unpacked on such systems too.
type tree struct {
	limits         Limits
	nodes          map[place]node
	files, folders int
}

type place struct {
	folder int // the id of its node, 0 for the top
	folded string
}

type node struct {
	id    int
	name  string
	file  bool
	named bool // by an entry of its own, not only as part of a path
}

func newTree(limits Limits) *tree {
	return &tree{limits: limits, nodes: make(map[place]node)}
}

// add puts an entry into the tree, and the folders on the way to it.
func (t *tree) add(e *entry) error {
	// Ids instead of paths as keys: memory then grows with the names themselves, not
	// with their depth.
	folder, rest, more := 0, e.name, true
	for more {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		last := !more
		at := place{folder: folder, folded: fold(part)}
		n, known := t.nodes[at]
		switch {
		case !known:
			n = node{id: len(t.nodes) + 1, name: part, file: last && !e.folder, named: last}
			if n.id > t.limits.Entries {
				return fail(TooManyEntries, "", "the ZIP file makes more than %d files and folders, which is the limit", t.limits.Entries)
			}
			t.count(n)
		// Also for folders: on a file system that ignores case A/x and a/y share one.
		case n.name != part:
			return fail(DuplicateName, e.raw, "%q and %q differ only in case or in how they are encoded", n.name, part)
		case n.file && last && !e.folder, n.named && last && e.folder && !n.file:
			return fail(DuplicateName, e.raw, "it is in the ZIP file twice")
		case n.file || last && !e.folder:
			return fail(FileFolderClash, e.raw, "%q is a file and a folder at once", n.name)
		}
		n.named = n.named || last
		t.nodes[at] = n
		folder = n.id
	}
	return nil
}

func (t *tree) count(n node) {
	if n.file {
		t.files++
	} else {
		t.folders++
	}
}

// fold maps all spellings of a name that some file system takes for the same one
// to a single one (Unicode's canonical caseless match, with simple case folding).
func fold(name string) string {
	if isLowerASCII(name) {
		return name
	}
	return norm.NFC.String(strings.Map(smallest, norm.NFD.String(name)))
}

// smallest picks one rune of those that differ only in case.
func smallest(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	// Capitals come first in Unicode; small letters read better in a debugger and
	// spare plain names the way through here.
	if 'A' <= least && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}

func isLowerASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || 'A' <= s[i] && s[i] <= 'Z' {
			return false
		}
	}
	return true
}
