package architecture

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A link of the documentation is [text](target). If its text is a symbol, as in
// [jobs.Service.Submit](application/jobs/submit.go), that file declares it; if
// the target ends in #L12, it does so in that line.
var (
	linkForm   = regexp.MustCompile(`\[([^\]\n]+)\]\(([^)\s]+)\)`)
	symbolForm = regexp.MustCompile("^`?([A-Za-z_]\\w*(?:\\.[A-Za-z_]\\w*)*)(?:\\(\\))?`?$")
	lineForm   = regexp.MustCompile(`^L(\d+)$`)
	stepForm   = regexp.MustCompile(`(?m)^(\d+)\. `)
)

func TestTheLinksOfTheDocumentationResolve(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"ARCHITECTURE.md", "README.md"} {
		for _, broken := range brokenLinks(tree(t), ".", read(t, page)) {
			t.Errorf("%s: %s", page, broken)
		}
	}
}

func TestTheLifeOfAJobIsTwelveStepsWithLinks(t *testing.T) {
	t.Parallel()
	steps, err := lifeOfAJob(read(t, "ARCHITECTURE.md"))
	require.NoError(t, err)
	for i, step := range steps {
		symbols := 0
		for _, link := range linkForm.FindAllStringSubmatch(step, -1) {
			if symbolForm.MatchString(link[1]) && strings.Contains(link[2], ".go") {
				symbols++
			}
		}
		assert.Positive(t, symbols, "step %d of the life of a job links to no symbol: %s", i+1, step)
	}
}

func TestARottenLinkIsFound(t *testing.T) {
	t.Parallel()
	for text, sound := range map[string]bool{
		"[architecture.Load](tests/architecture/architecture.go)":      true,
		"[`Load()`](tests/architecture/architecture.go)":               true,
		"[File.Generated](tests/architecture/architecture.go)":         true,
		"[architecture.Tree.walk](tests/architecture/architecture.go)": true,
		"[table](tests/architecture/table.go)":                         true,
		"[how the shape is kept](tests/architecture)":                  true,
		"[a page](https://example.org/x.go)":                           true,
		"[above](#names)":                                              true,
		"[Load](tests/architecture/table.go)":                          false,
		"[Tree.Generated](tests/architecture/architecture.go)":         false,
		"[File](tests/architecture/architecture.go#L1)":                false,
		"[how](tests/architecture/architecture.go#L100000)":            false,
		"[jobs.Service.Submit](tests/architecture/nowhere.go)":         false,
	} {
		assert.Equal(t, sound, len(brokenLinks(tree(t), ".", text)) == 0, text)
	}
}

func TestTheStepsAreCounted(t *testing.T) {
	t.Parallel()
	_, err := lifeOfAJob("# PeerGPU\n\nNothing about jobs.\n")
	assert.ErrorContains(t, err, "no section")
	_, err = lifeOfAJob("## The life of a job in twelve steps\n1. It is submitted.\n2. It ends.\n\n## Else\n3. No.\n")
	assert.ErrorContains(t, err, "2 steps")
	page := "## The life of a job in twelve steps\nWords.\n\n"
	for i := range 12 {
		page += fmt.Sprintf("%d. Step %d\n   goes on.\n", i+1, i+1)
	}
	steps, err := lifeOfAJob(page + "\n## Invariants\n")
	require.NoError(t, err)
	assert.Len(t, steps, 12)
	assert.Contains(t, steps[11], "goes on")
}

func TestTheArchitecturePageIsShort(t *testing.T) {
	t.Parallel()
	assert.LessOrEqual(t, strings.Count(read(t, "ARCHITECTURE.md"), "\n"), 400)
}

// lifeOfAJob returns the steps of that section of ARCHITECTURE.md.
func lifeOfAJob(page string) ([]string, error) {
	heading := regexp.MustCompile(`(?mi)^##+ .*life of a job.*\n`).FindStringIndex(page)
	if heading == nil {
		return nil, fmt.Errorf("there is no section called `The life of a job in twelve steps`")
	}
	section, _, _ := strings.Cut(page[heading[1]:], "\n## ")
	var steps []string
	starts := stepForm.FindAllStringSubmatchIndex(section, -1)
	for i, at := range starts {
		end := len(section)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		if number := section[at[2]:at[3]]; number != strconv.Itoa(i+1) {
			return nil, fmt.Errorf("step %d of the life of a job bears the number %s", i+1, number)
		}
		steps = append(steps, section[at[0]:end])
	}
	if len(steps) != 12 {
		return nil, fmt.Errorf("the life of a job has %d steps, not twelve", len(steps))
	}
	return steps, nil
}

// brokenLinks returns what is wrong with the links of a page in a folder.
func brokenLinks(t *Tree, dir, page string) (broken []string) {
	for _, link := range linkForm.FindAllStringSubmatch(page, -1) {
		if err := follow(t, dir, link[1], link[2]); err != nil {
			broken = append(broken, fmt.Sprintf("%s: %v", link[0], err))
		}
	}
	return broken
}

func follow(t *Tree, dir, text, target string) error {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return nil
	}
	path, fragment, _ := strings.Cut(target, "#")
	if path == "" {
		return nil // another heading of the same page
	}
	path = filepath.ToSlash(filepath.Join(dir, path))
	content, err := os.ReadFile(filepath.Join(t.Root, path))
	if info, statErr := os.Stat(filepath.Join(t.Root, path)); statErr == nil && info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	line := 0
	if m := lineForm.FindStringSubmatch(fragment); m != nil {
		line, _ = strconv.Atoi(m[1])
		if lines := strings.Count(string(content), "\n"); line > lines {
			return fmt.Errorf("the file has %d lines", lines)
		}
	}
	m := symbolForm.FindStringSubmatch(text)
	if m == nil || filepath.Ext(path) != ".go" {
		return nil
	}
	at, err := t.declared(path, m[1])
	if err == nil && line != 0 && line != at {
		return fmt.Errorf("it is declared in line %d", at)
	}
	return err
}

// declared returns the line in which a file declares a symbol. The symbol may
// be preceded by the name of its package.
func (t *Tree) declared(path, symbol string) (int, error) {
	for _, f := range t.Files {
		if f.Path != path {
			continue
		}
		symbol = strings.TrimPrefix(symbol, f.AST.Name.Name+".")
		for _, d := range f.AST.Decls {
			for name, at := range declarations(d) {
				if name == symbol {
					return t.Fset.Position(at.Pos()).Line, nil
				}
			}
		}
		return 0, fmt.Errorf("%s does not declare %s", path, symbol)
	}
	return 0, fmt.Errorf("%s is not a source of this module", path)
}

// declarations names what a declaration declares, methods as Type.Method.
func declarations(d ast.Decl) map[string]ast.Node {
	found := map[string]ast.Node{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil && len(d.Recv.List) == 1 {
			name = receiver(d.Recv.List[0].Type) + "." + name
		}
		found[name] = d
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				found[spec.Name.Name] = spec
				if i, ok := spec.Type.(*ast.InterfaceType); ok {
					for _, m := range i.Methods.List {
						for _, n := range m.Names {
							found[spec.Name.Name+"."+n.Name] = n
						}
					}
				}
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					found[n.Name] = n
				}
			}
		}
	}
	return found
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr: // a generic type
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func read(t *testing.T, page string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(tree(t).Root, page))
	require.NoError(t, err, "%s is not written yet", page)
	return string(content)
}
