package jobs_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// pass lets time go by, and everything happen that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAJobRunsFromSubmitToSettlement(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{GPUs: 2, Price: 2_490_000})
		spec := market.Spec("train")
		spec.Needs.GPUs = 2
		j := m.Submit(ada, spec)
		require.Equal(t, domainjobs.Assigned, j.State)
		assert.Equal(t, market.Cost(2_490_000, 2, time.Hour), j.Hold, "price × GPUs × max_runtime")
		assert.Equal(t, j.Hold, m.Balance(ada).Held)
		assert.Equal(t, 1, m.Channels.Woken(h.ID), "the host was told at once")

		a := h.Take()
		assert.Empty(t, h.Orders(), "an accepted order is not given again")
		a.Advance(domainjobs.PhaseFetching)
		pass(40 * time.Second) // boot is free
		a.Start()
		assert.Equal(t, domainjobs.Running, m.Job(j.ID).State)
		a.Print("epoch 1\n")
		pass(5025 * time.Millisecond)
		a.Print("epoch 2\n")
		a.Exit(0)
		pass(time.Minute) // and so are uploads
		a.Upload("outputs/model.bin", "weights")
		a.Upload("outputs/metrics.json", `{"accuracy": 0.97}`)
		a.Finish()
		synctest.Wait()

		got := m.Job(j.ID)
		require.Equal(t, domainjobs.Succeeded, got.State)
		assert.JSONEq(t, `{"accuracy": 0.97}`, string(got.Metrics))
		cost := market.Cost(2_490_000, 2, 5025*time.Millisecond)
		assert.Equal(t, cost, got.Cost())
		assert.Equal(t, 10*market.Dollar-cost, m.Balance(ada).Credit)
		assert.Zero(t, m.Balance(ada).Held)
		assert.Equal(t, cost/10, m.Earned())
		assert.Equal(t, cost-cost/10, m.Balance(bob).Pending)
		m.Audit()

		assert.Equal(t, []string{
			"jobs.submitted", "jobs.queued", "jobs.assigned", "jobs.accepted", "jobs.running", "jobs.exited", "jobs.succeeded",
		}, m.Timeline(j.ID))
		events, err := m.Jobs.Timeline(t.Context(), ada, j.ID, 0, 100)
		require.NoError(t, err)
		var why domainjobs.Happening
		require.NoError(t, json.Unmarshal(events[2].Data, &why))
		require.NotNil(t, why.Why, "the choice is explained by its sum")
		assert.Equal(t, domain.Micros(4_980_000), why.Why.PriceMicros)
		assert.Equal(t, 2, why.Why.GPUs)
		assert.Positive(t, why.Why.EffectiveMicros)

		assert.Empty(t, m.Jobs.Busy(got.Attempts[0].DeviceIDs()...), "the devices are free")
		assert.Equal(t, domainjobs.Assigned, m.Submit(ada, spec).State, "and can be rented again")

		// The log lies in the blob store alone now.
		size, err := m.Store.Logs().Size(t.Context(), j.ID, 1)
		require.NoError(t, err)
		assert.Zero(t, size)
		assert.Equal(t, "epoch 1\nepoch 2\n", readLog(t, m, ada, j.ID))
		link, err := m.Jobs.LogLink(t.Context(), ada, j.ID, 0)
		require.NoError(t, err)
		_, body := m.Send(link, nil)
		assert.Equal(t, "epoch 1\nepoch 2\n", string(body))
		assert.Equal(t, int64(2), got.Attempts[0].LogLines)

		view, err := m.Jobs.Get(t.Context(), ada, j.ID)
		require.NoError(t, err)
		assert.Equal(t, 2, view.ArtifactCount)
		assert.Equal(t, int64(16), view.LogBytes)
	})
}

// readLog reads the whole log of a job's latest attempt.
func readLog(t *testing.T, m *market.Market, who domain.Actor, id domain.ID) string {
	t.Helper()
	v, err := m.Jobs.OpenLog(t.Context(), who, id, 0)
	require.NoError(t, err)
	var log []byte
	for {
		data, err := v.Read(t.Context(), int64(len(log)))
		require.NoError(t, err)
		if len(data) == 0 {
			return string(log)
		}
		log = append(log, data...)
	}
}

func TestWhoPaysDependsOnTheCauseOfTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		reason domainjobs.Reason
		code   int
		state  domainjobs.State
		billed bool
	}{
		"a success is paid":                  {"", 0, domainjobs.Succeeded, true},
		"a failing command is paid":          {domainjobs.ReasonExitCode, 3, domainjobs.Failed, true},
		"a timeout is paid":                  {domainjobs.ReasonTimeout, 137, domainjobs.Failed, true},
		"a host's fault is not, and retried": {domainjobs.ReasonHostError, 0, domainjobs.Queued, false},
		"a bad ZIP is not":                   {domainjobs.ReasonBadBundle, 0, domainjobs.Failed, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := market.Open(t, market.Options{})
				ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
				h := m.Host(bob, market.Machine{})
				spec := market.Spec()
				spec.Limits.MaxRuntime = 10 * time.Second
				j := m.Submit(ada, spec)
				a := h.Take()
				h.Disconnect() // so that a retry has nowhere to go
				a.Start()
				pass(10 * time.Second)
				r := domainjobs.Result{Exit: domainjobs.Exit{Code: &c.code, Reason: c.reason, Ran: 10 * time.Second}}
				require.NoError(t, m.Jobs.Exited(t.Context(), h.Actor, a.Ref, r.Exit))
				require.NoError(t, m.Jobs.Finished(t.Context(), h.Actor, a.Ref, r))
				if c.state != domainjobs.Queued {
					require.NoError(t, m.Jobs.Finished(t.Context(), h.Actor, a.Ref, r), "repeating is fine once it was accepted")
				}
				synctest.Wait()
				assert.Equal(t, c.state, m.Job(j.ID).State)
				var cost domain.Micros
				if c.billed {
					cost = 1000
				}
				assert.Equal(t, cost, m.Job(j.ID).Cost())
				assert.Equal(t, cost-cost/10, m.Balance(bob).Pending)
				assert.Equal(t, 10*market.Dollar-cost, m.Balance(ada).Credit+m.Balance(ada).Held)
				m.Audit()
			})
		})
	}
}

func TestNobodySeesTheJobsOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, eve := m.Person("ada", 10*market.Dollar), m.Person("eve", 10*market.Dollar)
		h := m.Host(ada, market.Machine{})
		j := m.Submit(ada, market.Spec())
		a := h.Take()
		a.Start()
		a.Upload("outputs/secret.txt", "secret")
		_, files, err := m.Jobs.Results(t.Context(), ada, j.ID)
		require.NoError(t, err)
		require.Len(t, files, 1)
		mine := m.Submit(eve, market.Spec()) // a job of her own does not help
		ctx := t.Context()
		for name, call := range map[string]func(context.Context) error{
			"get":      func(ctx context.Context) error { _, err := m.Jobs.Get(ctx, eve, j.ID); return err },
			"timeline": func(ctx context.Context) error { _, err := m.Jobs.Timeline(ctx, eve, j.ID, 0, 10); return err },
			"log":      func(ctx context.Context) error { _, err := m.Jobs.OpenLog(ctx, eve, j.ID, 0); return err },
			"log link": func(ctx context.Context) error { _, err := m.Jobs.LogLink(ctx, eve, j.ID, 1); return err },
			"cancel":   func(ctx context.Context) error { _, err := m.Jobs.Cancel(ctx, eve, j.ID); return err },
			"results":  func(ctx context.Context) error { _, _, err := m.Jobs.Results(ctx, eve, j.ID); return err },
			"download": func(ctx context.Context) error { _, err := m.Jobs.Download(ctx, eve, j.ID, files[0].ID); return err },
			"through another job": func(ctx context.Context) error {
				_, err := m.Jobs.Download(ctx, eve, mine.ID, files[0].ID)
				return err
			},
			"upload": func(ctx context.Context) error { _, err := m.Jobs.SubmitUploaded(ctx, eve, j.ID); return err },
			"rerun": func(ctx context.Context) error {
				_, err := m.Jobs.Rerun(ctx, eve, j.ID, nil, domainjobs.Idempotency{})
				return err
			},
		} {
			assert.Equal(t, domain.KindNotFound, domain.KindOf(call(ctx)), name)
		}
		assert.Equal(t, domainjobs.Running, m.Job(j.ID).State)
		list, err := m.Jobs.List(ctx, eve, ports.JobFilter{}, pageOf(10))
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, mine.ID, list[0].ID)
	})
}

func pageOf(n int) ports.Page { return ports.Page{Limit: n} }
