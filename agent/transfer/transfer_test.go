package transfer

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
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 40_000)

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// serve starts a server and a Transfer to it that loses no time between tries.
func serve(t *testing.T, handler http.HandlerFunc) (*Transfer, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	tr, err := New(server.URL + "/")
	require.NoError(t, err)
	tr.pause = time.Microsecond
	return tr, server
}

func fetch(t *testing.T, tr *Transfer, url string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	var last int64
	err := tr.Fetch(t.Context(), daemon.Remote{URL: url, Size: int64(len(content)), SHA256: sumOf(content)}, path, func(done int64) { last = done })
	if err == nil {
		assert.EqualValues(t, len(content), last)
	}
	return path, err
}

func TestFetchingChecksWhatArrives(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		is     error
		says   string
	}{
		"another content": {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.ToUpper(content)) }, is: daemon.ErrContent},
		"more than was signed": {answer: func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 { // endless, as far as the agent is concerned
				if _, err := w.Write(content); err != nil {
					return
				}
			}
		}, is: daemon.ErrContent},
		"less than was signed": {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content[:100]) }, says: "100 of"},
		"not found":            {answer: http.NotFound, says: "404"},
		"a redirect": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, says: "302"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, server := serve(t, c.answer)
			path, err := fetch(t, tr, server.URL+"/x?signature=secret")
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "secret")
			assert.NoFileExists(t, path)
		})
	}
}

func TestABrokenDownloadIsTakenUpWhereItBroke(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	var sent atomic.Int64
	tr, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		from := 0
		if requests.Add(1) > 1 {
			_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			assert.NoError(t, err)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		n, _ := w.Write(content[from:min(len(content), from+90_000)])
		sent.Add(int64(n))
		if from+n < len(content) {
			panic(http.ErrAbortHandler)
		}
	})
	path, err := fetch(t, tr, "/x")
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, data))
	assert.Greater(t, requests.Load(), int32(5))
	assert.Less(t, sent.Load(), int64(2*len(content)))
}

func TestAServerThatKnowsNoRangesIsAskedForAll(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	tr, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if requests.Add(1) == 1 {
			_, _ = w.Write(content[:90_000])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(content)
	})
	_, err := fetch(t, tr, "/x")
	require.NoError(t, err)
}

func TestAServerThatIsBusyIsAskedAgainAFewTimes(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	tr, server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := requests.Add(1); n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(content)
	})
	_, err := fetch(t, tr, server.URL)
	require.NoError(t, err)
	tr, server = serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	_, err = fetch(t, tr, server.URL)
	require.ErrorContains(t, err, "502")
}

func TestCancellingEndsATransfer(t *testing.T) {
	t.Parallel()
	tr, server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := tr.Fetch(ctx, daemon.Remote{URL: server.URL}, filepath.Join(t.TempDir(), "x"), nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestURLsAreForHTTPAlone(t *testing.T) {
	t.Parallel()
	tr, _ := serve(t, http.NotFound)
	for _, url := range []string{"", "file:///etc/passwd", "ftp://x/y", "//evil/x\x00", "blobs/x", "http://"} {
		_, err := fetch(t, tr, url)
		require.Error(t, err, url)
		assert.NotContains(t, err.Error(), "404", url)
	}
	for _, url := range []string{"", "localhost:8080", "ws://x", "http://user:pass@x", "https://x?y=z"} {
		_, err := New(url)
		require.Error(t, err, url)
		_, err = NewServer(url, "dev")
		require.Error(t, err, url)
	}
}

func TestPuttingSendsTheSignedHeadersAndTheWholeFile(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 1, int64(len(content))} {
		tr, server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			data, err := io.ReadAll(r.Body)
			if r.Method != http.MethodPut || err != nil || !bytes.Equal(data, content[:size]) || r.ContentLength != size ||
				r.Header.Get("X-Amz-Checksum-Sha256") != "abc" || r.Header.Get("Authorization") != "" {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		to := wire.UploadTarget{Method: wire.UploadTargetMethodPUT, URL: server.URL + "/x", Headers: map[string]string{"x-amz-checksum-sha256": "abc"}}
		require.NoError(t, tr.Put(t.Context(), to, bytes.NewReader(content), size))
		to.Headers = nil
		var refused *daemon.Refusal
		require.ErrorAs(t, tr.Put(t.Context(), to, bytes.NewReader(content), size), &refused)
		assert.Equal(t, http.StatusForbidden, refused.Status)
	}
}

func TestSignedURLsStayOutOfErrors(t *testing.T) {
	t.Parallel()
	tr, server := serve(t, http.NotFound)
	server.Close()
	err := tr.Put(t.Context(), wire.UploadTarget{Method: "PUT", URL: server.URL + "/x?signature=secret"}, strings.NewReader("x"), 1)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
	_, err = fetch(t, tr, server.URL+"/x?signature=secret")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
}
