package pages

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const page = "# Title\n\n<!-- generated: table by hand -->\n\nold\n\n<!-- end: table -->\n\nmore\n"

func TestAPartIsReplacedAndNothingElse(t *testing.T) {
	t.Parallel()
	old, renewed, err := replace(page, "table", "new\nlines\n")
	require.NoError(t, err)
	assert.Equal(t, "old", old)
	assert.Equal(t, "# Title\n\n<!-- generated: table by hand -->\n\nnew\nlines\n\n<!-- end: table -->\n\nmore\n", renewed)
	again, same, err := replace(renewed, "table", "new\nlines")
	require.NoError(t, err)
	assert.Equal(t, "new\nlines", again)
	assert.Equal(t, renewed, same, "replacing a part by itself changes nothing")
}

func TestAPageWithoutThePartIsAnError(t *testing.T) {
	t.Parallel()
	_, _, err := replace(page, "tab", "x")
	require.ErrorContains(t, err, "there is no line")
	_, _, err = replace("<!-- generated: table -->\nold\n", "table", "x")
	assert.ErrorContains(t, err, "has no end")
}

func TestUpdateWritesThePage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "PAGE.md")
	require.NoError(t, os.WriteFile(path, []byte(page), 0o600))
	Section(t, path, "table", "new", true)
	Section(t, path, "table", "new", false)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(content), "-->\n\nnew\n\n<!--")
}
