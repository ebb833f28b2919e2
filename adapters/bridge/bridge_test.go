package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/bridge"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func TestADeviceIsOfferedWithItsPartOfTheMachine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{Name: "attic", GPUs: 4, Region: "eu-de", Tags: []string{"quiet"}})
		away := m.Host(bob, market.Machine{Away: true})
		offers := bridge.Offers{Hosts: m.Hosts}
		all, err := offers.All(t.Context())
		require.NoError(t, err)
		assert.Len(t, all, 5)
		got, err := offers.Of(t.Context(), h.ID)
		require.NoError(t, err)
		require.Len(t, got, 4)
		o := got[0]
		assert.Equal(t, h.GPUs[0].UUID, o.UUID)
		assert.Equal(t, "attic", o.HostName)
		assert.Equal(t, jobs.Slot{
			DeviceID: o.DeviceID, HostID: h.ID, Owner: bob.User, GPUModel: o.GPUModel, VRAMMB: 24_564, Price: market.DefaultPrice,
			CPUMilli: 8000, MemoryMB: 32_768, DiskMB: 100_000, Tags: []string{"quiet"}, Region: "eu-de", Isolation: jobs.IsolationContainer,
			Online: true, Listed: true, Version: o.Version,
		}, o.Slot)
		assert.False(t, o.DeviceID.IsZero())

		// A device that is missing is there, but not online; the others share its part.
		h.GPUs, h.Facts.Inventory = h.GPUs[:3], "less"
		h.Connect()
		got, err = offers.Of(t.Context(), h.ID)
		require.NoError(t, err)
		assert.Equal(t, []bool{true, true, true, false}, []bool{got[0].Online, got[1].Online, got[2].Online, got[3].Online})
		assert.Equal(t, int64(10_666), got[0].CPUMilli)

		got, err = offers.Of(t.Context(), away.ID)
		require.NoError(t, err)
		assert.False(t, got[0].Online)
		require.NoError(t, m.Hosts.Retire(t.Context(), bob, h.ID))
		for _, id := range []domain.ID{h.ID, {1}} {
			got, err = offers.Of(t.Context(), id)
			require.NoError(t, err)
			assert.Empty(t, got)
		}
		all, err = offers.All(t.Context())
		require.NoError(t, err)
		assert.Len(t, all, 1)
		heard, err := offers.Heard(t.Context(), h.ID, away.ID)
		require.NoError(t, err)
		assert.Len(t, heard, 1)
	})
}

func TestASuspendedHostIsNotOnline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		h := m.Host(m.Person("bob", 0), market.Machine{})
		_, err := m.Store.Hosts().Update(t.Context(), h.ID, func(h *hosts.Host) error { return h.Suspend("", m.Clock.Now()) })
		require.NoError(t, err)
		got, err := bridge.Offers{Hosts: m.Hosts}.Of(t.Context(), h.ID)
		require.NoError(t, err)
		assert.False(t, got[0].Online)
	})
}

func TestOccupancyIsWhatJobsHas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 10*market.Dollar)
		m.Host(m.Person("bob", 0), market.Machine{})
		o := &bridge.Occupancy{}
		assert.Empty(t, o.Busy(domain.ID{1}), "before jobs is there")
		o.Jobs = m.Jobs
		j := m.Submit(ada, market.Spec())
		device := j.Attempts[0].Devices[0].ID
		assert.Equal(t, map[domain.ID]domain.ID{device: j.ID}, o.Busy(device, domain.ID{1}))
	})
}

func TestBillingSeesHowAJobEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		endings := bridge.Endings{Jobs: m.Store.Jobs()}
		j := m.Submit(ada, market.Spec())
		got, err := endings.Of(t.Context(), j.ID)
		require.NoError(t, err)
		assert.Equal(t, ports.Ending{Renter: ada.User, Host: h.ID, HostOwner: bob.User}, got)
		h.Take().Run(0, 10*time.Second)
		got, err = endings.Of(t.Context(), j.ID)
		require.NoError(t, err)
		assert.Equal(t, ports.Ending{Renter: ada.User, Host: h.ID, HostOwner: bob.User, Amount: 1000, Over: true}, got)
		_, err = endings.Of(t.Context(), domain.ID{1})
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
	})
}

func TestABundleIsHeldAgainstItsRules(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for name, file := range map[string]bool{"from a file": true, "by way of one": false} {
		t.Run(name, func(t *testing.T) {
			blobs := shelf{file: file, dir: t.TempDir(), objects: map[string][]byte{
				"good": market.Zip(map[string]string{"main.py": "print()"}), "bad": market.Zip(map[string]string{"/etc/passwd": ""}), "none": []byte("hello"),
			}}
			b := bridge.Bundles{Blobs: blobs, Limits: bundle.DefaultLimits()}
			require.NoError(t, b.Check(t.Context(), "good"))
			for _, key := range []string{"bad", "none"} {
				err := b.Check(t.Context(), key)
				assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%s: %v", key, err)
				assert.Equal(t, 1, strings.Count(err.Error(), domain.CodeOf(err)), "the rule is named once: %v", err)
			}
			assert.Equal(t, domain.KindNotFound, domain.KindOf(b.Check(t.Context(), "missing")))
			assert.Equal(t, domain.KindUnavailable, domain.KindOf(b.Check(t.Context(), "broken")))
			left, err := filepath.Glob(filepath.Join(dir, "peergpu-bundle-*"))
			require.NoError(t, err)
			assert.Empty(t, left, "nothing is left behind")
		})
	}
}

// shelf is a few objects, read from memory or from files.
type shelf struct {
	ports.Blobs
	file    bool
	dir     string
	objects map[string][]byte
}

func (s shelf) Open(_ context.Context, key string, _, _ int64) (io.ReadCloser, error) {
	if key == "broken" {
		return io.NopCloser(io.MultiReader(bytes.NewReader([]byte("PK")), failing{})), nil
	}
	data, ok := s.objects[key]
	if !ok {
		return nil, domain.NotFound("object")
	}
	if !s.file {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	path := filepath.Join(s.dir, key)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, err
	}
	return os.Open(path)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the connection broke") }
