package architecture

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// load parses the module once for all tests.
var load = sync.OnceValues(Load)

func tree(t *testing.T) *Tree {
	t.Helper()
	loaded, err := load()
	require.NoError(t, err)
	require.NotEmpty(t, loaded.Files)
	return loaded
}

func TestPackagesImportOnlyWhatTheirRowAllows(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t).Files {
		for _, v := range violations(f) {
			t.Error(v)
		}
	}
}

func TestTheTableRefusesWhatItShould(t *testing.T) {
	t.Parallel()
	ours := func(path string) string { return Module + "/" + path }
	for _, c := range []struct {
		pkg, imported string
		test, allowed bool
	}{
		{"domain/jobs", ours("domain"), false, true},
		{"domain/jobs", ours("domain/hosts"), false, false},
		{"domain/jobs", "github.com/google/uuid", false, false},
		{"domain/jobs", "os", false, false},
		{"domain/jobs", "os", true, true},
		{"domain", "crypto/rand", false, false},
		{"ports", ours("domain/billing"), false, true},
		{"ports", ours("application/jobs"), false, false},
		{"application/jobs", ours("domain/jobs"), false, true},
		{"application/jobs", ours("domain/hosts"), false, false},
		{"application/jobs", ours("adapters/memory"), false, false},
		{"application/jobs", ours("adapters/memory"), true, true},
		{"application/jobs", ours("adapters/bunstore"), true, false},
		{"application/jobs", "go.uber.org/fx", false, false},
		{"application/admin", ours("domain/hosts"), false, true},
		{"adapters/memory", ours("adapters/system"), false, false},
		{"adapters/bunstore", "github.com/uptrace/bun/dialect/pgdialect", false, true},
		{"adapters/bunstore", ours("application/jobs"), false, false},
		{"adapters/httpapi", "github.com/uptrace/bun", false, false},
		{"adapters/httpapi", ours("application/jobs"), false, true},
		{"adapters/gateway", ours("adapters/httpapi"), false, false},
		{"adapters", ours("adapters/bunstore"), false, true},
		{"agent/runtime", ours("domain"), false, false},
		{"agent/runtime", ours("openapi/wire"), false, true},
		{"agent/gpu", "github.com/NVIDIA/go-nvml/pkg/nvml", false, false},
		{"agent/gpu/nvml", "github.com/NVIDIA/go-nvml/pkg/nvml", false, true},
		{"openapi/wire", ours("domain"), false, false},
		{"", ours("adapters"), false, true},
		{"", ours("adapters/bunstore"), false, false},
		{"tests/e2e", ours("adapters/bunstore"), true, true},
		{"application/jobs", ours("tests/faults"), false, true},
		{"agent/daemon", ours("tests/faults"), false, true},
		{"domain/jobs", ours("tests/faults"), false, false},
		{"application/jobs", ours("tests/testkit"), false, false},
		{"tests/faults", ours("domain"), false, false},
		// A vendor is its module, not every path that begins like it.
		{"adapters/bunstore", "github.com/uptrace/bunker", false, false},
		{"adapters/memory", "github.com/stretchr/testify/assert", false, false},
		{"adapters/memory", "github.com/stretchr/testify/assert", true, true},
		// What the table has never heard of needs a row.
		{"adapters/mongostore", "fmt", false, false},
		{"internal/jobs", "fmt", false, false},
	} {
		f := &File{Path: c.pkg + "/file.go", Package: c.pkg, Test: c.test, Imports: []string{c.imported}}
		assert.Equal(t, c.allowed, len(violations(f)) == 0, "%+v", c)
	}
}

func TestTheTableNamesOnlyVendorsThatItKnows(t *testing.T) {
	t.Parallel()
	for _, r := range table {
		for _, vendor := range strings.Fields(r.vendors + " " + testVendors) {
			assert.Contains(t, vendors, vendor)
		}
	}
}
