package jobs_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// viewer follows a log, and can fall behind.
type viewer struct {
	begin, next int64
	mu          sync.Mutex // guards got, which is looked at while it grows
	got         []byte
	broken      error
	slow        time.Duration
	attempt     int
	stop        context.CancelFunc
	done        chan struct{}
	err         error
}

// follow watches an attempt from an offset; 0 is the latest.
func follow(t market.T, m *market.Market, who domain.Actor, job domain.ID, attempt int, from int64, slow time.Duration) *viewer {
	t.Helper()
	return (&viewer{begin: from, next: from, slow: slow}).open(t, m, who, job, attempt)
}

// open connects a viewer, who goes on where it was.
func (v *viewer) open(t market.T, m *market.Market, who domain.Actor, job domain.ID, attempt int) *viewer {
	t.Helper()
	v.done = make(chan struct{})
	log, err := m.Jobs.OpenLog(t.Context(), who, job, attempt)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	v.stop = stop
	go func() {
		defer close(v.done)
		v.err = log.Follow(ctx, who, v.next, v.emit)
		v.attempt = log.Attempt
	}()
	return v
}

// close breaks the connection.
func (v *viewer) close() {
	v.stop()
	<-v.done
}

func (v *viewer) emit(batch []byte) error {
	offset, _, data := jobs.DecodeBatch(batch)
	if offset != v.next && v.broken == nil {
		v.broken = fmt.Errorf("bytes from %d came where %d were due", offset, v.next)
	}
	v.mu.Lock()
	v.got = append(v.got, data...)
	v.mu.Unlock()
	v.next = offset + int64(len(data))
	time.Sleep(v.slow)
	return nil
}

// seen is what it has seen so far.
func (v *viewer) seen() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return string(v.got)
}

func (v *viewer) check(t market.T, whole []byte) {
	t.Helper()
	<-v.done
	require.NoError(t, v.err)
	require.NoError(t, v.broken)
	require.True(t, bytes.Equal(whole[v.begin:], v.got), "it saw %d of %d bytes", len(v.got), len(whole)-int(v.begin))
}

func TestOnlyWhatComesWhileOneFollowsHasATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		a.Print("before\n")
		pass(time.Second)
		log, err := m.Jobs.OpenLog(t.Context(), ada, a.Job, 0)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		times := map[string]time.Time{}
		done := make(chan error)
		go func() {
			done <- log.Follow(ctx, ada, 0, func(batch []byte) error {
				_, at, data := jobs.DecodeBatch(batch)
				times[string(data)] = at
				return nil
			})
		}()
		pass(time.Second)
		printed := time.Now().UTC()
		a.Print("live\n")
		pass(time.Second)
		stop()
		require.ErrorIs(t, <-done, context.Canceled)
		assert.Equal(t, map[string]time.Time{"before\n": {}, "live\n": printed}, times)
	})
}

func TestEverybodyWhoFollowsSeesTheWholeLogOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// A bubble has no deadline, and rapid asks for it.
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			m, ada, a := started(rt, market.Options{})
			var viewers []*viewer
			watch := func(from int64) {
				slow := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 30}).Draw(rt, "slow")) * time.Millisecond
				viewers = append(viewers, follow(rt, m, ada, a.Job, 1, from, slow))
			}
			// resend sends what is not durable, cut in another way than before.
			resend := func(piece int64) {
				for {
					size, err := m.Store.Logs().Size(rt.Context(), a.Job, 1)
					require.NoError(rt, err)
					if size == int64(len(a.Bytes)) {
						return
					}
					require.NoError(rt, a.Send(size, a.Bytes[size:min(size+piece, int64(len(a.Bytes)))], func(jobs.Position) {}))
					pass(150 * time.Millisecond)
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"print": func(rt *rapid.T) {
					a.Print(strings.Repeat(string(rune('a'+len(a.Bytes)%26)), rapid.IntRange(1, 3000).Draw(rt, "bytes")))
				},
				"chatter": func(*rapid.T) { // more than a live channel holds
					for i := range 300 {
						a.Print(fmt.Sprintf("%d\n", i))
					}
				},
				"wait": func(rt *rapid.T) { pass(time.Duration(rapid.IntRange(0, 250).Draw(rt, "ms")) * time.Millisecond) },
				"watch": func(rt *rapid.T) {
					if len(viewers) < 6 {
						watch(int64(rapid.IntRange(0, len(a.Bytes)).Draw(rt, "from")))
					}
				},
				"reconnect": func(rt *rapid.T) {
					if len(viewers) > 0 {
						viewers[0].close()
						viewers[0].open(rt, m, ada, a.Job, 1)
					}
				},
				"restart": func(rt *rapid.T) { // viewers may have seen more than is durable
					synctest.Wait()
					for _, v := range viewers {
						v.close()
					}
					m.Restart()
					for _, v := range viewers {
						v.open(rt, m, ada, a.Job, 1)
					}
					a.Host.Connect()
					resend(int64(rapid.IntRange(100, 5000).Draw(rt, "piece")))
				},
			})
			a.Exit(0)
			a.Finish()
			watch(0)
			synctest.Wait()
			watch(0)
			for _, v := range viewers {
				v.check(rt, a.Bytes)
			}
		})
	})
}

func TestAViewerMayComeBeforeTheFirstAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		j := m.Submit(ada, patient())
		early := follow(t, m, ada, j.ID, 0, 0, 0)
		synctest.Wait()
		h := m.Host(m.Person("bob", 0), market.Machine{})
		a := h.Take()
		a.Run(0, time.Second)
		early.check(t, []byte("hello\n"))
		assert.Equal(t, 1, early.attempt)
	})
}

func TestAViewerMayBeAheadOfTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// It saw what a server that was killed had not stored.
		m, ada, a := started(t, market.Options{})
		v := follow(t, m, ada, a.Job, 1, 6, 0)
		synctest.Wait()
		a.Print("hello")
		a.Print(" world\n")
		a.Exit(0)
		a.Finish()
		v.check(t, []byte("hello world\n"))
		assert.Equal(t, "world\n", string(v.got))
	})
}

func TestAViewerOfAJobThatNeverRanIsNotLeftWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := market.Open(t, market.Options{})
		ada := m.Person("ada", 100*market.Dollar)
		j := m.Submit(ada, patient())
		v := follow(t, m, ada, j.ID, 0, 0, 0)
		synctest.Wait()
		_, err := m.Jobs.Cancel(t.Context(), ada, j.ID)
		require.NoError(t, err)
		v.check(t, nil)
		_, err = m.Jobs.LogLink(t.Context(), ada, j.ID, 0)
		assert.Equal(t, "log_not_complete", domain.CodeOf(err))
		_, err = m.Jobs.OpenLog(t.Context(), ada, j.ID, 1)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
	})
}

func TestEachAttemptHasItsOwnLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		other := m.Host(a.Host.Owner, market.Machine{Price: 2 * market.DefaultPrice})
		v := follow(t, m, ada, a.Job, 0, 0, 0)
		a.Print("first try\n")
		pass(time.Second)
		require.NoError(t, m.Jobs.Lost(t.Context(), a.Host.Actor, a.Ref, domainjobs.ReasonHostReclaimed, ""))
		v.check(t, []byte("first try\n"))
		synctest.Wait()
		b := other.Take()
		b.Run(0, time.Second)
		synctest.Wait()
		assert.Equal(t, "hello\n", readLog(t, m, ada, a.Job))
		first, err := m.Jobs.OpenLog(t.Context(), ada, a.Job, 1)
		require.NoError(t, err)
		assert.Equal(t, int64(10), first.Size)
		assert.True(t, first.Over)
		data, err := first.Read(t.Context(), 6)
		require.NoError(t, err)
		assert.Equal(t, "try\n", string(data))
		for _, beyond := range []int64{10, 11, 1000} {
			data, err = first.Read(t.Context(), beyond)
			require.NoError(t, err)
			assert.Empty(t, data)
		}
	})
}

func TestALogLinkWaitsForTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		_, err := m.Jobs.LogLink(t.Context(), ada, a.Job, 1)
		assert.Equal(t, "log_not_complete", domain.CodeOf(err))
		m.Bus.Lose(func(domain.Event) bool { return true })
		a.Print("whole\n")
		a.Exit(0)
		a.Finish()
		link, err := m.Jobs.LogLink(t.Context(), ada, a.Job, 1)
		require.NoError(t, err, "although nobody has archived it yet")
		_, body := m.Send(link, nil)
		assert.Equal(t, "whole\n", string(body))
	})
}

// A viewer at another replica begins after bytes were shown and before they are stored.
func TestAViewerElsewhereSeesWhatWasShownBeforeItBeganAndStoredAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		a.Print("one\n")
		log, err := jobs.New(m.Jobs.Deps, m.Jobs.Settings()).OpenLog(t.Context(), ada, a.Job, 0)
		require.NoError(t, err)
		v := &viewer{done: make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		v.stop = stop
		go func() {
			defer close(v.done)
			_ = log.Follow(ctx, ada, 0, v.emit)
		}()
		synctest.Wait()
		require.Empty(t, v.seen(), "it cannot know")
		pass(time.Second)
		v.close()
		assert.Equal(t, "one\n", string(v.got))
	})
}
