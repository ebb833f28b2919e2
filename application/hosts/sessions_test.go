package hosts_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
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

func enrolment(t *testing.T, token string) hosts.Enrolment {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return hosts.Enrolment{Token: token, PublicKey: public, Name: "box", GPUs: []domainhosts.Device{{UUID: "GPU-1", Model: "NVIDIA GeForce RTX 4090"}}}
}

func TestAnEnrolmentTokenIsGoodOnceAndForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		token, expires, err := m.Hosts.EnrollmentToken(t.Context(), bob)
		require.NoError(t, err)
		assert.Equal(t, m.Clock.Now().Add(hosts.EnrollmentTTL), expires)

		bad := enrolment(t, token)
		bad.Name = ""
		_, err = m.Hosts.Register(t.Context(), bad)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "what is refused does not use it up")
		first := enrolment(t, token)
		h, err := m.Hosts.Register(t.Context(), first)
		require.NoError(t, err)
		assert.Equal(t, bob.User, h.Owner)
		assert.Equal(t, domainhosts.Pending, h.Standing)
		assert.False(t, h.Devices[0].Listed, "without a price nothing is listed")
		_, err = m.Hosts.Register(t.Context(), enrolment(t, token))
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
		_, err = m.Hosts.Register(t.Context(), enrolment(t, "pgpu_enr_unknown"))
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))

		token, _, err = m.Hosts.EnrollmentToken(t.Context(), bob)
		require.NoError(t, err)
		clone := enrolment(t, token)
		clone.PublicKey = first.PublicKey
		_, err = m.Hosts.Register(t.Context(), clone)
		assert.Equal(t, "key_taken", domain.CodeOf(err))

		token, _, err = m.Hosts.EnrollmentToken(t.Context(), bob)
		require.NoError(t, err)
		pass(hosts.EnrollmentTTL)
		_, err = m.Hosts.Register(t.Context(), enrolment(t, token))
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))

		_, _, err = m.Hosts.EnrollmentToken(t.Context(), domain.Actor{User: bob.User, Roles: []domain.Role{domain.RoleRenter}})
		assert.Equal(t, domain.KindForbidden, domain.KindOf(err))
	})
}

func TestAnAssertionIsGoodOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h, other := m.Host(bob, market.Machine{}), m.Host(bob, market.Machine{})
		const jti = "0123456789abcdef"
		token := func(host domain.ID, assertion string) error {
			_, err := m.Hosts.AgentToken(t.Context(), host, assertion)
			return err
		}
		now := m.Clock.Now()
		require.NoError(t, token(h.ID, h.Assertion(jti, now)))
		require.NoError(t, token(other.ID, other.Assertion(jti, now)), "ids belong to their host")
		for name, err := range map[string]error{
			"a replay":            token(h.ID, h.Assertion(jti, now)),
			"another host's":      token(other.ID, h.Assertion("another-of-16-ch", now)),
			"of an unknown host":  token(domain.ID{1}, h.Assertion("another-of-16-ch", now)),
			"one of the past":     token(h.ID, h.Assertion("another-of-16-ch", now.Add(-time.Hour))),
			"one that is garbage": token(h.ID, "a.b.c"),
		} {
			assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err), name)
		}
		require.NoError(t, m.Hosts.Retire(t.Context(), bob, h.ID))
		assert.Equal(t, domain.KindForbidden, domain.KindOf(token(h.ID, h.Assertion("a-third-of-16-ch", now))))

		access, err := m.Hosts.AgentToken(t.Context(), other.ID, other.Assertion("a-third-of-16-ch", now))
		require.NoError(t, err)
		who, key, err := m.Hosts.AuthenticateAgent(t.Context(), access)
		require.NoError(t, err)
		assert.Equal(t, domain.AgentOf(other.ID), who)
		assert.Equal(t, domainhosts.Thumbprint(other.Key.Public().(ed25519.PublicKey)), key, "the token is bound to the host's key")
		_, err = m.Identity.Authenticate(t.Context(), access)
		assert.Error(t, err, "an agent is nobody's account")
		pass(hosts.AgentTokenTTL)
		_, _, err = m.Hosts.AuthenticateAgent(t.Context(), access)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err))
	})
}

func TestReplicasTogetherCountAssertionsAndMachines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var deps hosts.Deps
		m := market.Open(t, market.Options{HostDeps: func(d *hosts.Deps) { deps = *d }})
		replica := hosts.New(deps, m.Hosts.Settings())
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		assertion := h.Assertion("0123456789abcdef", m.Clock.Now())
		_, err := m.Hosts.AgentToken(t.Context(), h.ID, assertion)
		require.NoError(t, err)
		_, err = replica.AgentToken(t.Context(), h.ID, assertion)
		assert.Equal(t, domain.KindUnauthenticated, domain.KindOf(err), "a replay at another replica")

		clone := *h
		clone.Facts.MachineID = "another"
		clone.Connect()
		h.Connect()
		_, err = replica.Connect(t.Context(), clone.Actor, clone.Hello())
		assert.Equal(t, domain.KindForbidden, domain.KindOf(err), "the replica has seen neither of them before")
		clone.Silence()
	})
}

func TestANewerSessionFencesTheOlder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		older := h.Session
		h.Connect()
		assert.Greater(t, h.Session.Epoch, older.Epoch)
		h.Silence()
		pass(50 * time.Second)
		m.Hosts.Heartbeat(older, nil) // of the session that is over
		pass(20 * time.Second)
		v, err := m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		assert.False(t, v.Online, "a fenced heartbeat is no sign of life")

		h.Connect()
		require.NoError(t, m.Hosts.Disconnect(t.Context(), older))
		v, err = m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		assert.True(t, v.Online, "the end of a fenced session neither")
		err = m.Hosts.Report(t.Context(), older, h.Facts, nil)
		assert.Equal(t, "session_fenced", domain.CodeOf(err))
		v, err = m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		assert.True(t, v.Devices[0].Present)
		m.Hosts.Heartbeat(older, nil)
		h.Disconnect()
		v, err = m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		assert.False(t, v.Online, "a fenced heartbeat does not take the session's place")
	})
}

func TestTwoMachinesWithOneKeyAreSuspended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		clone := *h
		clone.Facts.MachineID = "another"
		clone.Connect()
		h.Connect()
		_, err := m.Hosts.Connect(t.Context(), clone.Actor, clone.Hello())
		assert.Equal(t, domain.KindForbidden, domain.KindOf(err))
		synctest.Wait()
		v, err := m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		assert.Equal(t, domainhosts.Suspended, v.Standing)
		assert.Equal(t, 1, m.Channels.Closed(h.ID))
		_, err = m.Hosts.Connect(t.Context(), h.Actor, h.Hello())
		assert.Equal(t, domain.KindForbidden, domain.KindOf(err), "neither gets in any more")
		found, err := m.Hosts.Market(t.Context(), hosts.Search{Limit: 10})
		require.NoError(t, err)
		assert.Empty(t, found.Offers)
		clone.Silence()
	})
}

func TestAMachineMayBeReplacedNowAndThen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		h := m.Host(m.Person("bob", 0), market.Machine{})
		for i := range 5 {
			h.Facts.MachineID = "another " + string(rune('a'+i))
			h.Connect()
			pass(6 * time.Minute)
		}
	})
}

func TestAnInventoryIsTakenWhenItChanged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{GPUs: 2})
		h.Connect()
		assert.False(t, h.Session.WantInventory, "what is stored is what it has")
		before, err := m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)

		// One GPU is gone, another is new.
		gone := h.GPUs[0]
		h.GPUs = []domainhosts.Device{h.GPUs[1], {UUID: "GPU-new", Model: "nvidia geforce rtx 3090", VRAMMB: 24_576}}
		h.Facts.Inventory = "two"
		h.Connect()
		assert.True(t, h.Session.WantInventory)
		after, err := m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		require.Len(t, after.Devices, 3)
		assert.False(t, after.Devices[0].Present)
		assert.Equal(t, gone.UUID, after.Devices[0].UUID)
		assert.Equal(t, market.DefaultPrice, after.Devices[0].Price, "it keeps its price for the day when it comes back")
		assert.Equal(t, before.Devices[1].ID, after.Devices[1].ID)
		assert.Equal(t, hosts.Canonical("NVIDIA GeForce RTX 3090"), after.Devices[2].Model)
		assert.False(t, after.Devices[2].Listed)
		assert.NotEqual(t, after.Devices[0].ID, after.Devices[2].ID)
		found, err := m.Hosts.Market(t.Context(), hosts.Search{Limit: 10})
		require.NoError(t, err)
		require.Len(t, found.Offers, 1)
		assert.Equal(t, 1, found.Offers[0].GPUs)
		assert.Equal(t, int64(8000), found.Offers[0].CPUMilliPerGPU, "two slots share the machine")
	})
}

func TestAHostThatGoesSilentLeavesTheMarketAndMayComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		offers := func() int {
			found, err := m.Hosts.Market(t.Context(), hosts.Search{Limit: 10})
			require.NoError(t, err)
			return len(found.Offers)
		}
		pass(10 * time.Minute)
		assert.Equal(t, 1, offers())
		h.Silence()
		pass(50 * time.Second)
		assert.Equal(t, 1, offers())
		pass(25 * time.Second)
		assert.Zero(t, offers())

		// The connection was cut and is whole again: the same session goes on.
		m.Hosts.Heartbeat(h.Session, nil)
		pass(15 * time.Second)
		assert.Equal(t, 1, offers())
		e, err := m.Jobs.Estimate(t.Context(), domain.Actor{}, market.Spec())
		require.NoError(t, err)
		assert.NotNil(t, e.Choice, "the match knows it too")
		intervals, err := m.Store.Presences().Intervals(t.Context(), h.ID, time.Time{})
		require.NoError(t, err)
		assert.Len(t, intervals, 2)
		h.Disconnect()
		assert.Zero(t, offers())
	})
}

func TestTimeOnlineIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob := m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		pass(6 * time.Hour)
		h.Disconnect()
		pass(6 * time.Hour)
		h.Connect()
		pass(6 * time.Hour)
		h.Silence()
		pass(30 * time.Hour)
		v, err := m.Hosts.MarketHost(t.Context(), h.ID)
		require.NoError(t, err)
		require.Len(t, v.Days, 2)
		assert.Equal(t, 24*time.Hour, v.Days[0].Of)
		assert.Equal(t, 12*time.Hour, v.Days[0].Online.Round(time.Minute), "the interval ends with the last sign of life")
		assert.Zero(t, v.Days[1].Online)
		assert.Equal(t, "bob", v.OwnerHandle)
		assert.InDelta(t, 0.25, hosts.Share(v.Days), 0.001)
	})
}

func TestARestartOfTheServerDoesNotEndTimeOnline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		h := m.Host(m.Person("bob", 0), market.Machine{})
		pass(time.Hour)
		m.Down(20 * time.Second)
		pass(10 * time.Second)
		found, err := m.Hosts.Market(t.Context(), hosts.Search{Limit: 10})
		require.NoError(t, err)
		assert.Len(t, found.Offers, 1, "it was heard of a moment ago")
		h.Connect()
		pass(time.Hour)
		heard, err := m.Hosts.Heard(t.Context(), h.ID, domain.ID{1})
		require.NoError(t, err)
		assert.Len(t, heard, 1)
		assert.Less(t, m.Clock.Now().Sub(heard[h.ID]), 15*time.Second)
	})
}

func TestAnAttemptIsJudgedOnceAndOnlyItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 100*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		spec := market.Spec()
		spec.Needs.MaxPrice = market.DefaultPrice
		spec.Limits.MaxWait = time.Hour
		record := func() (ok, runs int64) {
			s, err := m.Store.Hosts().Get(t.Context(), h.ID, domain.ID{})
			require.NoError(t, err)
			return s.Succeeded, s.Runs
		}
		judged := func(ok, runs int64, why string) {
			gotOK, gotRuns := record()
			assert.Equal(t, [2]int64{ok, runs}, [2]int64{gotOK, gotRuns}, why)
		}
		m.Submit(ada, spec)
		h.Take().Run(0, time.Second)
		synctest.Wait()
		judged(1, 1, "a success")
		m.Submit(ada, spec)
		h.Take().Run(1, time.Second)
		synctest.Wait()
		judged(2, 2, "a failing command is no fault of the host")
		for _, e := range m.Bus.Seen() {
			require.NoError(t, m.Bus.Publish(t.Context(), e))
		}
		judged(2, 2, "events may come twice")
		m.Submit(ada, spec)
		a := h.Take()
		a.Start()
		h.Silence()
		pass(7 * time.Minute)
		judged(2, 3, "a lost job is")
		pass(time.Hour)
		assert.Equal(t, "expired", string(m.Job(a.Job).Reason))
		judged(2, 3, "that it expired later is nobody's doing")
	})
}

func TestAHostsFetchesMeasureItsLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		h := m.Host(m.Person("bob", 0), market.Machine{})
		run := func(fetched int64, took time.Duration, code int) int64 {
			m.Submit(ada, market.Spec())
			a := h.Take()
			a.Fetched, a.FetchTook = fetched, took
			a.Run(code, time.Second)
			synctest.Wait()
			s, err := m.Store.Hosts().Get(t.Context(), h.ID, domain.ID{})
			require.NoError(t, err)
			return s.BandwidthMbps
		}
		assert.Zero(t, run(1000, time.Second, 0), "too small to tell")
		assert.EqualValues(t, 80, run(10_000_000, time.Second, 1), "a command that fails was fetched as well")
		assert.EqualValues(t, 260, run(100_000_000, time.Second, 0))
		for _, e := range m.Bus.Seen() {
			require.NoError(t, m.Bus.Publish(t.Context(), e))
		}
		assert.EqualValues(t, 260, run(0, 0, 0), "what comes twice counts once")
	})
}
