package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bridge"
	queue "github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/ports"
)

// onStorages runs a suite on each storage.
func onStorages(t *testing.T, run func(t *testing.T, open func(*testing.T) Storage)) {
	t.Helper()
	for adapter, open := range storages {
		t.Run("in "+adapter, func(t *testing.T) {
			t.Parallel()
			run(t, open)
		})
	}
}

func TestBridgeEndings(t *testing.T) {
	t.Parallel()
	onStorages(t, func(t *testing.T, open func(*testing.T) Storage) {
		t.Helper()
		Endings(t, func(t *testing.T) (ports.Endings, ports.Jobs) {
			t.Helper()
			jobs := open(t).Jobs()
			return bridge.Endings{Jobs: jobs}, jobs
		})
	})
}

func TestBridgeFunds(t *testing.T) {
	t.Parallel()
	onStorages(t, func(t *testing.T, open func(*testing.T) Storage) {
		t.Helper()
		Funds(t, func(t *testing.T) (ports.Funds, func(domain.ID, domain.Micros) error) {
			t.Helper()
			s := open(t)
			buy := func(renter domain.ID, amount domain.Micros) error {
				return s.Ledger().Post(t.Context(), topUp(renter, amount))
			}
			return bridge.Funds{Service: settle(t, s, parts{}).billing}, buy
		})
	})
}

func TestBridgeBundles(t *testing.T) {
	t.Parallel()
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Bundles(t, func(t *testing.T) (ports.Bundles, ports.Blobs) {
				t.Helper()
				blobs := served(t, bucket(t))
				return bridge.Bundles{Blobs: blobs, Limits: bundle.DefaultLimits()}, blobs
			})
		})
	}
}

func TestBridgeOffers(t *testing.T) {
	t.Parallel()
	onStorages(t, func(t *testing.T, open func(*testing.T) Storage) {
		t.Helper()
		Offers(t, func(t *testing.T) (ports.Offers, Storage) {
			t.Helper()
			s := open(t)
			return bridge.Offers{Hosts: settle(t, s, parts{}).hosts}, s
		})
	})
}

func TestBridgeOccupancy(t *testing.T) {
	t.Parallel()
	onStorages(t, func(t *testing.T, open func(*testing.T) Storage) {
		t.Helper()
		Occupancy(t, func(t *testing.T) Taking { t.Helper(); return let(t, open(t)) })
	})
}

func TestOccupancyKnowsNothingBeforeThereAreJobs(t *testing.T) {
	t.Parallel()
	assert.Empty(t, (&bridge.Occupancy{}).Busy(ids.New()))
}

// let is a market of six hosts, and a renter with jobs for them.
func let(t *testing.T, s Storage) Taking {
	t.Helper()
	var devices []domain.ID
	for range 6 {
		h, _ := enrol(t, s, ids.New())
		require.NoError(t, s.Presences().Connect(t.Context(), h.ID, 1, now()))
		for _, d := range h.Devices {
			devices = append(devices, d.ID)
		}
	}
	x, renter := settle(t, s, parts{}), domain.Actor{User: ids.New(), Roles: []domain.Role{domain.RoleRenter}}
	require.NoError(t, s.Ledger().Post(t.Context(), topUp(renter.User, 1000*unit)))
	return Taking{
		Occupancy: x.occupancy, Devices: devices,
		Take: func(t *testing.T, gpus int) (domain.ID, []domain.ID) {
			t.Helper()
			spec := work.Spec{Command: []string{"true"}, Needs: work.Needs{GPUs: gpus}}.WithDefaults()
			got, err := x.jobs.Submit(t.Context(), renter, queue.Submission{Spec: spec})
			require.NoError(t, err)
			require.Equal(t, work.Assigned, got.Job.State)
			return got.Job.ID, got.Job.Current().DeviceIDs()
		},
		Stop: func(t *testing.T, job domain.ID) {
			t.Helper()
			_, err := x.jobs.Cancel(t.Context(), renter, job)
			require.NoError(t, err)
		},
		End: func(t *testing.T, job domain.ID) {
			t.Helper()
			j, err := s.Jobs().Get(t.Context(), job, domain.ID{})
			require.NoError(t, err)
			agent, ref, code := domain.AgentOf(j.Current().Host), queue.Ref{Job: job, Attempt: 1}, 0
			require.NoError(t, x.jobs.Advance(t.Context(), agent, ref, work.Progress{Name: work.PhaseRunning}))
			require.NoError(t, x.jobs.Finished(t.Context(), agent, ref, work.Result{Exit: work.Exit{Code: &code}}))
		},
		Reopen: func(t *testing.T) ports.Occupancy { t.Helper(); return settle(t, s, parts{}).occupancy },
	}
}
