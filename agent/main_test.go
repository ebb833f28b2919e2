package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/wire"
)

const (
	hostID = "hst_0190000000007000800000000000000b"
	jobID  = "job_0190000000007000800000000000000a"
)

// marketplace is as much of a server as one agent needs, over real HTTP and a real
// WebSocket.
type marketplace struct {
	t   *testing.T
	url string
	key ed25519.PrivateKey

	sockets chan *websocket.Conn

	mu   sync.Mutex
	host ed25519.PublicKey
	body wire.Registration
}

func newMarketplace(t *testing.T) *marketplace {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	m := &marketplace{t: t, key: key, sockets: make(chan *websocket.Conn, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /api/hosts/register", m.register)
	mux.HandleFunc("POST /api/agent/token", m.token)
	mux.HandleFunc("GET /ws/agent", func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if assert.NoError(t, err) {
			m.sockets <- ws
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

func (m *marketplace) register(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	assert.NoError(m.t, json.NewDecoder(r.Body).Decode(&m.body))
	key, err := base64.RawURLEncoding.DecodeString(m.body.PublicKey.X)
	assert.NoError(m.t, err)
	proof, err := base64.RawURLEncoding.DecodeString(m.body.Proof)
	assert.NoError(m.t, err)
	if m.body.EnrollmentToken != "pgpu_enr_good" || !ed25519.Verify(key, wire.EnrolPayload("pgpu_enr_good", key), proof) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	m.host = key
	set := &wire.KeySet{Iss: wire.Issuer, Ver: 1, Keys: []wire.JWK{wire.JWKOf(m.key.Public().(ed25519.PublicKey))}}
	_ = json.NewEncoder(w).Encode(wire.Registered{HostID: hostID, Keys: m.sign(wire.TypKeys, set), ServerTime: time.Now()})
}

func (m *marketplace) token(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var body wire.TokenRequest
	assert.NoError(m.t, json.NewDecoder(r.Body).Decode(&body))
	jws, err := jose.ParseSignedCompact(body.ClientAssertion, []jose.SignatureAlgorithm{jose.EdDSA})
	if assert.NoError(m.t, err) {
		if _, err = jws.Verify(m.host); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	_ = json.NewEncoder(w).Encode(wire.TokenResponse{AccessToken: "t", ExpiresIn: 600})
}

func (m *marketplace) sign(typ string, claims any) string {
	payload, err := wire.MarshalClaims(claims)
	assert.NoError(m.t, err)
	key := jose.JSONWebKey{Key: m.key, KeyID: wire.Thumbprint(m.key.Public().(ed25519.PublicKey))}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	assert.NoError(m.t, err)
	jws, err := signer.Sign(payload)
	assert.NoError(m.t, err)
	out, err := jws.CompactSerialize()
	assert.NoError(m.t, err)
	return out
}

// agent runs the program in a folder of its own.
func agent(ctx context.Context, home string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, append([]string{"--home", home}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func enrolled(t *testing.T, m *marketplace) (home string) {
	t.Helper()
	home = filepath.Join(t.TempDir(), "state")
	code, stdout, stderr := agent(t.Context(), home, "enroll", "--server", m.url, "--token", "pgpu_enr_good", "--gpus", "simulated:2xNVIDIA H200@141", "--price-micros", "350000", "--tags", "linux,quiet")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, hostID)
	return home
}

func TestEnrolling(t *testing.T) {
	t.Parallel()
	m := newMarketplace(t)
	home := enrolled(t, m)
	assert.Equal(t, []string{"linux", "quiet"}, m.body.Tags)
	assert.EqualValues(t, 350_000, *m.body.PricePerGPUHourMicros)
	require.Len(t, m.body.GPUs, 2)
	assert.Equal(t, "NVIDIA H200", m.body.GPUs[0].Model)
	assert.EqualValues(t, 141<<10, m.body.GPUs[0].VRAMMB)
	assert.True(t, m.body.GPUs[0].Simulated)

	s, err := loadSettings(home)
	require.NoError(t, err)
	assert.Equal(t, m.url, s.Server)
	assert.Equal(t, "simulated:2xNVIDIA H200@141", s.GPUs)

	code, _, stderr := agent(t.Context(), home, "enroll", "--server", m.url, "--token", "pgpu_enr_good")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "--force")
	other := filepath.Join(t.TempDir(), "other")
	code, _, stderr = agent(t.Context(), other, "enroll", "--server", m.url, "--token", "pgpu_enr_used")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "get a new one")
	assert.NotContains(t, stderr, "pgpu_enr_used")
	assert.NoFileExists(t, filepath.Join(other, "identity.json"))
}

func TestAHostAtWork(t *testing.T) {
	t.Parallel()
	m := newMarketplace(t)
	home := enrolled(t, m)
	path := filepath.Join(home, settingsFile)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	file = bytes.Replace(file, []byte("runtime: process"), []byte("runtime: simulated"), 1)
	require.NoError(t, os.WriteFile(path, file, 0o600))

	ctx, cancel := context.WithCancel(t.Context())
	type ending struct {
		code   int
		stderr string
	}
	ended := make(chan ending, 1)
	go func() {
		code, _, stderr := agent(ctx, home, "run")
		ended <- ending{code, stderr}
	}()
	ws := <-m.sockets
	defer ws.Close()
	send := func(body any, ref string) {
		data, err := wire.Encode(wire.Frame{Ref: ref, Body: body})
		require.NoError(t, err)
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, data))
	}
	send(&wire.Challenge{Nonce: "n"}, "")
	log := ""
	var finished *wire.Finished
	for finished == nil {
		kind, data, err := ws.ReadMessage()
		require.NoError(t, err)
		if kind == websocket.BinaryMessage {
			l, err := wire.DecodeLog(data)
			require.NoError(t, err)
			log += string(l.Data)
			continue
		}
		f, err := wire.Decode(data)
		require.NoError(t, err)
		switch body := f.Body.(type) {
		case *wire.Hello:
			send(&wire.Welcome{Session: "s", Epoch: 1, ServerTime: time.Now(), HeartbeatS: 10, LeaseTTLS: 60, ReassignAfterS: 300, LogWindowBytes: 1 << 20}, f.ID)
		case *wire.Inventory:
			require.Len(t, body.GPUs, 2)
			send(&wire.Ack{Ok: true}, f.ID)
			now := time.Now().Unix()
			send(&wire.Manifest{JWS: m.sign(wire.TypManifest, &wire.ManifestClaims{
				Iss: wire.Issuer, Aud: hostID, JTI: rand.Text(), Iat: now, Nbf: now, Exp: now + 600, JobID: jobID, Attempt: 1,
				LeaseTTLMs: 60_000, ReassignAfterMs: 300_000, Kind: wire.ManifestClaimsKindCommand, Argv: []string{"simulate", "log hello"},
				GPUs: wire.ManifestGPUs{UUIDs: []string{body.GPUs[1].UUID}}, Limits: wire.ManifestLimits{MaxRuntimeMs: 60_000},
				Network: wire.ManifestNetwork{Mode: "none"}, Isolation: wire.ManifestIsolation{Min: "none"},
			})}, "")
		case *wire.Finished:
			finished = body
			send(&wire.Ack{Ok: true}, f.ID)
		default:
			if f.ID != "" {
				send(&wire.Ack{Ok: true}, f.ID)
			}
		}
	}
	assert.Equal(t, "hello\n", log)
	assert.Zero(t, *finished.ExitCode)
	sum := sha256.Sum256([]byte(log))
	assert.Equal(t, hex.EncodeToString(sum[:]), finished.Log.SHA256)

	cancel()
	for err == nil {
		_, _, err = ws.ReadMessage()
	}
	assert.True(t, websocket.IsCloseError(err, wire.CloseLeaving), "%v", err)
	e := <-ended
	assert.Zero(t, e.code, e.stderr)
	assert.Contains(t, e.stderr, "job accepted")
}

func TestDoctorNamesWhatIsWrongAndHowToFixIt(t *testing.T) {
	t.Parallel()
	m := newMarketplace(t)
	home := enrolled(t, m)
	path := filepath.Join(home, settingsFile)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	good = bytes.Replace(good, []byte("runtime: process"), []byte("runtime: simulated"), 1)
	require.NoError(t, os.WriteFile(path, good, 0o600))
	code, stdout, _ := agent(t.Context(), home, "doctor")
	assert.Zero(t, code, stdout)
	for _, line := range []string{"ok    config", "ok    key", "clocks agree", "knows this host's key", "ok    sandbox", "NVIDIA H200", "fit"} {
		assert.Contains(t, stdout, line)
	}

	require.NoError(t, os.Chmod(filepath.Join(home, "key.pem"), 0o640))
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "chmod 600")
	require.NoError(t, os.Chmod(filepath.Join(home, "key.pem"), 0o600))

	m.mu.Lock()
	m.host = make(ed25519.PublicKey, ed25519.PublicKeySize)
	m.mu.Unlock()
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "FAIL  account")

	require.NoError(t, os.WriteFile(path, bytes.Replace(good, []byte(m.url), []byte("http://127.0.0.1:1"), 1), 0o600))
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "FAIL  server")

	code, stdout, _ = agent(t.Context(), filepath.Join(home, "none"), "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "peergpu-agent enroll --server")
}

func TestSettingsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"server: https://x\n": "",
		"server: https://x\npolicy: {max_runtime: 90s, kinds: [command]}\ndrain_for: 1h\n": "",
		"": "server is missing",
		"server: https://x\npolicy: {max_memroy_mb: 1}\n":   "max_memroy_mb",
		"server: https://x\nserver: https://y\n":            "already defined",
		"server: https://x\npolicy: {max_runtime: forever}": "forever",
		"server: https://x\npolicy: {max_runtime: -1s}":     "no duration",
		"server: https://x\npolicy: {networks: [lan]}":      "lan",
		"server: https://x\npolicy: {max_disk_mb: -1}":      "negative",
		"server: https://x\nruntime: docker":                "docker",
		"server: https://x\nunsandboxed: true":              "trusted",
		"server: https://x\ngpus: simulated:H200":           "simulated:H200",
		"server: [": settingsFile,
	} {
		home := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(home, settingsFile), []byte(text), 0o600))
		_, err := loadSettings(home)
		if want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
}

func TestTheCommandLineHelps(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"enroll", "--help"}, {"doctor", "--help"}} {
		code, stdout, _ := agent(t.Context(), t.TempDir(), args...)
		assert.Zero(t, code)
		assert.Contains(t, stdout, "Usage: peergpu-agent", args)
	}
	code, stdout, _ := agent(t.Context(), t.TempDir(), "--version")
	assert.Zero(t, code)
	assert.Equal(t, versionName(), strings.TrimSpace(stdout))
	for _, args := range [][]string{{}, {"dance"}, {"enroll"}, {"run", "--log-level", "loud"}} {
		code, _, stderr := agent(t.Context(), t.TempDir(), args...)
		assert.Equal(t, 2, code, args)
		assert.Contains(t, stderr, "--help", args)
	}
	code, _, stderr := agent(t.Context(), t.TempDir(), "run")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "peergpu-agent enroll")
}
