package architecture

import (
	"go/ast"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/tests/faults"
)

func TestEveryCrashPointIsInTheListAndEveryNameOfTheListInTheCode(t *testing.T) {
	t.Parallel()
	found := map[string][]string{} // what is called → the names
	for _, f := range tree(t).Files {
		if f.Test || !slices.Contains(f.Imports, Module+"/"+hooks) {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); !ok || x.Name != "faults" || (s.Sel.Name != "Point" && s.Sel.Name != "Note") {
				return true
			}
			name, ok := call.Args[0].(*ast.BasicLit)
			if !assert.True(t, ok, "%s: a crash point is named by a literal", tree(t).Fset.Position(call.Pos())) {
				return true
			}
			text, err := strconv.Unquote(name.Value)
			assert.NoError(t, err)
			found[s.Sel.Name] = append(found[s.Sel.Name], text)
			return true
		})
	}
	points := found["Point"]
	slices.Sort(points)
	assert.Equal(t, slices.Compact(slices.Clone(points)), points, "each name stands at one place")
	assert.ElementsMatch(t, slices.Concat(faults.Server, faults.Agent), points)
	notes := found["Note"]
	slices.Sort(notes)
	assert.ElementsMatch(t, faults.Notes, slices.Compact(notes))
}
