package bunstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/domain/jobs"
)

const patience = 20 * time.Second

// held keeps the lane of a key busy, so that what is submitted for it gathers, until
// release is called.
func held(t *testing.T, s *Store, key domain.ID) (release func()) {
	t.Helper()
	began, end := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		assert.NoError(t, s.commit(context.WithoutCancel(t.Context()), key, func(*tx) error {
			close(began)
			<-end
			return nil
		}))
	})
	<-began
	return sync.OnceFunc(func() {
		close(end)
		done.Wait()
	})
}

// gathered waits until n units wait in the lane of a key.
func gathered(t *testing.T, s *Store, key domain.ID, n int) {
	t.Helper()
	l := s.writer.lane(key)
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.queue) == n
	}, patience, time.Millisecond)
}

// together submits works for one key so that they share a transaction, in their order,
// and gives their errors.
func together(t *testing.T, s *Store, works ...func(*tx) error) []error {
	t.Helper()
	key := domain.ID{15: 3}
	release := held(t, s, key)
	defer release()
	errs := make([]error, len(works))
	var all sync.WaitGroup
	for i, work := range works {
		all.Go(func() { errs[i] = s.commit(t.Context(), key, work) })
		gathered(t, s, key, i+1)
	}
	release()
	all.Wait()
	return errs
}

func insertUser(email string) func(*tx) error {
	id := count.New()
	row := toUserRow(identity.Snapshot{ID: id, Email: email, Handle: id.String()})
	return func(t *tx) error { return t.later(t.store.write.NewInsert().Model(&row)) }
}

func emails(t *testing.T, s *Store) []string {
	t.Helper()
	return lines(t, s.read, "SELECT email FROM users ORDER BY email")
}

func TestOfUnitsThatShareATransactionOneFailsAlone(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		refused := domain.Conflict("refused", "")
		errs := together(t, s,
			insertUser("a"),
			func(t *tx) error { // fails after a part of its work was sent
				if err := insertUser("b")(t); err != nil {
					return err
				}
				if err := t.flush(); err != nil {
					return err
				}
				return refused
			},
			insertUser("c"),
			func(t *tx) error { // fails before anything was sent
				if err := insertUser("d")(t); err != nil {
					return err
				}
				return refused
			},
			insertUser("a"), // the database refuses it
			// A change may return anything, also what looks like a lost connection.
			func(*tx) error { return &changeError{context.DeadlineExceeded} },
			insertUser("e"),
		)
		taken := domain.Conflict("email_taken", "")
		for i, want := range []error{nil, refused, nil, refused, taken, context.DeadlineExceeded, nil} {
			assert.ErrorIs(t, errs[i], want)
		}
		assert.Equal(t, []string{"a", "c", "e"}, emails(t, s))
	})
}

func TestAPanicOfAChangeReachesItsCallerAlone(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		var caught any
		key := domain.ID{15: 3}
		release := held(t, s, key)
		defer release()
		var all sync.WaitGroup
		all.Go(func() {
			defer func() { caught = recover() }()
			_ = s.commit(t.Context(), key, func(*tx) error { panic("boom") })
		})
		all.Go(func() { assert.NoError(t, s.commit(t.Context(), key, insertUser("a"))) })
		gathered(t, s, key, 2)
		release()
		all.Wait()
		assert.Contains(t, fmt.Sprint(caught), "boom")
		assert.Equal(t, []string{"a"}, emails(t, s))
	})
}

// flaky makes the first failures of work look like a deadlock.
func flaky(s *Store, failures int, work func(*tx) error) func(*tx) error {
	d := *s.dialect
	transient := d.transient
	d.transient = func(err error) bool { return errors.Is(err, errDeadlock) || transient(err) }
	s.dialect = &d
	return func(t *tx) error {
		if err := work(t); err != nil {
			return err
		}
		if failures--; failures >= 0 {
			return errors.Join(t.flush(), errDeadlock)
		}
		return nil
	}
}

var errDeadlock = errors.New("deadlock")

func TestATransactionThatIsGivenUpIsRepeatedUnitByUnit(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		works := []func(*tx) error{insertUser("a"), flaky(s, 3, insertUser("b")), insertUser("a"), insertUser("c")}
		errs := together(t, s, works...)
		assert.NoError(t, errs[0])
		assert.NoError(t, errs[1])
		assert.ErrorIs(t, errs[2], domain.Conflict("email_taken", ""))
		assert.NoError(t, errs[3])
		assert.Equal(t, []string{"a", "b", "c"}, emails(t, s))
	})
}

func TestRepeatingEnds(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		err := s.commit(t.Context(), domain.ID{}, flaky(s, 10*maxTries, insertUser("a")))
		assert.Equal(t, domain.KindUnavailable, domain.KindOf(err), "%v", err)
		assert.Empty(t, emails(t, s))
	})
}

func TestACallThatIsCancelledWhileItWaitsHasNoEffect(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		id := addJob(t, s)
		release := held(t, s, id)
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := s.Jobs().Update(ctx, id, func(j *jobs.Job) error { return j.Cancel(jobs.ReasonCancelledByRenter, count.Now()) })
			left <- err
		}()
		gathered(t, s, id, 1)
		cancel()
		require.ErrorIs(t, <-left, context.Canceled)
		release()
		require.NoError(t, s.commit(t.Context(), id, func(*tx) error { return nil }), "what waited has had its turn")
		job, err := s.Jobs().Get(t.Context(), id, domain.ID{})
		require.NoError(t, err)
		assert.Equal(t, jobs.Queued, job.State)
	})
}

// overtaken changes a job and lets somebody else be faster each time the change has
// run outside the writer.
func overtaken(t *testing.T, s *Store, id domain.ID, change func(*jobs.Job) error) (runs int, err error) {
	t.Helper()
	_, err = s.Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
		if runs++; runs == 1 {
			faster := make(chan error)
			go func() {
				_, err := s.Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
					j.Measure([]byte("[]"))
					j.Record("tests.faster", id, count.Now(), nil)
					return nil
				})
				faster <- err
			}()
			require.NoError(t, <-faster)
		}
		return change(j)
	})
	return runs, err
}

func TestAChangeRunsAgainWhenSomebodyElseWasFaster(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		id := addJob(t, s)
		runs, err := overtaken(t, s, id, func(j *jobs.Job) error { return j.Cancel(jobs.ReasonCancelledByRenter, count.Now()) })
		require.NoError(t, err)
		assert.Equal(t, 2, runs)
		job, err := s.Jobs().Get(t.Context(), id, domain.ID{})
		require.NoError(t, err)
		assert.Equal(t, jobs.Cancelled, job.State)
		assert.Equal(t, "[]", string(job.Metrics))
		assert.EqualValues(t, 3, job.Version)
		events, err := s.Jobs().Events(t.Context(), id, 0, 100)
		require.NoError(t, err)
		assert.Len(t, events, 4, "the events of the second run alone")
	})
}

func TestTheErrorOfAChangeThatRunsAgainIsReturnedAsItIs(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		id := addJob(t, s)
		// One that looks like a lost connection, and yet says nothing about ours.
		for _, refused := range []error{errors.New("refused"), context.DeadlineExceeded} {
			first := true
			_, err := overtaken(t, s, id, func(j *jobs.Job) error {
				if first {
					first = false
					j.Measure([]byte("{}"))
					return nil
				}
				return refused
			})
			assert.Equal(t, refused, err)
		}
	})
}
