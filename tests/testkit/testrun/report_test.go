package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// feed gives events to a new report, written in short as "action package test
// output", and returns it with what it printed at the end.
func feed(t *testing.T, lines ...string) (*report, string) {
	t.Helper()
	var out strings.Builder
	r := newReport(&out)
	for _, line := range lines {
		_, err := r.Write([]byte(line + "\n"))
		require.NoError(t, err)
	}
	out.Reset()
	r.sum(time.Second, nil)
	return r, out.String()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestATestWithSubtestsCountsThroughThemAlone(t *testing.T) {
	t.Parallel()
	r, out := feed(t,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestA/one"}`,
		`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
		`{"Action":"run","Package":"p","Test":"TestA/two"}`,
		`{"Action":"fail","Package":"p","Test":"TestA/two"}`,
		`{"Action":"fail","Package":"p","Test":"TestA"}`,
		`{"Action":"fail","Package":"p"}`,
	)
	assert.Equal(t, "1 passed, 1 failed, 0 skipped", lastLine(out))
	assert.Contains(t, out, "failed: p TestA/two")
	assert.False(t, r.good(false))
}

func TestATestThatFailsBesideItsSubtestsCountsItself(t *testing.T) {
	t.Parallel()
	_, out := feed(t,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestA/one"}`,
		`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
		`{"Action":"fail","Package":"p","Test":"TestA"}`,
		`{"Action":"fail","Package":"p"}`,
	)
	assert.Equal(t, "1 passed, 1 failed, 0 skipped", lastLine(out))
}

func TestAPackageThatDoesNotCompileIsOneFailureAndShowsWhy(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	_, err := r.Write([]byte(`{"ImportPath":"p [p.test]","Action":"build-output","Output":"./a.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}
`))
	require.NoError(t, err)
	assert.Contains(t, out.String(), "undefined: x")
	assert.Equal(t, score{failed: 1}, r.total())
}

func TestATestThatDidNotEndFails(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	_, err := r.Write([]byte(`{"Action":"run","Package":"p","Test":"TestHangs"}
{"Action":"output","Package":"p","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}
`))
	require.NoError(t, err)
	assert.Equal(t, score{failed: 1}, r.total())
	assert.Contains(t, out.String(), "TestHangs did not end")
	assert.Contains(t, out.String(), "panic: test timed out")
}

func TestATestThatFailedOnceOfManyTimesFailsAndShowsWhy(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	_, err := r.Write([]byte(`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"two lead at once\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`))
	require.NoError(t, err)
	assert.Equal(t, score{failed: 1}, r.total())
	assert.Contains(t, out.String(), "two lead at once")
}

func TestASkippedTestIsNamedWithItsReasonAndFailsOnlyInCI(t *testing.T) {
	t.Parallel()
	r, out := feed(t,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestB"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: no GPU here\n"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestB"}`,
		`{"Action":"pass","Package":"p"}`,
	)
	assert.Contains(t, out, "skipped: p TestB: b_test.go:3: no GPU here")
	assert.Equal(t, "1 passed, 0 failed, 1 skipped", lastLine(out))
	assert.True(t, r.good(false))
	assert.False(t, r.good(true))
}

func TestARunWithoutTestsIsNotGood(t *testing.T) {
	t.Parallel()
	r, _ := feed(t, `{"Action":"skip","Package":"p"}`)
	assert.False(t, r.good(false))
}

func TestEventsMayArriveInPiecesAndBetweenOtherLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	stream := "go: a warning\n" +
		`{"Action":"run","Package":"p","Test":"TestA"}` + "\n" +
		`{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
	for _, b := range []byte(stream) {
		_, err := r.Write([]byte{b})
		require.NoError(t, err)
	}
	assert.Equal(t, score{passed: 1}, r.total())
	assert.Equal(t, "go: a warning\n", out.String())
}

func TestTheScoreIsAloneOnTheLastLineAfterWhatIsMissing(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	newReport(&out).sum(time.Second, []lack{{servers.PostgreSQL, errors.New("postgres is not installed")}})
	assert.Contains(t, out.String(), "missing: postgres is not installed. To get it: apt-get install postgresql\n")
	assert.True(t, strings.HasSuffix(out.String(), "\n0 passed, 0 failed, 0 skipped\n"))
}
