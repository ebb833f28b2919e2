package jobs_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// started opens a marketplace in which an attempt of ada's runs.
func started(t market.T, o market.Options) (m *market.Market, ada domain.Actor, a *market.Attempt) {
	t.Helper()
	m = market.Open(t, o)
	ada = m.Person("ada", 100*market.Dollar)
	h := m.Host(m.Person("bob", 0), market.Machine{})
	m.Submit(ada, patient())
	a = h.Take()
	a.Start()
	return m, ada, a
}

// answers collects what an agent is told about its log bytes.
type answers struct {
	mu   sync.Mutex
	list []jobs.Position
}

func (a *answers) add(p jobs.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, p)
}

// take gives what was answered since the last take.
func (a *answers) take() []jobs.Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	return list
}

func TestLogBytesAreTakenByOffset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		var got answers
		send := func(offset int64, text string) []jobs.Position {
			require.NoError(t, a.Send(offset, []byte(text), got.add))
			pass(200 * time.Millisecond)
			return got.take()
		}
		assert.Equal(t, []jobs.Position{{Offset: 5}}, send(0, "hello"))
		assert.Equal(t, []jobs.Position{{Offset: 5}}, send(0, "hello"), "a repeat")
		assert.Equal(t, []jobs.Position{{Offset: 5}}, send(1, "ell"), "part of a repeat")
		assert.Equal(t, []jobs.Position{{Offset: 11}}, send(3, "lo world"), "an overlap")
		assert.Equal(t, []jobs.Position{{Offset: 11, Rewind: true}}, send(20, "x"), "a gap")
		assert.Equal(t, []jobs.Position{{Offset: 12}}, send(11, "\n"))
		assert.Equal(t, "hello world\n", readLog(t, m, ada, a.Job))
		durable := make(chan struct{})
		require.NoError(t, a.Send(12, []byte("soon"), func(p jobs.Position) {
			defer close(durable)
			size, err := m.Store.Logs().Size(t.Context(), a.Job, 1)
			assert.NoError(t, err)
			assert.Equal(t, p.Offset, size, "it is acknowledged when it is durable")
		}))
		assert.Equal(t, "hello world\nsoon", readLog(t, m, ada, a.Job), "and shown before")
		<-durable
		require.NoError(t, a.Send(16, make([]byte, 300<<10), got.add))
		assert.Equal(t, []jobs.Position{{Offset: 16 + 300<<10}}, got.take(), "much is stored at once")
	})
}

func TestALogHasALimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, a := started(t, market.Options{Jobs: func(s *jobs.Settings) { s.LogBytes = 1000 }})
		var got answers
		require.NoError(t, a.Send(0, make([]byte, 200<<10), got.add), "the agent cuts; here is some room for its marker")
		err := a.Send(200<<10, make([]byte, 100<<10), got.add)
		assert.Equal(t, "log_limit", domain.CodeOf(err))
	})
}

func TestStorageThatFailsForAMomentLosesNoLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &faults{}
		m, ada, a := started(t, f.options())
		var got answers
		for name, fault := range map[string]*fault{"nothing stored": failing(down, 1), "stored all the same": stored()} {
			f.logs.Store(fault)
			for !assertWhole(a, &got) {
				pass(150 * time.Millisecond)
			}
			assert.Equal(t, string(a.Bytes), readLog(t, m, ada, a.Job), name)
		}
		a.Exit(0)
		a.Finish()
		assert.Equal(t, domainjobs.Succeeded, m.Job(a.Job).State)
	})
}

// assertWhole sends the log as an agent does, from where it is told, until all that is
// there is durable. The first call adds to the log.
func assertWhole(a *market.Attempt, got *answers) bool {
	from := int64(-1)
	for _, p := range got.take() {
		if p.Stale {
			panic("the host holds the attempt")
		}
		if from = p.Offset; !p.Rewind && from == int64(len(a.Bytes)) {
			return true
		}
	}
	if from < 0 {
		from = int64(len(a.Bytes))
		a.Bytes = fmt.Appendf(a.Bytes, "line %d\n", len(a.Bytes))
	}
	if err := a.Send(from, a.Bytes[from:], got.add); err != nil {
		panic(err)
	}
	return false
}

func TestAResultWaitsForItsWholeLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		a.Print("one\n")
		a.Exit(0)
		r := a.Result()
		r.LogBytes += 4
		var mismatch *jobs.LogMismatch
		require.ErrorAs(t, m.Jobs.Finished(t.Context(), a.Host.Actor, a.Ref, r), &mismatch)
		assert.Equal(t, int64(4), mismatch.Offset)
		assert.Equal(t, domainjobs.Running, m.Job(a.Job).State)
		a.Print("two\n")
		a.Finish()
		synctest.Wait()
		assert.Equal(t, domainjobs.Succeeded, m.Job(a.Job).State)
		assert.Equal(t, "one\ntwo\n", readLog(t, m, ada, a.Job))
	})
}

func TestALogThatIsNotTheOneThatWasSentFailsTheAttempt(t *testing.T) {
	for name, change := range map[string]func(*domainjobs.Result){
		"another sum":        func(r *domainjobs.Result) { r.LogSHA256 = strings.Repeat("0", 64) },
		"shorter than it is": func(r *domainjobs.Result) { r.LogBytes-- },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, _, a := started(t, market.Options{})
				a.Print("one\n")
				a.Host.Disconnect()
				a.Exit(0)
				r := a.Result()
				change(&r)
				require.NoError(t, m.Jobs.Finished(t.Context(), a.Host.Actor, a.Ref, r))
				synctest.Wait()
				j := m.Job(a.Job)
				assert.Equal(t, domainjobs.Queued, j.State)
				assert.Equal(t, domainjobs.ReasonUploadFailed, j.Attempts[0].Reason)
				assert.Zero(t, j.Cost())
			})
		})
	}
}

func TestALogGoesOnAfterARestartOfTheServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, ada, a := started(t, market.Options{})
		a.Print("one\n")
		pass(time.Second)
		a.Print("lost on the way\n")
		m.Restart()
		a.Host.Connect()
		resumes, err := m.Jobs.Reconcile(t.Context(), a.Host.Actor, []jobs.Held{{Ref: a.Ref}})
		require.NoError(t, err)
		from := resumes[0].LogOffset
		require.LessOrEqual(t, from, int64(len(a.Bytes)))
		require.NoError(t, a.Send(from, a.Bytes[from:], func(jobs.Position) {}))
		a.Print("two\n")
		a.Exit(0)
		a.Finish()
		synctest.Wait()
		assert.Equal(t, domainjobs.Succeeded, m.Job(a.Job).State, "its sum was made again from what is stored")
		assert.Equal(t, int64(3), m.Job(a.Job).Attempts[0].LogLines)
		assert.Equal(t, string(a.Bytes), readLog(t, m, ada, a.Job))
	})
}
