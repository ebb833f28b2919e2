package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/faults"
)

// crash is a program that dies at a point: its own, or the server while its agent is
// held up at one.
type crash struct {
	server string // faults of the server
	agent  string // faults of the agent
	at     string // the agent's point at which the server is killed
}

func TestAJobSurvivesEitherProgramKilledAtAnyStage(t *testing.T) {
	t.Parallel()
	for stage, c := range map[string]crash{
		"the server while the bundle is fetched":  {agent: "fetch.mid=delay:500ms@3", at: "fetch.mid"},
		"the server while the command runs":       {server: "log.after_append_before_ack=kill@1"},
		"the server while results are uploaded":   {agent: "upload.mid_part=delay:500ms@1", at: "upload.mid_part"},
		"the server after the command has exited": {server: "finish.before_commit=kill@1"},
		"the agent while the bundle is fetched":   {agent: "fetch.mid=kill@3"},
		"the agent while the command runs":        {agent: "log.after_spool_before_send=kill@1"},
		"the agent while results are uploaded":    {agent: "upload.mid_part=kill@1"},
		"the agent after the command has exited":  {agent: "exit.after_persist_before_send=kill@1"},
	} {
		for name, profile := range profiles {
			t.Run(stage+", on "+name, func(t *testing.T) {
				t.Parallel()
				f := NewFaulty(t, profile(t), "process", 1, "")
				f.Kill()
				f.crash(c, f.Draft(1))
				f.Rest()
				assert.Equal(t, "succeeded", f.state(f.jobs[0]).State)
				assert.True(t, f.seen, "the job had processes")
				assert.Empty(t, f.processes(), "a process of the job is left")
				assert.Zero(t, f.Stop(), "the server stops cleanly")
				f.Swept()
			})
		}
	}
}

// crash runs a job while a program dies, and starts the program again.
func (f *Faulty) crash(c crash, s *submission) {
	f.t.Helper()
	f.begin(c.server)
	f.beginAgent(c.agent)
	agent := f.agents["box"]
	f.Submit(s)
	f.until("somebody dies", func() bool {
		if c.at != "" && f.reached(agent.Process.Pid, c.at) {
			f.Kill()
			f.begin("")
			return true
		}
		return f.revive()
	})
	f.Finish()
}

func TestANormalBuildHasNoCrashPoints(t *testing.T) {
	t.Parallel()
	normal, err := programs()
	require.NoError(t, err)
	faulty, err := faultyPrograms()
	require.NoError(t, err)
	for program, points := range map[string][]string{"peergpu": faults.Server, "peergpu-agent": faults.Agent} {
		for _, point := range points {
			assert.False(t, contains(t, filepath.Join(normal, program), point), "%s is in %s", point, program)
			assert.True(t, contains(t, filepath.Join(faulty, program), point), "%s is not in a faulty %s", point, program)
		}
	}
}

func contains(t *testing.T, file, text string) bool {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Contains(string(content), text)
}
