package architecture

import (
	"fmt"
	"slices"
	"strings"
)

// The hexagon computes: what would let it do I/O of its own is kept out.
const (
	hexagon   = "domain/** application/**"
	outerStd  = "database/sql log net net/http os os/exec syscall math/rand math/rand/v2"
	crypto    = "crypto/rand"
	noEntropy = "domain/**"
)

// violations says which imports of a file its package's row does not allow.
func violations(f *File) []string {
	r, ok := rowOf(f.Package)
	if !ok {
		return []string{fmt.Sprintf("%s: a new package needs a row in the table of tests/architecture and of ARCHITECTURE.md", f.Package)}
	}
	var found []string
	for _, imported := range f.Imports {
		if why := refuse(r, f, imported); why != "" {
			found = append(found, fmt.Sprintf("%s imports %s: %s", f.Path, imported, why))
		}
	}
	return found
}

// refuse returns why a file may not import a package, or "".
func refuse(r row, f *File, imported string) string {
	if ours, found := strings.CutPrefix(imported, Module); found {
		ours = strings.TrimPrefix(ours, "/")
		switch {
		case among(r.ours, ours), ours == hooks && !among(neverHooks, f.Package), f.Test && (ours == f.Package || among(testOurs, ours)):
			return ""
		}
		return "the row of " + r.packages + " does not allow it"
	}
	// The standard library alone has no dot in the first element of a path.
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		switch {
		case f.Test:
		case among(hexagon, f.Package) && slices.Contains(strings.Fields(outerStd), imported):
			return "the hexagon does no I/O of its own: it needs a port"
		case among(noEntropy, f.Package) && imported == crypto:
			return "the domain is deterministic: take the value as a parameter"
		}
		return ""
	}
	vendor := vendorOf(imported)
	switch {
	case vendor == "":
		return "a new vendor needs a home in the table of tests/architecture"
	case slices.Contains(strings.Fields(r.vendors), vendor), f.Test && slices.Contains(strings.Fields(testVendors), vendor):
		return ""
	}
	return "the home of " + vendor + " is " + strings.Join(homes(vendor), ", ")
}

// homes returns the patterns of the packages that may import a vendor.
func homes(vendor string) (found []string) {
	for _, r := range table {
		if slices.Contains(strings.Fields(r.vendors), vendor) {
			found = append(found, r.packages)
		}
	}
	return found
}
