package runtime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// systemPath is where commands are found that belong to the system; all of it
// lies in what every sandbox shows.
const systemPath = "/usr/local/bin:/usr/bin:/bin"

// prefix is what jobs see beside the system: folders mounted in the same place
// and the PATH that finds their commands.
type prefix struct {
	dirs []string
	path string
}

// findPython applies the rule of Options.Prefixes. An interpreter under a home
// folder (pyenv, conda) is reached through shims and links that mean nothing
// inside a sandbox, so the interpreter itself is asked where it lives.
func findPython(given []string) prefix {
	var p prefix
	has := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "python3"))
		return err == nil
	}
	bins := filepath.SplitList(systemPath)
	for i := len(given) - 1; i >= 0; i-- {
		p.dirs = append(p.dirs, given[i])
		bins = append([]string{filepath.Join(given[i], "bin")}, bins...)
	}
	if !slices.ContainsFunc(bins, has) {
		if dir := ownPython(); dir != "" {
			p.dirs = append(p.dirs, dir)
			bins = append(bins, filepath.Join(dir, "bin"))
		}
	}
	p.path = strings.Join(bins, ":")
	return p
}

// ownPython answers the installation folder of the python3 on the agent's PATH,
// or "" when there is none or it lies where a mount would show too much.
func ownPython() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "python3", "-I", "-c", "import sys; print(sys.base_prefix)").Output()
	if err != nil {
		return ""
	}
	dir := filepath.Clean(strings.TrimSpace(string(out)))
	home, _ := os.UserHomeDir()
	if !filepath.IsAbs(dir) || strings.Count(dir, "/") < 2 || dir == home || strings.HasPrefix(home, dir+"/") {
		return ""
	}
	return dir
}
