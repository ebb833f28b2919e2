package daemon_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/runtime"
	"github.com/peergpu/peergpu/openapi/wire"
)

const (
	hostID = "hst_0190000000007000800000000000000b"
	jobA   = "job_0190000000007000800000000000000a"
	jobB   = "job_0190000000007000800000000000000d"
	gpu0   = "GPU-sim-0"
	gpu1   = "GPU-sim-1"
)

// world is a host and the server that it knows, both inside one test. It is made to run
// in a synctest bubble: nothing of it touches a network.
type world struct {
	t        *testing.T
	dir      string
	key      ed25519.PrivateKey // the server's
	server   *fakeServer
	store    *fakeTransfer
	clock    *fakeClock
	config   daemon.Config
	runtime  daemon.Runtime
	watchdog daemon.Watchdog
	durable  string // the log that the server has when an agent connects
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	w := &world{t: t, dir: t.TempDir(), key: key, store: &fakeTransfer{blobs: map[string][]byte{}}, clock: &fakeClock{began: time.Now()}}
	w.server = &fakeServer{w: w, peers: make(chan *peer, 100)}
	w.runtime = runtime.NewSimulated(time.Now)
	_, err = daemon.Enrol(t.Context(), w.dir, w.ports(), daemon.Enrolment{Token: "pgpu_enr_secret"})
	require.NoError(t, err)
	w.config = daemon.Config{Dir: w.dir, Version: "1.2.3", Trusted: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	return w
}

func (w *world) ports() daemon.Ports {
	return daemon.Ports{Server: w.server, Transfer: w.store, Runtime: w.runtime, Folders: runtime.NewSimulated(time.Now), GPUs: fakeGPUs{}, Clock: w.clock, Watchdog: w.watchdog}
}

// start runs a daemon and answers how to stop it. Stopping waits for its end.
func (w *world) start() (stop func()) {
	w.t.Helper()
	d, err := daemon.New(w.config, w.ports())
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	return func() {
		once.Do(func() {
			cancel()
			assert.NoError(w.t, <-ended)
		})
	}
}

// crash is what kill -9 leaves behind: the state folder as it is now. The daemon of the
// old folder goes on, so the caller stops it; its frames no longer matter.
func (w *world) crash() {
	w.t.Helper()
	copied := w.t.TempDir()
	require.NoError(w.t, os.CopyFS(copied, os.DirFS(w.dir)))
	require.NoError(w.t, os.Chmod(filepath.Join(copied, "key.pem"), 0o600))
	w.dir, w.config.Dir = copied, copied
}

// connect waits for the daemon and takes it through the handshake.
func (w *world) connect(resume ...wire.Resume) *peer {
	w.t.Helper()
	p, _ := w.greet(resume...)
	return p
}

// greet is connect that also shows the hello.
func (w *world) greet(resume ...wire.Resume) (*peer, *wire.Hello) {
	w.t.Helper()
	p := w.dialled()
	p.send(&wire.Challenge{Nonce: "nonce-nonce-nonce-nonce-nonce"}, "")
	f := p.raw()
	hello, ok := f.Body.(*wire.Hello)
	require.True(w.t, ok)
	signature, err := base64.RawURLEncoding.DecodeString(hello.Signature)
	require.NoError(w.t, err)
	require.True(w.t, ed25519.Verify(w.server.hostKey, wire.HelloPayload("nonce-nonce-nonce-nonce-nonce", hostID, *hello), signature))
	if resume == nil {
		for _, a := range hello.Attempts {
			resume = append(resume, wire.Resume{JobID: a.JobID, Attempt: a.Attempt, Action: wire.ResumeActionContinue})
		}
	}
	p.send(&wire.Welcome{
		Session: "s", Epoch: 1, ServerTime: time.Now(), HeartbeatS: 10, LeaseTTLS: 60, ReassignAfterS: 300,
		LogWindowBytes: 1 << 20, Jobs: resume,
	}, f.ID)
	p.log = []byte(w.durable)
	go p.pump()
	return p, hello
}

func (w *world) dialled() *peer {
	w.t.Helper()
	select {
	case p := <-w.server.peers:
		return p
	case <-time.After(10 * time.Minute):
		require.FailNow(w.t, "the agent did not connect")
		return nil
	}
}

// sign makes a compact JWS as the server would.
func (w *world) sign(typ string, claims any) string {
	payload, err := wire.MarshalClaims(claims)
	require.NoError(w.t, err)
	return signWith(w.t, w.key, typ, payload)
}

func signWith(t *testing.T, key ed25519.PrivateKey, typ string, payload []byte) string {
	t.Helper()
	kid := wire.Thumbprint(key.Public().(ed25519.PublicKey))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	require.NoError(t, err)
	jws, err := signer.Sign(payload)
	require.NoError(t, err)
	out, err := jws.CompactSerialize()
	require.NoError(t, err)
	return out
}

// claims is a manifest for a simulated job.
func (w *world) claims(job string, attempt int, script ...string) *wire.ManifestClaims {
	now := time.Now().Unix()
	return &wire.ManifestClaims{
		Iss: wire.Issuer, Aud: hostID, JTI: rand.Text(), Iat: now, Nbf: now, Exp: now + 600, JobID: job, Attempt: attempt,
		LeaseTTLMs: 60_000, ReassignAfterMs: 300_000, Kind: wire.ManifestClaimsKindCommand,
		Argv: append([]string{"simulate"}, script...), GPUs: wire.ManifestGPUs{UUIDs: []string{gpu0}},
		Limits:    wire.ManifestLimits{MaxRuntimeMs: 3_600_000, LogBytes: 64 << 20, ArtifactBytes: 1 << 20, ArtifactFiles: 100},
		Network:   wire.ManifestNetwork{Mode: wire.ManifestNetworkModeNone},
		Isolation: wire.ManifestIsolation{Min: wire.ManifestIsolationMinNone}, Outputs: []string{"outputs/**"},
		Renter: wire.ManifestRenter{ID: "usr_0190000000007000800000000000000c", Owner: true},
		Price:  wire.ManifestPrice{HourlyMicros: 350_000, Currency: "USD"},
	}
}

func (w *world) offer(p *peer, c *wire.ManifestClaims) {
	p.send(&wire.Manifest{JWS: w.sign(wire.TypManifest, c)}, "")
}

func (w *world) cancel(p *peer, job string, attempt int) {
	now := time.Now().Unix()
	p.send(&wire.Cancel{JWS: w.sign(wire.TypCancel, &wire.CancelClaims{
		Iss: wire.Issuer, Aud: hostID, JTI: rand.Text(), Iat: now, Nbf: now, Exp: now + 600, JobID: job, Attempt: attempt, GraceMs: 10_000,
	})}, "")
}

func (w *world) keySet(ver int64, signer ed25519.PrivateKey, keys ...ed25519.PrivateKey) string {
	set := wire.KeySet{Iss: wire.Issuer, Iat: time.Now().Unix(), Ver: ver}
	for _, k := range keys {
		set.Keys = append(set.Keys, wire.JWKOf(k.Public().(ed25519.PublicKey)))
	}
	payload, err := wire.MarshalClaims(&set)
	require.NoError(w.t, err)
	return signWith(w.t, signer, wire.TypKeys, payload)
}

// fakeTransfer keeps blobs in memory.
type fakeTransfer struct {
	mu    sync.Mutex
	blobs map[string][]byte
	fail  int // so many puts fail
	puts  int
	slow  time.Duration // what each fetch takes
}

func (s *fakeTransfer) Fetch(_ context.Context, src daemon.Remote, path string, progress func(int64)) error {
	<-time.After(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	data, found := s.blobs[src.URL]
	if !found {
		return &daemon.Refusal{Status: 404}
	}
	if int64(len(data)) != src.Size || sumOf(data) != src.SHA256 {
		return daemon.ErrContent
	}
	progress(src.Size)
	return os.WriteFile(path, data, 0o600)
}

func (s *fakeTransfer) Put(_ context.Context, to wire.UploadTarget, r io.ReaderAt, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.fail > 0 {
		s.fail--
		return errors.New("connection reset")
	}
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.blobs[to.URL] = data
	return nil
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		f, err := z.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(f, content)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

type fakeGPUs struct{}

func (fakeGPUs) Probe(context.Context) ([]daemon.GPU, error) {
	return []daemon.GPU{
		{UUID: gpu0, Model: "NVIDIA GeForce RTX 4090", MemoryBytes: 24 << 30, Driver: daemon.SimulatedDriver},
		{Index: 1, UUID: gpu1, Model: "NVIDIA GeForce RTX 4090", MemoryBytes: 24 << 30, Driver: daemon.SimulatedDriver},
	}, nil
}

func (fakeGPUs) Load(context.Context) ([]daemon.GPULoad, error) {
	return []daemon.GPULoad{{UUID: gpu0, Utilization: 7}}, nil
}

// fakeClock follows the bubble's clock, and can jump as a machine that was suspended.
type fakeClock struct {
	began time.Time
	mu    sync.Mutex
	slept time.Duration
	ahead time.Duration // the wall clock, of the server's
	drift float64       // how much faster the steady clock runs than the server's
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *fakeClock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(float64(time.Since(c.began))*(1+c.drift)) + c.slept
}

func (c *fakeClock) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept += d
}

// step sets the wall clock, as its owner or a time service does.
func (c *fakeClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) { <-time.After(d) }
