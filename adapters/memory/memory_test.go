package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// What every adapter promises is tested in tests/contract. Here is what this one adds:
// in a bubble of testing/synctest time is exact, and takes none.

func TestALeaseOfNinetySecondsExpiresInNoTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{Clock: system.Clock{}, IDs: system.IDs{}})
		host, device := system.IDs{}.New(), system.IDs{}.New()
		j, err := jobs.New(jobs.Draft{ID: system.IDs{}.New(), Spec: jobs.Spec{Command: []string{"true"}}}, time.Now())
		require.NoError(t, err)
		require.NoError(t, j.Enqueue(1_000_000, time.Now()))
		require.NoError(t, j.Lease(jobs.Lease{Host: host, Devices: []jobs.Device{{ID: device}}}, time.Now()))
		id := j.Snapshot().ID
		require.NoError(t, s.Jobs().Add(t.Context(), j))
		go func() {
			<-time.After(90 * time.Second)
			_, err := s.Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
				return j.Lose(1, jobs.ReasonHostLost, "", time.Now())
			})
			assert.NoError(t, err)
		}()
		<-s.Outbox().Wake() // of the add
		leased := time.Now()
		<-s.Outbox().Wake()
		synctest.Wait()
		assert.Equal(t, 90*time.Second, time.Since(leased))
		after, err := s.Jobs().Get(t.Context(), id, domain.ID{})
		require.NoError(t, err)
		assert.Equal(t, jobs.Queued, after.State)
		assert.Equal(t, domain.Time(time.Now()), after.QueuedAt)
	})
}

func TestTheLimitSlides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, limit := memory.NewLimiter(system.Clock{}), ports.Limit{Times: 2, Per: time.Minute}
		allow := func(key string) (time.Duration, bool) {
			wait, ok, err := l.Allow(t.Context(), key, limit)
			require.NoError(t, err)
			return wait, ok
		}
		_, ok := allow("a")
		require.True(t, ok)
		time.Sleep(20 * time.Second)
		_, ok = allow("a")
		require.True(t, ok)
		wait, ok := allow("a")
		require.False(t, ok)
		require.Equal(t, 40*time.Second, wait)
		time.Sleep(wait - time.Microsecond)
		wait, ok = allow("a")
		require.False(t, ok)
		require.Equal(t, time.Microsecond, wait)
		time.Sleep(wait)
		_, ok = allow("a")
		require.True(t, ok, "the first use has left the window")
		wait, ok = allow("a")
		require.False(t, ok)
		require.Equal(t, 20*time.Second, wait, "the second has not")

		none := ports.Limit{Per: time.Minute}
		wait, ok, err := l.Allow(t.Context(), "b", none)
		require.NoError(t, err)
		assert.False(t, ok)
		assert.Equal(t, time.Minute, wait)
	})
}

// Whoever makes up keys must not fill the memory, nor cost the others their limit.
func TestKeysOutOfUseAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, limit := memory.NewLimiter(system.Clock{}), ports.Limit{Times: 1, Per: time.Hour}
		short := ports.Limit{Times: 1, Per: time.Second}
		_, ok, err := l.Allow(t.Context(), "kept", limit)
		require.NoError(t, err)
		require.True(t, ok)
		for i := range 100_000 {
			if i%1000 == 0 {
				time.Sleep(time.Second)
			}
			_, ok, err := l.Allow(t.Context(), fmt.Sprint("made up ", i), short)
			require.NoError(t, err)
			require.True(t, ok)
		}
		assert.Less(t, l.Keys(), 5000)
		_, ok, err = l.Allow(t.Context(), "kept", limit)
		require.NoError(t, err)
		assert.False(t, ok)
	})
}

func TestWorkThatReturnsEarlyIsStartedAgainAfterASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := memory.NewLeader()
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		var runs []time.Duration
		began := time.Now()
		require.NoError(t, l.Lead(ctx, "work", func(context.Context) error {
			runs = append(runs, time.Since(began))
			return errors.New("it failed")
		}))
		assert.Equal(t, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}, runs)
	})
}

// A log line that a hundred watch is one line in memory.
func TestViewersShareTheBytes(t *testing.T) {
	t.Parallel()
	l, data := memory.NewLive(), []byte("epoch 1")
	var all []<-chan []byte
	for range 100 {
		messages, cancel := l.Subscribe("job")
		t.Cleanup(cancel)
		all = append(all, messages)
	}
	l.Publish("job", data)
	for _, messages := range all {
		got := <-messages
		assert.Same(t, &data[0], &got[0])
	}
}

func TestTheNewsOfALossComesWhereTheLossWas(t *testing.T) {
	t.Parallel()
	l := memory.NewLive()
	messages, cancel := l.Subscribe("job")
	data := []byte("x")
	for range 1000 {
		l.Publish("job", data)
	}
	cancel() // what is in the channel can be read still
	var got []bool
	for m := range messages {
		got = append(got, m != nil)
	}
	require.NotEmpty(t, got)
	assert.False(t, got[len(got)-1], "told at the end, without waiting for the next message")
	assert.NotContains(t, got[:len(got)-1], false, "and once")
}

func BenchmarkLive(b *testing.B) {
	for _, viewers := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprint(viewers, " viewers"), func(b *testing.B) {
			l, data := memory.NewLive(), make([]byte, 1024)
			for range viewers {
				messages, cancel := l.Subscribe("job")
				defer cancel()
				go func() {
					for open := true; open; {
						_, open = <-messages
					}
				}()
			}
			b.ReportAllocs()
			for b.Loop() {
				l.Publish("job", data)
			}
		})
	}
}
