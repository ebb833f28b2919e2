package cloudblob

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
)

// at opens a bucket, with more parameters.
func at(t *testing.T, b testkit.Bucket, more string) *Store {
	t.Helper()
	s, err := open(t, b, more)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func open(t *testing.T, b testkit.Bucket, more string) (*Store, error) {
	t.Helper()
	o := options()
	o.AccessKey, o.SecretKey = b.AccessKey, b.SecretKey
	return Open(t.Context(), b.URL+more, o)
}

// Two replicas hold no lock together.
func TestOfTwoReplicasThatStoreDifferentBytesOneIsRefused(t *testing.T) {
	t.Parallel()
	b := testkit.S3(t)
	replicas := []*Store{at(t, b, ""), at(t, b, "")}
	for round := range 20 {
		key := strings.Repeat("k", round+1)
		var (
			wg    sync.WaitGroup
			infos [2]ports.BlobInfo
			errs  [2]error
		)
		for i, s := range replicas {
			wg.Go(func() { infos[i], errs[i] = s.Put(t.Context(), key, strings.NewReader([]string{"one", "two"}[i])) })
		}
		wg.Wait()
		won := 0
		if errs[0] != nil {
			won = 1
		}
		require.NoError(t, errs[won])
		require.Equal(t, domain.KindConflict, domain.KindOf(errs[1-won]), "%v", errs[1-won])
		stat, err := replicas[1-won].Stat(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, infos[won], stat)
	}
}

// Whoever has the link cannot leave out what binds it to its bytes.
func TestAnUploadToAnObjectStorageIsBoundByItsHeaders(t *testing.T) {
	t.Parallel()
	s := at(t, testkit.S3(t), "")
	good, other := []byte("hello"), []byte("jello")
	signed, err := s.SignPut(t.Context(), "k", ports.PutOptions{Size: 5, SHA256: sumOf(good), Expires: time.Minute})
	require.NoError(t, err)
	require.Equal(t, checksum(sumOf(good)), signed.Header.Get("X-Amz-Checksum-Sha256"))
	for name, header := range map[string]http.Header{
		"without it":           {},
		"with that of others":  {"X-Amz-Checksum-Sha256": {checksum(sumOf(other))}},
		"as it was signed for": signed.Header,
	} {
		status := put(t, signed.URL, header, other)
		assert.GreaterOrEqual(t, status, 400, name)
		_, err := s.Stat(t.Context(), "k")
		assert.ErrorIs(t, err, domain.NotFound(""), name)
	}
	assert.Equal(t, http.StatusOK, put(t, signed.URL, signed.Header, good))
}

func put(t *testing.T, link string, header http.Header, body []byte) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, link, bytes.NewReader(body))
	require.NoError(t, err)
	r.Header = header.Clone()
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return response.StatusCode
}

func TestLinksLeadToThePublicEndpoint(t *testing.T) {
	t.Parallel()
	s := at(t, testkit.S3(t), "&public_endpoint=https%3A%2F%2Ffiles.example.org")
	_, err := s.Put(t.Context(), "k", strings.NewReader("x"))
	require.NoError(t, err, "it stores at the other")
	down, err := s.SignGet(t.Context(), "k", ports.GetOptions{Expires: time.Minute})
	require.NoError(t, err)
	up, err := s.SignPut(t.Context(), "new", ports.PutOptions{SHA256: sumOf(nil), Expires: time.Minute})
	require.NoError(t, err)
	for _, link := range []string{down.URL, up.URL} {
		u, err := url.Parse(link)
		require.NoError(t, err)
		assert.Equal(t, "files.example.org", u.Host)
		assert.Equal(t, "https", u.Scheme)
	}
}

func TestAnObjectStorageTakesFiveGiBInOneFile(t *testing.T) {
	t.Parallel()
	s := at(t, testkit.S3(t), "")
	sign := func(size int64) error {
		_, err := s.SignPut(t.Context(), "k", ports.PutOptions{Size: size, SHA256: sumOf(nil), Expires: time.Minute})
		return err
	}
	require.NoError(t, sign(5<<30))
	require.ErrorContains(t, sign(5<<30+1), "5 GiB")
}

func TestAnObjectWithoutItsSumIsNotDescribed(t *testing.T) {
	t.Parallel()
	s := at(t, testkit.S3(t), "")
	o := s.keeper.(*objects)
	key := "k"
	_, err := o.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &o.bucket, Key: &key, Body: strings.NewReader("x")})
	require.NoError(t, err)
	_, err = s.Stat(t.Context(), key)
	require.ErrorContains(t, err, "SHA-256")
	assert.Equal(t, domain.KindUnavailable, domain.KindOf(err))
}

func TestAnObjectStorageThatCannotBeUsedIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	server := testkit.S3(t)
	never := strings.Replace(server.URL, "create_bucket=true", "create_bucket=false", 1)
	for name, c := range map[string]struct {
		bucket testkit.Bucket
		more   string
		says   string
	}{
		"no bucket":         {testkit.Bucket{URL: never, AccessKey: server.AccessKey, SecretKey: server.SecretKey}, "", "add create_bucket=true"},
		"another secret":    {testkit.Bucket{URL: server.URL, AccessKey: server.AccessKey, SecretKey: "wrong"}, "", "look at AWS_ACCESS_KEY_ID"},
		"nobody there":      {testkit.Bucket{URL: "s3://b?endpoint=http%3A%2F%2F127.0.0.1%3A1", AccessKey: "a", SecretKey: "b"}, "", "out of reach"},
		"no URL":            {server, "&public_endpoint=files.example.org", "public_endpoint is a URL"},
		"an unknown switch": {server, "&create_buckets=true", "create_buckets"},
		"no switch":         {server, "&use_path_style=maybe", "true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := open(t, c.bucket, c.more)
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), server.SecretKey)
		})
	}
}

func TestAnObjectStorageThatIsAwayIsToldAsThat(t *testing.T) {
	t.Parallel()
	server := testkit.S3Server(t)
	s := at(t, testkit.BucketAt(server), "")
	_, err := s.Put(t.Context(), "k", strings.NewReader("x"))
	require.NoError(t, err)
	calls := map[string]func(context.Context) error{
		"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, "other", strings.NewReader("x")); return err },
		"Open":   func(ctx context.Context) error { _, err := s.Open(ctx, "k", 0, -1); return err },
		"Stat":   func(ctx context.Context) error { _, err := s.Stat(ctx, "k"); return err },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, "k") },
	}
	require.NoError(t, server.Down())
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() { assert.Equal(t, domain.KindUnavailable, domain.KindOf(call(t.Context())), name) })
	}
	wg.Wait()
	require.NoError(t, server.Up(t.Context()))
	r, err := s.Open(t.Context(), "k", 0, -1)
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Equal(t, "x", string(data))

	require.NoError(t, server.Freeze())
	defer func() { assert.NoError(t, server.Thaw()) }()
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		assert.ErrorIs(t, call(ctx), context.DeadlineExceeded, name)
		cancel()
	}
}
