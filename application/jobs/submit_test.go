package jobs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// bundled is a job whose code is a ZIP.
func bundled() domainjobs.Spec {
	s := patient()
	s.Source.Kind = domainjobs.SourceBundle
	return s
}

func announce(zip []byte) domainjobs.Bundle {
	sum := sha256.Sum256(zip)
	return domainjobs.Bundle{Size: int64(len(zip)), SHA256: hex.EncodeToString(sum[:])}
}

var goodZip = market.Zip(map[string]string{"main.py": "print('hello')"})

// stands asserts whether a job's bundle is stored.
func stands(t *testing.T, m *market.Market, key string, there bool) {
	t.Helper()
	_, err := m.Blobs.Stat(t.Context(), key)
	assert.Equal(t, there, err == nil, "%s: %v", key, err)
}

func TestABundleComesWithItsRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip)})
		require.NoError(t, err)
		require.Equal(t, domainjobs.Assigned, got.Job.State)
		order := h.Orders()[0]
		require.NotNil(t, order.Bundle)
		status, body := m.Send(*order.Bundle, nil)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, goodZip, body)

		for name, bad := range map[string][]byte{
			"no ZIP": []byte("hello"), "a way out": market.Zip(map[string]string{"../x": ""}), "too large": make([]byte, 2<<20),
		} {
			_, err = m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(bad)})
			require.Error(t, err, name)
			assert.Contains(t, []domain.Kind{domain.KindInvalid, domain.KindExhausted}, domain.KindOf(err), "%s: %v", name, err)
		}
		assert.Equal(t, got.Job.Hold, m.Balance(ada).Held, "what is refused costs nothing")
	})
}

func TestABundleComesByASignedUpload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		require.NoError(t, err)
		require.Equal(t, domainjobs.Pending, got.Job.State)
		require.NotNil(t, got.Upload)
		assert.Zero(t, m.Balance(ada).Held, "nothing is held before there is something to run")

		_, err = m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
		assert.Equal(t, "no_bundle", domain.CodeOf(err))
		status, _ := m.Send(*got.Upload, bytes.NewReader(goodZip[1:]))
		assert.Equal(t, http.StatusBadRequest, status, "other bytes than announced")
		_, err = m.Jobs.Rerun(t.Context(), ada, got.Job.ID, nil, domainjobs.Idempotency{})
		assert.Equal(t, "no_bundle", domain.CodeOf(err), "there is nothing to run again")
		status, _ = m.Send(*got.Upload, bytes.NewReader(goodZip))
		require.Equal(t, http.StatusCreated, status)
		j, err := m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
		require.NoError(t, err)
		assert.Equal(t, domainjobs.Assigned, j.State)
		again, err := m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
		require.NoError(t, err, "repeating changes nothing")
		assert.Equal(t, j.Hold, again.Hold)
		assert.Len(t, h.Orders(), 1)
		assert.Equal(t, []string{"jobs.submitted", "jobs.queued", "jobs.assigned"}, m.Timeline(j.ID))
	})
}

func TestUploadsBeforeAnyMoneyIsHeldAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		poor := m.Person("bob", 0)
		_, err := m.Jobs.Submit(t.Context(), poor, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		assert.Equal(t, domain.KindPaymentRequired, domain.KindOf(err))
		ada := m.Person("ada", 100*market.Dollar)
		var first domain.ID
		for range 10 {
			got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
			require.NoError(t, err)
			first = got.Job.ID
		}
		_, err = m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		assert.Equal(t, "too_many_pending", domain.CodeOf(err))
		_, err = m.Jobs.Cancel(t.Context(), ada, first)
		require.NoError(t, err)
		_, err = m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		assert.NoError(t, err)
	})
}

func TestAnUploadThatIsNoGoodBundleEndsTheJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		bad := []byte("no ZIP at all")
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(bad)})
		require.NoError(t, err)
		status, _ := m.Send(*got.Upload, bytes.NewReader(bad))
		require.Equal(t, http.StatusCreated, status)
		_, err = m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err))
		j := m.Job(got.Job.ID)
		assert.Equal(t, domainjobs.Failed, j.State)
		assert.Equal(t, domainjobs.ReasonBadBundle, j.Reason)
		assert.Equal(t, 1, strings.Count(j.Detail, "not_a_zip"), j.Detail)
		stands(t, m, j.Bundle.Key, false)
	})
}

func TestAnUploadThatNeverComesEndsTheJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		require.NoError(t, err)
		pass(59 * time.Minute)
		assert.Equal(t, domainjobs.Pending, m.Job(got.Job.ID).State)
		pass(2 * time.Minute)
		assert.Equal(t, domainjobs.ReasonNoBundle, m.Job(got.Job.ID).Reason)
		status, _ := m.Send(*got.Upload, bytes.NewReader(goodZip))
		assert.Equal(t, http.StatusForbidden, status, "the link is over too")
	})
}

func TestExpiryLeavesTheBundleOfAJobThatWasQueuedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada := m.Person("ada", 100*market.Dollar)
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		require.NoError(t, err)
		status, _ := m.Send(*got.Upload, bytes.NewReader(goodZip))
		require.Equal(t, http.StatusCreated, status)
		pass(time.Hour - time.Millisecond)
		// Between the reading of the list and the change, the renter is there.
		var late func(ports.JobFilter)
		late = func(filter ports.JobFilter) {
			if !slices.Contains(filter.States, domainjobs.Pending) {
				f.listed.Store(&late)
				return
			}
			_, err := m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
			assert.NoError(t, err)
		}
		f.listed.Store(&late)
		pass(5 * time.Second)
		assert.Equal(t, domainjobs.Queued, m.Job(got.Job.ID).State)
		stands(t, m, got.Job.Bundle.Key, true)
	})
}

func TestAnAnnouncementSaysSizeAndSum(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		sum := announce(goodZip).SHA256
		for _, c := range []domainjobs.Bundle{{}, {Size: 1}, {Size: 1, SHA256: "xyz"}, {SHA256: sum}, {Size: -1, SHA256: sum}} {
			_, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: c})
			assert.Equal(t, "invalid_job", domain.CodeOf(err), "%+v", c)
		}
		_, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: domainjobs.Bundle{Size: 2 << 20, SHA256: sum}})
		assert.Equal(t, "bundle_too_large", domain.CodeOf(err))
	})
}

func TestARepeatedRequestFindsTheFirstJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, eve := m.Person("ada", 100*market.Dollar), m.Person("eve", 100*market.Dollar)
		m.Host(m.Person("bob", 0), market.Machine{GPUs: 8})
		sub := jobs.Submission{Spec: patient(), Idempotency: domainjobs.Idempotency{Key: "k", Request: "a"}}
		first, err := m.Jobs.Submit(t.Context(), ada, sub)
		require.NoError(t, err)
		second, err := m.Jobs.Submit(t.Context(), ada, sub)
		require.NoError(t, err)
		assert.Equal(t, first.Job.ID, second.Job.ID)
		other := sub
		other.Idempotency.Request = "b"
		_, err = m.Jobs.Submit(t.Context(), ada, other)
		assert.Equal(t, "key_reused", domain.CodeOf(err))
		_, err = m.Jobs.Rerun(t.Context(), ada, first.Job.ID, nil, other.Idempotency)
		assert.Equal(t, "key_reused", domain.CodeOf(err))
		hers, err := m.Jobs.Submit(t.Context(), eve, sub)
		require.NoError(t, err)
		assert.NotEqual(t, first.Job.ID, hers.Job.ID, "keys belong to their account")
		assert.Equal(t, first.Job.Hold, m.Balance(ada).Held)
	})
}

func TestARepeatedAnnouncementGetsItsUploadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		sub := jobs.Submission{Spec: bundled(), Announced: announce(goodZip), Idempotency: domainjobs.Idempotency{Key: "k", Request: "a"}}
		first, err := m.Jobs.Submit(t.Context(), ada, sub)
		require.NoError(t, err)
		pass(30 * time.Minute)
		second, err := m.Jobs.Submit(t.Context(), ada, sub)
		require.NoError(t, err)
		assert.Equal(t, first.Job.ID, second.Job.ID)
		require.NotNil(t, second.Upload, "the first answer may have been lost")
		assert.Equal(t, first.Upload.Expires, second.Upload.Expires)
		status, _ := m.Send(*second.Upload, bytes.NewReader(goodZip))
		assert.Equal(t, http.StatusCreated, status)
	})
}

func TestRepeatedRequestsAtOnceMakeOneJob(t *testing.T) {
	for name, spec := range map[string]domainjobs.Spec{"queued": patient(), "with a bundle": bundled(), "pending": bundled()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := market.Open(t, market.Options{})
				ada := m.Person("ada", 100*market.Dollar)
				h := m.Host(m.Person("bob", 0), market.Machine{GPUs: 4})
				ids := make([]domain.ID, 16)
				errs := race(len(ids), func(i int) error {
					sub := jobs.Submission{Spec: spec, Idempotency: domainjobs.Idempotency{Key: "k", Request: "a"}}
					switch name {
					case "with a bundle":
						sub.Bundle = bytes.NewReader(goodZip)
					case "pending":
						sub.Announced = announce(goodZip)
					}
					got, err := m.Jobs.Submit(t.Context(), ada, sub)
					ids[i] = got.Job.ID
					return err
				})
				synctest.Wait()
				for i := range ids {
					require.NoError(t, errs[i])
					assert.Equal(t, ids[0], ids[i])
				}
				j := m.Job(ids[0])
				assert.Equal(t, j.Hold, m.Balance(ada).Held)
				want := 1
				if name == "pending" {
					want = 0
				}
				assert.Len(t, h.Orders(), want)
				assert.Len(t, m.Jobs.Busy(devicesOf(t, m, h)...), want, "the losers' devices are free")
				if name == "with a bundle" {
					stands(t, m, j.Bundle.Key, true)
				}
				m.Audit()
			})
		})
	}
}

func devicesOf(t *testing.T, m *market.Market, h *market.Host) (ids []domain.ID) {
	t.Helper()
	s, err := m.Store.Hosts().Get(t.Context(), h.ID, domain.ID{})
	require.NoError(t, err)
	for _, d := range s.Devices {
		ids = append(ids, d.ID)
	}
	return ids
}

func TestAStoreThatFailsCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		f.add.Store(failing(down, 1))
		_, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip)})
		require.ErrorIs(t, err, down)
		assert.Equal(t, 100*market.Dollar, m.Balance(ada).Credit)
		assert.Empty(t, m.Jobs.Busy(devicesOf(t, m, h)...))
		m.Audit()

		// Nor when it is the client who went away.
		ctx, cancel := context.WithCancel(t.Context())
		f.add.Store(&fault{err: context.Canceled, when: func(*domainjobs.Job) bool { cancel(); return false }})
		_, err = m.Jobs.Submit(ctx, ada, submission(patient()))
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 100*market.Dollar, m.Balance(ada).Credit)
		f.add.Store(nil)
		assert.Equal(t, domainjobs.Assigned, m.Submit(ada, patient()).State)
	})
}

func TestACommitWhoseAnswerIsLostIsBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		f.add.Store(stored())
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Bundle: bytes.NewReader(goodZip)})
		require.NoError(t, err)
		assert.Equal(t, domainjobs.Assigned, got.Job.State)
		stands(t, m, got.Job.Bundle.Key, true)
		assert.Equal(t, got.Job.Hold, m.Balance(ada).Held)
		assert.Equal(t, 1, m.Channels.Woken(h.ID))

		f.add.Store(stored())
		waits := m.Submit(ada, patient())
		require.Equal(t, domainjobs.Queued, waits.State)

		// The report that ends the first job, and the lease of the second.
		a := h.Take()
		a.Start()
		a.Exit(0)
		lost := stored()
		lost.times.Store(2)
		f.update.Store(lost)
		require.ErrorIs(t, m.Jobs.Finished(t.Context(), h.Actor, a.Ref, a.Result()), down)
		a.Finish() // the agent repeats it
		synctest.Wait()
		assert.Equal(t, domainjobs.Succeeded, m.Job(got.Job.ID).State)
		assert.Equal(t, domainjobs.Assigned, m.Job(waits.ID).State)
		assert.Equal(t, 2, m.Channels.Woken(h.ID))
		assert.Equal(t, waits.ID, h.Orders()[0].Job.ID)
		assert.Len(t, m.Jobs.Busy(devicesOf(t, m, h)...), 1)
		m.Audit()
	})
}

func TestAPendingJobKeepsItsHoldUntilItIsQueuedOrEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m := market.Open(t, f.options())
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		spec := market.Spec() // held by the dearest offer
		spec.Source.Kind = domainjobs.SourceBundle
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: spec, Announced: announce(goodZip)})
		require.NoError(t, err)
		status, _ := m.Send(*got.Upload, bytes.NewReader(goodZip))
		require.Equal(t, http.StatusCreated, status)
		f.update.Store(failing(down, 1))
		_, err = m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
		require.ErrorIs(t, err, down)
		assert.Equal(t, domainjobs.Pending, m.Job(got.Job.ID).State)

		h.Offer(2 * market.DefaultPrice) // prices change meanwhile
		synctest.Wait()
		j, err := m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
		require.NoError(t, err)
		assert.Equal(t, market.DefaultPrice, j.Hold)
		assert.Equal(t, j.Hold, m.Balance(ada).Held)
		assert.Equal(t, 30*time.Minute, j.Attempts[0].MaxRuntime, "it never costs more than was held")
		h.Take().Run(0, 40*time.Minute)
		synctest.Wait()
		assert.Equal(t, market.DefaultPrice, m.Job(j.ID).Cost())
		assert.Equal(t, market.DefaultPrice*9/10, m.Balance(bob).Pending)
		assert.Zero(t, m.Balance(ada).Held)
		m.Audit()
	})
}

// together lets nobody pass the check of a bundle before all are there.
type together struct {
	ports.Bundles
	there sync.WaitGroup
}

func (b *together) Check(ctx context.Context, key string) error {
	b.there.Done()
	b.there.Wait()
	return b.Bundles.Check(ctx, key)
}

func TestUploadedTwiceAtOnceIsQueuedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &together{}
		b.there.Add(4)
		m := market.Open(t, market.Options{JobDeps: func(d *jobs.Deps) { b.Bundles, d.Bundles = d.Bundles, b }})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{GPUs: 4})
		got, err := m.Jobs.Submit(t.Context(), ada, jobs.Submission{Spec: bundled(), Announced: announce(goodZip)})
		require.NoError(t, err)
		status, _ := m.Send(*got.Upload, bytes.NewReader(goodZip))
		require.Equal(t, http.StatusCreated, status)
		for _, err := range race(4, func(int) error {
			_, err := m.Jobs.SubmitUploaded(t.Context(), ada, got.Job.ID)
			return err
		}) {
			require.NoError(t, err)
		}
		synctest.Wait()
		j := m.Job(got.Job.ID)
		assert.Len(t, j.Attempts, 1)
		assert.Equal(t, j.Hold, m.Balance(ada).Held)
		assert.Len(t, m.Jobs.Busy(devicesOf(t, m, h)...), 1)
		assert.Len(t, h.Orders(), 1)
	})
}
