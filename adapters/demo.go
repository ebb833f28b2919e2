package adapters

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/openapi/bundle"
)

// The accounts of the demo, and their password. They exist in demo mode alone.
const (
	DemoRenter   = "renter@peergpu.test"
	DemoHost     = "host@peergpu.test"
	DemoAdmin    = "admin@peergpu.test"
	DemoPassword = "peergpu-demo"
)

var demoAccounts = []api.DemoAccount{
	{Email: DemoRenter, Role: api.RoleRenter, Name: "Demo renter"},
	{Email: DemoHost, Role: api.RoleHost, Name: "Demo host"},
	{Email: DemoAdmin, Role: api.RoleAdmin, Name: "Demo admin"},
}

// demoSignIn is what the sign-in page of the demo offers.
func demoSignIn(c Config) *api.DemoSignIn {
	if !c.Demo {
		return nil
	}
	return &api.DemoSignIn{Password: DemoPassword, Accounts: demoAccounts}
}

// DemoAccounts makes the accounts of the demo, those that are missing.
func (i *Instance) DemoAccounts(ctx context.Context) error {
	for _, u := range demoAccounts {
		_, err := i.Accounts.Register(ctx, identity.Client{Address: "demo"}, identity.SignUp{
			Email: u.Email, Password: DemoPassword, Name: u.Name, AcceptedTerms: true,
		})
		if err != nil && domain.CodeOf(err) != "email_taken" {
			return err
		}
	}
	_, err := i.Accounts.Grant(ctx, domain.System(), DemoAdmin, domain.RoleAdmin)
	return err
}

// Visitor uses the server as anybody does: by its HTTP API.
type Visitor struct {
	url, token string
}

// SignIn signs a demo account in.
func SignIn(ctx context.Context, url, email string) (*Visitor, error) {
	v := &Visitor{url: url}
	var session api.Session
	err := v.call(ctx, http.MethodPost, "/api/auth/login", nil, map[string]string{"email": email, "password": DemoPassword}, &session)
	v.token = session.AccessToken
	return v, err
}

// EnrollmentToken gets a token that adds a host to the account.
func (v *Visitor) EnrollmentToken(ctx context.Context) (string, error) {
	var answer api.EnrollmentToken
	err := v.call(ctx, http.MethodPost, "/api/hosts/enrollment-tokens", nil, nil, &answer)
	return answer.Token, err
}

// demoCredit is bought once, in sandbox money.
const demoCredit = 25_000_000

// RunExample buys credit, submits the job in a folder (or runs it again, if it was
// submitted before), shows its log as it comes, and tells what it cost and where its
// results lie. host is who earned.
func (v *Visitor) RunExample(ctx context.Context, folder string, host *Visitor, out io.Writer) error {
	key := map[string]string{"Idempotency-Key": "demo-credit"}
	if err := v.call(ctx, http.MethodPost, "/api/billing/top-ups", key, map[string]any{"amount_micros": demoCredit}, nil); err != nil {
		return err
	}
	job, err := v.submit(ctx, folder)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "\nThere is no example in %s: run this in the repository's folder, or name one with --example.\n", folder)
		return nil
	}
	if err != nil {
		return err
	}
	wait := ""
	if job.State == "queued" { // such as behind a job that an earlier start left
		wait = "No host is free: it waits for one. "
	}
	fmt.Fprintf(out, "\nSubmitted %s as %s (version %d). %sIts log:\n\n", job.Name, job.ID, job.Version, wait)
	if err := v.log(ctx, job.ID, out); err != nil {
		return err
	}
	return v.report(ctx, job.ID, host, out)
}

// submit packs the folder and submits it, or runs the job of an earlier start again if
// that had the same files.
func (v *Visitor) submit(ctx context.Context, folder string) (api.Job, error) {
	var job api.Job
	spec, err := os.ReadFile(filepath.Join(folder, "job.json"))
	if err != nil {
		return job, err
	}
	var example struct{ Name string }
	if err := json.Unmarshal(spec, &example); err != nil {
		return job, fmt.Errorf("%s: %w", filepath.Join(folder, "job.json"), err)
	}
	var packed bytes.Buffer
	if err := bundle.Pack(os.DirFS(folder), &packed); err != nil {
		return job, err
	}
	sum := sha256.Sum256(packed.Bytes())
	var known api.JobList
	if err := v.call(ctx, http.MethodGet, "/api/jobs?limit=100", nil, nil, &known); err != nil {
		return job, err
	}
	for _, earlier := range known.Items {
		if earlier.Name == example.Name && earlier.Bundle.SHA256 == hex.EncodeToString(sum[:]) {
			err := v.call(ctx, http.MethodPost, "/api/jobs/"+earlier.ID+"/rerun", nil, nil, &job)
			return job, err
		}
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, part := range []struct {
		name, file, kind string
		content          []byte
	}{
		{"job", "", "application/json", spec}, {"bundle", "bundle.zip", "application/zip", packed.Bytes()},
	} {
		disposition := fmt.Sprintf("form-data; name=%q", part.name)
		if part.file != "" {
			disposition += fmt.Sprintf("; filename=%q", part.file)
		}
		w, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {part.kind}})
		if err == nil {
			_, err = w.Write(part.content)
		}
		if err != nil {
			return job, err
		}
	}
	if err := form.Close(); err != nil {
		return job, err
	}
	header := map[string]string{"Content-Type": form.FormDataContentType()}
	err = v.call(ctx, http.MethodPost, "/api/jobs", header, &body, &job)
	return job, err
}

// log copies the job's log as it is produced, until it is complete.
func (v *Visitor) log(ctx context.Context, job string, out io.Writer) error {
	resp, err := v.do(ctx, http.MethodGet, "/api/jobs/"+job+"/logs?follow=true", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(out, resp.Body)
	return err
}

// report waits for the end and the settlement, and tells both.
func (v *Visitor) report(ctx context.Context, id string, host *Visitor, out io.Writer) error {
	var job api.Job
	var mine, theirs api.Statement
	for {
		if err := v.call(ctx, http.MethodGet, "/api/jobs/"+id, nil, nil, &job); err != nil {
			return err
		}
		if err := v.call(ctx, http.MethodGet, "/api/jobs/"+id+"/statement", nil, nil, &mine); err != nil {
			return err
		}
		if mine.State != "open" {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	if job.Attempt > 0 { // else no host has anything to do with it
		if err := host.call(ctx, http.MethodGet, "/api/jobs/"+id+"/statement", nil, nil, &theirs); err != nil {
			return err
		}
	}
	var files api.ArtifactList
	if err := v.call(ctx, http.MethodGet, "/api/jobs/"+id+"/artifacts", nil, nil, &files); err != nil {
		return err
	}
	state := string(job.State)
	if job.Reason != "" {
		state += " (" + job.Reason + ")"
	}
	ran := time.Duration(0)
	if !job.StartedAt.IsZero() && !job.ExitedAt.IsZero() {
		ran = job.ExitedAt.Sub(job.StartedAt).Round(time.Millisecond)
	}
	fmt.Fprintf(out, "\nstate      %s\nruntime    %s\ncost       %s %s\nhost got   %s %s\n", state,
		ran, domain.Micros(job.CostMicros), job.Currency,
		domain.Micros(theirs.HostMicros), job.Currency)
	for _, f := range files.Items {
		fmt.Fprintf(out, "result     %s (%d bytes)\n", f.Path, f.Size)
	}
	if resp, err := v.do(ctx, http.MethodGet, "/jobs/"+id, nil, nil); err == nil { // else it was compiled without pages
		_ = resp.Body.Close()
		fmt.Fprintf(out, "page       %s/jobs/%s\n", v.url, id)
	}
	if len(files.Items) == 0 {
		return nil
	}
	var link api.Link
	if err := v.call(ctx, http.MethodPost, "/api/jobs/"+id+"/artifacts.zip/link", nil, nil, &link); err != nil {
		return err
	}
	if strings.HasPrefix(link.URL, "/") {
		link.URL = v.url + link.URL
	}
	fmt.Fprintf(out, "all of it  curl -o results.zip '%s'\n", link.URL)
	fmt.Fprintln(out, "           (good for a minute; examples/README.md shows how to get results at any time)")
	return nil
}

// call does a request and reads the answer into answer.
func (v *Visitor) call(ctx context.Context, method, path string, header map[string]string, body, answer any) error {
	resp, err := v.do(ctx, method, path, header, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// do does a request; body is a reader, or what is sent as JSON. A refusal is an error
// with the server's own words.
func (v *Visitor) do(ctx context.Context, method, path string, header map[string]string, body any) (*http.Response, error) {
	stream, ok := body.(io.Reader)
	if body != nil && !ok {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		stream = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, v.url+path, stream)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode < 300 {
		return resp, err
	}
	defer resp.Body.Close()
	var p api.Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Code == "" {
		return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	refusal := fmt.Errorf("%s %s: %s (%s)", method, path, p.Detail, p.Code)
	for _, field := range p.Errors {
		refusal = fmt.Errorf("%w; %s: %s", refusal, field.Pointer, field.Detail)
	}
	return nil, refusal
}
