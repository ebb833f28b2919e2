package bunstore

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/tests/testkit"
)

func TestOnlyWorkThatMayBeLostDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	s := open(t, testkit.Postgres(t)+"&options=-c%20synchronous_commit%3Don")
	key := domain.ID{15: 3}
	waits := func(answer *string) func(*tx) error {
		return func(t *tx) error {
			db, err := t.rows()
			if err != nil {
				return err
			}
			return db.NewRaw("SHOW synchronous_commit").Scan(t.ctx, answer)
		}
	}
	var alone, after, beside, lazy string
	require.NoError(t, s.commitLazily(t.Context(), key, waits(&alone)))
	assert.Equal(t, "off", alone)
	require.NoError(t, s.commit(t.Context(), key, waits(&after)))
	assert.Equal(t, "on", after, "it was for that transaction alone")

	release := held(t, s, key)
	defer release()
	var both sync.WaitGroup
	for i, commit := range []func(context.Context, domain.ID, func(*tx) error) error{s.commit, s.commitLazily} {
		both.Go(func() { assert.NoError(t, commit(t.Context(), key, waits([]*string{&beside, &lazy}[i]))) })
		gathered(t, s, key, i+1)
	}
	release()
	both.Wait()
	assert.Equal(t, "on", beside, "what shares a transaction with lazy work is as durable as ever")
	assert.Equal(t, "on", lazy)
}
