package jobs_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// agree checks that index and oracle answer one request alike, to the device.
func agree(t require.TestingT, f *fleet, r jobs.Request) {
	slots := f.list()
	want, fits := jobs.Linear(slots, r)
	got, ok := f.index.Match(r)
	require.Equal(t, fits, ok, "of %+v", r)
	require.LessOrEqual(t, got.Sum.Considered, want.Sum.Considered)
	got.Sum.Considered, want.Sum.Considered = 0, 0
	require.Equal(t, want, got, "of %+v", r)

	exclusions := jobs.Explain(slots, r)
	require.Equal(t, exclusions, f.index.Explain(r), "of %+v", r)
	require.Equal(t, fits, exclusions.Fits > 0)
	dearest, ok := f.index.Dearest(r)
	if len(r.Declined) == 0 { // a price is asked for before anybody could decline
		require.Equal(t, fits, ok)
		require.Equal(t, exclusions.Dearest, dearest, "of %+v", r)
	}
}

// rapid draws 100 times by default, and each draw is 100 fleets: 10,000 in all.
const fleetsPerDraw = 100

func TestTheIndexChoosesAsTheOracleDoesInTenThousandFleets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		for range fleetsPerDraw {
			hosts := rapid.IntRange(1, 6).Draw(t, "hosts")
			f := drawFleet(t, hosts, 12)
			for range rapid.IntRange(1, 5).Draw(t, "steps") {
				require.True(t, f.step(t))
				agree(t, f, drawRequest(t, hosts))
			}
			require.Equal(t, len(f.slots), f.index.Len())
		}
	})
}

// In large fleets of few classes the lists are cut into many blocks.
func TestTheIndexChoosesAsTheOracleDoesInLargeFleets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const hosts, size = 300, 500
		f := &fleet{index: jobs.NewIndex(), slots: map[domain.ID]jobs.Slot{}, hosts: hosts, size: size}
		shapes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) jobs.Slot { return drawSlot(t, 1, hosts) }), 1, 4).Draw(t, "shapes")
		prices := somePrices[:rapid.IntRange(1, len(somePrices)).Draw(t, "prices")]
		records := someRecords[:rapid.IntRange(1, len(someRecords)).Draw(t, "records")]
		for n := range size {
			s := shapes[n%len(shapes)]
			s.DeviceID, s.HostID = deviceID(n+1), hostID(1+(n*7)%hosts)
			s.Price = prices[(n*5)%len(prices)]
			record := records[(n*11)%len(records)]
			s.OK, s.Runs = record[0], record[1]
			s.Listed, s.Online = true, true
			require.True(t, f.upsert(s))
		}
		for range 25 {
			for range 20 {
				require.True(t, f.step(t))
			}
			agree(t, f, drawRequest(t, hosts))
		}
		for n := range size { // a drained list has to shrink as well as it grew
			f.setOccupied(true, deviceID(n+1))
			if n%50 == 0 {
				agree(t, f, drawRequest(t, hosts))
			}
		}
	})
}

func TestTheIndexGivesBackWhatItWasTold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t, 4, 12)
		for range 20 {
			require.True(t, f.step(t))
		}
		for n := range f.size {
			want, known := f.slots[deviceID(n+1)]
			got, ok := f.index.Lookup(deviceID(n + 1))
			require.Equal(t, known, ok)
			require.Equal(t, want, got)
		}
		for n := range f.hosts {
			for _, s := range f.index.FreeSlots(hostID(n + 1)) {
				require.True(t, s.Free())
				require.Equal(t, hostID(n+1), s.HostID)
			}
		}
	})
}

func TestAnOlderVersionOfADeviceChangesNothing(t *testing.T) {
	t.Parallel()
	x := jobs.NewIndex()
	s := offered(1, 1, 200_000)
	s.Version = 5
	require.True(t, x.Upsert(s))
	s.Version, s.Price = 4, 1
	require.False(t, x.Upsert(s))
	choice, ok := x.Match(jobs.Request{})
	require.True(t, ok)
	assert.EqualValues(t, 200_000, choice.Price)
	s.Version = 5
	require.True(t, x.Upsert(s), "the same version again is no older one")
}

func TestAnEmptyIndexMatchesNothing(t *testing.T) {
	t.Parallel()
	x := jobs.NewIndex()
	_, ok := x.Match(jobs.Request{})
	assert.False(t, ok)
	_, ok = x.Dearest(jobs.Request{HostPin: hostID(1)})
	assert.False(t, ok)
	x.Occupy(deviceID(1))
	x.Free(deviceID(1))
	x.SetOnline(hostID(1), true)
	assert.False(t, x.Remove(deviceID(1)))
	assert.Empty(t, x.FreeSlots(hostID(1)))
	assert.Zero(t, x.Len())
}

func TestALeasedDeviceIsNotChosenUntilItIsFree(t *testing.T) {
	t.Parallel()
	x := jobs.NewIndex()
	x.Upsert(offered(1, 1, 200_000))
	choice, ok := x.Match(jobs.Request{})
	require.True(t, ok)
	x.Occupy(choice.Devices...)
	_, ok = x.Match(jobs.Request{})
	assert.False(t, ok)
	x.Free(choice.Devices...)
	_, ok = x.Match(jobs.Request{})
	assert.True(t, ok)
}
