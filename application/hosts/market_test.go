package hosts_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// search searches for everything that fits on one page.
func search(t market.T, m *market.Market, q hosts.Search) hosts.Found {
	t.Helper()
	q.Limit = max(q.Limit, 1000)
	f, err := m.Hosts.Market(t.Context(), q)
	require.NoError(t, err)
	return f
}

// names lists the hosts that were found.
func names(f hosts.Found) (list []string) {
	for _, o := range f.Offers {
		list = append(list, o.Host.Name)
	}
	return list
}

// town is a market of four hosts.
func town(t *testing.T) (*market.Market, map[string]*market.Host) {
	t.Helper()
	m := market.Open(t, market.Options{})
	bob := m.Person("bob", 0)
	all := map[string]*market.Host{}
	for _, x := range []market.Machine{
		{Name: "attic", Price: 300_000, Region: "eu-de", Tags: []string{"quiet", "green"}},
		{Name: "barn", Price: 200_000, Region: "eu-fr", Tags: []string{"green"}, Model: "NVIDIA GeForce RTX 3090", GPUs: 2},
		{Name: "cellar", Price: 400_000, Region: "us-ca", Isolation: "gvisor", Model: "NVIDIA H100 80GB HBM3"},
		{Name: "den", Price: 100_000, Isolation: "process", Model: "Frobnicator 9"},
	} {
		all[x.Name] = m.Host(bob, x)
	}
	m.Host(bob, market.Machine{Name: "unlisted", Unlisted: true})
	m.Host(bob, market.Machine{Name: "away", Away: true})
	return m, all
}

func TestOffersAreFiltered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, all := town(t)
		ada := m.Person("ada", 10*market.Dollar)
		cent30 := domain.Micros(300_000)
		for want, q := range map[string]hosts.Search{
			"den barn attic cellar": {},
			"attic":                 {Models: []string{"rtx 4090"}},
			"barn attic":            {Models: []string{"RTX 4090", "NVIDIA GeForce RTX 3090"}},
			"barn cellar":           {Regions: []string{"us-ca", "eu-fr"}},
			"barn  attic":           {Tags: []string{"green"}},
			" attic":                {Tags: []string{"green", "quiet"}},
			"attic ":                {Words: []string{"4090", "EU-"}},
			"  attic":               {Words: []string{"Quiet"}},
			"den":                   {Words: []string{"frob"}},
			"barn":                  {MinGPUs: 2},
			"cellar":                {MinVRAMMB: 24_564, Isolation: "gvisor"},
			"   ":                   {MinVRAMMB: 24_565},
			"barn attic cellar":     {Isolation: "container"},
			"den barn attic":        {MaxPrice: &cent30},
			"attic cellar":          {MinPrice: 300_000},
			"":                      {Verified: true},
		} {
			assert.Equal(t, strings.Fields(want), append([]string{}, names(search(t, m, q))...), "%+v", q)
		}

		// What is taken is not free.
		spec := market.Spec()
		spec.HostPin = all["barn"].ID
		m.Submit(ada, spec)
		assert.Empty(t, search(t, m, hosts.Search{MinGPUs: 2}).Offers)
		barn := search(t, m, hosts.Search{Words: []string{"barn"}}).Offers[0]
		assert.Equal(t, 2, barn.GPUs)
		assert.Equal(t, 1, barn.Free)
	})
}

func TestFacetsCountWhatAChoiceWouldGive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _ := town(t)
		f := search(t, m, hosts.Search{Regions: []string{"eu-de", "eu-fr"}, Isolation: "container"}).Facets
		assert.Equal(t, []hosts.Count{{Value: "eu-de", Count: 1}, {Value: "eu-fr", Count: 1}, {Value: "us-ca", Count: 1}}, f.Regions, "its own filter does not count")
		assert.Len(t, f.Models, 2)
		assert.Equal(t, []hosts.Count{{Value: "green", Count: 2}, {Value: "quiet", Count: 1}}, f.Tags)
		assert.Equal(t, []hosts.Count{{Value: "none", Count: 2}, {Value: "process", Count: 2}, {Value: "container", Count: 2}}, f.Isolations)
		assert.Equal(t, []hosts.Count{{Value: "false", Count: 2}, {Value: "true", Count: 0}}, f.Verified)
		assert.Equal(t, domain.Micros(200_000), *f.MinPrice)
		assert.Equal(t, domain.Micros(300_000), *f.MaxPrice)
	})
}

func TestOffersAreSorted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _ := town(t)
		assert.Equal(t, []string{"den", "barn", "attic", "cellar"}, names(search(t, m, hosts.Search{Sort: hosts.ByPrice})))
		assert.Equal(t, "cellar", names(search(t, m, hosts.Search{Sort: hosts.ByPerformance}))[0])
		dollar := search(t, m, hosts.Search{Sort: hosts.ByPerDollar}).Offers
		assert.True(t, slices.IsSortedFunc(dollar, func(a, b hosts.Offer) int { return cmp.Compare(b.PerDollar, a.PerDollar) }))
		assert.Zero(t, dollar[3].TFLOPS, "what is not in the catalogue comes last")
	})
}

func TestPagesTogetherAreTheWholeList(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			m := market.Open(rt, market.Options{})
			bob := m.Person("bob", 0)
			models := []string{"NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090", "Frobnicator 9"}
			for i := range rapid.IntRange(0, 12).Draw(rt, "hosts") {
				m.Host(bob, market.Machine{
					Name: fmt.Sprint("box", i), GPUs: rapid.IntRange(1, 3).Draw(rt, "gpus"), Model: rapid.SampledFrom(models).Draw(rt, "model"),
					Price: domain.Micros(rapid.IntRange(1, 3).Draw(rt, "price")) * 100_000,
				})
			}
			q := hosts.Search{Sort: rapid.SampledFrom([]hosts.Sort{hosts.ByPrice, hosts.ByPerformance, hosts.ByPerDollar, hosts.ByReliability}).Draw(rt, "sort")}
			whole := search(rt, m, q)
			require.Equal(rt, len(whole.Offers), whole.Total)
			require.Empty(rt, whole.Next.Key)
			var paged []string
			q.Limit = rapid.IntRange(1, 5).Draw(rt, "limit")
			for {
				f, err := m.Hosts.Market(rt.Context(), q)
				require.NoError(rt, err)
				require.LessOrEqual(rt, len(f.Offers), q.Limit)
				require.Equal(rt, whole.Total, f.Total)
				for _, o := range f.Offers {
					paged = append(paged, o.Key())
				}
				if q.After = f.Next; q.After.Key == "" {
					break
				}
				require.Len(rt, f.Offers, q.Limit, "a page that is not the last is full")
			}
			var all []string
			for _, o := range whole.Offers {
				all = append(all, o.Key())
			}
			require.Equal(rt, all, paged)
		})
	})
}

func TestOwnersChangeTheirHosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		bob, eve, root := m.Person("bob", 0), m.Person("eve", 0), m.Admin("root")
		h := m.Host(bob, market.Machine{GPUs: 2, Unlisted: true})
		listed, price, high, name := true, domain.Micros(5), domainhosts.HighestPrice+1, "attic"
		change := func(who domain.Actor, c hosts.Change) error {
			_, err := m.Hosts.Update(t.Context(), who, h.ID, c)
			return err
		}
		assert.Equal(t, "price_missing", domain.CodeOf(change(bob, hosts.Change{Listed: &listed})))
		assert.Equal(t, "invalid_price", domain.CodeOf(change(bob, hosts.Change{Price: &high})))
		assert.Equal(t, domain.KindNotFound, domain.KindOf(change(eve, hosts.Change{Price: &price})))
		require.NoError(t, change(bob, hosts.Change{Details: domainhosts.Details{Name: &name}, Price: &price, Listed: &listed}))
		assert.Equal(t, []string{"attic"}, names(search(t, m, hosts.Search{})))
		require.NoError(t, change(root, hosts.Change{Price: &price}), "an admin may")

		v, err := m.Hosts.Get(t.Context(), bob, h.ID)
		require.NoError(t, err)
		dear, off := domain.Micros(9), false
		_, err = m.Hosts.UpdateDevice(t.Context(), bob, h.ID, v.Devices[0].ID, &dear, nil)
		require.NoError(t, err)
		assert.Len(t, search(t, m, hosts.Search{}).Offers, 2, "one host, two prices")
		_, err = m.Hosts.UpdateDevice(t.Context(), bob, h.ID, v.Devices[0].ID, nil, &off)
		require.NoError(t, err)
		assert.Len(t, search(t, m, hosts.Search{}).Offers, 1)
		_, err = m.Hosts.UpdateDevice(t.Context(), bob, h.ID, domain.ID{1}, &dear, nil)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))

		_, err = m.Hosts.Get(t.Context(), eve, h.ID)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
		assert.Equal(t, domain.KindNotFound, domain.KindOf(m.Hosts.Retire(t.Context(), eve, h.ID)))
		require.NoError(t, m.Hosts.Retire(t.Context(), bob, h.ID))
		assert.Empty(t, search(t, m, hosts.Search{}).Offers)
		_, err = m.Hosts.MarketHost(t.Context(), h.ID)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
	})
}

func TestAPriceChangeDoesNotTouchARunningJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada, bob := m.Person("ada", 10*market.Dollar), m.Person("bob", 0)
		h := m.Host(bob, market.Machine{})
		j := m.Submit(ada, market.Spec())
		a := h.Take()
		h.Offer(9 * market.DefaultPrice)
		a.Run(0, 10*time.Second)
		assert.Equal(t, domain.Micros(1000), m.Job(j.ID).Cost())
	})
}
