package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryMutantFitsTheCode(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range mutants {
		_, err := m.apply("../..")
		require.NoError(t, err, m.Guard)
		assert.False(t, seen[m.Guard], "%s stands twice", m.Guard)
		seen[m.Guard] = true
	}
	assert.GreaterOrEqual(t, len(mutants), 25)
}

// project makes a module whose one guard is held by a test, or by none.
func project(t *testing.T, check string) string {
	t.Helper()
	top := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":     "module example.org/guarded\n\ngo 1.26\n",
		"main.go":    "package guarded\n\nfunc Allowed(n int) bool { return n < 3 }\n",
		"a_test.go":  "package guarded\n\nimport \"testing\"\n\nfunc TestAllowed(t *testing.T) {\n\tif " + check + " {\n\t\tt.Fatal()\n\t}\n}\n",
		"other_x.go": "package guarded\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(top, name), []byte(text), 0o600))
	}
	return top
}

func TestAMutantThatATestNoticesNamesTheTest(t *testing.T) {
	t.Parallel()
	m := mutant{Guard: "three is too many", File: "main.go", Old: "n < 3", New: "true", Tests: "."}
	verdict, err := m.try(t.Context(), project(t, "Allowed(3)"))
	require.NoError(t, err)
	assert.Equal(t, "TestAllowed", verdict)
}

func TestAMutantThatNobodyNoticesSurvives(t *testing.T) {
	t.Parallel()
	m := mutant{Guard: "three is too many", File: "main.go", Old: "n < 3", New: "true", Tests: "."}
	top := project(t, "!Allowed(1)")
	verdict, err := m.try(t.Context(), top)
	require.NoError(t, err)
	assert.Empty(t, verdict)
	source, err := os.ReadFile(filepath.Join(top, "main.go"))
	require.NoError(t, err)
	assert.True(t, bytes.Contains(source, []byte("n < 3")), "the file itself is not touched")
}

func TestAMutantThatDoesNotCompileOrFitIsAnError(t *testing.T) {
	t.Parallel()
	top := project(t, "Allowed(3)")
	broken := mutant{Guard: "g", File: "main.go", Old: "n < 3", New: "n <", Tests: "."}
	_, err := broken.try(t.Context(), top)
	require.ErrorContains(t, err, "does not compile")
	gone := mutant{Guard: "g", File: "main.go", Old: "n < 4", New: "true", Tests: "."}
	_, err = gone.try(t.Context(), top)
	require.ErrorContains(t, err, "out of date")
}
