package jobs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// offered is a device that everybody can lease.
func offered(device, host int, price domain.Micros) jobs.Slot {
	return jobs.Slot{
		DeviceID: deviceID(device), HostID: hostID(host), Owner: userID(host),
		GPUModel: "T4", VRAMMB: 16_000, Price: price,
		CPUMilli: 4000, MemoryMB: 16_000, DiskMB: 100_000,
		Isolation: jobs.IsolationContainer, Online: true, Listed: true,
	}
}

// with changes a slot.
func with(s jobs.Slot, change func(*jobs.Slot)) jobs.Slot {
	change(&s)
	return s
}

// choose asks the oracle and the index, which have to agree.
func choose(t *testing.T, r jobs.Request, slots ...jobs.Slot) (jobs.Choice, bool) {
	t.Helper()
	f := &fleet{index: jobs.NewIndex(), slots: map[domain.ID]jobs.Slot{}, size: 100}
	for _, s := range slots {
		f.upsert(s)
	}
	agree(t, f, r)
	return f.index.Match(r)
}

func TestTheCheapestOfEqualHostsWins(t *testing.T) {
	t.Parallel()
	choice, ok := choose(t, jobs.Request{ExpectedRun: time.Hour},
		offered(1, 1, 350_000), offered(2, 2, 200_000), offered(3, 3, 210_000))
	require.True(t, ok)
	assert.Equal(t, hostID(2), choice.HostID)
	assert.Equal(t, jobs.Explanation{
		PriceMicros: 200_000, GPUs: 1, ExpectedRunMS: 3_600_000, SuccessPermille: 900,
		EffectiveMicros: 222_222, Considered: 2,
		NextHost: hostID(3), NextEffectiveMicros: 233_333,
	}, choice.Sum)
}

func TestAReliableHostBeatsACheaperOneThatFails(t *testing.T) {
	t.Parallel()
	flaky := with(offered(1, 1, 200_000), func(s *jobs.Slot) { s.OK, s.Runs = 50, 100 })
	solid := with(offered(2, 2, 300_000), func(s *jobs.Slot) { s.OK, s.Runs = 100, 100 })
	choice, ok := choose(t, jobs.Request{ExpectedRun: time.Hour}, flaky, solid)
	require.True(t, ok)
	assert.Equal(t, hostID(2), choice.HostID)
	assert.EqualValues(t, 990, choice.Sum.SuccessPermille)
}

func TestAFastLineBeatsALowPriceWhenTheRunIsShort(t *testing.T) {
	t.Parallel()
	slow := with(offered(1, 1, 200_000), func(s *jobs.Slot) { s.BandwidthMbps = 10 })
	fast := with(offered(2, 2, 300_000), func(s *jobs.Slot) { s.BandwidthMbps = 1000 })
	r := jobs.Request{ExpectedRun: 10 * time.Second, FetchBytes: 125_000_000}
	choice, ok := choose(t, r, slow, fast)
	require.True(t, ok)
	assert.Equal(t, hostID(2), choice.HostID)
	assert.EqualValues(t, 1000, choice.Sum.FetchMS, "a gigabit in a second")

	r.ExpectedRun = 10 * time.Hour
	choice, ok = choose(t, r, slow, fast)
	require.True(t, ok)
	assert.Equal(t, hostID(1), choice.HostID, "on a long run the price counts")
}

func TestSeveralGPUsComeFromOneHostAtTheSumOfTheirPrices(t *testing.T) {
	t.Parallel()
	slots := []jobs.Slot{
		offered(1, 1, 100_000), offered(2, 2, 100_000),
		offered(3, 3, 300_000), offered(4, 3, 200_000), offered(5, 3, 250_000),
	}
	choice, ok := choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 2}, ExpectedRun: time.Hour}, slots...)
	require.True(t, ok)
	assert.Equal(t, hostID(3), choice.HostID)
	assert.Equal(t, []domain.ID{deviceID(4), deviceID(5)}, choice.Devices)
	assert.EqualValues(t, 450_000, choice.Price)

	_, ok = choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 4}}, slots...)
	assert.False(t, ok, "all or none")
}

func TestSlotsBringTheirPartOfAnAmount(t *testing.T) {
	t.Parallel()
	pair := []jobs.Slot{offered(1, 1, 1), offered(2, 1, 1)}
	_, ok := choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 2, MemoryMB: 32_000}}, pair...)
	assert.True(t, ok)
	_, ok = choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 2, MemoryMB: 32_001}}, pair...)
	assert.False(t, ok)
	_, ok = choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 1, MemoryMB: 16_001}}, pair...)
	assert.False(t, ok, "a slot is 1/n of the host")
}

func TestAnAvoidedHostIsTakenOnlyIfNoOtherFits(t *testing.T) {
	t.Parallel()
	r := jobs.Request{Avoid: []domain.ID{hostID(1)}, ExpectedRun: time.Hour}
	choice, ok := choose(t, r, offered(1, 1, 1), offered(2, 2, 900_000))
	require.True(t, ok)
	assert.Equal(t, hostID(2), choice.HostID)
	choice, ok = choose(t, r, offered(1, 1, 1))
	require.True(t, ok)
	assert.Equal(t, hostID(1), choice.HostID)
}

func TestATrustedHostTakesItsOwnersJobsAlone(t *testing.T) {
	t.Parallel()
	trusted := with(offered(1, 1, 1), func(s *jobs.Slot) { s.Trusted, s.Isolation = true, jobs.IsolationNone })
	unknown := with(offered(1, 1, 1), func(s *jobs.Slot) { s.Isolation = "something new" })
	for _, s := range []jobs.Slot{trusted, unknown} {
		_, ok := choose(t, jobs.Request{Renter: userID(1)}, s)
		assert.True(t, ok)
		_, ok = choose(t, jobs.Request{Renter: userID(2)}, s)
		assert.False(t, ok)
		_, ok = choose(t, jobs.Request{Renter: userID(1), Needs: jobs.Needs{Isolation: jobs.IsolationProcess}}, s)
		assert.False(t, ok, "no isolation is weaker than any")
	}
}

func TestStrongerIsolationServesAWeakerNeed(t *testing.T) {
	t.Parallel()
	s := offered(1, 1, 1)
	for need, want := range map[jobs.Isolation]bool{
		"": true, jobs.IsolationNone: true, jobs.IsolationProcess: true,
		jobs.IsolationContainer: true, jobs.IsolationGVisor: false, "unheard of": false,
	} {
		_, ok := choose(t, jobs.Request{Needs: jobs.Needs{Isolation: need}}, s)
		assert.Equal(t, want, ok, "%q", need)
	}
}

func TestThePriceLimitIsPerGPU(t *testing.T) {
	t.Parallel()
	pair := []jobs.Slot{offered(1, 1, 200_000), offered(2, 1, 200_000)}
	_, ok := choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 2, MaxPrice: 200_000}}, pair...)
	assert.True(t, ok)
	_, ok = choose(t, jobs.Request{Needs: jobs.Needs{GPUs: 2, MaxPrice: 199_999}}, pair...)
	assert.False(t, ok)
}

func TestOfEqualSumsTheSmallerHostIDWins(t *testing.T) {
	t.Parallel()
	same := with(offered(1, 3, 200_000), func(s *jobs.Slot) { s.OK, s.Runs = 9, 10 }) // as good as 0 of 0
	choice, ok := choose(t, jobs.Request{ExpectedRun: time.Hour}, same, offered(2, 2, 200_000), offered(3, 4, 200_000))
	require.True(t, ok)
	assert.Equal(t, hostID(2), choice.HostID)
	assert.Equal(t, hostID(3), choice.Sum.NextHost)
}

func TestEachConstraintCountsTheHostsThatItExcludesAlone(t *testing.T) {
	t.Parallel()
	plain := offered(1, 1, 200_000)
	needs := jobs.Needs{
		GPUs: 1, GPUModel: "T4", MinVRAMMB: 16_000, MemoryMB: 16_000, DiskMB: 100_000, CPUMilli: 4000,
		MaxPrice: 200_000,
	}
	cases := map[jobs.Constraint]func(*jobs.Slot){
		jobs.ConstraintGPUModel: func(s *jobs.Slot) { s.GPUModel = "H100" },
		jobs.ConstraintVRAM:     func(s *jobs.Slot) { s.VRAMMB-- },
		jobs.ConstraintCPUs:     func(s *jobs.Slot) { s.CPUMilli-- },
		jobs.ConstraintMemory:   func(s *jobs.Slot) { s.MemoryMB-- },
		jobs.ConstraintDisk:     func(s *jobs.Slot) { s.DiskMB-- },
		jobs.ConstraintOwner:    func(s *jobs.Slot) { s.Trusted = true },
		jobs.ConstraintPrice:    func(s *jobs.Slot) { s.Price++ },
		jobs.ConstraintUnlisted: func(s *jobs.Slot) { s.Listed = false },
		jobs.ConstraintOffline:  func(s *jobs.Slot) { s.Online = false },
		jobs.ConstraintBusy:     func(s *jobs.Slot) { s.Occupied = true },
	}
	for constraint, change := range cases {
		e := jobs.Explain([]jobs.Slot{with(plain, change)}, jobs.Request{Needs: needs})
		assert.Equal(t, jobs.Exclusions{Hosts: 1, By: map[jobs.Constraint]int{constraint: 1}}, e)
	}
	for constraint, change := range map[jobs.Constraint]func(*jobs.Request){
		jobs.ConstraintHostID:    func(r *jobs.Request) { r.HostPin = hostID(2) },
		jobs.ConstraintGPUs:      func(r *jobs.Request) { r.Needs.GPUs = 2 },
		jobs.ConstraintTags:      func(r *jobs.Request) { r.Needs.Tags = []string{"nvlink"} },
		jobs.ConstraintRegion:    func(r *jobs.Request) { r.Needs.Region = "eu" },
		jobs.ConstraintVerified:  func(r *jobs.Request) { r.Needs.Verified = true },
		jobs.ConstraintIsolation: func(r *jobs.Request) { r.Needs.Isolation = jobs.IsolationGVisor },
	} {
		r := jobs.Request{Needs: needs}
		change(&r)
		e := jobs.Explain([]jobs.Slot{plain}, r)
		assert.Equal(t, jobs.Exclusions{Hosts: 1, By: map[jobs.Constraint]int{constraint: 1}}, e)
	}
}

func TestAHostCountsUnderTheConstraintThatTellsMost(t *testing.T) {
	t.Parallel()
	slots := []jobs.Slot{
		with(offered(1, 1, 200_000), func(s *jobs.Slot) { s.Occupied, s.GPUModel = true, "H100" }),
		// Neither the model nor the lease alone excludes host 2.
		with(offered(2, 2, 200_000), func(s *jobs.Slot) { s.Occupied = true }),
		with(offered(3, 2, 200_000), func(s *jobs.Slot) { s.GPUModel = "H100" }),
		offered(4, 3, 200_000),
		offered(5, 4, 350_000),
	}
	e := jobs.Explain(slots, jobs.Request{Needs: jobs.Needs{GPUModel: "T4"}, Avoid: []domain.ID{hostID(4)}})
	assert.Equal(t, jobs.Exclusions{
		Hosts: 4, Fits: 2, Cheapest: 200_000, Dearest: 350_000,
		By: map[jobs.Constraint]int{
			jobs.ConstraintGPUModel: 1, jobs.ConstraintCombination: 1, jobs.ConstraintAvoided: 1,
		},
	}, e)
	assert.Equal(t, "of 4 hosts, gpu_model excludes 1, combination excludes 1", e.String())
	for constraint := range e.By {
		assert.Contains(t, jobs.Constraints, constraint)
	}

	wrong := with(offered(1, 1, 200_000), func(s *jobs.Slot) { s.Trusted, s.Listed, s.Online, s.Occupied = true, false, false, true })
	r := jobs.Request{HostPin: hostID(2), Declined: []domain.ID{hostID(1)}, Needs: jobs.Needs{GPUs: 2, GPUModel: "H100", MaxPrice: 1}}
	for _, c := range []struct {
		first jobs.Constraint
		mend  func()
	}{
		{jobs.ConstraintHostID, func() { r.HostPin = hostID(1) }},
		{jobs.ConstraintDeclined, func() { r.Declined = nil }},
		{jobs.ConstraintGPUs, func() { r.Needs.GPUs = 1 }},
		{jobs.ConstraintOwner, func() { wrong.Trusted = false }},
		{jobs.ConstraintUnlisted, func() { wrong.Listed = true }},
		{jobs.ConstraintGPUModel, func() { r.Needs.GPUModel = "" }},
		{jobs.ConstraintPrice, func() { r.Needs.MaxPrice = 0 }},
		{jobs.ConstraintOffline, func() { wrong.Online = true }},
		{jobs.ConstraintBusy, func() { wrong.Occupied = false }},
	} {
		e := jobs.Explain([]jobs.Slot{wrong}, r)
		assert.Equal(t, map[jobs.Constraint]int{c.first: 1}, e.By)
		assert.Equal(t, "of 1 host, "+string(c.first)+" excludes 1", e.String())
		c.mend()
	}
	assert.Empty(t, jobs.Explain([]jobs.Slot{wrong}, r).String())
	assert.Equal(t, "no host is known", jobs.Explain(nil, r).String())
}
