package architecture

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// depguardRule is one rule of depguard in .golangci.yml.
type depguardRule struct {
	Files []string
	Deny  []struct{ Pkg, Desc string }
}

func TestTheEditorKnowsTheSameHomesOfVendors(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(tree(t).Root, ".golangci.yml"))
	require.NoError(t, err)
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct{ Rules map[string]depguardRule }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &config))
	rules := config.Linters.Settings.Depguard.Rules
	for name := range vendors {
		want := ruleFor(name)
		assert.ElementsMatch(t, want.Files, rules[name].Files, "the files of rule %s", name)
		assert.ElementsMatch(t, want.Deny, rules[name].Deny, "what rule %s denies", name)
	}
	for name := range rules {
		assert.Contains(t, vendors, name, "a rule for a vendor that the table does not know")
	}
}

// ruleFor writes a vendor's row as depguard would have it.
func ruleFor(vendor string) depguardRule {
	rule := depguardRule{Files: []string{"$all"}}
	where := homes(vendor)
	for _, home := range where {
		rule.Files = append(rule.Files, "!"+glob(home))
	}
	desc := "its home is " + strings.Join(named(where), ", ")
	if slices.Contains(strings.Fields(testVendors), vendor) {
		rule.Files = append(rule.Files, "!$test")
		desc = "it is for tests"
	}
	for prefix := range strings.FieldsSeq(vendors[vendor]) {
		rule.Deny = append(rule.Deny, struct{ Pkg, Desc string }{prefix, desc})
	}
	return rule
}

// glob turns a pattern of the table into one of depguard's, which match a
// file's whole path on the machine.
func glob(pattern string) string {
	switch base, deep := strings.CutSuffix(pattern, "/**"); {
	case pattern == "":
		return "**/main.go"
	case deep:
		return "**/" + base + "/**"
	default:
		return "**/" + pattern + "/*.go"
	}
}

// named calls the root by a name that a person knows, and leaves out the
// tests, where nothing has its home.
func named(patterns []string) (names []string) {
	for _, p := range patterns {
		switch p {
		case "":
			names = append(names, "main")
		case "tests/**":
		default:
			names = append(names, strings.TrimSuffix(p, "/**"))
		}
	}
	return names
}
