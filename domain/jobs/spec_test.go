package jobs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

func TestDefaultsFillInWhatTheRenterLeftOpen(t *testing.T) {
	t.Parallel()
	s := jobs.Spec{Command: []string{"python3", "train.py"}}.WithDefaults()
	require.NoError(t, s.Check())
	assert.Equal(t, "python3 train.py", s.Name)
	assert.Equal(t, 1, s.Needs.GPUs)
	assert.Equal(t, time.Hour, s.Limits.MaxRuntime)
	assert.Equal(t, jobs.NetworkNone, s.Network.Mode)
	assert.Equal(t, []string{"outputs/**"}, s.Outputs)
}

func TestANameCanBeSeen(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"digits ": "digits", "  ": "python3 train.py", "\u200b": "python3 train.py", "\u2800\u3164": "python3 train.py", "é": "é", "学习": "学习",
	} {
		s := jobs.Spec{Name: given, Command: []string{"python3", "train.py"}}.WithDefaults()
		require.NoError(t, s.Check())
		assert.Equal(t, want, s.Name, "%q", given)
	}
	assert.Equal(t, "unnamed", jobs.Spec{Command: []string{"\u200b"}}.WithDefaults().Name)
	turned := jobs.Spec{Name: "\u202e", Command: []string{"true"}}.WithDefaults()
	assert.Error(t, turned.Check(), "a name that turns the direction of writing is refused, not replaced")
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	t.Parallel()
	s := jobs.Spec{
		Name: strings.Repeat("x", 101), Command: []string{"a\x00b"},
		Env:     []jobs.EnvVar{{Name: "1X"}, {Name: "A"}, {Name: "A"}},
		Needs:   jobs.Needs{GPUs: 17, MemoryMB: -1, CPUMilli: -1},
		Network: jobs.Network{Mode: jobs.NetworkProxy},
		Limits:  jobs.Limits{MaxRuntime: time.Millisecond, MaxWait: 1000 * time.Hour, MaxCost: -1},
		Outputs: []string{"../x", "ok/**", "[a"}, Inputs: []jobs.Input{{Path: "/etc"}}, Checkpoint: "ckpt",
		Public: &jobs.Public{Name: "digits"}, Funding: jobs.FundingCard,
	}
	var e *domain.Error
	require.ErrorAs(t, s.Check(), &e)
	var pointers []string
	for _, f := range e.Fields {
		pointers = append(pointers, f.Pointer)
	}
	assert.Equal(t, []string{
		"/name", "/command/0", "/network/allow", "/needs/gpus", "/needs/cpus", "/needs/memory_mb",
		"/outputs/0", "/outputs/2",
		"/limits/max_runtime_s", "/limits/max_wait_s", "/limits/max_cost_micros", "/env/0/name", "/env/2/name",
		"/inputs", "/checkpoint", "/public", "/funding",
	}, pointers)
}

func TestLocalPathsStayBelowTheirFolder(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"a", "a/b", "./a", "a/../b", "outputs/**", "..a"} {
		assert.True(t, jobs.LocalPath(p), p)
	}
	for _, p := range []string{"", "/a", "..", "../a", "a/../../b", `a\b`, "a\x00", "\x1b[31m", "a\xff", "a\u202egpj.sh"} {
		assert.False(t, jobs.LocalPath(p), p)
	}
}

func TestAnImageOrANetworkNeedsAContainer(t *testing.T) {
	t.Parallel()
	plain := jobs.Spec{Needs: jobs.Needs{Isolation: jobs.IsolationProcess}}
	assert.Equal(t, jobs.IsolationProcess, plain.Demands().Isolation)
	for name, s := range map[string]jobs.Spec{
		"an image job":         {Source: jobs.Source{Kind: jobs.SourceImage, Image: "python:3.12"}},
		"a bundle in an image": {Image: "python:3.12"},
		"a proxied network":    {Network: jobs.Network{Mode: jobs.NetworkProxy}},
		"an open network":      {Network: jobs.Network{Mode: jobs.NetworkFull}, Needs: jobs.Needs{Isolation: jobs.IsolationProcess}},
	} {
		assert.Equal(t, jobs.IsolationContainer, s.Demands().Isolation, name)
	}
	strong := jobs.Spec{Image: "x", Needs: jobs.Needs{Isolation: jobs.IsolationGVisor}}
	assert.Equal(t, jobs.IsolationGVisor, strong.Demands().Isolation)
}
