package httpapi

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
)

// afterPath is a place in a list of files.
type afterPath struct {
	Attempt int    `json:"attempt"`
	Path    string `json:"path"`
}

// ListArtifacts lists the files that a job left.
func (s *server) ListArtifacts(ctx context.Context, r api.ListArtifactsRequestObject) (api.ListArtifactsResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	var at afterPath
	if err := s.seek("artifacts", r.Params.After, &at); err != nil {
		return nil, err
	}
	_, files, err := s.Jobs.Results(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	answer := api.ListArtifacts200JSONResponse{Items: []api.Artifact{}}
	for _, f := range files {
		if f.Attempt == at.Attempt && f.Path <= at.Path {
			continue
		}
		if n := len(answer.Items); n == size(r.Params.Limit) {
			last := answer.Items[n-1]
			answer.Next = s.cursor("artifacts", afterPath{last.Attempt, last.Path})
			break
		}
		answer.Items = append(answer.Items, api.Artifact{
			ID: f.ID.Prefixed("art"), Path: f.Path, Size: f.Size, SHA256: f.SHA256, Attempt: f.Attempt, CreatedAt: f.CreatedAt,
		})
	}
	return answer, nil
}

// GetArtifact sends programs on to a signed link.
func (s *server) GetArtifact(ctx context.Context, r api.GetArtifactRequestObject) (api.GetArtifactResponseObject, error) {
	signed, err := s.download(ctx, r.ID, r.Artifact)
	if err != nil {
		return nil, err
	}
	return api.GetArtifact302Response{Headers: api.GetArtifact302ResponseHeaders{Location: s.absolute(ctx, signed.URL)}}, nil
}

// CreateArtifactLink gives the same link to browsers.
func (s *server) CreateArtifactLink(ctx context.Context, r api.CreateArtifactLinkRequestObject) (api.CreateArtifactLinkResponseObject, error) {
	signed, err := s.download(ctx, r.ID, r.Artifact)
	if err != nil {
		return nil, err
	}
	return api.CreateArtifactLink201JSONResponse(s.linkJSON(ctx, signed)), nil
}

func (s *server) download(ctx context.Context, job, artifact string) (ports.SignedRequest, error) {
	id, err := parseID("job", job)
	if err != nil {
		return ports.SignedRequest{}, err
	}
	file, err := parseID("art", artifact)
	if err != nil {
		return ports.SignedRequest{}, err
	}
	return s.Jobs.Download(ctx, actorOf(ctx), id, file)
}

// results gives a job with its files; one without any has no archive.
func (s *server) results(ctx context.Context, job string) (domainjobs.Snapshot, []ports.Artifact, error) {
	id, err := parseID("job", job)
	if err != nil {
		return domainjobs.Snapshot{}, nil, err
	}
	j, files, err := s.Jobs.Results(ctx, actorOf(ctx), id)
	if err == nil && len(files) == 0 {
		err = domain.Conflict("no_artifacts", "the job has left no files yet")
	}
	return j, files, err
}

// CreateArtifactsZipLink makes a link to all files that a browser can follow.
func (s *server) CreateArtifactsZipLink(ctx context.Context, r api.CreateArtifactsZipLinkRequestObject) (api.CreateArtifactsZipLinkResponseObject, error) {
	j, _, err := s.results(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	token, expires, err := s.makeLink(j.ID, j.Renter)
	if err != nil {
		return nil, err
	}
	url := s.absolute(ctx, "/api/jobs/"+r.ID+"/artifacts.zip?link="+token)
	return api.CreateArtifactsZipLink201JSONResponse{URL: url, ExpiresAt: expires}, nil
}

// GetArtifactsZip sends all files in one archive, which is made while it is sent.
func (s *server) GetArtifactsZip(ctx context.Context, r api.GetArtifactsZipRequestObject) (api.GetArtifactsZipResponseObject, error) {
	j, files, err := s.results(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return archive{s: s, ctx: ctx, job: j, files: files}, nil
}

type archive struct {
	s     *server
	ctx   context.Context //nolint:containedctx // of the one request that it answers
	job   domainjobs.Snapshot
	files []ports.Artifact
}

func (a archive) VisitGetArtifactsZipResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="`+fileName(a.job)+`.zip"`)
	w.WriteHeader(http.StatusOK)
	if callerOf(a.ctx).request.Method == http.MethodHead {
		return nil
	}
	if err := a.send(&stream{w: w, control: http.NewResponseController(w), clock: a.s.Clock}); err != nil {
		if !errors.Is(err, context.Canceled) {
			a.s.Log.WarnContext(a.ctx, "an archive broke off", "job", a.job.ID.Prefixed("job"), "error", err)
		}
		// An archive that just ends would look whole to the client.
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (a archive) send(w io.Writer) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	taken := map[string]bool{}
	for _, f := range a.files {
		if err := a.add(z, f, entryName(f.Path, taken)); err != nil {
			return err
		}
	}
	return z.Close()
}

func (a archive) add(z *zip.Writer, f ports.Artifact, name string) error {
	entry, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: f.CreatedAt})
	if err != nil {
		return err
	}
	r, err := a.s.Jobs.OpenResult(a.ctx, actorOf(a.ctx), f)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(entry, r)
	if err == nil && n != f.Size {
		err = fmt.Errorf("%s has %d bytes instead of %d", f.ID, n, f.Size)
	}
	return err
}

// entryName is a path as every system can unpack it, and only below the folder where
// it is unpacked. Names that become the same are numbered.
func entryName(file string, taken map[string]bool) string {
	clean := strings.TrimPrefix(path.Clean("/"+strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, file)), "/")
	name := clean
	for n := 2; taken[strings.ToLower(name)]; n++ {
		ext := path.Ext(clean)
		name = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(clean, ext), n, ext)
	}
	taken[strings.ToLower(name)] = true
	return name
}

// fileName is a job's name as a file's, or its id.
func fileName(j domainjobs.Snapshot) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, j.Spec.Name)
	if name = strings.Trim(name, "-."); name == "" {
		return j.ID.Prefixed("job")
	}
	return name
}
