package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

// withBundle submits a job with a ZIP of some files.
func (u *User) withBundle(spec map[string]any, files map[string]string) (int, []byte) {
	u.c.t.Helper()
	var body, packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, content := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		require.NoError(u.c.t, err)
		_, err = w.Write([]byte(content))
		require.NoError(u.c.t, err)
	}
	require.NoError(u.c.t, z.Close())
	spec["source"] = map[string]any{"kind": "bundle"}
	job, err := json.Marshal(spec)
	require.NoError(u.c.t, err)
	form := multipart.NewWriter(&body)
	require.NoError(u.c.t, form.WriteField("job", string(job)))
	part, err := form.CreateFormFile("bundle", "bundle.zip")
	require.NoError(u.c.t, err)
	_, err = part.Write(packed.Bytes())
	require.NoError(u.c.t, errors.Join(err, form.Close()))
	req, err := http.NewRequestWithContext(u.c.t.Context(), http.MethodPost, u.c.URL+"/api/jobs", &body)
	require.NoError(u.c.t, err)
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+u.token)
	return u.do(req)
}

// many are n files of a size.
func many(n, size int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("f%d", i)] = strings.Repeat("x", size)
	}
	return files
}

// results are the files that a job left, as they are downloaded.
func (u *User) results(id string) map[string]string {
	u.c.t.Helper()
	var list struct {
		Items []struct{ ID, Path string }
	}
	u.Call(http.MethodGet, "/api/jobs/"+id+"/artifacts", nil, &list)
	files := map[string]string{}
	for _, a := range list.Items {
		var link struct{ URL string }
		u.Call(http.MethodPost, "/api/jobs/"+id+"/artifacts/"+a.ID+"/link", nil, &link)
		// Without our token, which some storages take for a second signature.
		req, err := http.NewRequestWithContext(u.c.t.Context(), http.MethodGet, link.URL, nil)
		require.NoError(u.c.t, err)
		status, content := u.do(req)
		require.Equal(u.c.t, http.StatusOK, status, string(content))
		files[a.Path] = string(content)
	}
	return files
}

// A ZIP on its whole way: from submit into a container, and its results back.
func TestAZIPRunsInAContainer(t *testing.T) {
	t.Parallel()
	host, image := testkit.Docker(t)
	c, u := inContainers(t, host, image)
	for name, want := range map[string]struct {
		files, results map[string]string
		command        []string
		more           map[string]any
		state, reason  string
		log            string
	}{
		"that does well": {
			files:   map[string]string{"train.sh": "read -r word < data/in.txt\nmkdir -p outputs/model\necho \"$word, learned\" > outputs/model/weights\necho done\n", "data/in.txt": "words\n"},
			command: []string{"sh", "train.sh"}, state: "succeeded", log: "done\n",
			results: map[string]string{"outputs/model/weights": "words, learned\n"},
		},
		"that fails, and leaves what it has": {
			files:   map[string]string{"train.sh": "mkdir outputs; echo half > outputs/part; exit 3\n"},
			command: []string{"sh", "train.sh"}, state: "failed", reason: "exit_code",
			results: map[string]string{"outputs/part": "half\n"},
		},
		"with globs of its own": {
			files:   map[string]string{"code/run.sh": "cd code; echo 1 > a.bin; echo 2 > b.txt\n"},
			command: []string{"sh", "code/run.sh"}, more: map[string]any{"outputs": []string{"code/*.bin"}},
			state: "succeeded", results: map[string]string{"code/a.bin": "1\n"},
		},
		"that does not fit into its disk": {
			files: many(9000, 1100), more: map[string]any{"needs": map[string]any{"gpus": 1, "disk_mb": 10}},
			command: []string{"true"}, state: "failed", reason: "disk_full", results: map[string]string{},
		},
		"of as many files as there may be": {
			files: many(9999, 1), more: map[string]any{"needs": map[string]any{"gpus": 1, "disk_mb": 64}},
			command: []string{"sh", "-c", "ls | wc -l"}, state: "succeeded", log: "9999\n", results: map[string]string{},
		},
		"that brings its own program": {
			files:   map[string]string{"bin/go": "#!/bin/sh\necho went\n"},
			command: []string{"bin/go"}, state: "failed", reason: "command_not_found", results: map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := map[string]any{"name": name, "command": want.command, "limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 1_000_000}}
			for k, v := range want.more {
				spec[k] = v
			}
			status, answer := u.withBundle(spec, want.files)
			require.Equal(t, http.StatusCreated, status, string(answer))
			var submitted struct{ ID string }
			require.NoError(t, json.Unmarshal(answer, &submitted))
			j := u.Await(submitted.ID, job.over)
			assert.Equal(t, want.state, j.State, j.Reason)
			assert.Equal(t, want.reason, j.Reason)
			assert.Equal(t, 1, j.Attempt)
			assert.Equal(t, want.log, u.log(j.ID))
			assert.Equal(t, want.results, u.results(j.ID))
		})
	}
	require.Zero(t, c.Stop())
	c.Sound(invariants.World{Swept: invariants.Later})
}
