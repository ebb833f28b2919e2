// Package contract holds a suite for every port: what its comment promises, sentence by
// sentence, so that any adapter that passes can take the place of any other. A suite is
// the function with the port's name; the tests of this package run it on each adapter.
package contract

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Storage is everything that one adapter stores. It has a real clock, because what was
// stored is asked for by the time of storing. A suite shares one storage among its
// cases, as tenants do, except where it needs an empty one.
type Storage interface {
	Users() ports.Users
	Sessions() ports.Sessions
	APITokens() ports.APITokens
	Hosts() ports.Hosts
	Enrollments() ports.Enrollments
	Presences() ports.Presences
	Pins() ports.Pins
	Jobs() ports.Jobs
	Logs() ports.Logs
	Artifacts() ports.Artifacts
	Ledger() ports.Ledger
	Earnings() ports.Earnings
	Outbox() ports.Outbox
}

// racers is how many try at once where one may win.
const racers = 16

// sequence makes ids that grow, each a millisecond later than the one before.
type sequence struct{ n atomic.Int64 }

// ids makes every id of the suites and of the stores under test.
var ids sequence

// New implements ports.IDs.
func (s *sequence) New() (id domain.ID) {
	_, _ = rand.Read(id[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(1_767_225_600_000+s.n.Add(1)))
	copy(id[:6], ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// now is the time that a real clock shows.
func now() time.Time { return domain.Time(time.Now()) }

// tick returns a time that is later than all before it.
func tick() time.Time {
	began := now()
	for {
		if n := now(); n.After(began) {
			return n
		}
	}
}

// race makes n calls at the same time.
func race(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

// winners counts the calls that succeeded; all others have to fail in one way.
func winners(t *testing.T, errs []error, other error) (won int) {
	t.Helper()
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			assert.ErrorIs(t, err, other)
		}
	}
	return won
}

// calls is one call of each method of a port, by name.
type calls map[string]func(context.Context) error

// cancelled is the case of a context that has ended before the call.
func (c calls) cancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range c {
		assert.ErrorIs(t, call(ctx), context.Canceled, name)
	}
}

// nested is the case of calls that a change makes: on a database with one writer they
// would wait for each other forever.
func (c calls) nested(update func(ctx context.Context, change func()) error) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, update(ctx, func() {
			for name, call := range c {
				assert.Equal(t, "nested_call", domain.CodeOf(call(ctx)), name)
			}
		}), "the change itself is none the worse for it")
		require.NoError(t, update(ctx, func() {
			others := race(1, func(int) error {
				for name, call := range c {
					if domain.CodeOf(call(ctx)) == "nested_call" {
						return domain.Conflict("refused", "%s of somebody else was refused", name)
					}
				}
				return nil
			})
			assert.NoError(t, others[0])
		}), "others may call while a change runs")
	}
}
