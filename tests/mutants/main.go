// Command mutants shows that the guards which keep jobs, logs and money right are held
// by tests: it takes each guard out of the code, one at a time, and runs the tests that
// should notice. The files on disk are not touched: the change is laid over them for
// the compiler alone. It ends with 1 if a guard can be removed unnoticed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	survivors, err := run(ctx, ".", os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || survivors > 0 {
		os.Exit(1)
	}
}

// run tries every mutant whose guard contains one of the words, or all of them, and
// prints the table.
func run(ctx context.Context, top string, out io.Writer, words []string) (survivors int, err error) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "guard that was removed\tfile\tseconds\ta test that noticed")
	tried, sound := 0, map[string]bool{}
	for _, m := range mutants {
		if !m.named(words) {
			continue
		}
		// Tests that fail on the code as it is would notice every mutant.
		if !sound[m.Tests+m.Run] {
			noticed, err := m.test(ctx, top)
			if err == nil && noticed != "" {
				err = fmt.Errorf("%s fails without any mutant", noticed)
			}
			if err != nil {
				return survivors, err
			}
			sound[m.Tests+m.Run] = true
		}
		tried++
		begun := time.Now()
		verdict, err := m.try(ctx, top)
		if err != nil {
			return survivors, fmt.Errorf("%s: %w", m.Guard, err)
		}
		if verdict == "" {
			verdict = "NONE"
			survivors++
		}
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%s\n", m.Guard, m.File, time.Since(begun).Seconds(), verdict)
		fmt.Fprintf(os.Stderr, "%3d  %-4.0fs %s: %s\n", tried, time.Since(begun).Seconds(), m.Guard, verdict)
	}
	if err := table.Flush(); err != nil {
		return survivors, err
	}
	fmt.Fprintf(out, "%d guards removed, %d noticed, %d unnoticed\n", tried, tried-survivors, survivors)
	return survivors, nil
}

func (m mutant) named(words []string) bool {
	for _, w := range words {
		if strings.Contains(m.Guard, w) {
			return true
		}
	}
	return len(words) == 0
}

// apply is the file without its guard.
func (m mutant) apply(top string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(top, m.File))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		return nil, fmt.Errorf("%s has %q %d times, not once: the list in tests/mutants is out of date", m.File, m.Old, n)
	}
	return []byte(strings.Replace(string(source), m.Old, m.New, 1)), nil
}

// try runs the tests over the mutant and names one that failed; "" is none.
func (m mutant) try(ctx context.Context, top string) (string, error) {
	changed, err := m.apply(top)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "peergpu-mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	original, err := filepath.Abs(filepath.Join(top, m.File))
	if err != nil {
		return "", err
	}
	replacement := filepath.Join(dir, filepath.Base(m.File))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	if err != nil {
		return "", err
	}
	description := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(replacement, changed, 0o600), os.WriteFile(description, overlay, 0o600)); err != nil {
		return "", err
	}
	return m.test(ctx, top, "-overlay", description)
}

var (
	failed  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	inStack = regexp.MustCompile(`\.(Test\w+)[.(]`)
)

// test runs the mutant's tests with flags and names one that failed, as exactly as
// subtests allow; "" is none.
func (m mutant) test(ctx context.Context, top string, flags ...string) (string, error) {
	args := append([]string{"test", "-count=1", "-failfast", "-timeout=5m"}, flags...)
	if m.Run != "" {
		args = append(args, "-run", m.Run)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, strings.Fields(m.Tests)...)...)
	cmd.Dir = top
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &exit) || ctx.Err() != nil:
		return "", errors.Join(err, ctx.Err())
	}
	// What does not compile proves nothing about the tests.
	if strings.Contains(string(said), "[build failed]") || strings.Contains(string(said), "[setup failed]") {
		return "", fmt.Errorf("it does not compile:\n%s", said)
	}
	name := ""
	for _, found := range failed.FindAllSubmatch(said, -1) {
		if strings.HasPrefix(string(found[1]), name) {
			name = string(found[1])
		}
	}
	if at := bytes.Index(said, []byte("panic: ")); name == "" && at >= 0 {
		name = "a panic"
		if found := inStack.FindSubmatch(said[at:]); found != nil {
			name += " in " + string(found[1])
		}
	}
	if name == "" {
		return "", fmt.Errorf("go test failed without a failing test:\n%s", said)
	}
	return name, nil
}
