package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

// Witness is a job outside any sandbox that keeps its own account of what it did, in a
// folder that no fault of the network reaches.
type Witness struct {
	c   *Cluster
	u   *User
	dir string
	id  string
}

// Witness submits one. It prints a line every 20 ms until Release.
func (c *Cluster) Witness(u *User, needs map[string]any) *Witness {
	c.t.Helper()
	w := &Witness{c: c, u: u, dir: c.folder("witness")}
	// Nobody may be left to read what it prints; that must not keep it from living on.
	script := `while [ ! -e "$1/release" ]; do date +%s%N >>"$1/ticks.$$"; sleep 0.02; done &
i=0; while [ ! -e "$1/release" ]; do i=$((i+1)); echo "line $i of process $$"; echo "line $i of process $$" >>"$1/printed.$$"; sleep 0.02; done
wait; date +%s%N >>"$1/ticks.$$"`
	w.id = c.Submit(u, []string{"sh", "-c", script, "witness", w.dir}, needs)
	return w
}

// folder makes one that belongs to the test and is worked in by no program.
func (c *Cluster) folder(name string) string {
	c.t.Helper()
	dir := filepath.Join(c.t.TempDir(), name)
	require.NoError(c.t, os.MkdirAll(dir, 0o755))
	return dir
}

// Submit submits a job and gives its id.
func (c *Cluster) Submit(u *User, command []string, needs map[string]any) string {
	c.t.Helper()
	var j job
	u.Call(http.MethodPost, "/api/jobs", map[string]any{
		"name": "survives", "command": command, "needs": needs,
		"limits": map[string]any{"max_runtime_s": 120, "max_cost_micros": 1_000_000},
	}, &j)
	return j.ID
}

// Job is what the server says of a job; zero when it does not answer.
func (u *User) Job(id string) (j job) {
	if status, _ := u.Try(http.MethodGet, "/api/jobs/"+id, nil); status == http.StatusOK {
		u.Call(http.MethodGet, "/api/jobs/"+id, nil, &j)
	}
	return j
}

// Await waits until the server says of a job what is wanted.
func (u *User) Await(id string, wanted func(job) bool) job {
	u.c.t.Helper()
	var j job
	if !assert.Eventually(u.c.t, func() bool { j = u.Job(id); return wanted(j) }, 60*time.Second, 20*time.Millisecond) {
		require.FailNow(u.c.t, "the job never became what was waited for", "%+v", j)
	}
	return j
}

// Release lets the job end by itself.
func (w *Witness) Release() {
	require.NoError(w.c.t, os.WriteFile(filepath.Join(w.dir, "release"), nil, 0o600))
}

// Runs are the processes that the job had, in their order, as it noted them itself.
func (w *Witness) Runs() (runs []invariants.Run) {
	files, err := filepath.Glob(filepath.Join(w.dir, "ticks.*"))
	require.NoError(w.c.t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(w.c.t, err)
		ticks := strings.Fields(string(content))
		if len(ticks) == 0 {
			continue
		}
		at := func(i int) time.Time {
			nanos, err := strconv.ParseInt(ticks[i], 10, 64)
			require.NoError(w.c.t, err)
			return time.Unix(0, nanos)
		}
		runs = append(runs, invariants.Run{Job: w.id, Attempt: filepath.Ext(file)[1:], From: at(0), To: at(len(ticks) - 1)})
	}
	slices.SortFunc(runs, func(a, b invariants.Run) int { return a.From.Compare(b.From) })
	return runs
}

// Succeeded waits for the job's end after so many attempts, and looks whether it is whole.
func (w *Witness) Succeeded(attempt int) {
	w.c.t.Helper()
	j := w.u.Await(w.id, job.over)
	require.Equal(w.c.t, "succeeded", j.State, j.Reason)
	require.Equal(w.c.t, attempt, j.Attempt)
	require.Len(w.c.t, w.Runs(), attempt, "processes")
	w.Whole()
}

// Whole holds what the server has of the job, which succeeded, against what the job itself
// noted.
func (w *Witness) Whole() {
	w.c.t.Helper()
	runs := w.Runs()
	printed, err := os.ReadFile(filepath.Join(w.dir, "printed."+runs[len(runs)-1].Attempt))
	if !errors.Is(err, fs.ErrNotExist) { // one that began after the release prints nothing
		require.NoError(w.c.t, err)
	}
	status, log := w.u.Try(http.MethodGet, "/api/jobs/"+w.id+"/logs", nil)
	require.Equal(w.c.t, http.StatusOK, status)
	require.Equal(w.c.t, string(printed), string(log), "the log is what was printed")
	sum := sha256.Sum256(printed)
	w.c.Sound(invariants.World{
		Acknowledged: []string{w.id}, Runs: runs, Logs: map[string]string{uuidOf(w.id): hex.EncodeToString(sum[:])},
	})
}

// uuidOf is how the database writes an id of the API.
func uuidOf(id string) string {
	_, hexed, _ := strings.Cut(id, "_")
	return fmt.Sprintf("%s-%s-%s-%s-%s", hexed[:8], hexed[8:12], hexed[12:16], hexed[16:20], hexed[20:])
}

// Sound waits until everything has come to rest and wants all rules kept.
func (c *Cluster) Sound(w invariants.World) {
	c.t.Helper()
	p := c.profile.in(c.data())
	w.Database, w.Blobs = p.Database, p.Bucket.Folder
	for i, id := range w.Acknowledged {
		w.Acknowledged[i] = uuidOf(id)
	}
	for i := range w.Runs {
		w.Runs[i].Job = uuidOf(w.Runs[i].Job)
	}
	if !assert.Eventually(c.t, func() bool {
		found, err := invariants.Find(c.t.Context(), w)
		return err == nil && len(found) == 0
	}, 20*time.Second, 50*time.Millisecond) {
		invariants.Clean(c.t, w)
	}
}
