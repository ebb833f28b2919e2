package system

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var (
	_ ports.Clock     = Clock{}
	_ ports.IDs       = IDs{}
	_ ports.Passwords = (*Passwords)(nil)
	_ ports.Vault     = (*Vault)(nil)
)

func TestTheClockTellsWholeMicrosecondsInUTC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before := Clock{}.Now()
		<-time.After(1500 * time.Nanosecond) // moves the bubble's clock, takes no time
		after := Clock{}.Now()
		assert.Equal(t, time.UTC, after.Location())
		assert.Equal(t, time.Microsecond, after.Sub(before))
		assert.Equal(t, after.Round(0), after, "a monotonic reading would not compare equal after storage")
	})
}

func TestIDsAreUUIDv7AndGrowAcrossGoroutines(t *testing.T) {
	t.Parallel()
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		all = map[domain.ID]bool{}
	)
	for range 8 {
		wg.Go(func() {
			var last domain.ID
			for range 2000 {
				id := IDs{}.New()
				if bytes.Compare(id[:], last[:]) <= 0 {
					t.Errorf("%s follows %s", id, last)
				}
				if id[6]>>4 != 7 || id[8]>>6 != 2 {
					t.Errorf("%s is no UUIDv7", id)
				}
				last = id
				mu.Lock()
				all[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	assert.Len(t, all, 8*2000)
}

func TestAnIDGrowsWhenTheClockStepsBack(t *testing.T) {
	t.Parallel()
	before := IDs{}.New()
	synctest.Test(t, func(t *testing.T) { // here it is the year 2000
		after := IDs{}.New()
		assert.Positive(t, bytes.Compare(after[:], before[:]))
	})
}

func TestTheVaultGivesBackWhatItSealed(t *testing.T) {
	t.Parallel()
	v, err := NewVault(newSecret())
	require.NoError(t, err)
	for _, plain := range [][]byte{[]byte("TOKEN=1"), {}, bytes.Repeat([]byte("x"), 1<<16)} {
		one, err := v.Seal(plain, "job-env:1")
		require.NoError(t, err)
		two, err := v.Seal(plain, "job-env:1")
		require.NoError(t, err)
		assert.NotEqual(t, one, two)
		got, err := v.Unseal(one, "job-env:1")
		require.NoError(t, err)
		assert.Equal(t, plain, got)
	}
}

func TestTheVaultRefusesAChangedByteAnotherContextAndAnotherKey(t *testing.T) {
	t.Parallel()
	v, err := NewVault(newSecret())
	require.NoError(t, err)
	sealed, err := v.Seal([]byte("secret"), "job-env:1")
	require.NoError(t, err)
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		_, err := v.Unseal(broken, "job-env:1")
		require.Error(t, err, "byte %d", i)
		assert.Equal(t, domain.KindInternal, domain.KindOf(err))
		assert.NotContains(t, err.Error(), "secret")
	}
	for n := range sealed {
		_, err := v.Unseal(sealed[:n], "job-env:1")
		require.Error(t, err, "%d bytes", n)
	}
	_, err = v.Unseal(sealed, "job-env:2")
	require.Error(t, err)
	stranger, err := NewVault(newSecret())
	require.NoError(t, err)
	_, err = stranger.Unseal(sealed, "job-env:1")
	require.Error(t, err)
}

func TestTheVaultReadsWhatAnOlderKeySealed(t *testing.T) {
	t.Parallel()
	older, newer := newSecret(), newSecret()
	before, err := NewVault(older)
	require.NoError(t, err)
	sealed, err := before.Seal([]byte("secret"), "c")
	require.NoError(t, err)

	after, err := NewVault(newer, older)
	require.NoError(t, err)
	plain, err := after.Unseal(sealed, "c")
	require.NoError(t, err)
	assert.Equal(t, []byte("secret"), plain)

	again, err := after.Seal(plain, "c")
	require.NoError(t, err)
	_, err = before.Unseal(again, "c")
	require.Error(t, err, "new texts are sealed with the new key")
}

func TestTheVaultTakesKeysOf32BytesOnceEach(t *testing.T) {
	t.Parallel()
	_, err := NewVault(make([]byte, 16))
	require.Error(t, err)
	key := newSecret()
	_, err = NewVault(key, key)
	require.Error(t, err)
}
