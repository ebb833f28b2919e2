package contract

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Blobs is the contract of ports.Blobs. The signed links of what open gives have whole
// URLs, and are served.
func Blobs(t *testing.T, open func(*testing.T) ports.Blobs) {
	c := blobCases{open(t)}
	t.Run("what is not there is not found", c.notFound)
	t.Run("what was put is described and read, whole and in parts", c.parts)
	t.Run("large and empty objects come back as they were put", c.sizes)
	t.Run("keys hold slashes, letters, digits, dots and dashes", c.keys)
	t.Run("a reader that fails leaves nothing behind", c.failing)
	t.Run("putting the same bytes again changes nothing", c.again)
	t.Run("what is deleted is gone, and deleting nothing is no error", c.deleted)
	t.Run("a signed upload takes exactly what was announced", c.signPut)
	t.Run("an upload of other bytes leaves nothing behind", c.otherBytes)
	t.Run("a signed download is an attachment, whole and in ranges", c.signGet)
	t.Run("a signed request is good for itself alone", c.foreign)
	t.Run("a signed request expires", c.expires)
	t.Run("a cancelled context ends a call with its error", c.calls().cancelled)
	t.Run("a cancelled context has no effect", c.cancelledEffect)
}

type blobCases struct{ ports.Blobs }

func blobKey() string { return "tests/" + ids.New().String() + "/object.bin" }

// describe is what an object has to be described as.
func describe(key string, data []byte) ports.BlobInfo {
	sum := sha256.Sum256(data)
	return ports.BlobInfo{Key: key, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

func (c blobCases) put(t *testing.T, data []byte) string {
	t.Helper()
	key := blobKey()
	info, err := c.Put(t.Context(), key, bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, describe(key, data), info)
	return key
}

func (c blobCases) read(t *testing.T, key string, offset, length int64) []byte {
	t.Helper()
	r, err := c.Open(t.Context(), key, offset, length)
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return data
}

func (c blobCases) missing(t *testing.T, key string) {
	t.Helper()
	_, err := c.Stat(t.Context(), key)
	assert.ErrorIs(t, err, domain.NotFound(""))
	_, err = c.Open(t.Context(), key, 0, -1)
	assert.ErrorIs(t, err, domain.NotFound(""))
}

func (c blobCases) notFound(t *testing.T) {
	t.Parallel()
	c.missing(t, blobKey())
	key := c.put(t, []byte("x"))
	c.missing(t, key[:len(key)-4])
	c.missing(t, key+".bin")
}

func (c blobCases) parts(t *testing.T) {
	t.Parallel()
	data := []byte("hello, world")
	key := c.put(t, data)
	info, err := c.Stat(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, describe(key, data), info)
	for offset := range len(data) + 1 {
		assert.Equal(t, string(data[offset:]), string(c.read(t, key, int64(offset), -1)), "to the end")
		for _, length := range []int{0, 1, 5, 100} {
			want := data[offset:min(len(data), offset+length)]
			assert.Equal(t, string(want), string(c.read(t, key, int64(offset), int64(length))), "%d from %d", length, offset)
		}
	}
}

func (c blobCases) sizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1 << 16, 3<<20 + 17} {
		data := make([]byte, size)
		_, _ = rand.Read(data)
		assert.True(t, bytes.Equal(data, c.read(t, c.put(t, data), 0, -1)), "%d bytes", size)
	}
	key := blobKey()
	info, err := c.Put(t.Context(), key, iotest.OneByteReader(bytes.NewReader([]byte("in small portions"))))
	require.NoError(t, err)
	assert.Equal(t, describe(key, []byte("in small portions")), info)
}

func (c blobCases) keys(t *testing.T) {
	t.Parallel()
	own := "tests/" + ids.New().String()
	for i, name := range []string{"/a", "/b/c/d", "/b/c-d", "/b.c/d.tar.gz", "/0", "/A"} {
		_, err := c.Put(t.Context(), own+name, bytes.NewReader([]byte{byte(i)}))
		require.NoError(t, err, name)
	}
	for i, name := range []string{"/a", "/b/c/d", "/b/c-d", "/b.c/d.tar.gz", "/0", "/A"} {
		assert.Equal(t, []byte{byte(i)}, c.read(t, own+name, 0, -1), name)
	}
}

func (c blobCases) failing(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken off")
	for _, before := range []int{0, 1, 1 << 20} {
		key := blobKey()
		r := io.MultiReader(bytes.NewReader(make([]byte, before)), iotest.ErrReader(broken))
		_, err := c.Put(t.Context(), key, r)
		require.ErrorIs(t, err, broken)
		c.missing(t, key)
	}
	key := c.put(t, []byte("kept"))
	_, err := c.Put(t.Context(), key, io.MultiReader(bytes.NewReader([]byte("ke")), iotest.ErrReader(broken)))
	require.Error(t, err)
	assert.Equal(t, "kept", string(c.read(t, key, 0, -1)))
}

func (c blobCases) again(t *testing.T) {
	t.Parallel()
	data := []byte("hello")
	key := c.put(t, data)
	for _, err := range race(racers, func(int) error {
		info, err := c.Put(t.Context(), key, bytes.NewReader(data))
		if err == nil && info != describe(key, data) {
			err = errors.New("described as something else")
		}
		return err
	}) {
		require.NoError(t, err)
	}
	assert.Equal(t, "hello", string(c.read(t, key, 0, -1)))
	fresh := blobKey()
	for _, err := range race(racers, func(int) error {
		_, err := c.Put(t.Context(), fresh, bytes.NewReader(data))
		return err
	}) {
		require.NoError(t, err)
	}
	assert.Equal(t, "hello", string(c.read(t, fresh, 0, -1)))
}

func (c blobCases) deleted(t *testing.T) {
	t.Parallel()
	key := c.put(t, []byte("hello"))
	for range 2 {
		require.NoError(t, c.Delete(t.Context(), key))
		c.missing(t, key)
	}
	_, err := c.Put(t.Context(), key, bytes.NewReader([]byte("hello")))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(c.read(t, key, 0, -1)))
}

func (c blobCases) cancelledEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	key, stored := blobKey(), c.put(t, []byte("hello"))
	_, err := c.Put(ctx, key, bytes.NewReader([]byte("x")))
	require.ErrorIs(t, err, context.Canceled)
	c.missing(t, key)
	require.ErrorIs(t, c.Delete(ctx, stored), context.Canceled)
	assert.Equal(t, "hello", string(c.read(t, stored, 0, -1)))

	// One that ends on the way has none either.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	_, err = c.Put(ctx, key, io.MultiReader(bytes.NewReader([]byte("x")), &leaving{leave: cancel}))
	require.ErrorIs(t, err, context.Canceled)
	c.missing(t, key)
}

// leaving is a reader during which the caller leaves.
type leaving struct {
	leave func()
	left  bool
}

func (l *leaving) Read(p []byte) (int, error) {
	if l.left {
		return 0, io.EOF
	}
	l.leave()
	l.left = true
	return copy(p, "y"), nil
}

func (c blobCases) calls() calls {
	return calls{
		"Put": func(ctx context.Context) error {
			_, err := c.Put(ctx, blobKey(), bytes.NewReader([]byte("x")))
			return err
		},
		"Open":   func(ctx context.Context) error { _, err := c.Open(ctx, blobKey(), 0, -1); return err },
		"Stat":   func(ctx context.Context) error { _, err := c.Stat(ctx, blobKey()); return err },
		"Delete": func(ctx context.Context) error { return c.Delete(ctx, blobKey()) },
	}
}
