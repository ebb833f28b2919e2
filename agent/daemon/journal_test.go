package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/openapi/wire"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func openTestJournal(t *testing.T, dir string, now time.Time) *journal {
	t.Helper()
	j, err := openJournal(dir, now)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestAJournalRemembersWhatItPromised(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTestJournal(t, dir, day)
	a, b, c := attemptKey{"job_a", 2}, attemptKey{"job_b", 1}, attemptKey{"job_c", 1}
	expires := day.Unix() + 600
	require.NoError(t, j.begin(a, "jti-a", expires, day))
	require.NoError(t, j.begin(b, "jti-b", expires, day))
	require.NoError(t, j.begin(c, "jti-c", expires, day))
	r := result{Finished: wire.Finished{JobID: "job_b", Attempt: 1, Reason: wire.ReasonTimeout}, Lost: true}
	require.NoError(t, j.end(b, r))
	require.NoError(t, j.settle(c))
	for range 3 { // each opening compacts
		j = openTestJournal(t, dir, day)
		open, results := j.unsettled()
		assert.Equal(t, map[attemptKey]begun{a: {At: day}, b: {At: day}}, open)
		assert.Equal(t, map[attemptKey]result{b: r}, results)
		for _, key := range []attemptKey{a, b, c, {"job_a", 1}} {
			assert.NotEmpty(t, j.replayed(key, "new"), key)
		}
		assert.NotEmpty(t, j.replayed(attemptKey{"job_a", 3}, "jti-c"))
		assert.Empty(t, j.replayed(attemptKey{"job_a", 3}, "new"))
	}
	assert.Empty(t, j.warnings)
}

func TestAJournalForgetsWhatCannotBeReplayedAnyMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTestJournal(t, dir, day)
	key := attemptKey{"job_a", 2}
	require.NoError(t, j.begin(key, "jti-a", day.Unix()+600, day))
	require.NoError(t, j.settle(key))
	j = openTestJournal(t, dir, day.Add(2*time.Hour))
	assert.Empty(t, j.replayed(attemptKey{"job_x", 1}, "jti-a"))
	assert.NotEmpty(t, j.replayed(key, "new"))
	// Compacting again and again does not lengthen the memory.
	openTestJournal(t, dir, day.Add(20*24*time.Hour))
	j = openTestJournal(t, dir, day.Add(31*24*time.Hour))
	assert.Empty(t, j.replayed(key, "new"))
	data, err := os.ReadFile(filepath.Join(dir, "journal"))
	require.NoError(t, err)
	assert.Empty(t, data)
}

func TestAnOpenAttemptIsNeverForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := attemptKey{"job_a", 2}
	require.NoError(t, openTestJournal(t, dir, day).begin(key, "jti-a", day.Unix()+600, day))
	for _, at := range []time.Time{day.Add(40 * 24 * time.Hour), day.Add(90 * 24 * time.Hour)} {
		j := openTestJournal(t, dir, at)
		open, _ := j.unsettled()
		assert.Contains(t, open, key)
		assert.NotEmpty(t, j.replayed(key, "new"))
	}
}

func TestADamagedLineCostsThatLineAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTestJournal(t, dir, day)
	for _, job := range []string{"job_a", "job_b", "job_c"} {
		require.NoError(t, j.begin(attemptKey{job, 1}, "jti-"+job, day.Unix()+600, day))
	}
	path := filepath.Join(dir, "journal")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(data, []byte(`"job_b"`), []byte(`"job_x"`), 1), 0o600))
	j = openTestJournal(t, dir, day)
	open, _ := j.unsettled()
	assert.Len(t, open, 2)
	assert.Len(t, j.warnings, 1)
}

// Killed at any byte, the journal holds everything that was promised before.
func TestATornTailLosesNothingThatWasPromised(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(rt, err)
		j, err := openJournal(dir, day)
		require.NoError(rt, err)
		path := filepath.Join(dir, "journal")
		type state struct {
			size          int64
			open, results int
		}
		states := []state{{}}
		for range rapid.IntRange(1, 12).Draw(rt, "records") {
			key := attemptKey{rapid.SampledFrom([]string{"job_a", "job_b", "job_c"}).Draw(rt, "job"), rapid.IntRange(1, 3).Draw(rt, "attempt")}
			switch rapid.IntRange(0, 3).Draw(rt, "op") {
			case 0:
				err = j.begin(key, key.String(), day.Unix(), day)
			case 1:
				err = j.end(key, result{Finished: wire.Finished{JobID: key.Job}})
			case 2:
				err = j.settle(key)
			case 3:
				err = j.see(key, key.String(), day.Unix())
			}
			require.NoError(rt, err)
			info, err := os.Stat(path)
			require.NoError(rt, err)
			states = append(states, state{info.Size(), len(j.open), len(j.results)})
		}
		require.NoError(rt, j.Close())
		cut := rapid.Int64Range(0, states[len(states)-1].size).Draw(rt, "cut")
		require.NoError(rt, os.Truncate(path, cut))
		want := states[0]
		for _, s := range states {
			if s.size <= cut {
				want = s
			}
		}
		again := &journal{seen: map[string]seen{}, used: map[string]int64{}, open: map[attemptKey]begun{}, results: map[attemptKey]result{}}
		require.NoError(rt, again.load(path))
		assert.Len(rt, again.open, want.open)
		assert.Len(rt, again.results, want.results)
		assert.Empty(rt, again.warnings)
	})
}

func TestNothingIsPromisedAfterAFailure(t *testing.T) {
	t.Parallel()
	j := openTestJournal(t, t.TempDir(), day)
	require.NoError(t, j.file.Close())
	key := attemptKey{"job_a", 1}
	require.Error(t, j.begin(key, "jti", day.Unix(), day))
	assert.Empty(t, j.replayed(key, "jti"))
	require.ErrorContains(t, j.begin(key, "jti", day.Unix(), day), "takes no work")
}
