package jobs_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// authorize asks where files go.
func authorize(t *testing.T, m *market.Market, a *market.Attempt, files ...domainjobs.File) ([]jobs.Upload, error) {
	t.Helper()
	return m.Jobs.AuthorizeUploads(t.Context(), a.Host.Actor, a.Ref, files)
}

func TestResultsHaveToLieBelowTheWorkingFolder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		for _, path := range []string{
			"", ".", "..", "/etc/passwd", "../x", "a/../../x", "a/../b", "a//b", "./a", "a/", `a\b`, "a\x00b", strings.Repeat("a", 1025),
		} {
			_, err := authorize(t, m, a, market.FileOf(path, "x"))
			assert.Equal(t, "invalid_path", domain.CodeOf(err), "%q", path)
		}
		good := market.FileOf("outputs/x", "x")
		for code, files := range map[string][]domainjobs.File{
			"duplicate_path": {good, good},
			"invalid_sha256": {{Path: "a", Size: 1, SHA256: "abc"}},
			"invalid_size":   {{Path: "a", Size: -1, SHA256: good.SHA256}},
		} {
			_, err := authorize(t, m, a, files...)
			assert.Equal(t, code, domain.CodeOf(err))
		}
		_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
		require.NoError(t, err)
		assert.Empty(t, files)
	})
}

func TestResultsAreLimitedInNumberAndSize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, a := started(t, market.Options{Jobs: func(s *jobs.Settings) { s.ArtifactFiles, s.ArtifactBytes, s.FileBytes = 3, 2000, 900 }})
		big := market.FileOf("big", strings.Repeat("x", 900))
		_, err := authorize(t, m, a, market.FileOf("bigger", strings.Repeat("x", 901)))
		assert.Equal(t, "artifact_limit", domain.CodeOf(err), "the object storage takes no more in one file")
		others := []domainjobs.File{market.FileOf("b", strings.Repeat("x", 900)), market.FileOf("c", strings.Repeat("x", 201))}
		_, err = authorize(t, m, a, append(others, big)...)
		assert.Equal(t, "artifact_limit", domain.CodeOf(err))
		_, err = authorize(t, m, a, big)
		require.NoError(t, err)
		_, err = authorize(t, m, a, big)
		require.NoError(t, err, "asking again is no second file")
		_, err = authorize(t, m, a, others...)
		assert.Equal(t, "artifact_limit", domain.CodeOf(err), "what was announced before counts")
		_, err = authorize(t, m, a, market.FileOf("b", "1"), market.FileOf("c", "2"))
		require.NoError(t, err)
		_, err = authorize(t, m, a, market.FileOf("d", "3"))
		assert.Equal(t, "artifact_limit", domain.CodeOf(err))
	})
}

func TestBytesThatAStoreTookUncheckedStayInvisibleAndAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		file := market.FileOf("outputs/x", "bytes")
		_, err := authorize(t, m, a, file)
		require.NoError(t, err)
		key := fmt.Sprintf("jobs/%s/%d/%s", a.Job, a.Ref.Attempt, file.SHA256)
		for _, other := range []string{"other", "longer than announced"} {
			_, err = m.Blobs.Put(t.Context(), key, strings.NewReader(other))
			require.NoError(t, err)
			err = m.Jobs.ConfirmUploads(t.Context(), a.Host.Actor, a.Ref, []domainjobs.File{file})
			assert.Equal(t, "upload_mismatch", domain.CodeOf(err), other)
			_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
			require.NoError(t, err)
			assert.Empty(t, files)
			_, err = m.Blobs.Stat(t.Context(), key)
			assert.Equal(t, domain.KindNotFound, domain.KindOf(err), "what nobody announced is not kept")
		}
	})
}

func TestAResultIsVisibleWhenItsBytesAreThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		confirmAs := func(file domainjobs.File) error {
			return m.Jobs.ConfirmUploads(t.Context(), a.Host.Actor, a.Ref, []domainjobs.File{file})
		}
		confirm := func(path string) error { return confirmAs(market.FileOf(path, "bytes")) }
		visible := func() []string {
			_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
			require.NoError(t, err)
			var paths []string
			for _, f := range files {
				paths = append(paths, f.Path)
			}
			return paths
		}
		assert.Equal(t, "not_announced", domain.CodeOf(confirm("outputs/x")))
		uploads, err := authorize(t, m, a, market.FileOf("outputs/x", "bytes"), market.FileOf("outputs/same", "bytes"))
		require.NoError(t, err)
		assert.Equal(t, "upload_mismatch", domain.CodeOf(confirm("outputs/x")), "nothing came")
		status, _ := m.Send(*uploads[0].Put, strings.NewReader("other"))
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Equal(t, "upload_mismatch", domain.CodeOf(confirm("outputs/x")))
		assert.Empty(t, visible())
		for range 2 {
			status, _ = m.Send(*uploads[0].Put, strings.NewReader("bytes"))
			assert.Equal(t, http.StatusCreated, status, "an upload may be repeated")
			assert.Equal(t, "upload_mismatch", domain.CodeOf(confirmAs(market.FileOf("outputs/x", "other"))), "that was not announced")
			require.NoError(t, confirm("outputs/x"))
			assert.Equal(t, []string{"outputs/x"}, visible())
		}
		uploads, err = authorize(t, m, a, market.FileOf("outputs/same", "bytes"))
		require.NoError(t, err)
		assert.Nil(t, uploads[0].Put, "equal bytes are there already")
		require.NoError(t, confirm("outputs/same"))
		assert.Equal(t, []string{"outputs/same", "outputs/x"}, visible())

		// A confirmed file stays what it is.
		_, err = authorize(t, m, a, market.FileOf("outputs/x", "changed"))
		require.NoError(t, err)
		require.NoError(t, confirm("outputs/x"))
		_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
		require.NoError(t, err)
		assert.Equal(t, int64(5), files[1].Size)
		link, err := m.Jobs.Download(t.Context(), ada, a.Job, files[1].ID)
		require.NoError(t, err)
		status, body := m.Send(link, nil)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "bytes", string(body))
		pass(jobs.LinkTTL)
		status, _ = m.Send(link, nil)
		assert.Equal(t, http.StatusForbidden, status)
	})
}

func TestTheResultsOfALostAttemptAreGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		for attempt := 1; ; attempt++ {
			a.Upload("outputs/x", "of one that is lost")
			_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
			require.NoError(t, err)
			require.Len(t, files, 1)
			require.NoError(t, m.Jobs.Lost(t.Context(), a.Host.Actor, a.Ref, domainjobs.ReasonHostError, ""))
			_, none, err := m.Jobs.Results(t.Context(), ada, a.Job)
			require.NoError(t, err)
			assert.Empty(t, none)
			_, err = m.Jobs.Download(t.Context(), ada, a.Job, files[0].ID)
			assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
			if m.Job(a.Job).State == domainjobs.Failed {
				assert.Equal(t, 3, attempt)
				return
			}
			synctest.Wait()
			a = a.Host.Take() // nobody else is there
			a.Start()
		}
	})
}

func TestTheResultsOfACancelledJobAreNotTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		file := market.FileOf("outputs/x", "bytes")
		uploads, err := authorize(t, m, a, file)
		require.NoError(t, err)
		_, err = m.Jobs.Cancel(t.Context(), ada, a.Job)
		require.NoError(t, err)
		_, err = authorize(t, m, a, file)
		assert.Equal(t, "job_cancelled", domain.CodeOf(err))
		status, _ := m.Send(*uploads[0].Put, strings.NewReader("bytes"))
		assert.Equal(t, http.StatusCreated, status, "a link is good until it expires")
		err = m.Jobs.ConfirmUploads(t.Context(), a.Host.Actor, a.Ref, []domainjobs.File{file})
		assert.Equal(t, "job_cancelled", domain.CodeOf(err))
		a.Finish()
		assert.Equal(t, domainjobs.Cancelled, m.Job(a.Job).State, "its end is told all the same")
		_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
		require.NoError(t, err)
		assert.Empty(t, files)
	})
}

func TestMetricsAreShownWhenTheyAreJSONAndSmall(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		shown   bool
	}{
		"good":      {`{"loss": 0.1}`, true},
		"no JSON":   {`loss: 0.1`, false},
		"too large": {`"` + strings.Repeat("x", 64<<10) + `"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, _, a := started(t, market.Options{})
				a.Upload("outputs/metrics.json", c.content)
				a.Exit(0)
				a.Finish()
				assert.Equal(t, c.shown, m.Job(a.Job).Metrics != nil)
			})
		})
	}
}

func TestARerunIsTheSameJobAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		spec := bundled()
		spec.Env = []domainjobs.EnvVar{{Name: "TOKEN", Secret: true}, {Name: "EPOCHS"}}
		env := []jobs.EnvValue{{Name: "TOKEN", Value: "hunter2-hunter2", Secret: true}, {Name: "EPOCHS", Value: "3"}}
		first, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: spec, Env: env, Bundle: bytes.NewReader(goodZip)})
		require.NoError(t, err)
		require.Equal(t, env, h.Orders()[0].Env)
		h.Take().Run(0, 7*time.Second)
		synctest.Wait()
		second, err := m.Jobs.Rerun(t.Context(), ada, first.Job.ID, nil, domainjobs.Idempotency{})
		require.NoError(t, err)
		order := h.Orders()[0]
		assert.Equal(t, env, order.Env)
		_, body := m.Send(*order.Bundle, nil)
		assert.Equal(t, goodZip, body)
		assert.Equal(t, int64(7000), second.Job.Attempts[0].Why.ExpectedRunMS, "as long as it took before")
		h.Take().Run(0, 9*time.Second)
		synctest.Wait()
		third, err := m.Jobs.Rerun(t.Context(), ada, first.Job.ID, nil, domainjobs.Idempotency{})
		require.NoError(t, err)
		versions, err := m.Jobs.Versions(t.Context(), ada, second.Job.ID, pageOf(10))
		require.NoError(t, err)
		var got []string
		for _, v := range versions {
			got = append(got, fmt.Sprint(v.RunVersion, " ", v.ID == first.Job.ID))
			assert.Equal(t, first.Job.ID, v.Origin)
		}
		assert.Equal(t, []string{"3 false", "2 false", "1 true"}, got)
		assert.Equal(t, first.Job.ID, third.Job.RerunOf)

		// The secret is nowhere to be read.
		for _, e := range m.Bus.Seen() {
			assert.NotContains(t, string(e.Data), "hunter2")
		}
		for _, v := range versions {
			assert.NotContains(t, fmt.Sprintf("%+v %s", v, v.SealedEnv), "hunter2")
			assert.NotContains(t, string(v.SealedEnv), "hunter2")
		}
		assert.NotEqual(t, versions[0].SealedEnv, versions[1].SealedEnv)
	})
}

func TestAJobGetsWhatItAskedForOrItsSlotsShare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{GPUs: 2}) // 16 CPUs, 64 GiB, and more disk than the default
		m.Submit(ada, patient())
		share := h.Orders()[0].Limits
		assert.Equal(t, int64(8000), share.CPUMilli)
		assert.Equal(t, int64(32_768<<20), share.MemoryBytes)
		assert.Equal(t, 512, share.PIDs)
		h.Take()
		spec := patient()
		spec.Needs.MemoryMB, spec.Needs.CPUMilli = 1024, 500
		m.Submit(ada, spec)
		asked := h.Orders()[0].Limits
		assert.Equal(t, int64(500), asked.CPUMilli)
		assert.Equal(t, int64(1<<30), asked.MemoryBytes)
		assert.Equal(t, share.DiskBytes, asked.DiskBytes)
		assert.Equal(t, int64(domainjobs.DefaultDiskMB<<20), asked.DiskBytes)
	})
}

func TestAHostThatListsResultsThatNeverCameHasFailed(t *testing.T) {
	for name, listed := range map[string]domainjobs.File{
		"one that was announced alone": market.FileOf("outputs/x", "announced"),
		"one with another sum":         market.FileOf("outputs/y", "BYTES"),
		"one of another size":          {Path: "outputs/y", Size: 999, SHA256: market.FileOf("outputs/y", "bytes").SHA256},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, ada, a := started(t, market.Options{})
				_, err := authorize(t, m, a, market.FileOf("outputs/x", "announced"))
				require.NoError(t, err)
				a.Upload("outputs/y", "bytes")
				a.Exit(0)
				r := a.Result()
				r.Files = []domainjobs.File{market.FileOf("outputs/y", "bytes"), listed}
				require.NoError(t, m.Jobs.Finished(t.Context(), a.Host.Actor, a.Ref, r))
				v, err := m.Jobs.Get(t.Context(), ada, a.Job)
				require.NoError(t, err)
				first := v.Attempts[0]
				assert.Equal(t, domainjobs.OutcomeLost, first.Outcome)
				assert.Equal(t, domainjobs.ReasonUploadFailed, first.Reason)
				assert.Contains(t, first.Detail, listed.Path)
				assert.Zero(t, first.Amount)
			})
		})
	}
}
