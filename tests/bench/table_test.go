package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// table is what a run ends with: each figure that has a goal, beside its floor.
var table struct {
	sync.Mutex
	rows []row
}

// row is one figure of a benchmark.
type row struct {
	of, what     string
	value, floor float64 // floor 0: there is none
	goals        []goal
}

// goal is what a figure is to reach, by performance.md, and whether it did.
type goal func(value, floor float64) (text string, met bool)

func atMost(most float64) goal {
	return func(value, _ float64) (text string, met bool) { return "≤ " + short(most), value <= most }
}

func atLeast(least float64) goal {
	return func(value, _ float64) (text string, met bool) { return "≥ " + short(least), value >= least }
}

// timesAtMost and timesAtLeast are goals for the ratio of a figure to its floor.
func timesAtMost(most float64) goal {
	return func(value, floor float64) (text string, met bool) {
		return "≤ " + short(most) + " ×", value <= most*floor
	}
}

func timesAtLeast(least float64) goal {
	return func(value, floor float64) (text string, met bool) {
		return "≥ " + short(least) + " ×", value >= least*floor
	}
}

// aim puts a figure into the table; the last of its name stays.
func aim(b *testing.B, what string, value, floor float64, goals ...goal) {
	b.Helper()
	table.Lock()
	defer table.Unlock()
	r := row{strings.TrimPrefix(b.Name(), "Benchmark"), what, value, floor, goals}
	if i := slices.IndexFunc(table.rows, func(o row) bool { return o.of == r.of && o.what == r.what }); i >= 0 {
		table.rows[i] = r
		return
	}
	table.rows = append(table.rows, r)
}

// printTable writes the rows, unless there are none.
func printTable(w io.Writer, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nmeasured\tfigure\tvalue\tfloor\tratio\tgoal\t")
	for _, r := range rows {
		floor, ratio := "", ""
		if r.floor != 0 {
			floor, ratio = short(r.floor), short(r.value/r.floor)+" ×"
		}
		var goals []string
		missed := ""
		for _, g := range r.goals {
			text, met := g(r.value, r.floor)
			goals = append(goals, text)
			if !met {
				missed = "missed"
			}
		}
		fmt.Fprintln(t, strings.Join([]string{r.of, r.what, short(r.value), floor, ratio, strings.Join(goals, ", "), missed}, "\t"))
	}
	return t.Flush()
}

// short is a number with three digits that count, or more where it is large.
func short(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func TestTheTableTellsWhatMissesItsGoal(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	err := printTable(&said, []row{
		{"E1/a", "finished p50, ms", 10, 2, []goal{atMost(20), timesAtMost(4)}},
		{"E2/a", "settled, jobs/s", 3456, 0, []goal{atLeast(3000)}},
		{"E7/a", "put, MB/s", 0.5, 1, []goal{timesAtLeast(0.25)}},
	})
	want := `
measured  figure            value  floor  ratio  goal
E1/a      finished p50, ms  10     2      5 ×    ≤ 20, ≤ 4 ×  missed
E2/a      settled, jobs/s   3456                 ≥ 3000
E7/a      put, MB/s         0.5    1      0.5 ×  ≥ 0.25 ×
`
	got := strings.Split(said.String(), "\n")
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	require.NoError(t, err)
	assert.Equal(t, want, strings.Join(got, "\n"))
}
