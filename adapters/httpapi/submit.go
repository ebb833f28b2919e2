package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
)

// CreateJob takes a job: as JSON, or as JSON and ZIP in one form.
func (s *server) CreateJob(ctx context.Context, r api.CreateJobRequestObject) (api.CreateJobResponseObject, error) {
	var request api.JobRequest
	var zip *spool
	switch {
	case r.MultipartBody != nil:
		form, err := s.readForm(r.MultipartBody)
		if err != nil {
			return nil, err
		}
		defer form.zip.remove(s)
		request, zip = form.job, form.zip
	case r.JSONBody != nil:
		request = *r.JSONBody
	default:
		return nil, byStatus(http.StatusUnsupportedMediaType)
	}
	submission, err := submissionOf(request, zip)
	if err != nil {
		return nil, err
	}
	if submission.Idempotency, err = idempotency(r.Params.IdempotencyKey, request, zip); err != nil {
		return nil, err
	}
	submitted, err := s.Jobs.Submit(ctx, actorOf(ctx), submission)
	if err != nil {
		return nil, err
	}
	about(ctx, submitted.Job.ID)
	v, err := s.Jobs.Show(ctx, actorOf(ctx), submitted.Job)
	if err != nil {
		return nil, err
	}
	job := jobJSON(v)
	if submitted.Upload != nil {
		job.Upload = uploadJSON(*submitted.Upload, s.absolute(ctx, submitted.Upload.URL))
	}
	return api.CreateJob201JSONResponse(job), nil
}

// submissionOf reads a job and its ZIP; nil is a ZIP that comes later, or never.
func submissionOf(request api.JobRequest, zip *spool) (jobs.Submission, error) {
	spec, env, err := specOf(request)
	if err != nil {
		return jobs.Submission{}, err
	}
	submission := jobs.Submission{Spec: spec, Env: env, Announced: domainjobs.Bundle{Size: request.Source.Size, SHA256: request.Source.SHA256}}
	if zip == nil {
		return submission, nil
	}
	said := request.Source
	var wrong domain.Problems
	if said.Kind == api.JobSourceKindImage {
		wrong.Add("/source/kind", "contradiction", "a job that comes with a ZIP is of kind bundle")
	}
	if said.Size != 0 && said.Size != zip.size {
		wrong.Add("/source/size", "contradiction", "the ZIP that came has %d bytes", zip.size)
	}
	if said.SHA256 != "" && said.SHA256 != zip.sum {
		wrong.Add("/source/sha256", "contradiction", "the ZIP that came has another sha256")
	}
	submission.Spec.Source = domainjobs.Source{Kind: domainjobs.SourceBundle}
	submission.Bundle = zip.file
	return submission, wrong.Err("invalid_job", "the job and its ZIP contradict each other")
}

// idempotency makes a repeated submit recognisable, however its JSON is laid out.
func idempotency(key string, request api.JobRequest, zip *spool) (domainjobs.Idempotency, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return domainjobs.Idempotency{}, err
	}
	if zip != nil {
		text = append(text, zip.sum...)
	}
	sum := sha256.Sum256(text)
	return domainjobs.Idempotency{Key: key, Request: hex.EncodeToString(sum[:])}, nil
}

// form is a multipart submit.
type form struct {
	job api.JobRequest
	zip *spool
}

// readForm reads the two parts, in any order. The ZIP is never held in memory.
func (s *server) readForm(parts *multipart.Reader) (f form, err error) {
	seen := map[string]bool{}
	defer func() {
		if err != nil {
			f.zip.remove(s)
		}
	}()
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return f, broken(err)
		}
		name := part.FormName()
		if seen[name] {
			return f, badParameter(pointer(name), "duplicate", "each part once")
		}
		seen[name] = true
		switch name {
		case "job":
			f.job, err = s.readJob(part)
		case "bundle":
			f.zip, err = spoolFile(part, s.Settings.BundleBytes)
		default:
			err = badParameter(pointer(name), "unknown_field", "there is no such part here; there are job, bundle")
		}
		if err != nil {
			return f, err
		}
	}
	for _, name := range []string{"job", "bundle"} {
		if !seen[name] {
			return f, badParameter(pointer(name), "required", "this part is required")
		}
	}
	return f, nil
}

func (s *server) readJob(part io.Reader) (job api.JobRequest, err error) {
	raw, err := io.ReadAll(io.LimitReader(part, maxJSON+1))
	if err != nil {
		return job, broken(err)
	}
	if len(raw) > maxJSON {
		p := byStatus(http.StatusRequestEntityTooLarge)
		p.detail = fmt.Sprintf("the part job has at most %d bytes", maxJSON)
		return job, p
	}
	if bad := checkJSON(raw, s.jobRequest); len(bad) > 0 {
		p := byStatus(http.StatusBadRequest)
		p.errors = bad[:min(len(bad), maxProblems)]
		return job, p
	}
	if err := json.Unmarshal(raw, &job); err != nil {
		// 1.0 is an integer to JSON Schema, but not to Go.
		return job, badParameter("", "wrong_type", "a number that has to be an integer is written as a fraction")
	}
	return job, nil
}

// broken is a body that ends too soon or too late.
func broken(err error) error {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return err
	}
	return badParameter("", "unreadable", "the form broke off or is malformed")
}

// spool is an upload in a temporary file that has no name any more: however this
// process ends, nothing of the renter's is left behind.
type spool struct {
	file *os.File
	size int64
	sum  string // sha256, hexadecimal
}

func spoolFile(r io.Reader, limit int64) (*spool, error) {
	file, err := os.CreateTemp("", "peergpu-bundle-*")
	if err != nil {
		return nil, fmt.Errorf("no temporary file for a bundle: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("no temporary file for a bundle: %w", err), file.Close())
	}
	z := &spool{file: file}
	sum := sha256.New()
	// Only what the client sends can be the client's fault.
	in := &source{r: io.LimitReader(r, limit+1)}
	z.size, err = io.Copy(io.MultiWriter(file, sum), in)
	switch {
	case in.err != nil:
		err = broken(in.err)
	case err == nil && z.size > limit:
		err = domain.NewError(domain.KindExhausted, "bundle_too_large", "a bundle has at most %d bytes", limit)
	case err == nil:
		_, err = file.Seek(0, io.SeekStart)
	}
	z.sum = hex.EncodeToString(sum.Sum(nil))
	return z, err
}

// source remembers what reading failed with.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (z *spool) remove(s *server) {
	if z == nil {
		return
	}
	if err := z.file.Close(); err != nil {
		s.Log.Warn("a temporary file cannot be closed", "error", err)
	}
}
