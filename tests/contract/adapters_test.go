package contract

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/eventbus"
	"github.com/peergpu/peergpu/adapters/josetokens"
	"github.com/peergpu/peergpu/adapters/stripepay"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit"
)

// secret makes a key of 32 bytes.
func secret() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}

// buckets are where objects can be kept.
var buckets = map[string]func(*testing.T) testkit.Bucket{
	"a folder":       func(t *testing.T) testkit.Bucket { t.Helper(); return testkit.Bucket{URL: "file://" + t.TempDir()} },
	"memory":         func(*testing.T) testkit.Bucket { return testkit.Bucket{URL: "mem://"} },
	"object storage": func(t *testing.T) testkit.Bucket { t.Helper(); return testkit.S3(t) },
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	for name, bucket := range buckets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Blobs(t, func(t *testing.T) ports.Blobs { return served(t, bucket(t)) })
			BlobIndex(t, func(t *testing.T) (ports.BlobIndex, ports.Blobs) {
				t.Helper()
				s := served(t, bucket(t))
				return s, s
			})
		})
	}
}

// served is a store whose handler listens where its links lead.
func served(t *testing.T, b testkit.Bucket) *cloudblob.Store {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, err := cloudblob.Open(t.Context(), b.URL, cloudblob.Options{
		Key: secret(), PublicURL: "http://" + l.Addr().String(), Clock: system.Clock{}, AccessKey: b.AccessKey, SecretKey: b.SecretKey,
	})
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.Handler(), ReadHeaderTimeout: patience}}
	server.Start()
	t.Cleanup(func() {
		server.Close()
		assert.NoError(t, s.Close())
	})
	return s
}

func TestRedisBus(t *testing.T) {
	t.Parallel()
	Bus(t, func(t *testing.T) ports.Bus { return busOf(t, testkit.Redis(t)) })
}

func TestMemoryBus(t *testing.T) {
	t.Parallel()
	Bus(t, func(*testing.T) ports.Bus { return eventbus.NewMemory(slog.New(slog.DiscardHandler)) })
}

func TestJOSETokens(t *testing.T) {
	t.Parallel()
	Tokens(t, func(t *testing.T) ports.Tokens {
		t.Helper()
		tokens, err := josetokens.NewTokens(secret(), system.Clock{})
		require.NoError(t, err)
		return tokens
	})
}

func TestJOSEManifests(t *testing.T) {
	t.Parallel()
	Manifests(t, func(t *testing.T) ports.Manifests { t.Helper(); return manifests(t) })
}

func manifests(t *testing.T) ports.Manifests {
	t.Helper()
	m, err := josetokens.NewManifests(secret(), system.Clock{}, josetokens.Rotation{})
	require.NoError(t, err)
	return m
}

func TestSystemPasswords(t *testing.T) {
	t.Parallel()
	Passwords(t, func(*testing.T) ports.Passwords { return system.NewPasswords() })
}

func TestSystemVault(t *testing.T) {
	t.Parallel()
	Vault(t, func(t *testing.T) ports.Vault {
		t.Helper()
		v, err := system.NewVault(secret())
		require.NoError(t, err)
		return v
	})
}

func TestSandboxGateway(t *testing.T) {
	t.Parallel()
	Gateway(t, func(*testing.T) (ports.Gateway, domain.Micros) { return stripepay.NewSandbox(), 10_020_000 })
}

// Adapters do not know the published language, so both sides say it: here they are held
// against each other.
func TestTheKeySetIsTheOneThatAgentsRead(t *testing.T) {
	t.Parallel()
	signed, plain, err := manifests(t).KeySet()
	require.NoError(t, err)
	s := signatureOf(t, signed)
	assert.Equal(t, wire.TypKeys, s.Typ)
	assert.Equal(t, plain, s.payload)
	var set wire.KeySet
	require.NoError(t, wire.ParseClaims(plain, &set), "every field, and none that agents refuse")
	assert.Equal(t, wire.Issuer, set.Iss)
	assert.EqualValues(t, 1, set.Ver)
	require.Len(t, set.Keys, 1)
	x, err := b64.DecodeString(set.Keys[0].X)
	require.NoError(t, err)
	assert.Equal(t, wire.JWKOf(x), set.Keys[0])
	assert.Equal(t, set.Keys[0].Kid, s.Kid)
}
