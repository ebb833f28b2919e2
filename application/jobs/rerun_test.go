package jobs_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestAnEditedJobRunsAgainWithItsBundleAndItsSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, root := m.Person("ada", 10*market.Dollar), m.Admin("root")
		h := m.Host(m.Person("bob", 0), market.Machine{GPUs: 2})
		sub := jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip), Env: []jobs.EnvValue{
			{Name: "KEY", Value: "old secret", Secret: true}, {Name: "LEVEL", Value: "3"}, {Name: "GONE", Value: "x"},
		}}
		sub.Spec.Env = []domainjobs.EnvVar{{Name: "KEY", Secret: true}, {Name: "LEVEL"}, {Name: "GONE"}}
		sub.Spec.Outputs = []string{"old/**"}
		first, err := m.Jobs.Submit(t.Context(), ada, sub)
		require.NoError(t, err)
		h.Take().Run(0, time.Second)

		four := "4"
		spec := market.Spec()
		spec.Name, spec.Command, spec.Needs.GPUs = "more", []string{"python3", "main.py", "--epochs", "40"}, 2
		spec.Source = domainjobs.Source{Kind: domainjobs.SourceImage, Image: "evil"} // never taken over
		again, err := m.Jobs.Rerun(t.Context(), ada, first.Job.ID, &jobs.Revision{Spec: spec, Env: []jobs.RevisedEnv{
			{Name: "LEVEL", Value: &four}, {Name: "KEY"},
		}}, domainjobs.Idempotency{})
		require.NoError(t, err)
		j := again.Job
		assert.Equal(t, first.Job.ID, j.RerunOf)
		assert.Equal(t, 2, j.RunVersion)
		assert.Equal(t, first.Job.Bundle, j.Bundle)
		assert.Equal(t, domainjobs.SourceBundle, j.Spec.Source.Kind)
		assert.Equal(t, spec.Command, j.Spec.Command)
		assert.Equal(t, []string{"outputs/**"}, j.Spec.Outputs, "what is left out has its default")
		assert.Equal(t, []domainjobs.EnvVar{{Name: "LEVEL"}, {Name: "KEY", Secret: true}}, j.Spec.Env, "a secret stays one")
		assert.Len(t, j.Current().Devices, 2)
		assert.Equal(t, []jobs.EnvValue{{Name: "LEVEL", Value: "4"}, {Name: "KEY", Value: "old secret", Secret: true}}, h.Orders()[0].Env)

		v, err := m.Jobs.Get(t.Context(), ada, j.ID)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"LEVEL": "4"}, v.Env, "no secrets")
		v, err = m.Jobs.Get(t.Context(), root, j.ID)
		require.NoError(t, err)
		assert.Empty(t, v.Env, "not even to admins")

		_, err = m.Jobs.Rerun(t.Context(), ada, first.Job.ID, &jobs.Revision{Spec: spec, Env: []jobs.RevisedEnv{{Name: "LEVEL"}, {Name: "NEW"}}}, domainjobs.Idempotency{})
		var wrong *domain.Error
		require.ErrorAs(t, err, &wrong)
		require.Len(t, wrong.Fields, 1)
		assert.Equal(t, "/env/1/value", wrong.Fields[0].Pointer)
		_, err = m.Jobs.Rerun(t.Context(), ada, first.Job.ID, &jobs.Revision{}, domainjobs.Idempotency{})
		assert.Equal(t, "invalid_job", domain.CodeOf(err), "a command is needed")
	})
}

func TestRerunsAtTheSameTimeAreVersionsOfTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{GPUs: 2})
		first := m.Submit(ada, market.Spec())
		h.Take().Run(0, time.Second)
		var versions [10]int
		var all sync.WaitGroup
		for i := range versions {
			all.Go(func() {
				again, err := m.Jobs.Rerun(t.Context(), ada, first.ID, nil, domainjobs.Idempotency{})
				assert.NoError(t, err)
				versions[i] = again.Job.RunVersion
			})
		}
		all.Wait()
		slices.Sort(versions[:])
		assert.Equal(t, [10]int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, versions)
	})
}
