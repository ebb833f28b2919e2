package architecture

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/pages"
)

var update = flag.Bool("update", false, "write the generated parts of ARCHITECTURE.md anew")

func TestThePageShowsTheStateMachineOfAJob(t *testing.T) {
	t.Parallel()
	section(t, "states", "```mermaid\n"+golden(t, "states.mmd")+"```\n")
}

func TestThePageShowsTheRulings(t *testing.T) {
	t.Parallel()
	section(t, "rulings", golden(t, "rulings.md"))
}

func TestThePageShowsTheDependencyTable(t *testing.T) {
	t.Parallel()
	section(t, "dependencies", dependencies(tree(t)))
}

// golden reads a file that the tests of domain/jobs hold against the code.
func golden(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(tree(t).Root, "domain", "jobs", "testdata", name))
	require.NoError(t, err)
	return string(content)
}

func section(t *testing.T, name, want string) {
	t.Helper()
	pages.Section(t, filepath.Join(tree(t).Root, "ARCHITECTURE.md"), name, want, *update)
}

// dependencies renders the rows of the table that a package of the tree has. The
// others are for packages to come, and the page tells what is.
func dependencies(t *Tree) string {
	used := map[string]bool{}
	for _, f := range t.Files {
		for _, r := range table {
			if _, ok := fits(r.packages, f.Package); ok {
				used[r.packages] = true
				break
			}
		}
	}
	var b strings.Builder
	b.WriteString("| package | may import of ours | and of others |\n|---|---|---|\n")
	for _, r := range table {
		if !used[r.packages] {
			continue
		}
		name := r.packages
		if name == "" {
			name = "main.go"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, listed(r.ours, "`"), listed(r.vendors, ""))
	}
	return b.String()
}

// listed separates words by commas, each within quotes.
func listed(words, quote string) string {
	all := strings.Fields(words)
	if len(all) == 0 {
		return "nothing"
	}
	return quote + strings.Join(all, quote+", "+quote) + quote
}
