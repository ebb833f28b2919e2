package contract

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

// Transfer is the contract of daemon.Transfer. Open makes one whose own server is at a
// URL and that loses no time between its tries.
func Transfer(t *testing.T, open func(t *testing.T, url string) daemon.Transfer) {
	t.Run("fetch", func(t *testing.T) { transferFetches(t, open) })
	t.Run("resume", func(t *testing.T) { transferResumes(t, open) })
	t.Run("put", func(t *testing.T) { transferPuts(t, open) })
}

// payload is something to move.
var payload = bytes.Repeat([]byte("0123456789abcdef"), 40_000)

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// blobServer is where signed URLs point.
func blobServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// fetchPayload fetches the payload and answers where it lies.
func fetchPayload(t *testing.T, tr daemon.Transfer, url string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	var seen []int64
	err := tr.Fetch(t.Context(), daemon.Remote{URL: url, Size: int64(len(payload)), SHA256: sumOf(payload)}, path, func(done int64) { seen = append(seen, done) })
	if err != nil {
		assert.NoFileExists(t, path)
		return "", err
	}
	assert.True(t, slices.IsSorted(seen), "progress grows")
	assert.EqualValues(t, len(payload), seen[len(seen)-1])
	return path, nil
}

func transferFetches(t *testing.T, open func(t *testing.T, url string) daemon.Transfer) {
	t.Run("a URL without a host is meant on the own server", func(t *testing.T) {
		t.Parallel()
		url := blobServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() == "/blobs/x?signature=a%2Fb" {
				_, _ = w.Write(payload)
			}
		})
		for _, at := range []string{url + "/blobs/x?signature=a%2Fb", "/blobs/x?signature=a%2Fb"} {
			path, err := fetchPayload(t, open(t, url), at)
			require.NoError(t, err)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(payload, data))
		}
	})
	t.Run("progress may be nil", func(t *testing.T) {
		t.Parallel()
		url := blobServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(payload) })
		require.NoError(t, open(t, url).Fetch(t.Context(), daemon.Remote{URL: url, Size: int64(len(payload)), SHA256: sumOf(payload)}, filepath.Join(t.TempDir(), "x"), nil))
	})
	t.Run("a file that exists is not overwritten", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "x")
		require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
		url := blobServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(payload) })
		require.Error(t, open(t, url).Fetch(t.Context(), daemon.Remote{URL: url, Size: int64(len(payload)), SHA256: sumOf(payload)}, path, nil))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, "old", string(data))
	})
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		is     error
		says   string
	}{
		"another content of the same size is refused": {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.ToUpper(payload)) }, is: daemon.ErrContent},
		"more than was signed is not read": {answer: func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 { // endless, as far as an agent is concerned
				if _, err := w.Write(payload); err != nil {
					return
				}
			}
		}, is: daemon.ErrContent},
		"less than was signed is refused": {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(payload[:100]) }, says: "100 of"},
		"what is not there is refused":    {answer: http.NotFound, says: "404"},
		"a redirect is not followed": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, says: "302"},
	} {
		t.Run(name+", and no file is left", func(t *testing.T) {
			t.Parallel()
			url := blobServer(t, c.answer)
			_, err := fetchPayload(t, open(t, url), url+"/x?signature=secret")
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
	t.Run("cancelling ends it, and no file is left", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		url := blobServer(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(payload[:100])
			_ = http.NewResponseController(w).Flush()
			cancel()
			<-r.Context().Done()
		})
		path := filepath.Join(t.TempDir(), "x")
		require.ErrorIs(t, open(t, url).Fetch(ctx, daemon.Remote{URL: url, Size: 1000}, path, nil), context.Canceled)
		assert.NoFileExists(t, path)
	})
	t.Run("URLs are for http alone", func(t *testing.T) {
		t.Parallel()
		tr := open(t, blobServer(t, http.NotFound))
		for _, url := range []string{"", "file:///etc/passwd", "ftp://x/y", "//evil/x\x00", "blobs/x", "http://"} {
			_, err := fetchPayload(t, tr, url)
			require.Error(t, err, url)
			assert.NotContains(t, err.Error(), "404", url)
		}
	})
}

func transferResumes(t *testing.T, open func(t *testing.T, url string) daemon.Transfer) {
	t.Run("a broken download is taken up where it broke", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		var sent atomic.Int64
		url := blobServer(t, func(w http.ResponseWriter, r *http.Request) {
			from := 0
			if requests.Add(1) > 1 {
				_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				assert.NoError(t, err)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(payload)-1, len(payload)))
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(payload)-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			n, _ := w.Write(payload[from:min(len(payload), from+90_000)])
			sent.Add(int64(n))
			if from+n < len(payload) {
				panic(http.ErrAbortHandler)
			}
		})
		path, err := fetchPayload(t, open(t, url), "/x")
		require.NoError(t, err)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(payload, data))
		assert.Greater(t, requests.Load(), int32(5))
		assert.Less(t, sent.Load(), int64(2*len(payload)))
	})
	t.Run("a server that knows no ranges is asked for all of it", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		url := blobServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(payload)))
			if requests.Add(1) == 1 {
				_, _ = w.Write(payload[:90_000])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(payload)
		})
		tr, path := open(t, url), filepath.Join(t.TempDir(), "x")
		require.NoError(t, tr.Fetch(t.Context(), daemon.Remote{URL: url, Size: int64(len(payload)), SHA256: sumOf(payload)}, path, nil))
	})
	t.Run("a range that was not asked for is refused", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		url := blobServer(t, func(w http.ResponseWriter, _ *http.Request) {
			if requests.Add(1) == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(len(payload)))
				_, _ = w.Write(payload[:90_000])
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(payload)-1, len(payload)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(payload[5:])
		})
		_, err := fetchPayload(t, open(t, url), url)
		require.ErrorContains(t, err, "range")
	})
	t.Run("a server that is busy is asked again, a few times", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		url := blobServer(t, func(w http.ResponseWriter, _ *http.Request) {
			if requests.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write(payload)
		})
		_, err := fetchPayload(t, open(t, url), url)
		require.NoError(t, err)
		url = blobServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		_, err = fetchPayload(t, open(t, url), url)
		require.ErrorContains(t, err, "502")
	})
}

func transferPuts(t *testing.T, open func(t *testing.T, url string) daemon.Transfer) {
	t.Run("the signed headers and exactly size bytes are sent, and no credential", func(t *testing.T) {
		t.Parallel()
		for _, size := range []int64{0, 1, int64(len(payload))} {
			url := blobServer(t, func(w http.ResponseWriter, r *http.Request) {
				data, err := io.ReadAll(r.Body)
				if r.Method != http.MethodPut || err != nil || !bytes.Equal(data, payload[:size]) || r.ContentLength != size ||
					r.Header.Get("X-Amz-Checksum-Sha256") != "abc" || r.Header.Get("Authorization") != "" {
					w.WriteHeader(http.StatusForbidden)
				}
			})
			to := wire.UploadTarget{Method: wire.UploadTargetMethodPUT, URL: url + "/x", Headers: map[string]string{"x-amz-checksum-sha256": "abc"}}
			require.NoError(t, open(t, url).Put(t.Context(), to, bytes.NewReader(payload), size))
			to.Headers = nil
			var refused *daemon.Refusal
			require.ErrorAs(t, open(t, url).Put(t.Context(), to, bytes.NewReader(payload), size), &refused)
			assert.Equal(t, http.StatusForbidden, refused.Status)
		}
	})
	t.Run("signed URLs stay out of errors", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(http.NotFound))
		server.Close()
		tr := open(t, server.URL)
		err := tr.Put(t.Context(), wire.UploadTarget{Method: wire.UploadTargetMethodPUT, URL: server.URL + "/x?signature=secret"}, strings.NewReader("x"), 1)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "secret")
		_, err = fetchPayload(t, tr, server.URL+"/x?signature=secret")
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "secret")
	})
}
