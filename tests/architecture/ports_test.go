package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxMethods is how much one thing may ask of the world outside.
const maxMethods = 6

// portFiles are where ports are declared: the server's and the agent's.
const portFiles = "ports/ agent/daemon/ports"

// withoutSuite are ports that no suite of tests/contract covers, and why.
var withoutSuite = map[string]string{
	"daemon.Clock": "the calls of the operating system, there so that tests can replace them",
	"daemon.Conn":  "what Server gives: its suite covers it",
	"daemon.Run":   "what Runtime gives: its suite covers it",
}

func TestAPortHasSixMethodsAtMost(t *testing.T) {
	t.Parallel()
	for name, port := range portsOf(tree(t)) {
		n := 0
		for _, method := range port.Methods.List {
			// An embedded interface would hide how many there are.
			assert.NotEmpty(t, method.Names, "port %s embeds another", name)
			n += len(method.Names)
		}
		assert.LessOrEqual(t, n, maxMethods, "port %s", name)
	}
}

func TestEveryPortHasAContractSuiteThatRuns(t *testing.T) {
	t.Parallel()
	suites, used := map[string]bool{}, map[string]bool{}
	for _, f := range tree(t).Files {
		if f.Package == "tests/contract" && !f.Test {
			for _, d := range f.AST.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && takesT(fn) {
					suites[fn.Name.Name] = true
				}
			}
		}
		if f.Test && (f.Package == "tests/contract" || slices.Contains(f.Imports, Module+"/tests/contract")) {
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					used[id.Name] = true
				}
				return true
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(portsOf(tree(t)))) {
		_, suite, _ := strings.Cut(name, ".")
		_, excepted := withoutSuite[name]
		switch {
		case excepted:
		case !suites[suite]:
			t.Errorf("port %s has no suite: tests/contract needs func %s(t *testing.T, open …)", name, suite)
		case !used[suite]:
			t.Errorf("no test runs the suite of port %s", name)
		}
	}
	for name := range withoutSuite {
		assert.Contains(t, portsOf(tree(t)), name, "an exception for a port that does not exist")
	}
}

func TestAPortIsAnExportedInterfaceOfAPortFile(t *testing.T) {
	t.Parallel()
	f := parse(t, "package ports; type Jobs interface { Get() }; type hidden interface{}; type Job struct{}")
	f.Path, f.Package = "ports/jobs.go", "ports"
	assert.Equal(t, []string{"ports.Jobs"}, slices.Collect(maps.Keys(portsOf(&Tree{Files: []*File{f}}))))
	f.Path, f.Package = "application/jobs/jobs.go", "application/jobs"
	assert.Empty(t, portsOf(&Tree{Files: []*File{f}}))
}

// portsOf returns the exported interfaces of the files that declare ports, by
// their name with that of their package.
func portsOf(t *Tree) map[string]*ast.InterfaceType {
	found := map[string]*ast.InterfaceType{}
	for _, f := range t.Files {
		if f.Test || !slices.ContainsFunc(strings.Fields(portFiles), func(p string) bool { return strings.HasPrefix(f.Path, p) }) {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if port, ok := spec.Type.(*ast.InterfaceType); ok {
					found[f.AST.Name.Name+"."+spec.Name.Name] = port
				}
			}
			return true
		})
	}
	return found
}

// takesT tells whether the first parameter of a function is a *testing.T.
func takesT(fn *ast.FuncDecl) bool {
	if len(fn.Type.Params.List) == 0 {
		return false
	}
	star, ok := fn.Type.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "T"
}

func parse(t *testing.T, source string) *File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.ParseComments)
	require.NoError(t, err)
	return &File{Path: "p.go", AST: parsed}
}
