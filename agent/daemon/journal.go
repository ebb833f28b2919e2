package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peergpu/peergpu/openapi/wire"
)

// journal is what the agent must not forget, even when it is killed: which manifests it
// has seen, which attempts it began, and results that the server has not accepted. It is
// one file of lines, each a CRC-32C in hexadecimal, a space and a JSON record, and is
// rewritten at start with what still counts.
type journal struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first failure; nothing is promised after it

	seen     map[string]seen       // by job: the highest attempt
	used     map[string]int64      // jti → when it may be forgotten, seconds
	open     map[attemptKey]begun  // begun and not settled
	results  map[attemptKey]result // of those, with an ending
	warnings []string              // about lines that could not be read
}

// attemptKey names an attempt.
type attemptKey struct {
	Job     string
	Attempt int
}

// String is for logs.
func (k attemptKey) String() string { return fmt.Sprintf("%s/%d", k.Job, k.Attempt) }

// wire is the key in a frame.
func (k attemptKey) wire() wire.Attempt { return wire.Attempt{JobID: k.Job, Attempt: k.Attempt} }

// seen is the replay log's memory of a job.
type seen struct {
	Attempt int   `json:"attempt"`
	Until   int64 `json:"until"` // seconds; long after every manifest of it expired
}

// begun is an attempt that was accepted.
type begun struct {
	At time.Time `json:"at"`
	// Runs is set once it has a run that outlives the agent: the manifest, without what is
	// secret or needed no more.
	Runs *wire.ManifestClaims `json:"runs,omitempty"`
}

// result is how an attempt ended, kept until the server has accepted it.
type result struct {
	Finished wire.Finished `json:"finished"`
	Lost     bool          `json:"lost,omitempty"` // the server may requeue at once
}

// record is one line.
type record struct {
	Op      string  `json:"op"` // seen, begin, run, end, settle
	Job     string  `json:"job,omitempty"`
	Attempt int     `json:"attempt,omitempty"`
	JTI     string  `json:"jti,omitempty"`
	Until   int64   `json:"until,omitempty"`
	Begun   *begun  `json:"begun,omitempty"`
	Result  *result `json:"result,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The replay log outlives the manifests that it guards against: a jti by an hour, so
// that a step of the server's clock does not matter, attempt numbers by a month.
const (
	keepJTI     = time.Hour
	keepAttempt = 30 * 24 * time.Hour
)

// openJournal reads the journal of a state folder and compacts it. Now, the wall clock,
// only decides what may be forgotten.
func openJournal(dir string, now time.Time) (*journal, error) {
	j := &journal{
		seen: map[string]seen{}, used: map[string]int64{},
		open: map[attemptKey]begun{}, results: map[attemptKey]result{},
	}
	path := filepath.Join(dir, "journal")
	if err := j.load(path); err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	if err := j.compact(path, now); err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

// load applies every intact line. A torn last line is what kill -9 leaves: it was never
// promised to anybody. A damaged line before it is a broken disk, and worth a warning.
func (j *journal) load(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for n := 1; len(data) > 0; n++ {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		r, err := parseRecord(line)
		switch {
		case err == nil && whole:
			j.apply(r)
		case whole && len(rest) > 0:
			j.warnings = append(j.warnings, fmt.Sprintf("line %d is damaged and was left out: %v", n, err))
		}
	}
	return nil
}

// parseRecord reads a line without its line feed, and believes it only if the sum fits.
func parseRecord(line []byte) (record, error) {
	var r record
	var sum uint32
	if len(line) < 10 || line[8] != ' ' {
		return r, errors.New("too short")
	}
	if _, err := fmt.Sscanf(string(line[:8]), "%08x", &sum); err != nil {
		return r, errors.New("no checksum")
	}
	if crc32.Checksum(line[9:], castagnoli) != sum {
		return r, errors.New("wrong checksum")
	}
	return r, json.Unmarshal(line[9:], &r)
}

// appendRecord writes a line. JSON escapes line feeds, so a record is one line.
func appendRecord(dst []byte, r record) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return dst, err
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(data, castagnoli))
	return append(append(dst, data...), '\n'), nil
}

// apply changes the memory as a line says.
func (j *journal) apply(r record) {
	key := attemptKey{r.Job, r.Attempt}
	if r.JTI != "" {
		j.used[r.JTI] = r.Until
	}
	switch r.Op {
	case "seen", "begin":
		if s := j.seen[r.Job]; r.Job != "" && r.Attempt >= s.Attempt {
			j.seen[r.Job] = seen{Attempt: r.Attempt, Until: r.Until + int64(keepAttempt.Seconds())}
		}
		if r.Begun != nil {
			j.open[key] = *r.Begun
		}
	case "run":
		if b, open := j.open[key]; open && r.Begun != nil {
			b.Runs = r.Begun.Runs
			j.open[key] = b
		}
	case "end":
		if r.Result != nil {
			j.results[key] = *r.Result
		}
	case "settle":
		delete(j.open, key)
		delete(j.results, key)
	}
}

// compact writes what counts to a new file and puts it in the old one's place.
func (j *journal) compact(path string, now time.Time) error {
	var lines []byte
	add := func(r record) (err error) {
		lines, err = appendRecord(lines, r)
		return err
	}
	var errs []error
	for jti, until := range j.used {
		if until < now.Unix() {
			delete(j.used, jti)
			continue
		}
		errs = append(errs, add(record{Op: "seen", JTI: jti, Until: until}))
	}
	held := map[string]bool{}
	for key := range j.open {
		held[key.Job] = true
	}
	for job, s := range j.seen {
		if s.Until < now.Unix() && !held[job] {
			delete(j.seen, job)
			continue
		}
		errs = append(errs, add(record{Op: "seen", Job: job, Attempt: s.Attempt, Until: s.Until - int64(keepAttempt.Seconds())}))
	}
	for key, b := range j.open {
		errs = append(errs, add(record{Op: "begin", Job: key.Job, Attempt: key.Attempt, Until: j.seen[key.Job].Until - int64(keepAttempt.Seconds()), Begun: &b}))
		if r, ended := j.results[key]; ended {
			errs = append(errs, add(record{Op: "end", Job: key.Job, Attempt: key.Attempt, Result: &r}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := writeFile(path, lines); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	j.file = f
	return err
}

// write makes a record durable. On an error the record must not be acted upon, and
// neither must any later one: the file's end is not known any more.
func (j *journal) write(r record) error { return j.add(r, true) }

// add writes a line, and takes it into memory only once it is as durable as asked for.
func (j *journal) add(r record, durable bool) error {
	line, err := appendRecord(nil, r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	if _, err = j.file.Write(line); err == nil && durable {
		err = syncData(j.file)
	}
	if err != nil {
		j.err = fmt.Errorf("the journal cannot be written, so the agent takes no work: %w", err)
		return j.err
	}
	j.apply(r)
	return nil
}

// replayed says why a signed id or an attempt counts as seen, or "".
func (j *journal) replayed(key attemptKey, jti string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, used := j.used[jti]; used {
		return "its jti was seen before"
	}
	if s, known := j.seen[key.Job]; known && key.Job != "" && key.Attempt <= s.Attempt {
		return fmt.Sprintf("attempt %d of this job was seen before", s.Attempt)
	}
	return ""
}

// begin notes an attempt, with the manifest that it came by, before it is accepted.
func (j *journal) begin(key attemptKey, jti string, expires int64, at time.Time) error {
	return j.write(record{
		Op: "begin", Job: key.Job, Attempt: key.Attempt, JTI: jti,
		Until: expires + int64(keepJTI.Seconds()), Begun: &begun{At: at},
	})
}

// see notes something signed that begins nothing. With a key, later manifests of that
// attempt are replays.
func (j *journal) see(key attemptKey, jti string, expires int64) error {
	return j.write(record{Op: "seen", Job: key.Job, Attempt: key.Attempt, JTI: jti, Until: expires + int64(keepJTI.Seconds())})
}

// run notes that an attempt has a run which outlives the agent.
func (j *journal) run(key attemptKey, c wire.ManifestClaims) error {
	c.Env, c.Bundle, c.Inputs = map[string]string{}, nil, []wire.ManifestInput{}
	return j.write(record{Op: "run", Job: key.Job, Attempt: key.Attempt, Begun: &begun{Runs: &c}})
}

// end notes a result before it is sent.
func (j *journal) end(key attemptKey, r result) error {
	return j.write(record{Op: "end", Job: key.Job, Attempt: key.Attempt, Result: &r})
}

// settle forgets an attempt that the server has accepted the end of, or does not want.
// It is not synced: lost, it costs one more question to the server.
func (j *journal) settle(key attemptKey) error {
	return j.add(record{Op: "settle", Job: key.Job, Attempt: key.Attempt}, false)
}

// unsettled lists the attempts that an earlier process began, with their results.
func (j *journal) unsettled() (map[attemptKey]begun, map[attemptKey]result) {
	j.mu.Lock()
	defer j.mu.Unlock()
	open, results := map[attemptKey]begun{}, map[attemptKey]result{}
	for k, v := range j.open {
		open[k] = v
	}
	for k, v := range j.results {
		results[k] = v
	}
	return open, results
}

// Close closes the file. Everything that was promised is on disk already.
func (j *journal) Close() error { return j.file.Close() }

// writeFile replaces a file so that, whenever the machine stops, either the old or the
// new content is there.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	// Some file systems cannot sync a folder; the rename is atomic all the same.
	_ = dir.Sync()
	return dir.Close()
}
