package cloudblob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Blobs = (*Store)(nil)

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func options() Options {
	return Options{Key: bytes.Repeat([]byte{1}, 32), Clock: &clock{now: domain.Time(time.Now())}}
}

// stores runs a test on each kind of store; left lists what lies in the bucket.
func stores(t *testing.T, test func(t *testing.T, s *Store, left func() []string)) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "blobs")
	for name, url := range map[string]string{"folder": "file://" + folder, "memory": "mem://"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), url, options())
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, s.Close()) })
			test(t, s, func() []string { return list(t, s, folder) })
		})
	}
}

// list sees the folder itself, because the bucket hides what is unfinished.
func list(t *testing.T, s *Store, folder string) (names []string) {
	t.Helper()
	if _, err := os.Stat(folder); err != nil || s.bucket.As(new(os.FileInfo)) == false {
		for it := s.bucket.List(nil); ; {
			o, err := it.Next(t.Context())
			if errors.Is(err, io.EOF) {
				return names
			}
			require.NoError(t, err)
			names = append(names, o.Key)
		}
	}
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(folder, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	return names
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func read(t *testing.T, s *Store, key string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), key, 0, -1)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return data
}

func TestAnObjectIsDescribedByWhatWasPut(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store, left func() []string) {
		var piece piece
		for i := range piece {
			piece[i] = byte(i % 251)
		}
		for name, data := range map[string][]byte{
			"empty": {}, "small": []byte("hello"), "one-piece": piece[:], "more": append(piece[:], 1, 2, 3), "many": bytes.Repeat(piece[:], 5),
		} {
			key := "jobs/" + name + "/1/x.bin"
			want := ports.BlobInfo{Key: key, Size: int64(len(data)), SHA256: sumOf(data)}
			// A reader that gives its bytes by halves and its end with the last of them.
			got, err := s.Put(t.Context(), key, iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data))))
			require.NoError(t, err, name)
			assert.Equal(t, want, got)
			got, err = s.Stat(t.Context(), key)
			require.NoError(t, err, name)
			assert.Equal(t, want, got)
			assert.True(t, bytes.Equal(data, read(t, s, key)), name)
			require.NoError(t, s.Delete(t.Context(), key))
			_, err = s.Stat(t.Context(), key)
			assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
		}
		assert.Empty(t, left())
	})
}

func TestAReaderThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	stores(t, func(t *testing.T, s *Store, left func() []string) {
		for name, r := range map[string]io.Reader{
			"at once":        iotest.ErrReader(broken),
			"in the middle":  io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(broken)),
			"with its bytes": iotest.DataErrReader(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken))),
		} {
			_, err := s.Put(t.Context(), "a/b", r)
			require.ErrorIs(t, err, broken, name)
		}
		// An upload that breaks off says so with this; it is no short end.
		_, err := s.Put(t.Context(), "a/b", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		_, err = s.Put(t.Context(), "a/b", stuck{})
		require.ErrorIs(t, err, io.ErrNoProgress)

		ctx, cancel := context.WithCancel(t.Context())
		_, err = s.Put(ctx, "a/b", io.MultiReader(strings.NewReader("x"), during(cancel)))
		require.ErrorIs(t, err, context.Canceled)
		func() {
			defer func() { assert.NotNil(t, recover()) }()
			_, _ = s.Put(t.Context(), "a/b", during(func() { panic("reader") }))
		}()
		assert.Empty(t, left())
		_, err = s.Open(t.Context(), "a/b", 0, -1)
		assert.Equal(t, domain.KindNotFound, domain.KindOf(err))
	})
}

// stuck gives nothing for ever.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// during does something in the middle of a Put.
type during func()

func (d during) Read([]byte) (int, error) {
	d()
	return 0, io.EOF
}

func TestAnObjectNeverChanges(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store, left func() []string) {
		first, err := s.Put(t.Context(), "k", strings.NewReader("one"))
		require.NoError(t, err)
		again, err := s.Put(t.Context(), "k", strings.NewReader("one"))
		require.NoError(t, err)
		assert.Equal(t, first, again)
		_, err = s.Put(t.Context(), "k", strings.NewReader("two"))
		assert.Equal(t, domain.KindConflict, domain.KindOf(err))
		assert.Equal(t, []byte("one"), read(t, s, "k"))
		assert.Len(t, left(), 2, "the object and its sum")
	})
}

func TestOfManyThatPutDifferentBytesAtOneKeyOneWins(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store, left func() []string) {
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			wins []ports.BlobInfo
		)
		for i := range 16 {
			wg.Go(func() {
				info, err := s.Put(t.Context(), "k", bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 300_000+i)))
				if err == nil {
					mu.Lock()
					wins = append(wins, info)
					mu.Unlock()
				} else if domain.KindOf(err) != domain.KindConflict {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Len(t, wins, 1)
		assert.Equal(t, wins[0].SHA256, sumOf(read(t, s, "k")))
		stat, err := s.Stat(t.Context(), "k")
		require.NoError(t, err)
		assert.Equal(t, wins[0], stat)
		assert.Len(t, left(), 2)
		assert.Empty(t, s.keeper.(*own).keys.held)
	})
}

func TestAnyRangeIsThatPartOfTheObject(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store, _ func() []string) {
		data := []byte("0123456789")
		_, err := s.Put(t.Context(), "k", bytes.NewReader(data))
		require.NoError(t, err)
		rapid.Check(t, func(rt *rapid.T) {
			offset := rapid.Int64Range(0, 12).Draw(rt, "offset")
			length := rapid.Int64Range(-1, 12).Draw(rt, "length")
			r, err := s.Open(t.Context(), "k", offset, length)
			require.NoError(rt, err)
			defer r.Close()
			got, err := io.ReadAll(r)
			require.NoError(rt, err)
			from := min(offset, 10)
			to := int64(10)
			if length >= 0 {
				to = min(from+length, 10)
			}
			assert.Equal(rt, string(data[from:to]), string(got))
		})
		for _, bad := range [][2]int64{{-1, 1}, {0, -2}} {
			_, err := s.Open(t.Context(), "k", bad[0], bad[1])
			assert.Equal(t, domain.KindInvalid, domain.KindOf(err))
		}
	})
}

func TestAKeyThatIsNotOursIsRefused(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store, left func() []string) {
		for _, key := range []string{
			"", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", `a\b`, "a b", "_sha256/a", "a\x00", "ä", "a.attrs",
			"a.0123456789abcdef.tmp", strings.Repeat("a", 513),
		} {
			for _, err := range []error{
				second(s.Put(t.Context(), key, strings.NewReader("x"))), second(s.Open(t.Context(), key, 0, -1)),
				second(s.Stat(t.Context(), key)), s.Delete(t.Context(), key),
				second(s.SignPut(t.Context(), key, ports.PutOptions{SHA256: sumOf(nil), Expires: time.Minute})),
				second(s.SignGet(t.Context(), key, ports.GetOptions{Expires: time.Minute})),
			} {
				assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%q: %v", key, err)
			}
		}
		assert.Empty(t, left())
	})
}

func second[T any](_ T, err error) error { return err }

func TestACallWhoseContextHasEndedDoesNothing(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store, left func() []string) {
		_, err := s.Put(t.Context(), "k", strings.NewReader("x"))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range []error{
			second(s.Put(ctx, "other", strings.NewReader("x"))), second(s.Open(ctx, "k", 0, -1)), second(s.Stat(ctx, "k")), s.Delete(ctx, "k"),
		} {
			require.ErrorIs(t, err, context.Canceled)
		}
		assert.Len(t, left(), 2)
	})
}

func TestAFolderKeepsItsObjectsAndLosesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	o := options()
	s, err := Open(t.Context(), "file://"+folder, o)
	require.NoError(t, err)
	info, err := s.Put(t.Context(), "jobs/a/1/x", strings.NewReader("kept"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	half := filepath.Join(folder, "jobs", "a", "1", "y.0123456789abcdef.tmp")
	require.NoError(t, os.WriteFile(half, []byte("half"), 0o600))

	s, err = Open(t.Context(), "file://"+folder, o)
	require.NoError(t, err)
	assert.FileExists(t, half, "another process may be writing it still")
	require.NoError(t, s.Close())
	o.Clock.(*clock).advance(2 * time.Hour)
	s, err = Open(t.Context(), "file://"+folder, o)
	require.NoError(t, err)
	assert.NoFileExists(t, half)
	got, err := s.Stat(t.Context(), "jobs/a/1/x")
	require.NoError(t, err)
	assert.Equal(t, info, got)
	require.NoError(t, s.Close())
}

func TestAStoreThatCannotBeIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	for url, why := range map[string]string{
		"ftp://bucket": "not at", "file://host/x": "names a host", "://": "malformed",
	} {
		_, err := Open(t.Context(), url, options())
		require.ErrorContains(t, err, why, url)
	}
	o := options()
	o.Key = o.Key[:16]
	_, err := Open(t.Context(), "mem://", o)
	require.ErrorContains(t, err, "32 bytes")
	o = options()
	o.Clock = nil
	_, err = Open(t.Context(), "mem://", o)
	require.ErrorContains(t, err, "clock")
}

func TestABucketOfAmazonNeedsARegion(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	_, err := Open(t.Context(), "s3://bucket", options())
	require.ErrorContains(t, err, "in which region")
}
