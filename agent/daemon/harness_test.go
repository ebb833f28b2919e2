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
	t       *testing.T
	dir     string
	key     ed25519.PrivateKey // the server's
	server  *fakeServer
	store   *fakeTransfer
	clock   *fakeClock
	config  daemon.Config
	runtime daemon.Runtime
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
	return daemon.Ports{Server: w.server, Transfer: w.store, Runtime: w.runtime, GPUs: fakeGPUs{}, Clock: w.clock}
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

// fakeServer is daemon.Server without a network.
type fakeServer struct {
	w       *world
	peers   chan *peer
	hostKey ed25519.PublicKey

	mu     sync.Mutex
	refuse error // answered to Dial
	dials  []time.Time
}

func (s *fakeServer) Register(_ context.Context, r wire.Registration) (wire.Registered, error) {
	key, err := base64.RawURLEncoding.DecodeString(r.PublicKey.X)
	require.NoError(s.w.t, err)
	proof, err := base64.RawURLEncoding.DecodeString(r.Proof)
	require.NoError(s.w.t, err)
	if !ed25519.Verify(key, wire.EnrolPayload(r.EnrollmentToken, key), proof) {
		return wire.Registered{}, errors.New("wrong proof")
	}
	s.hostKey = key
	return wire.Registered{HostID: hostID, Keys: s.w.keySet(1, s.w.key, s.w.key), ServerTime: time.Now(), MinAgentVersion: "0.0.0"}, nil
}

func (s *fakeServer) Token(_ context.Context, assertion string) (wire.TokenResponse, error) {
	jws, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(s.w.t, err)
	payload, err := jws.Verify(s.hostKey)
	require.NoError(s.w.t, err)
	var c wire.AssertionClaims
	require.NoError(s.w.t, wire.ParseClaims(payload, &c))
	require.Equal(s.w.t, wire.AssertionAudience, c.Aud)
	require.LessOrEqual(s.w.t, c.Exp-c.Iat, int64(60))
	return wire.TokenResponse{AccessToken: "token", TokenType: "Bearer", ExpiresIn: 600}, nil
}

func (s *fakeServer) Ping(context.Context) (time.Time, error) { return time.Now(), nil }

func (s *fakeServer) Dial(_ context.Context, token string) (daemon.Conn, error) {
	require.Equal(s.w.t, "token", token)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, time.Now())
	if s.refuse != nil {
		return nil, s.refuse
	}
	p := &peer{
		t: s.w.t, up: make(chan message, 100_000), down: make(chan message, 1000),
		gone: make(chan struct{}), frames: make(chan wire.Frame, 1000), acksBeats: true, acksLogs: true, acksReports: true,
	}
	s.peers <- p
	return p.conn(), nil
}

type message struct {
	binary bool
	data   []byte
}

// peer is the server's end of a connection.
type peer struct {
	t      *testing.T
	up     chan message // from the agent
	down   chan message
	gone   chan struct{}
	once   sync.Once
	closed *daemon.Closed

	frames chan wire.Frame // what the test is to see: all but heartbeats, inventories, logs

	mu                               sync.Mutex
	acksBeats, acksLogs, acksReports bool
	log                              []byte // as appended by offset
	logFrames                        int
	beats                            int
	dups                             int // bytes that came twice
}

// fakeConn is the agent's end.
type fakeConn struct{ p *peer }

func (p *peer) conn() daemon.Conn { return fakeConn{p} }

func (c fakeConn) Read() (bool, []byte, error) {
	select {
	case m := <-c.p.down:
		return m.binary, m.data, nil
	default:
	}
	select {
	case m := <-c.p.down:
		return m.binary, m.data, nil
	case <-c.p.gone:
		if c.p.closed != nil {
			return false, nil, c.p.closed
		}
		return false, nil, io.ErrUnexpectedEOF
	}
}

func (c fakeConn) Write(binary bool, data []byte) error {
	select {
	case <-c.p.gone:
		return io.ErrClosedPipe
	case c.p.up <- message{binary, bytes.Clone(data)}:
		return nil
	}
}

func (c fakeConn) Close(int, string) error {
	c.p.once.Do(func() { close(c.p.gone) })
	return nil
}

// hangUp ends the connection from the server's side; 0 is without a close frame.
func (p *peer) hangUp(code int) {
	p.once.Do(func() {
		if code != 0 {
			p.closed = &daemon.Closed{Code: code}
		}
		close(p.gone)
	})
}

func (p *peer) send(body any, ref string) {
	data, err := wire.Encode(wire.Frame{Ref: ref, Body: body})
	require.NoError(p.t, err)
	p.down <- message{data: data}
}

func (p *peer) ack(f wire.Frame) { p.send(&wire.Ack{Ok: true}, f.ID) }

// raw is the next text frame, before pump runs.
func (p *peer) raw() wire.Frame {
	m := <-p.up
	f, err := wire.Decode(m.data)
	require.NoError(p.t, err)
	return f
}

// pump answers what is always the same and shows the rest to the test.
func (p *peer) pump() {
	for {
		select {
		case <-p.gone:
			return
		case m := <-p.up:
			p.mu.Lock()
			p.handle(m)
			p.mu.Unlock()
		}
	}
}

func (p *peer) handle(m message) {
	if m.binary {
		l, err := wire.DecodeLog(m.data)
		require.NoError(p.t, err)
		p.logFrames++
		switch have := int64(len(p.log)); {
		case l.Offset > have:
			assert.Failf(p.t, "a gap", "log frame at %d, have %d", l.Offset, have)
		default:
			fresh := l.Data[min(have-l.Offset, int64(len(l.Data))):]
			p.dups += len(l.Data) - len(fresh)
			p.log = append(p.log, fresh...)
		}
		if p.acksLogs {
			p.send(&wire.LogAck{JobID: l.JobID, Attempt: l.Attempt, Offset: int64(len(p.log))}, "")
		}
		return
	}
	f, err := wire.Decode(m.data)
	require.NoError(p.t, err)
	switch f.Body.(type) {
	case *wire.Heartbeat:
		p.beats++
		if p.acksBeats {
			p.ack(f)
		}
	case *wire.Inventory:
		p.ack(f)
	case *wire.Accept, *wire.Exited, *wire.Reject, *wire.Reclaim:
		if p.acksReports {
			p.ack(f)
		}
		p.frames <- f
	case *wire.Phase:
		if f.ID != "" && p.acksReports {
			p.ack(f)
		}
		p.frames <- f
	default:
		p.frames <- f
	}
}

// set changes what the peer answers by itself.
func (p *peer) set(change func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *peer) received() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.log)
}

// expect waits for the next frame of a type and passes over phases on the way.
func expect[T any](p *peer) (*T, wire.Frame) {
	p.t.Helper()
	deadline := time.After(2 * time.Hour)
	for {
		select {
		case f := <-p.frames:
			if body, ok := f.Body.(*T); ok {
				return body, f
			}
			if _, phase := f.Body.(*wire.Phase); !phase {
				require.Failf(p.t, "an unexpected frame", "wanted %T, got %s %+v", new(T), wire.TypeOf(f.Body), f.Body)
			}
		case <-deadline:
			require.Failf(p.t, "no frame", "waiting for %T", new(T))
		}
	}
}

// running waits until the command runs.
func running(p *peer) {
	p.t.Helper()
	expect[wire.Accept](p)
	for {
		if phase, _ := expect[wire.Phase](p); phase.Name == wire.PhaseNameRunning {
			return
		}
	}
}

// quiet says that the agent sends nothing more for a while.
func quiet(p *peer, d time.Duration) {
	p.t.Helper()
	select {
	case f := <-p.frames:
		require.Failf(p.t, "an unexpected frame", "%s %+v", wire.TypeOf(f.Body), f.Body)
	case <-time.After(d):
	}
}

// fakeTransfer keeps blobs in memory.
type fakeTransfer struct {
	mu    sync.Mutex
	blobs map[string][]byte
	fail  int // so many puts fail
	puts  int
}

func (s *fakeTransfer) Fetch(_ context.Context, src daemon.Remote, path string, progress func(int64)) error {
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
}

func (c *fakeClock) Now() time.Time { return time.Now() }

func (c *fakeClock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.began) + c.slept
}

func (c *fakeClock) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept += d
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) { <-time.After(d) }
