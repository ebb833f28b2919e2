// Package architecture is for keeping the shape of the project by tests: who
// may import whom, how large a file may be, where time comes from, what the
// ports promise, what the documentation links to.
//
// It parses the sources itself. A test that asked `go list` would be cached
// with an answer of yesterday.
package architecture

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module whose shape is kept.
const Module = "github.com/peergpu/peergpu"

// Tree is the module's Go sources, parsed.
type Tree struct {
	Root  string
	Fset  *token.FileSet
	Files []*File
}

// File is one Go source file of the module.
type File struct {
	Path    string // with slashes, from the root
	Package string // the folder, from the root; "" is the root itself
	Test    bool   // it is compiled for tests only
	Imports []string
	AST     *ast.File
}

// Generated tells whether the file was written by a program.
func (f *File) Generated() bool { return strings.HasSuffix(f.Path, ".gen.go") }

// Load parses every Go file of the module, whatever its build tags say.
func Load() (*Tree, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	t := &Tree{Root: root, Fset: token.NewFileSet()}
	return t, t.walk(func(path string) error {
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(t.Fset, filepath.Join(root, path), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f := &File{Path: path, Test: strings.HasSuffix(path, "_test.go"), AST: parsed}
		if dir := filepath.ToSlash(filepath.Dir(path)); dir != "." {
			f.Package = dir
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.Imports = append(f.Imports, imported)
		}
		t.Files = append(t.Files, f)
		return nil
	})
}

// walk visits the files of the module by their path from the root. It leaves
// out what is not ours to keep in shape: dot folders, what was built or
// fetched, test data, and modules of their own.
func (t *Tree) walk(visit func(path string) error) error {
	return filepath.WalkDir(t.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == t.Root {
			return err
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(t.Root, path)
			if err != nil {
				return err
			}
			return visit(filepath.ToSlash(rel))
		}
		name := d.Name()
		if strings.HasPrefix(name, ".") || slices.Contains([]string{"bin", "data", "dist", "node_modules", "testdata"}, name) {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
			return filepath.SkipDir
		}
		return nil
	})
}

// findRoot goes up from the working directory, which for a test is the folder
// of its package.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module "+Module+"\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod of " + Module + " above the working directory")
		}
		dir = up
	}
}
