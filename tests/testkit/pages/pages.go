// Package pages is for the parts of the documentation that are made from the code: a
// test compares such a part with what it should be, or writes it anew when told to.
package pages

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writing is held while a page is read and written: tests of one page run side by side.
var writing sync.Mutex

// Section holds a part of a page against what it should be. On the page, the part lies
// between the lines
//
//	<!-- generated: NAME … -->
//	<!-- end: NAME -->
//
// of which the first may go on with how it is made. With update the part is replaced.
func Section(t testing.TB, page, name, want string, update bool) {
	t.Helper()
	writing.Lock()
	defer writing.Unlock()
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	got, renewed, err := replace(string(content), name, want)
	require.NoError(t, err, page)
	if update {
		if renewed != string(content) {
			require.NoError(t, os.WriteFile(page, []byte(renewed), 0o644))
		}
		return
	}
	assert.Equal(t, strings.TrimSpace(want), got, "%s: the part %s is out of date: run this package's tests with -update", page, name)
}

// replace gives the named part of a page, and the page with another in its place.
func replace(page, name, part string) (old, renewed string, err error) {
	start := strings.Index(page, "<!-- generated: "+name+" ")
	if start < 0 {
		return "", "", fmt.Errorf("there is no line `<!-- generated: %s … -->`", name)
	}
	line := strings.IndexByte(page[start:], '\n')
	end := strings.Index(page[start:], "<!-- end: "+name+" -->")
	if line < 0 || end < line {
		return "", "", fmt.Errorf("the part %s has no end `<!-- end: %s -->`", name, name)
	}
	line, end = start+line+1, start+end
	return strings.TrimSpace(page[line:end]), page[:line] + "\n" + strings.TrimSpace(part) + "\n\n" + page[end:], nil
}
