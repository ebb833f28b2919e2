package contract

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// BlobIndex is the contract of ports.BlobIndex, together with the Blobs that it lists.
func BlobIndex(t *testing.T, open func(*testing.T) (ports.BlobIndex, ports.Blobs)) {
	index, blobs := open(t)
	c := indexCases{index, blobs}
	t.Run("old objects are listed, by prefix, in order", c.older)
	t.Run("what is listed may be deleted meanwhile", c.olderDeleted)
	t.Run("a cancelled context ends a call with its error", calls{
		"Older": func(ctx context.Context) error { _, err := c.list(ctx, "tests/", time.Now()); return err },
	}.cancelled)
}

type indexCases struct {
	ports.BlobIndex
	ports.Blobs
}

// list gives the keys with a prefix that were stored before a moment.
func (c indexCases) list(ctx context.Context, prefix string, before time.Time) (keys []string, err error) {
	for key, err := range c.Older(ctx, prefix, before) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (c indexCases) older(t *testing.T) {
	t.Parallel()
	own := "tests/" + ids.New().String()
	listed := func(prefix string, before time.Time) []string {
		t.Helper()
		keys, err := c.list(t.Context(), prefix, before)
		require.NoError(t, err)
		return keys
	}
	later := time.Now().Add(time.Hour)
	assert.Empty(t, listed(own+"/", later), "nothing is there")
	var want []string
	for _, name := range []string{"/a/1.zip", "/a/2.zip", "/a/3/x", "/b/1.zip"} {
		_, err := c.Put(t.Context(), own+name, bytes.NewReader([]byte("x")))
		require.NoError(t, err)
		want = append(want, own+name)
	}
	_, err := c.Put(t.Context(), own+"-other/a/1.zip", bytes.NewReader([]byte("x")))
	require.NoError(t, err)
	assert.Equal(t, want, listed(own+"/", later), "and neither what describes them nor their neighbours")
	assert.Equal(t, want[:3], listed(own+"/a/", later))
	assert.Empty(t, listed(own+"/", time.Now().Add(-time.Hour)), "they are younger")
	require.NoError(t, c.Delete(t.Context(), want[1]))
	assert.Equal(t, []string{want[0], want[2]}, listed(own+"/a/", later))
	for _, prefix := range []string{"", "/", own, "../", own + "/../", "_sha256/"} {
		_, err := c.list(t.Context(), prefix, later)
		assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%q", prefix)
	}
}

func (c indexCases) olderDeleted(t *testing.T) {
	t.Parallel()
	own := "tests/" + ids.New().String() + "/"
	want := []string{own + "1", own + "2", own + "3"}
	for _, key := range want {
		_, err := c.Put(t.Context(), key, bytes.NewReader([]byte("x")))
		require.NoError(t, err)
	}
	var got []string
	for key, err := range c.Older(t.Context(), own, time.Now().Add(time.Hour)) {
		require.NoError(t, err)
		require.NoError(t, c.Delete(t.Context(), key))
		if got = append(got, key); len(got) == 2 {
			break // it may be left early, too
		}
	}
	assert.Equal(t, want[:2], got)
	for _, key := range want[:2] {
		_, err := c.Stat(t.Context(), key)
		assert.ErrorIs(t, err, domain.NotFound(""))
	}
	_, err := c.Stat(t.Context(), want[2])
	assert.NoError(t, err)
}
