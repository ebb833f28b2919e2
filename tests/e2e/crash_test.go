package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/invariants"
)

func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy tells every connection
	Main(m)
}

// job is what these tests read of a job.
type job struct {
	ID, State, Reason string
	Attempt           int
	CostMicros        int64     `json:"cost_micros"`
	QueuedAt          time.Time `json:"queued_at"` // the latest time
	Log               struct{ Bytes int64 }
	Phase             struct{ Name string }
}

func TestTheServerKilledWhileAJobRunsLosesNothing(t *testing.T) {
	t.Parallel()
	for name, profile := range profiles {
		t.Run("on "+name, func(t *testing.T) {
			t.Parallel()
			c := NewCluster(t, profile(t))
			c.Start()
			u := c.User("ada")
			u.Call(http.MethodPost, "/api/billing/top-ups", map[string]any{"amount_micros": 25_000_000}, nil)
			c.Agent(u, "box", "simulated", 1)

			var j job
			u.Call(http.MethodPost, "/api/jobs", map[string]any{
				"name": "crash", "command": []string{"simulate", "burst 3000", "wait 4s", "burst 3000", "write outputs/a 1000", "exit 0"},
				"needs": map[string]any{"gpus": 1}, "limits": map[string]any{"max_runtime_s": 60, "max_cost_micros": 1_000_000},
			}, &j)
			path := "/api/jobs/" + j.ID
			require.Eventually(t, func() bool {
				u.Call(http.MethodGet, path, nil, &j)
				return j.Log.Bytes > 0
			}, 15*time.Second, 20*time.Millisecond)

			c.Kill()
			c.Start()
			require.Eventually(t, func() bool {
				status, _ := u.Try(http.MethodGet, path, nil)
				if status != http.StatusOK {
					return false
				}
				u.Call(http.MethodGet, path, nil, &j)
				return j.State == "succeeded" || j.State == "failed" || j.State == "cancelled"
			}, 40*time.Second, 50*time.Millisecond)
			assert.Equal(t, "succeeded", j.State, j.Reason)
			assert.Equal(t, 1, j.Attempt, "the attempt went on")

			var want strings.Builder
			for range 2 {
				for i := 1; i <= 3000; i++ {
					fmt.Fprintf(&want, "line %d\n", i)
				}
			}
			status, log := u.Try(http.MethodGet, path+"/logs", nil)
			require.Equal(t, http.StatusOK, status)
			assert.Equal(t, want.String(), string(log), "the log is whole")

			var statement struct {
				State string
				Lines []struct {
					Kind      string
					Amount    int64     `json:"amount_micros"`
					CreatedAt time.Time `json:"created_at"`
				}
			}
			require.Eventually(t, func() bool {
				u.Call(http.MethodGet, path+"/statement", nil, &statement)
				return statement.State == "settled"
			}, 15*time.Second, 50*time.Millisecond)
			settled, sum := map[time.Time]int{}, int64(0)
			for _, l := range statement.Lines {
				sum += l.Amount
				if l.Kind == "settle" {
					settled[l.CreatedAt]++
				}
			}
			assert.Len(t, settled, 1, "one settlement: %+v", statement.Lines)
			assert.Zero(t, sum)
			assert.Positive(t, j.CostMicros)
			var account struct {
				Held    int64 `json:"held_micros"`
				Balance int64 `json:"balance_micros"`
				Pending int64 `json:"pending_micros"`
			}
			u.Call(http.MethodGet, "/api/billing/account", nil, &account)
			assert.Zero(t, account.Held)
			assert.Equal(t, 25_000_000-j.CostMicros, account.Balance)
			assert.Equal(t, j.CostMicros-j.CostMicros/10, account.Pending)
			printed := sha256.Sum256([]byte(want.String()))
			c.Sound(invariants.World{
				Acknowledged: []string{j.ID}, Logs: map[string]string{uuidOf(j.ID): hex.EncodeToString(printed[:])},
			})
			assert.Zero(t, c.Stop(), "the server stops cleanly")
		})
	}
}
