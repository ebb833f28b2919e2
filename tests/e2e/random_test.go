//go:build faults

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/faults"
	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

// number reads a variable of `make test-faults` and `make soak`.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(value, 10, 64)
	require.NoError(t, err, name)
	return n
}

// seed is SEED, or a new one; either is printed, so that a run can be had again.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := number(t, "SEED", uint64(time.Now().UnixNano())%1_000_000)
	fmt.Printf("%s: SEED=%d\n", t.Name(), s)
	return s
}

func TestARandomCrashIsSurvived(t *testing.T) {
	t.Parallel()
	base, all := seed(t), slices.Concat(faults.Server, faults.Agent)
	for i := range number(t, "RUNS", uint64(len(all))) {
		s := base + i
		r := rand.New(rand.NewPCG(s, 2))
		point, action := all[s%uint64(len(all))], "kill" // by the seed alone, and in turn
		if r.IntN(5) == 0 {
			action = []string{"err", "panic", "delay:300ms"}[r.IntN(3)]
		}
		nth := 1
		if point != "migrate.mid" { // it is passed five times, and the others perhaps once
			nth += r.IntN(2) * r.IntN(2)
		}
		action += fmt.Sprintf("@%d", nth)
		name := slices.Sorted(maps.Keys(profiles))[r.IntN(2)]
		t.Run(fmt.Sprintf("SEED=%d %s=%s on %s", s, point, action, name), func(t *testing.T) {
			t.Parallel()
			first := ""
			if point == "migrate.mid" {
				first = point + "=" + action
			}
			f := NewFaulty(t, profiles[name](t), "simulated", 1, first)
			f.Provoke(point, action, s)
			f.Rest()
			assert.True(t, nth > 1 || f.reached(0, point), "nobody came there")
		})
	}
}

// A fault is done to a cluster with a link between the server and the agent box, and ends
// before it returns.
type fault func(c *Cluster, l *Link, r *rand.Rand)

// faultsOfAll are those that need no crash point: of the network, of programs that stop or
// are killed at any moment.
var faultsOfAll = map[string]fault{
	"a partition": func(_ *Cluster, l *Link, r *rand.Rand) {
		l.Cut()
		within(r, 2*5*lease)
		l.Heal()
	},
	"a reset": func(_ *Cluster, l *Link, r *rand.Rand) {
		l.Disturb("upstream", "reset_peer", map[string]any{"timeout": 0})
		within(r, lease)
		l.Heal()
	},
	"a frame that breaks off": func(_ *Cluster, l *Link, r *rand.Rand) {
		l.Disturb([]string{"upstream", "downstream"}[r.IntN(2)], "limit_data", map[string]any{"bytes": 100 + r.IntN(5000)})
		within(r, lease)
		l.Heal()
	},
	"a slow link": func(_ *Cluster, l *Link, r *rand.Rand) {
		for _, direction := range []string{"upstream", "downstream"} {
			l.Disturb(direction, "latency", map[string]any{"latency": r.IntN(300), "jitter": 100})
			l.Disturb(direction, "slicer", map[string]any{"average_size": 1 + r.IntN(50), "size_variation": 1, "delay": 100})
		}
		within(r, 5*lease)
		l.Heal()
	},
	"an agent that stands still": func(c *Cluster, _ *Link, r *rand.Rand) {
		box := c.agents["box"].Process
		require.NoError(c.t, box.Signal(syscall.SIGSTOP))
		within(r, 2*5*lease)
		require.NoError(c.t, box.Signal(syscall.SIGCONT))
	},
	"an agent that is killed": func(c *Cluster, _ *Link, r *rand.Rand) {
		c.KillAgent("box")
		within(r, lease)
		c.StartAgent("box")
	},
	"a server that is killed": func(c *Cluster, _ *Link, r *rand.Rand) {
		c.Kill()
		within(r, lease)
		c.Start()
	},
}

// within waits for a part of a time.
func within(r *rand.Rand, longest time.Duration) {
	<-time.After(time.Duration(r.Int64N(int64(longest))))
}

func TestARandomSeriesOfFaultsIsSurvived(t *testing.T) {
	t.Parallel()
	base, kinds := seed(t), slices.Sorted(maps.Keys(faultsOfAll))
	for i := range number(t, "RUNS", uint64(len(kinds))) {
		s := base + i
		r := rand.New(rand.NewPCG(s, 4))
		series := []string{kinds[s%uint64(len(kinds))]}
		for range 1 + r.IntN(3) {
			series = append(series, kinds[r.IntN(len(kinds))])
		}
		name := slices.Sorted(maps.Keys(profiles))[r.IntN(2)]
		t.Run(fmt.Sprintf("SEED=%d %s on %s", s, strings.Join(series, ", "), name), func(t *testing.T) {
			t.Parallel()
			c, u := market(t, profiles[name](t))
			link := c.Link()
			c.Agent(u, "box", "process", 1, plain("server: "+link.URL)...)
			w := c.Witness(u, oneGPU())
			w.runsNow(1)
			c.Agent(u, "spare", "process", 1, plain()...)
			for _, kind := range series {
				faultsOfAll[kind](c, link, r)
			}
			w.Release()
			if j := u.Await(w.id, job.over); j.State == "succeeded" {
				w.Whole()
			} else {
				assert.Equal(t, "failed", j.State)
				assert.Contains(t, []string{"host_lost", "agent_restarted", "host_error"}, j.Reason, "three times the host's fault")
				c.Sound(invariants.World{Acknowledged: []string{w.id}, Runs: w.Runs()})
			}
		})
	}
}

// inFlight is how many jobs run at once in a round of the soak.
const inFlight = 20

func TestJobsSurviveKillsOfBothSidesForHours(t *testing.T) {
	t.Parallel()
	length, err := time.ParseDuration(os.Getenv("SOAK"))
	require.NoError(t, err, "SOAK is how long, such as 1h")
	base, until := seed(t), time.Now().Add(length)
	for round := uint64(0); round == 0 || time.Now().Before(until); round++ {
		s := base + round
		r := rand.New(rand.NewPCG(s, 3))
		name := slices.Sorted(maps.Keys(profiles))[s%2]
		good := t.Run(fmt.Sprintf("SEED=%d on %s", s, name), func(t *testing.T) {
			f := NewFaulty(t, profiles[name](t), "simulated", inFlight/2, "")
			f.beginAgent("")
			for i := range uint64(inFlight) {
				f.Submit(f.Draft(s*1000 + i))
			}
			for range 6 {
				<-time.After(time.Duration(r.IntN(2000)) * time.Millisecond)
				if r.IntN(2) == 0 {
					f.Kill()
					f.begin("")
				} else {
					f.KillAgent("box")
					f.beginAgent("")
				}
			}
			f.Finish()
			f.Rest()
		})
		if !good {
			return
		}
	}
}
