package contract

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/ports"
)

// The cases of ports.Blobs about signed requests.

// send makes a signed request as a client does.
func send(t *testing.T, s ports.SignedRequest, body []byte, headers ...string) (*http.Response, []byte) {
	t.Helper()
	response, data, err := try(t, s, body, headers...)
	require.NoError(t, err)
	return response, data
}

// try is send that may break.
func try(t *testing.T, s ports.SignedRequest, body []byte, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), s.Method, s.URL, bytes.NewReader(body))
	require.NoError(t, err)
	for name, values := range s.Header {
		r.Header[name] = values
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response, data, err
}

func (c blobCases) upload(t *testing.T, key string, data []byte) ports.SignedRequest {
	t.Helper()
	info := describe(key, data)
	s, err := c.SignPut(t.Context(), key, ports.PutOptions{Size: info.Size, SHA256: info.SHA256, Expires: time.Minute})
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Minute), s.Expires, 5*time.Second)
	return s
}

func (c blobCases) download(t *testing.T, key, filename string) ports.SignedRequest {
	t.Helper()
	s, err := c.SignGet(t.Context(), key, ports.GetOptions{Filename: filename, Expires: time.Minute})
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Minute), s.Expires, 5*time.Second)
	return s
}

func (c blobCases) signPut(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{[]byte("hello"), {}, bytes.Repeat([]byte("0123456789"), 100_000)} {
		key := blobKey()
		s := c.upload(t, key, data)
		for range 2 {
			response, answer := send(t, s, data)
			require.Less(t, response.StatusCode, 300, "%s", answer)
			info, err := c.Stat(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, describe(key, data), info)
		}
		assert.True(t, bytes.Equal(data, c.read(t, key, 0, -1)))
	}
}

func (c blobCases) otherBytes(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"another sha256": "jello", "too short": "hell", "too long": "hello!", "nothing": "", "much too long": strings.Repeat("hello", 100_000),
	} {
		key := blobKey()
		// Whoever refuses much may hang up before all of it was sent.
		if response, _, err := try(t, c.upload(t, key, []byte("hello")), []byte(data)); err == nil {
			assert.GreaterOrEqual(t, response.StatusCode, 400, name)
		}
		c.missing(t, key)
	}
}

func (c blobCases) signGet(t *testing.T) {
	t.Parallel()
	data := []byte("<script>hello, world</script>")
	key := c.put(t, data)
	for _, filename := range []string{"", "results.html", `é "漢".html`} {
		response, body := send(t, c.download(t, key, filename), nil)
		require.Equal(t, http.StatusOK, response.StatusCode, "%q: %s", filename, body)
		assert.Equal(t, data, body)
		assert.Equal(t, "application/octet-stream", response.Header.Get("Content-Type"))
		kind, params, err := mime.ParseMediaType(response.Header.Get("Content-Disposition"))
		require.NoError(t, err)
		assert.Equal(t, "attachment", kind)
		if filename == "results.html" {
			assert.Equal(t, filename, params["filename"])
		}
	}
	response, body := send(t, c.download(t, key, ""), nil, "Range", "bytes=8-12")
	assert.Equal(t, http.StatusPartialContent, response.StatusCode)
	assert.Equal(t, string(data[8:13]), string(body))
	response, _ = send(t, c.download(t, blobKey(), ""), nil)
	assert.Equal(t, http.StatusNotFound, response.StatusCode, "a download of what is not there")
}

func (c blobCases) foreign(t *testing.T) {
	t.Parallel()
	data := []byte("hello")
	key, fresh := c.put(t, data), blobKey()
	up, down := c.upload(t, fresh, data), c.download(t, key, "")

	crossed := up
	crossed.Method = http.MethodGet
	response, _ := send(t, crossed, nil)
	assert.GreaterOrEqual(t, response.StatusCode, 400, "an upload is no download")
	crossed = down
	crossed.Method = http.MethodPut
	response, _ = send(t, crossed, data)
	assert.GreaterOrEqual(t, response.StatusCode, 400, "a download is no upload")
	assert.Equal(t, "hello", string(c.read(t, key, 0, -1)))

	// A change in the part that is signed: the key, or the token that stands for it.
	for _, s := range []ports.SignedRequest{up, down} {
		at := strings.LastIndex(s.URL, "/") + 3
		changed := s
		changed.URL = s.URL[:at] + swapped(s.URL[at]) + s.URL[at+1:]
		response, _ = send(t, changed, data)
		assert.GreaterOrEqual(t, response.StatusCode, 400, "a link that was changed")
	}
	c.missing(t, fresh)
}

// swapped is another character of the same kind.
func swapped(b byte) string {
	if b == 'x' {
		return "y"
	}
	return "x"
}

func (c blobCases) expires(t *testing.T) {
	t.Parallel()
	data := []byte("hello")
	key, fresh := c.put(t, data), blobKey()
	info := describe(fresh, data)
	down, err := c.SignGet(t.Context(), key, ports.GetOptions{Expires: time.Second})
	require.NoError(t, err)
	up, err := c.SignPut(t.Context(), fresh, ports.PutOptions{Size: info.Size, SHA256: info.SHA256, Expires: time.Second})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		response, _ := send(t, down, nil)
		return response.StatusCode >= 400
	}, patience, 100*time.Millisecond)
	require.Eventually(t, func() bool { return time.Now().After(up.Expires.Add(time.Second)) }, patience, 50*time.Millisecond)
	response, _ := send(t, up, data)
	assert.GreaterOrEqual(t, response.StatusCode, 400)
	c.missing(t, fresh)
}
