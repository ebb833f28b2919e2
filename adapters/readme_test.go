package adapters

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/peergpu/peergpu/tests/testkit/pages"
)

var update = flag.Bool("update", false, "write the generated part of README.md anew")

func TestTheReadmesConfigurationTable(t *testing.T) {
	t.Parallel()
	pages.Section(t, "../README.md", "configuration", configurationTable(), *update)
}

// configurationTable renders the configuration as Markdown.
func configurationTable() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range Variables() {
		value := ""
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, value, strings.ReplaceAll(v.Doc, "|", `\|`))
	}
	return b.String()
}
