package testkit

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Bucket is where a test keeps objects at an object storage.
type Bucket struct {
	// URL is for PEERGPU_BLOBS. It makes the bucket, which is the test's own.
	URL string
	// AccessKey and SecretKey are for PEERGPU_S3_ACCESS_KEY and PEERGPU_S3_SECRET_KEY.
	AccessKey, SecretKey string
	// Folder is where the server has its objects, as files of their names.
	Folder string
}

// Env are the variables that have a server keep its objects there.
func (b Bucket) Env() []string {
	return []string{"PEERGPU_BLOBS=" + b.URL, "PEERGPU_S3_ACCESS_KEY=" + b.AccessKey, "PEERGPU_S3_SECRET_KEY=" + b.SecretKey}
}

// S3 returns a bucket at an S3 server that other tests use at the same time.
func S3(t testing.TB) Bucket {
	t.Helper()
	if told := strings.Fields(os.Getenv(servers.S3Variable)); len(told) == 4 {
		return bucketAt(told[0], told[1], told[2], told[3])
	}
	return BucketAt(S3Server(t))
}

// S3Server starts an S3 server of the test's own, to be killed and frozen.
func S3Server(t testing.TB) *servers.S3 {
	t.Helper()
	Need(t, servers.S3Server)
	s, err := servers.StartS3(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

// BucketAt is a bucket at a server of the test's own.
func BucketAt(s *servers.S3) Bucket { return bucketAt(s.URL, s.AccessKey, s.SecretKey, s.Data()) }

func bucketAt(endpoint, access, secret, data string) Bucket {
	name := "test-" + strings.ToLower(rand.Text())
	return Bucket{
		URL:       "s3://" + name + "?create_bucket=true&endpoint=" + url.QueryEscape(endpoint),
		AccessKey: access, SecretKey: secret, Folder: filepath.Join(data, name),
	}
}
