package httpapi

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/domain"
)

func TestCursorsComeBackAndCannotBeMadeUp(t *testing.T) {
	t.Parallel()
	s := &server{Deps: Deps{LinkKey: []byte("a key")}}
	rapid.Check(t, func(t *rapid.T) {
		var id domain.ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		cursor := s.cursor("jobs", afterID{id})
		var got afterID
		require.NoError(t, s.seek("jobs", cursor, &got))
		assert.Equal(t, id, got.ID)

		assert.Error(t, s.seek("hosts", cursor, &got), "another list's")
		raw := []byte(cursor)
		i := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
		raw[i] = rapid.SampledFrom([]byte("ABCDEFabcdef0123456789-_=!")).Filter(func(c byte) bool { return c != raw[i] }).Draw(t, "to")
		assert.Error(t, s.seek("jobs", string(raw), &got), "changed at %d", i)
		if i > 0 { // an empty one is the beginning
			assert.Error(t, s.seek("jobs", cursor[:i], &got), "cut at %d", i)
		}
	})
}

func TestAnUploadLeavesNoFileIfItsServerIsKilled(t *testing.T) {
	t.Parallel()
	z, err := spoolFile(strings.NewReader("a bundle"), 100)
	require.NoError(t, err)
	defer z.remove(&server{})
	assert.NoFileExists(t, z.file.Name())
	content, err := io.ReadAll(z.file)
	require.NoError(t, err)
	assert.Equal(t, "a bundle", string(content))
}

func TestRangesLieWithinTheirSize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		header := rapid.OneOf(rapid.String(), rapid.StringMatching(`bytes=[0-9]{0,19}-[0-9]{0,19}`)).Draw(t, "header")
		size := rapid.Int64Range(0, 1<<40).Draw(t, "size")
		r, ok := parseRange(header)
		if !ok {
			return
		}
		assert.True(t, strings.HasPrefix(header, "bytes="))
		if from, to, ok := r.within(size); ok {
			assert.True(t, 0 <= from && from < to && to <= size, "%q of %d: %d-%d", header, size, from, to)
		}
	})
}

func TestEntriesOfAnArchiveStayBelowItsFolder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		taken, seen := map[string]bool{}, map[string]bool{}
		paths := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-b./:\\]{1,8}`))).Draw(t, "paths")
		for _, p := range paths {
			name := entryName(p, taken)
			assert.True(t, name == "" || filepath.IsLocal(name), "%q became %q", p, name)
			assert.NotContains(t, name, `\`)
			assert.False(t, seen[strings.ToLower(name)], "%q came twice", name)
			seen[strings.ToLower(name)] = true
		}
	})
}

func TestTheDemoKnowsThisMachine(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "127.0.0.1:1": true, "127.9.9.9": true, "[::1]": true, "[::1]:80": true, "::1": true,
		"": false, "0.0.0.0": false, "[::]": false, "10.0.0.1": false, "localhost.": false, "127.0.0.1.nip.io": false, "2130706433": false,
	} {
		assert.Equal(t, want, isLoopback(host), host)
	}
}

func TestARefusalSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{0: "1", time.Second: "1", 90*time.Second + time.Millisecond: "91"} {
		refused := domain.NewError(domain.KindExhausted, "rate_limited", "too many tries")
		refused.RetryAfter = wait
		rec := httptest.NewRecorder()
		c := echo.New().NewContext(httptest.NewRequest(http.MethodPost, "/", nil), rec)
		ErrorHandler(slog.New(slog.DiscardHandler))(refused, c)
		assert.Equal(t, http.StatusTooManyRequests, rec.Code)
		assert.Equal(t, want, rec.Header().Get("Retry-After"), wait)
	}
}
