package architecture

import (
	"bytes"
	"go/ast"
	"go/doc"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// topLevel is all that may stand at the root beside dot files.
var topLevel = []string{
	"adapters", "agent", "application", "deploy", "domain", "examples", "openapi", "ports", "tests", "web",
	"ARCHITECTURE.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum", "main.go",
	"bin", "data", // made by `make run`, ignored by git
}

// drawers are names of folders that say nothing about what is in them.
var drawers = []string{"cmd", "pkg", "internal", "util", "utils", "common", "helper", "helpers", "misc", "scripts", "shared"}

// maxLines is where a file has become more than one story.
const maxLines = 450

func TestTheTopLevelIsFixed(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(tree(t).Root)
	require.NoError(t, err)
	for _, e := range entries {
		assert.True(t, strings.HasPrefix(e.Name(), ".") || slices.Contains(topLevel, e.Name()), "%s has no place at the top level", e.Name())
	}
}

func TestNoFolderIsADrawer(t *testing.T) {
	t.Parallel()
	assert.NoError(t, tree(t).walk(func(path string) error {
		for _, name := range strings.Split(filepath.ToSlash(filepath.Dir(path)), "/") {
			assert.NotContains(t, drawers, name, path)
		}
		return nil
	}))
}

func TestNoFileIsTooLong(t *testing.T) {
	t.Parallel()
	sources(t, func(path string, content []byte) {
		if lines := bytes.Count(content, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines: split it", path, lines)
		}
	})
}

func TestNothingIsLeftForLater(t *testing.T) {
	t.Parallel()
	// In two halves, so that this file does not contain them.
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b|not imple` + `mented`)
	sources(t, func(path string, content []byte) {
		for i, line := range bytes.Split(content, []byte("\n")) {
			if later.Match(line) {
				t.Errorf("%s:%d: %s", path, i+1, bytes.TrimSpace(line))
			}
		}
	})
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	docs := map[string][]string{} // package → its doc comments
	for _, f := range tree(t).Files {
		if f.Test || f.Generated() {
			continue
		}
		docs[f.Package] = append(docs[f.Package], packageDoc(f.AST)...)
	}
	for pkg, comments := range docs {
		name := filepath.Base(pkg)
		switch len(comments) {
		case 0:
			t.Errorf("package %q has no doc comment", pkg)
		case 1:
			assert.Regexp(t, `^(Package|Command) \S+ (\S+ )+\S+\.$`, firstSentence(comments[0]), name)
		default:
			t.Errorf("package %q has %d doc comments: keep one", pkg, len(comments))
		}
	}
}

func packageDoc(f *ast.File) []string {
	if f.Doc == nil {
		return nil
	}
	// A comment of directives alone has no text.
	if text := f.Doc.Text(); text != "" {
		return []string{text}
	}
	return nil
}

func firstSentence(text string) string {
	return new(doc.Package).Synopsis(text)
}

// sources visits every file that a person wrote to be read by a program.
func sources(t *testing.T, visit func(path string, content []byte)) {
	t.Helper()
	root := tree(t).Root
	require.NoError(t, tree(t).walk(func(path string) error {
		kinds := []string{".go", ".ts", ".tsx", ".css", ".py", ".sh", ".sql"}
		if strings.Contains(path, ".gen.") || (!slices.Contains(kinds, filepath.Ext(path)) && filepath.Base(path) != "Makefile") {
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		visit(path, content)
		return nil
	}))
}
