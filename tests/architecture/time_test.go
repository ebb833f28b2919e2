package architecture

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// clocks are the places that read the machine's clock: one on the server's
// side, and the agent, whose runtimes measure what a job really took. Tests
// may, where a timeout is their subject.
const clocks = "adapters/system agent/daemon agent/runtime/** agent/gpu/** tests/**"

func TestTimeComesFromTheClock(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t).Files {
		if f.Test || f.Generated() || among(clocks, f.Package) {
			continue
		}
		for _, call := range calls(f, "time", "Now", "Since", "Until") {
			t.Errorf("%s: %s: take a ports.Clock", tree(t).Fset.Position(call.Pos()), f.Path)
		}
	}
	// In the daemon it is the clock and the calls of each system below it, so
	// that tests can set the time of all the rest.
	for _, f := range tree(t).Files {
		if f.Package == "agent/daemon" && !f.Test && f.Path != "agent/daemon/clock.go" && !strings.HasPrefix(f.Path, "agent/daemon/sys_") {
			for _, call := range calls(f, "time", "Now", "Since", "Until") {
				t.Errorf("%s: use the daemon's clock", tree(t).Fset.Position(call.Pos()))
			}
		}
	}
}

func TestNoTestSleeps(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t).Files {
		// In a synctest bubble a sleep takes no time: it is how time passes there.
		if (f.Test || among("tests/**", f.Package)) && !slices.Contains(f.Imports, "testing/synctest") {
			for _, call := range calls(f, "time", "Sleep") {
				t.Errorf("%s: wait for the condition, or use testing/synctest", tree(t).Fset.Position(call.Pos()))
			}
		}
	}
}

func TestAUseOfAFunctionIsFoundUnderAnyName(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]int{
		`import "time"; var x = time.Now()`:            1,
		`import "time"; var now = time.Now`:            1,
		`import clock "time"; var x = clock.Now()`:     1,
		`import "time"; var x = time.Unix(0, 0)`:       0,
		`import "example.org/time"; var x time.Now`:    0,
		`import "time"; var x = struct{ time.Time }{}`: 0,
	} {
		f := parse(t, "package p; "+source)
		assert.Len(t, calls(f, "time", "Now"), want, source)
	}
}

// calls finds the uses of some names of a package in a file.
func calls(f *File, pkg string, names ...string) (found []*ast.SelectorExpr) {
	local := ""
	for _, spec := range f.AST.Imports {
		if spec.Path.Value == fmt.Sprintf("%q", pkg) {
			local = pkg
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && local != "" && x.Name == local && slices.Contains(names, s.Sel.Name) {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}
