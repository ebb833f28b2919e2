package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bunstore"
	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

// patience is how long a whole job with its faults may take on a machine that is busy.
const patience = 90 * time.Second

// interval is how often tests look whether something happened.
const interval = 10 * time.Millisecond

// faultyPrograms builds them with crash points.
var faultyPrograms = sync.OnceValues(func() (string, error) { return build("faults") })

// until waits for something to happen, in the goroutine of the test, so that it may
// start programs on the way.
func (f *Faulty) until(what string, happened func() bool) {
	f.t.Helper()
	for begun := time.Now(); !happened(); <-time.After(interval) {
		require.Less(f.t, time.Since(begun), patience, what)
		f.processes()
	}
}

// Faulty is a cluster whose programs have crash points. It remembers what it was given,
// and at the end everything has to be in order.
type Faulty struct {
	*Cluster
	runtime string // the agent's
	User    *User
	jobs    []*submission
	seen    bool // a process of a job
}

// submission is a job that was submitted, perhaps more than once.
type submission struct {
	key, id string // id: of the acknowledged one
	body    []byte
	form    string // the content type of the body
	log     string // sha256 of what its command prints
}

// NewFaulty starts a faulty server without faults, with one renter who has money and
// one agent named box of a runtime. The very first start may have some.
func NewFaulty(t testing.TB, p Profile, runtime string, gpus int, first string) *Faulty {
	t.Helper()
	bin, err := faultyPrograms()
	require.NoError(t, err)
	f := &Faulty{runtime: runtime}
	f.Cluster = newCluster(t, bin, p, "PEERGPU_LEASE_TTL=3s")
	f.env = append(f.env, "PEERGPU_FAULTS_LOG="+f.reachedFile(), "TMPDIR="+filepath.Join(f.dir, "tmp"))
	require.NoError(t, os.Mkdir(filepath.Join(f.dir, "tmp"), 0o700))
	f.ended = func(pid int) { assert.NoError(t, invariants.Died(f.reachedFile(), pid)) }
	f.begin(first)
	f.User = f.Cluster.User("ada")
	f.User.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 100_000_000}, nil)
	f.Enrol(f.User, "box", runtime, gpus)
	return f
}

// processes are those of the jobs, by the argument that every command of a draft ends
// with. A simulated run has none.
func (f *Faulty) processes() (found []string) {
	f.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(f.t, err)
	for _, file := range files {
		// One that has ended meanwhile has none.
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(f.mark())) {
			found = append(found, fmt.Sprintf("%s %q", file, line))
		}
	}
	f.seen = f.seen || len(found) > 0
	return found
}

func (f *Faulty) mark() string { return "job-of-" + f.dir }

// faultEnv arms crash points, as in "settle.mid=kill@1".
func faultEnv(faults string) string { return "PEERGPU_FAULTS=" + faults }

func (f *Faulty) reachedFile() string { return filepath.Join(f.dir, "reached") }

// reached says whether a process came to an armed point.
func (f *Faulty) reached(pid int, point string) bool { return f.noted(pid, point, 5) }

// noted looks for a line of that many words; pid 0 is any process.
func (f *Faulty) noted(pid int, point string, words int) bool {
	content, err := os.ReadFile(f.reachedFile())
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		if w := strings.Fields(line); len(w) >= words && (pid == 0 || w[1] == fmt.Sprint(pid)) && w[2] == point {
			return true
		}
	}
	return false
}

// begin starts the server, without faults if it died of them before it was ready.
func (f *Faulty) begin(faults string) {
	f.t.Helper()
	f.proc = f.spawn("peergpu", []string{faultEnv(faults)}, "serve")
	gone := f.gone[f.proc]
	ready := func() bool {
		resp, err := http.Get(f.URL + "/readyz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}
	f.until("the server starts", func() bool { return ended(gone) || ready() })
	if ended(gone) {
		f.Kill()
		f.Start()
	}
}

// beginAgent starts the agent.
func (f *Faulty) beginAgent(faults string) {
	f.t.Helper()
	f.StartAgent("box", faultEnv(faults))
}

func ended(gone <-chan struct{}) bool {
	select {
	case <-gone:
		return true
	default:
		return false
	}
}

// revive starts again, without faults, what has ended by itself, and says whether it
// did.
func (f *Faulty) revive() (did bool) {
	f.t.Helper()
	if f.proc != nil && ended(f.gone[f.proc]) {
		f.Kill()
		f.begin("")
		did = true
	}
	if agent := f.agents["box"]; agent != nil && ended(f.gone[agent]) {
		f.KillAgent("box")
		f.StartAgent("box")
		did = true
	}
	return did
}

// Finish starts again what died, and sends again what nobody answered, until every job
// is over.
func (f *Faulty) Finish() {
	f.t.Helper()
	f.until("every job ends", func() bool {
		f.revive()
		for _, s := range f.jobs {
			if s.id == "" && !f.Submit(s) || !f.state(s).over() {
				return false
			}
		}
		return true
	})
}

// Draft makes a job out of a seed: a bundle of some size, output in several pieces and
// result files, or a command that prints nothing.
func (f *Faulty) Draft(seed uint64, command ...string) *submission {
	f.t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	first, second := 1+r.IntN(3000), 1+r.IntN(3000)
	wait, size := 200+r.IntN(300), 600_000+r.IntN(400_000)
	run := []string{"simulate", fmt.Sprintf("burst %d", first), fmt.Sprintf("wait %dms", wait),
		fmt.Sprintf("burst %d", second), fmt.Sprintf("write outputs/a %d", size), "write outputs/b 10"}
	if f.runtime == "process" {
		run = []string{"sh", "-ec", fmt.Sprintf(`burst() { i=0; while [ $i -lt $1 ]; do i=$((i+1)); echo "line $i"; done; }
burst %d; sleep 0.%03d; burst %d; mkdir outputs; head -c %d /dev/urandom >outputs/a; head -c 10 /dev/urandom >outputs/b`,
			first, wait, second, size), f.mark()}
	}
	spec := map[string]any{
		"name": fmt.Sprintf("job-%d", seed), "command": run,
		"source": map[string]any{"kind": "bundle"},
		"needs":  map[string]any{"gpus": 1}, "limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 1_000_000},
	}
	printed, pieces := sha256.New(), []int{first, second}
	if len(command) > 0 {
		spec["command"], pieces = command, nil
	}
	for _, n := range pieces {
		for i := 1; i <= n; i++ {
			fmt.Fprintf(printed, "line %d\n", i)
		}
	}
	var body, packed bytes.Buffer
	z := zip.NewWriter(&packed)
	data, err := z.CreateHeader(&zip.FileHeader{Name: "data", Method: zip.Deflate})
	require.NoError(f.t, err)
	noise := make([]byte, 1<<20+r.IntN(1<<20))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	_, err = data.Write(noise)
	require.NoError(f.t, err)
	require.NoError(f.t, z.Close())
	form := multipart.NewWriter(&body)
	job, err := json.Marshal(spec)
	require.NoError(f.t, err)
	require.NoError(f.t, form.WriteField("job", string(job)))
	part, err := form.CreateFormFile("bundle", "bundle.zip")
	require.NoError(f.t, err)
	_, err = part.Write(packed.Bytes())
	require.NoError(f.t, err)
	require.NoError(f.t, form.Close())
	s := &submission{key: fmt.Sprintf("job-%d", seed), body: body.Bytes(), form: form.FormDataContentType(), log: hex.EncodeToString(printed.Sum(nil))}
	f.jobs = append(f.jobs, s)
	return s
}

// Submit sends a job once, as a renter would who sends it again if nobody answers.
func (f *Faulty) Submit(s *submission) bool {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.URL+"/api/jobs", bytes.NewReader(s.body))
	require.NoError(f.t, err)
	req.Header.Set("Content-Type", s.form)
	req.Header.Set("Idempotency-Key", s.key)
	req.Header.Set("Authorization", "Bearer "+f.User.token)
	status, answer := f.User.do(req)
	if status != http.StatusCreated {
		require.True(f.t, status == 0 || status >= 500, "%d: %s", status, answer)
		return false
	}
	var j job
	require.NoError(f.t, json.Unmarshal(answer, &j))
	s.id = j.ID
	return true
}

// state is the state of a submitted job, or "" when nobody tells.
func (f *Faulty) state(s *submission) (j job) {
	if status, answer := f.User.Try(http.MethodGet, "/api/jobs/"+s.id, nil); status == http.StatusOK {
		require.NoError(f.t, json.Unmarshal(answer, &j))
	}
	return j
}

// over says that a job reached its end.
func (j job) over() bool {
	return j.State == "succeeded" || j.State == "failed" || j.State == "cancelled"
}

// world is what everything is held against.
func (f *Faulty) world() invariants.World {
	f.t.Helper()
	p := f.profile.in(f.data())
	w := invariants.World{Database: p.Database, Blobs: p.Bucket.Folder, Logs: map[string]string{}, Swept: invariants.Later}
	for _, s := range f.jobs {
		id, err := domain.ParsePrefixed("job", s.id)
		require.NoError(f.t, err)
		w.Acknowledged, w.Logs[id.String()] = append(w.Acknowledged, id.String()), s.log
	}
	runs, err := invariants.Runs(f.reachedFile())
	require.NoError(f.t, err)
	w.Runs = runs
	return w
}

// tomorrow is the clock of a day later.
type tomorrow struct{}

func (tomorrow) Now() time.Time { return system.Clock{}.Now().Add(24 * time.Hour) }

// Swept has the sweep of a day later find what the faults have left in the store of the
// server, which has ended, and wants nothing left.
func (f *Faulty) Swept() {
	f.t.Helper()
	w := f.world()
	w.Swept = nil
	store, err := bunstore.Open(f.t.Context(), w.Database, bunstore.Options{Clock: tomorrow{}, IDs: system.IDs{}})
	require.NoError(f.t, err)
	defer store.Close()
	b := f.profile.in(f.data()).Bucket
	blobs, err := cloudblob.Open(f.t.Context(), b.URL, cloudblob.Options{
		Key: make([]byte, 32), Clock: tomorrow{}, AccessKey: b.AccessKey, SecretKey: b.SecretKey,
	})
	require.NoError(f.t, err)
	defer blobs.Close()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	sweep := jobs.New(jobs.Deps{
		Clock: tomorrow{}, Jobs: store.Jobs(), Artifacts: store.Artifacts(), Blobs: blobs, BlobIndex: blobs,
		Log: slog.New(slog.DiscardHandler),
	}, jobs.Settings{OrphanAge: 12 * time.Hour})
	ended := make(chan error, 1)
	go func() { ended <- sweep.SweepOrphans(ctx) }()
	f.until("no object is left that nothing refers to", func() bool {
		found, err := invariants.Find(f.t.Context(), w)
		return err == nil && len(found) == 0
	})
	cancel()
	require.NoError(f.t, <-ended)
}

// Rest waits until nothing moves any more, and looks for what is broken.
func (f *Faulty) Rest() {
	f.t.Helper()
	w := f.world()
	defer func() {
		left, err := os.ReadDir(filepath.Join(f.dir, "tmp"))
		assert.NoError(f.t, err)
		assert.Empty(f.t, left, "a temporary file is left")
	}()
	// Settlement, archive and the sweep of holds follow by themselves.
	for begun := time.Now(); time.Since(begun) < patience/2; <-time.After(interval) {
		if found, err := invariants.Find(f.t.Context(), w); err == nil && len(found) == 0 {
			return
		}
		f.revive()
	}
	invariants.Clean(f.t, w)
}
