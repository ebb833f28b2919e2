package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report reads the events of `go test -json` as they are written to it, prints
// a line for each package and the output of what failed, and keeps the score.
type report struct {
	out      io.Writer
	rest     []byte // a line that has not ended yet
	packages map[string]*pkg
	builds   map[string]string // import path → what the compiler said
}

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
	ImportPath, FailedBuild       string
}

type pkg struct {
	action  string // how it ended, empty while it runs
	output  strings.Builder
	tests   map[string]*test
	elapsed time.Duration
}

type test struct {
	action string
	output strings.Builder
	parent bool // it has subtests, which are counted in its stead
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*pkg{}, builds: map[string]string{}}
}

// Write takes a piece of the event stream; it is what the command's output
// goes to. It never fails: a line that is no event is shown as it is.
func (r *report) Write(b []byte) (int, error) {
	r.rest = append(r.rest, b...)
	for {
		line, rest, found := bytes.Cut(r.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		r.rest = rest
		var e event
		if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
			fmt.Fprintf(r.out, "%s\n", line)
			continue
		}
		r.event(e)
	}
}

func (r *report) event(e event) {
	if e.Package == "" {
		r.builds[e.ImportPath] += e.Output
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*test{}}
		r.packages[e.Package] = p
	}
	if e.Test == "" {
		r.packageEvent(e, p)
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
		for i, c := range e.Test {
			if above := p.tests[e.Test[:i]]; c == '/' && above != nil {
				above.parent = true
			}
		}
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass":
		if t.action == "fail" {
			return // once is enough: with -count it ran before
		}
		t.output.Reset() // nobody reads it; a long run has a lot
		t.action = e.Action
	case "fail", "skip":
		t.action = e.Action
	}
}

func (r *report) packageEvent(e event, p *pkg) {
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
	case "pass", "skip", "fail":
		p.action, p.elapsed = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		r.line(e.Package, p)
		if e.Action == "fail" {
			r.failure(e, p)
		}
	}
}

// line tells that a package has ended. Those without tests are only counted.
func (r *report) line(name string, p *pkg) {
	s := p.score()
	if p.action != "fail" && s == (score{}) {
		return
	}
	word := map[string]string{"pass": "ok  ", "skip": "ok  ", "fail": "FAIL"}[p.action]
	fmt.Fprintf(r.out, "%s %7.2fs %5d tests  %s", word, p.elapsed.Seconds(), s.passed+s.failed+s.skipped, short(name))
	for line := range strings.Lines(p.output.String()) {
		if share, found := strings.CutPrefix(line, "coverage: "); found {
			fmt.Fprintf(r.out, "  %s", strings.Fields(share)[0])
		}
	}
	fmt.Fprintln(r.out)
}

// failure prints all that helps to see why a package failed: the compiler's
// words, the output of each test that failed, and the package's own, which
// bears panics and the seed of the shuffle.
func (r *report) failure(e event, p *pkg) {
	fmt.Fprint(r.out, indent(r.builds[e.FailedBuild]))
	for _, name := range slices.Sorted(maps.Keys(p.tests)) {
		t := p.tests[name]
		switch t.action {
		case "fail":
			fmt.Fprint(r.out, indent(t.output.String()))
		case "":
			fmt.Fprintf(r.out, "    %s did not end\n%s", name, indent(t.output.String()))
		}
	}
	for line := range strings.Lines(p.output.String()) {
		if line != "FAIL\n" && !strings.HasPrefix(line, "FAIL\t") && !strings.HasPrefix(line, "coverage:") {
			fmt.Fprint(r.out, indent(line))
		}
	}
}

// score counts tests. A test with subtests counts through them alone, unless
// it failed by itself; a package that failed without any test counts as one.
type score struct{ passed, failed, skipped int }

func (p *pkg) score() (s score) {
	for name, t := range p.tests {
		switch {
		case t.parent && (t.action != "fail" || p.failedUnder(name)):
		case t.action == "pass":
			s.passed++
		case t.action == "skip":
			s.skipped++
		case t.action == "fail", p.action == "fail": // or it did not end
			s.failed++
		}
	}
	if p.action == "fail" && s.failed == 0 {
		s.failed++
	}
	return s
}

// failedUnder tells whether a subtest is to blame for the failure of a test.
func (p *pkg) failedUnder(name string) bool {
	for sub, t := range p.tests {
		if strings.HasPrefix(sub, name+"/") && (t.action == "fail" || t.action == "") {
			return true
		}
	}
	return false
}

func (r *report) total() (s score) {
	for _, p := range r.packages {
		one := p.score()
		s.passed += one.passed
		s.failed += one.failed
		s.skipped += one.skipped
	}
	return s
}

// good tells whether the run may pass. A run without a single test is a
// mistake in the command, and in CI a skipped test is one nobody ran.
func (r *report) good(ci bool) bool {
	s := r.total()
	return s.failed == 0 && s.passed > 0 && (!ci || s.skipped == 0)
}

// sum prints the end of the run; its last line is the score.
func (r *report) sum(took time.Duration, missing []lack) {
	var ran, failed, empty int
	for _, p := range r.packages {
		switch {
		case p.action == "fail":
			failed++
		case p.score() == (score{}):
			empty++
		default:
			ran++
		}
	}
	fmt.Fprintf(r.out, "\n%d packages passed, %d failed, %d have no tests; %s\n",
		ran, failed, empty, took.Round(100*time.Millisecond))
	r.list("failed", "fail")
	r.list("skipped", "skip")
	for _, l := range missing {
		fmt.Fprintf(r.out, "missing: %v. To get it: %s\n", l.why, l.How())
	}
	s := r.total()
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}

// list prints the tests that ended in one way, and why where they say so.
func (r *report) list(word, action string) {
	for _, name := range slices.SortedFunc(maps.Keys(r.packages), cmp.Compare) {
		p := r.packages[name]
		for _, testName := range slices.Sorted(maps.Keys(p.tests)) {
			t := p.tests[testName]
			if t.action != action || t.parent {
				continue
			}
			why := ""
			if action == "skip" {
				why = ": " + reason(t.output.String())
			}
			fmt.Fprintf(r.out, "%s: %s %s%s\n", word, short(name), testName, why)
		}
	}
}

// reason is what a test said last before the line that ends it.
func reason(output string) string {
	said := "no reason given"
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = line
		}
	}
	return said
}

// indent sets a text off, without the lines that tell when a test went on.
func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "=== ") {
			b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return b.String()
}

// short cuts the module's own path off a package's name.
func short(name string) string {
	return strings.TrimPrefix(name, "github.com/peergpu/peergpu/")
}
