package architecture

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// alone is what binds a test to its process, so that it cannot run beside others.
var alone = []string{"Setenv", "Chdir"}

func TestEveryTestRunsBesideOthers(t *testing.T) {
	t.Parallel()
	packages := map[string][]*File{}
	for _, f := range tree(t).Files {
		packages[f.Package] = append(packages[f.Package], f)
	}
	for _, files := range packages {
		for _, test := range serial(files) {
			t.Errorf("%s: %s does not call t.Parallel", tree(t).Fset.Position(test.Pos()), test.Name.Name)
		}
	}
}

func TestATestMayLeaveItToAFunctionToCallParallel(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		"t.Log()":                         1,
		"t.Parallel()":                    0,
		"bubble(t)":                       0,
		"other(t)":                        1,
		"t.Setenv(``, ``)":                0,
		"t.Run(``, func() { bubble(t) })": 0,
	} {
		f := parse(t, "package p; func bubble(t *T) { t.Parallel() }; func other(t *T) {}; func TestX(t *T) { "+body+" }")
		f.Test = true
		assert.Len(t, serial([]*File{f}), want, body)
	}
}

// serial finds the tests of a package that run alone without need: neither they nor a
// function of the package that they call says t.Parallel.
func serial(files []*File) (found []*ast.FuncDecl) {
	marked := map[string]bool{} // functions that call Parallel
	each := func(visit func(f *File, d *ast.FuncDecl)) {
		for _, f := range files {
			for _, d := range f.AST.Decls {
				if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
					visit(f, d)
				}
			}
		}
	}
	each(func(_ *File, d *ast.FuncDecl) {
		if d.Recv == nil && slices.Contains(callees(d), "Parallel") {
			marked[d.Name.Name] = true
		}
	})
	each(func(f *File, d *ast.FuncDecl) {
		if !f.Test || d.Recv != nil || !strings.HasPrefix(d.Name.Name, "Test") || d.Name.Name == "TestMain" || marked[d.Name.Name] {
			return
		}
		if !slices.ContainsFunc(callees(d), func(name string) bool { return marked[name] || slices.Contains(alone, name) }) {
			found = append(found, d)
		}
	})
	return found
}

// callees are the names of what a function calls, its function literals included.
func callees(d *ast.FuncDecl) (names []string) {
	ast.Inspect(d.Body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch f := call.Fun.(type) {
			case *ast.Ident:
				names = append(names, f.Name)
			case *ast.SelectorExpr:
				names = append(names, f.Sel.Name)
			}
		}
		return true
	})
	return names
}
