//go:build faults

package faults

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheEnvironmentSaysWhatHappensWhere(t *testing.T) {
	t.Parallel()
	assert.Equal(t, map[string]fault{
		"settle.mid": {action: "kill", at: 2}, "drain.mid": {action: "delay", arg: "20ms"}, "fetch.mid": {action: "err"},
	}, parse("settle.mid=kill@2,drain.mid=delay:20ms,fetch.mid=err"))
	for _, wrong := range []string{"unknown=kill", "settle.mid", "settle.mid=die", "settle.mid=delay", "settle.mid=kill@0", "settle.mid=kill@x", "settle.mid=kill:1s"} {
		assert.Panics(t, func() { parse(wrong) }, wrong)
	}
}

func TestWhatIsReachedIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reached")
	journal, armed = open(path), parse("settle.mid=err@2,release.mid=panic")
	assert.NoError(t, Point("settle.mid"))
	assert.Error(t, Point("settle.mid"))
	assert.NoError(t, Point("settle.mid"))
	assert.Panics(t, func() { _ = Point("release.mid") })
	written, err := os.ReadFile(path)
	assert.NoError(t, err)
	lines := regexp.MustCompile(`(?m)^\d+ \d+ `).ReplaceAllString(string(written), "")
	assert.Equal(t, "settle.mid 1 \nsettle.mid 2 err\nsettle.mid 3 \nrelease.mid 1 panic\n", lines)
}
