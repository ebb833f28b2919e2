package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/faults"
)

// uploadTries is how often one batch of results is tried while the server answers.
const uploadTries = 8

// batchFiles is how many files one upload_request names.
const batchFiles = 200

// prepare fetches and unpacks everything that the job needs. Nothing of it is billed.
func (a *attempt) prepare(ctx context.Context) (Task, *wire.Exit) {
	task := a.task()
	for name, value := range a.claims.Env {
		task.Env = append(task.Env, name+"="+value)
	}
	if failed := a.fetch(ctx, &task); failed != nil {
		return task, failed
	}
	a.courier.show(a.phase(wire.PhaseNameStarting, 0, 0))
	err := a.d.ports.Runtime.Prepare(ctx, task, func(p Progress) {
		if name := wire.PhaseName(p.Phase); name.Valid() {
			a.courier.show(a.phase(name, p.Done, p.Total))
		}
	})
	if err != nil {
		a.log.Error("the job cannot be prepared", "error", err)
		if errors.Is(err, ErrFetch) {
			return task, &wire.Exit{Reason: wire.ReasonFetchFailed, Detail: "the image " + task.Image + " could not be fetched"}
		}
		return task, &wire.Exit{Reason: wire.ReasonHostError, Detail: "the host could not prepare the job"}
	}
	return task, nil
}

// task is what the manifest asks of a runtime, without the environment and the inputs.
func (a *attempt) task() Task {
	c := a.claims
	task := Task{
		JobID: c.JobID, Attempt: c.Attempt, Argv: c.Argv, Dir: a.workDir(), Workdir: c.Workdir,
		GPUs: c.GPUs.UUIDs, Network: Network{Mode: string(c.Network.Mode), Allow: c.Network.Allow},
		Trusted: a.d.cfg.Trusted && c.Renter.Owner,
		Limits: Limits{
			CPUMilli: c.Limits.CPUMilli, MemoryBytes: c.Limits.MemoryBytes, PIDs: c.Limits.PIDs, ShmBytes: c.Limits.ShmBytes,
			DiskBytes: c.Limits.DiskBytes, MaxRuntime: time.Duration(c.Limits.MaxRuntimeMs) * time.Millisecond,
			Grace: a.d.cfg.StopGrace, LogBytes: c.Limits.LogBytes,
			ArtifactBytes: c.Limits.ArtifactBytes, ArtifactFiles: c.Limits.ArtifactFiles,
		},
	}
	if a.d.ports.Runtime.Info().Name != "simulated" && !realGPU(a.d.inventory.Load().gpus, c.GPUs.UUIDs) {
		task.GPUs = nil // made-up devices are slots, and nothing that a process could see
	}
	switch {
	case c.Image != nil && c.Image.Ref == "": // an image of this machine alone
		task.Image = c.Image.Digest
	case c.Image != nil:
		task.Image = c.Image.Ref + "@" + c.Image.Digest
	}
	return task
}

// phase makes the frame for a step of progress.
func (a *attempt) phase(name wire.PhaseName, done, total int64) *wire.Phase {
	return &wire.Phase{JobID: a.key.Job, Attempt: a.key.Attempt, Name: name, Done: done, Total: total}
}

// fetch gets the bundle and the inputs.
func (a *attempt) fetch(ctx context.Context, task *Task) *wire.Exit {
	c := a.claims
	var before, total int64
	if c.Bundle != nil {
		total += c.Bundle.Size
	}
	for _, in := range c.Inputs {
		total += in.Size
	}
	get := func(r Remote, path string) error {
		began := a.d.clock.Boot()
		err := a.d.ports.Transfer.Fetch(ctx, r, path, func(done int64) {
			a.fetching(before+done, total)
		})
		before += r.Size
		if err == nil {
			a.fetched += r.Size
			a.fetchTook += a.d.clock.Boot() - began
		}
		return err
	}
	failed := func(what string, err error) *wire.Exit {
		a.log.Error("fetching failed", "what", what, "error", err)
		return &wire.Exit{Reason: wire.ReasonFetchFailed, Detail: what + " could not be fetched"}
	}
	if err := a.d.ports.Folders.MakeDir(ctx, task.Dir, task.Limits.DiskBytes); err != nil {
		a.log.Error("the working folder cannot be made", "error", err)
		return &wire.Exit{Reason: wire.ReasonHostError, Detail: "the host could not make the working folder"}
	}
	if c.Bundle != nil {
		zip := filepath.Join(a.dir, "bundle.zip")
		if err := get(Remote{URL: c.Bundle.URL, Size: c.Bundle.Size, SHA256: c.Bundle.SHA256}, zip); err != nil {
			return failed("the bundle", err)
		}
		if exit := a.unpack(zip, task.Dir); exit != nil {
			return exit
		}
	}
	for i, in := range c.Inputs {
		source := filepath.Join(a.dir, "inputs", fmt.Sprint(i))
		err := os.MkdirAll(filepath.Dir(source), 0o700)
		if err == nil {
			err = get(Remote{URL: in.URL, Size: in.Size, SHA256: in.SHA256}, source)
		}
		if err != nil {
			return failed("the input "+in.Path, err)
		}
		task.Inputs = append(task.Inputs, Input{Source: source, Target: in.Path})
	}
	return nil
}

// fetching tells how far fetching has come.
func (a *attempt) fetching(done, total int64) {
	_ = faults.Point("fetch.mid")
	a.courier.show(a.phase(wire.PhaseNameFetching, done, total))
}

// unpack turns the ZIP into the working folder. What is wrong with the ZIP is the
// renter's fault and said in the words that the server would use; the rest is ours.
func (a *attempt) unpack(zip, dir string) *wire.Exit {
	f, err := os.Open(zip)
	if err != nil {
		return &wire.Exit{Reason: wire.ReasonHostError, Detail: "the host could not read the bundle"}
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(zip)) }()
	limits := bundle.DefaultLimits()
	if disk := a.claims.Limits.DiskBytes; disk > 0 {
		limits.TotalBytes = min(limits.TotalBytes, disk)
	}
	_, err = bundle.Extract(f, a.claims.Bundle.Size, dir, limits, nil)
	var broken *bundle.Error
	if errors.As(err, &broken) {
		return &wire.Exit{Reason: wire.ReasonBadBundle, Detail: clip(broken.Error())}
	}
	if errors.Is(err, syscall.ENOSPC) && Apart(dir) { // else it is the machine's disk that is full
		return &wire.Exit{Reason: wire.ReasonDiskFull, Detail: fmt.Sprintf(
			"the bundle does not fit into the job's %d MiB of disk: ask for more with needs.disk_mb", a.claims.Limits.DiskBytes/mib)}
	}
	if err != nil {
		a.log.Error("the bundle cannot be unpacked", "error", err)
		return &wire.Exit{Reason: wire.ReasonHostError, Detail: "the host could not unpack the bundle"}
	}
	return nil
}

// deliver uploads what the outputs name. Results that are too large are the renter's
// fault, unless something else went wrong already; not delivering them is the host's.
func (a *attempt) deliver(dir string, exit wire.Exit) ([]wire.Artifact, wire.Exit) {
	ctx, cancel := context.WithCancelCause(a.held)
	defer cancel(nil)
	go func() {
		select {
		case <-a.orders:
			cancel(errors.New("the attempt is to stop"))
		case <-ctx.Done():
		}
	}()
	blame := func(reason wire.Reason, detail string) wire.Exit {
		if reason == wire.ReasonUploadFailed || exit.Reason == "" {
			exit.Reason, exit.Detail = reason, clip(detail)
		} else {
			exit.Detail = clip(joinSentences(exit.Detail, detail))
		}
		return exit
	}
	found, err := collect(ctx, dir, a.claims.Outputs, a.claims.Limits)
	var tooMuch *errTooMuch
	switch {
	case errors.As(err, &tooMuch):
		return nil, blame(wire.ReasonArtifactLimit, tooMuch.detail)
	case err != nil:
		a.log.Error("the outputs cannot be read", "error", err)
		return nil, blame(wire.ReasonUploadFailed, "the host could not read the outputs")
	}
	if found.skipped > 0 {
		exit.Detail = clip(joinSentences(exit.Detail, fmt.Sprintf("left out of the outputs: %d that are no regular files with plain names", found.skipped)))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, blame(wire.ReasonUploadFailed, "the host could not read the outputs")
	}
	defer root.Close()
	u := upload{a: a, root: root}
	for _, f := range found.files {
		u.total += f.Size
	}
	for rest := found.files; len(rest) > 0; {
		n := min(len(rest), batchFiles)
		if err := u.batch(ctx, rest[:n]); err != nil {
			var refused *wire.AckError
			if errors.As(err, &refused) {
				if refused.Code == wire.CodeArtifactLimit {
					return nil, blame(wire.ReasonArtifactLimit, refused.Detail)
				}
			}
			if o := a.stopped(); o != nil {
				return nil, blame(o.reason, o.detail)
			}
			a.log.Error("the outputs cannot be uploaded", "error", err)
			return nil, blame(wire.ReasonUploadFailed, "the host could not upload the outputs")
		}
		rest = rest[n:]
	}
	return found.files, exit
}

// joinSentences puts two details into one.
func joinSentences(a, b string) string {
	if a == "" {
		return b
	}
	return strings.TrimSuffix(a, ".") + "; " + b
}

// upload brings files to the server.
type upload struct {
	a           *attempt
	root        *os.Root
	done, total int64
}

// batch asks for URLs, puts the files and has the server confirm them, again from the
// start when something of it fails: signed URLs live for minutes only.
func (u *upload) batch(ctx context.Context, files []wire.Artifact) (err error) {
	for try := range uploadTries {
		if try > 0 {
			if u.a.d.pause(ctx, min(time.Second<<(try-1), 30*time.Second)) != nil {
				return context.Cause(ctx)
			}
		}
		before := u.done
		if err = u.once(ctx, files); err == nil {
			return nil
		}
		var refused *wire.AckError
		if ctx.Err() != nil || errors.Is(err, errStale) || errors.As(err, &refused) && refused.Code != wire.CodeUploadMismatch {
			return err
		}
		u.done = before
		u.a.log.Warn("uploading results failed", "try", try+1, "error", err)
	}
	return err
}

// once is one try of a batch.
func (u *upload) once(ctx context.Context, files []wire.Artifact) error {
	key := u.a.key
	answer, err := u.a.courier.tell(&wire.UploadRequest{JobID: key.Job, Attempt: key.Attempt, Files: files}).await(ctx)
	if err != nil {
		return err
	}
	targets, ok := answer.Body.(*wire.Upload)
	if !ok {
		return refusal(answer)
	}
	if len(targets.Files) != len(files) {
		return fmt.Errorf("the server gave %d places for %d files", len(targets.Files), len(files))
	}
	for i, to := range targets.Files {
		if to.Path != files[i].Path {
			return fmt.Errorf("the server gave places in another order")
		}
		if to.URL != "" {
			if err := u.put(ctx, to, files[i]); err != nil {
				return err
			}
			if err := faults.Point("upload.after_put_before_confirm"); err != nil {
				return err
			}
		}
		u.done += files[i].Size
		u.a.courier.show(u.a.phase(wire.PhaseNameUploading, u.done, u.total))
	}
	answer, err = u.a.courier.tell(&wire.Uploaded{JobID: key.Job, Attempt: key.Attempt, Files: files}).await(ctx)
	if err != nil {
		return err
	}
	return refusal(answer)
}

// put sends one file, opened as carefully as when it was summed. The server compares the
// sum, so a file that changed in between is noticed there.
func (u *upload) put(ctx context.Context, to wire.UploadTarget, file wire.Artifact) error {
	f, err := openRegular(u.root, file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.a.d.ports.Transfer.Put(ctx, to, part{io.NewSectionReader(f, 0, file.Size)}, file.Size)
}

// part is a file on its way, with a crash point behind its first bytes.
type part struct{ io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (p part) ReadAt(b []byte, offset int64) (int, error) {
	if offset > 0 {
		if err := faults.Point("upload.mid_part"); err != nil {
			return 0, err
		}
	}
	return p.ReaderAt.ReadAt(b, offset)
}

// refusal is the error in an answer, or nil.
func refusal(f wire.Frame) error {
	ack, ok := f.Body.(*wire.Ack)
	switch {
	case !ok:
		return fmt.Errorf("the server answered with %s", wire.TypeOf(f.Body))
	case ack.Ok:
		return nil
	case ack.Error == nil:
		return errors.New("the server refused and did not say why")
	}
	return ack.Error
}

// smaller is the tighter of two limits, of which 0 is none.
func smaller(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
