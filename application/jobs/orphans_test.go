package jobs_test

import (
	"bytes"
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

// young makes objects orphans after ten minutes.
func young() market.Options {
	return market.Options{Jobs: func(s *jobs.Settings) { s.OrphanAge = 10 * time.Minute }}
}

// swept is enough time for an orphan of ten minutes to be found.
const swept = 13 * time.Minute

func TestABundleThatCameTooLateGoesAndThoseInUseStay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, young())
		ada := m.Person("ada", 100*market.Dollar)
		announced := func() jobs.Submitted {
			got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
			require.NoError(t, err)
			return got
		}
		upload := func(s jobs.Submitted) {
			status, _ := m.Send(*s.Upload, bytes.NewReader(goodZip))
			require.Equal(t, http.StatusCreated, status)
		}
		queued, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip)})
		require.NoError(t, err)
		cancelled, waiting := announced(), announced()
		_, err = m.Jobs.Cancel(t.Context(), ada, cancelled.Job.ID)
		require.NoError(t, err)
		upload(cancelled)
		upload(waiting)
		_, err = m.Jobs.Rerun(t.Context(), ada, cancelled.Job.ID, nil, domainjobs.Idempotency{})
		assert.Equal(t, "no_bundle", domain.CodeOf(err), "nobody has checked what was uploaded")
		_, err = m.Jobs.SubmitUploaded(t.Context(), ada, cancelled.Job.ID)
		assert.Equal(t, "already_finished", domain.CodeOf(err))

		pass(swept)
		stands(t, m, cancelled.Job.Bundle.Key, false)
		stands(t, m, waiting.Job.Bundle.Key, true)
		stands(t, m, queued.Job.Bundle.Key, true)
		_, err = m.Jobs.SubmitUploaded(t.Context(), ada, waiting.Job.ID)
		require.NoError(t, err)

		// The link is good for an hour, so that it can be filled again.
		upload(cancelled)
		pass(swept)
		stands(t, m, cancelled.Job.Bundle.Key, false)
	})
}

func TestTheBundleOfAJobThatHasEndedStaysForItsReruns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, young())
		ada := m.Person("ada", 100*market.Dollar)
		first, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip)})
		require.NoError(t, err)
		_, err = m.Jobs.Cancel(t.Context(), ada, first.Job.ID)
		require.NoError(t, err)
		pass(swept)
		second, err := m.Jobs.Rerun(t.Context(), ada, first.Job.ID, nil, domainjobs.Idempotency{})
		require.NoError(t, err)
		assert.Equal(t, first.Job.Bundle.Key, second.Job.Bundle.Key)
		pass(swept)
		stands(t, m, first.Job.Bundle.Key, true)
	})
}

func TestAServerThatDiedBeforeTheRowLeavesNothingForLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, young())
		unknown := domain.ID{1}.String()
		lost := []string{"bundles/" + unknown + ".zip", "jobs/" + unknown + "/1/abc", "logs/" + unknown + "/1.log"}
		// What does not look like ours is not ours to remove.
		foreign := []string{"bundles/readme.txt", "jobs/x/1/abc", "jobs/" + unknown + "/abc", "models/" + unknown, "logs/x/1.log"}
		for _, key := range append(lost, foreign...) {
			_, err := m.Blobs.Put(t.Context(), key, strings.NewReader("x"))
			require.NoError(t, err)
		}
		pass(9 * time.Minute)
		for _, key := range append(lost, foreign...) {
			stands(t, m, key, true)
		}
		pass(swept)
		for _, key := range lost {
			stands(t, m, key, false)
		}
		for _, key := range foreign {
			stands(t, m, key, true)
		}
	})
}

func TestAResultThatNobodyConfirmedGoesWhenItsAttemptIsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, young())
		key := func(content string) string {
			return "jobs/" + a.Job.String() + "/1/" + market.FileOf("", content).SHA256
		}
		a.Print("hello\n")
		a.Upload("outputs/kept", "confirmed")
		uploads, err := authorize(t, m, a, market.FileOf("outputs/late", "late"), market.FileOf("outputs/early", "early"))
		require.NoError(t, err)
		send := func(i int, content string) {
			status, _ := m.Send(*uploads[i].Put, strings.NewReader(content))
			require.Equal(t, http.StatusCreated, status)
		}
		send(1, "early")
		pass(swept)
		stands(t, m, key("early"), true) // it may be confirmed at any moment

		uploads, err = authorize(t, m, a, market.FileOf("outputs/late", "late"))
		require.NoError(t, err)
		a.Exit(0)
		a.Finish()
		send(0, "late")
		pass(9 * time.Minute)
		stands(t, m, key("early"), true)
		pass(swept)
		stands(t, m, key("early"), false)
		stands(t, m, key("late"), false)
		stands(t, m, key("confirmed"), true)
		stands(t, m, "logs/"+a.Job.String()+"/1.log", true)
		_, files, err := m.Jobs.Results(t.Context(), ada, a.Job)
		require.NoError(t, err)
		require.Len(t, files, 1)
	})
}

func TestAnUploadOfALostAttemptGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, a := started(t, young())
		uploads, err := authorize(t, m, a, market.FileOf("outputs/x", "late"))
		require.NoError(t, err)
		require.NoError(t, m.Jobs.Lost(t.Context(), a.Host.Actor, a.Ref, domainjobs.ReasonHostReclaimed, ""))
		synctest.Wait()
		b := a.Host.Take()
		b.Start()
		status, _ := m.Send(*uploads[0].Put, strings.NewReader("late"))
		require.Equal(t, http.StatusCreated, status)
		b.Upload("outputs/x", "of the second")
		pass(swept)
		sum := func(content string) string { return market.FileOf("", content).SHA256 }
		stands(t, m, "jobs/"+a.Job.String()+"/1/"+sum("late"), false)
		stands(t, m, "jobs/"+a.Job.String()+"/2/"+sum("of the second"), true)
	})
}

func TestWhileTheDatabaseIsAwayNothingIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &absent{}
		o := young()
		o.JobDeps = func(d *jobs.Deps) { f.Jobs, d.Jobs = d.Jobs, f }
		m := market.Open(t, o)
		ada := m.Person("ada", 100*market.Dollar)
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip)})
		require.NoError(t, err)
		_, err = m.Blobs.Put(t.Context(), "bundles/"+domain.ID{}.String()+".zip", strings.NewReader("x"))
		require.NoError(t, err)
		f.away.Store(true)
		pass(swept)
		stands(t, m, got.Job.Bundle.Key, true)
		stands(t, m, "bundles/"+domain.ID{}.String()+".zip", true)
		f.away.Store(false)
		pass(swept)
		stands(t, m, got.Job.Bundle.Key, true)
		stands(t, m, "bundles/"+domain.ID{}.String()+".zip", false)
	})
}
