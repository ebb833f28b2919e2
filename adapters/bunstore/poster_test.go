package bunstore

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
)

func topUp(user domain.ID, amount domain.Micros) billing.Transaction {
	tx := billing.TopUp("topup:"+count.New().String(), user, amount)
	tx.Currency = "EUR"
	return tx
}

func hold(user domain.ID, amount domain.Micros) billing.Transaction {
	tx := billing.HoldFor(count.New(), user, amount)
	tx.Currency = "EUR"
	return tx
}

// racing makes n calls at the same time and counts those that succeed; the others have
// to fail in one way.
func racing(t *testing.T, n int, other error, call func(i int) error) (won int) {
	t.Helper()
	errs, start := make([]error, n), make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			assert.ErrorIs(t, err, other)
		}
	}
	return won
}

func TestAPostThatTheDatabaseRefusesHarmsNoOther(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		user := count.New()
		used := topUp(user, 1)
		used.ID = count.New()
		require.NoError(t, s.Ledger().Post(t.Context(), used))
		// The rules of the ledger do not know that ids are unique; the table does.
		bad := topUp(user, 1)
		bad.ID = used.ID
		release := held(t, s, ledgerKey)
		defer release()
		var all sync.WaitGroup
		all.Go(func() { assert.Error(t, s.Ledger().Post(t.Context(), bad)) })
		for range 5 {
			all.Go(func() { assert.NoError(t, s.Ledger().Post(t.Context(), topUp(user, 1))) })
		}
		gathered(t, s, ledgerKey, 1)
		release()
		all.Wait()
		balances, err := s.Ledger().Balances(t.Context(), billing.Wallet(user))
		require.NoError(t, err)
		assert.EqualValues(t, 6, balances[billing.Wallet(user)])
	})
}

// pairOf gives two servers on one database.
func pairOf(t *testing.T) [2]*Store {
	t.Helper()
	url := testkit.Postgres(t)
	return [2]*Store{open(t, url), open(t, url)}
}

func TestTwoServersSpendNoMoreThanThereIs(t *testing.T) {
	t.Parallel()
	servers, user := pairOf(t), count.New()
	require.NoError(t, servers[0].Ledger().Post(t.Context(), topUp(user, 10)))
	insufficient := domain.NewError(domain.KindPaymentRequired, "insufficient_funds", "")
	won := racing(t, 50, insufficient, func(i int) error { return servers[i%2].Ledger().Post(t.Context(), hold(user, 1)) })
	assert.Equal(t, 10, won)
}

func TestTwoServersPostOneKeyOnce(t *testing.T) {
	t.Parallel()
	servers := pairOf(t)
	for range 20 {
		// Each post is to a wallet of its own, so that no lock makes them wait.
		key := count.New().String()
		won := racing(t, 4, domain.Conflict("key_reused", ""), func(i int) error {
			tx := topUp(count.New(), 1)
			tx.Key = key
			return servers[i%2].Ledger().Post(t.Context(), tx)
		})
		assert.Equal(t, 1, won)
	}
	total, err := servers[0].Ledger().Total(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]domain.Micros{"EUR": 0}, total)
}

func TestTwoServersLeaseADeviceOnce(t *testing.T) {
	t.Parallel()
	servers, device, contenders := pairOf(t), count.New(), make([]domain.ID, 16)
	for i := range contenders {
		contenders[i] = addJob(t, servers[i%2])
	}
	won := racing(t, len(contenders), ports.ErrDeviceTaken, func(i int) error {
		_, err := servers[i%2].Jobs().Update(t.Context(), contenders[i], func(j *jobs.Job) error {
			return j.Lease(jobs.Lease{Host: count.New(), Devices: []jobs.Device{{ID: device}}}, count.Now())
		})
		return err
	})
	assert.Equal(t, 1, won)
}

func TestTwoServersChangeOneJobWithoutLosingAnything(t *testing.T) {
	t.Parallel()
	servers := pairOf(t)
	id := addJob(t, servers[0])
	won := racing(t, 16, nil, func(i int) error {
		for range 5 {
			if _, err := servers[i%2].Jobs().Update(t.Context(), id, func(j *jobs.Job) error {
				s := j.Snapshot()
				s.Losses++
				*j = *jobs.Restore(s)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	assert.Equal(t, 16, won)
	job, err := servers[1].Jobs().Get(t.Context(), id, domain.ID{})
	require.NoError(t, err)
	assert.Equal(t, 80, job.Losses)
}
