// Package marketplace is as much of a server as one agent needs, over real HTTP and a
// real WebSocket: tests of the agent enrol at it, and speak for the server themselves.
package marketplace

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/wire"
)

// The names that it gives.
const (
	HostID      = "hst_0190000000007000800000000000000b"
	Enrolment   = "pgpu_enr_good" // good as often as one likes
	AccessToken = "access"
)

// Marketplace is a running server.
type Marketplace struct {
	URL     string
	Sockets chan *Socket      // the WebSockets that agents open
	Blobs   map[string][]byte // by path, for GET; PUT adds to them

	t      testing.TB
	key    ed25519.PrivateKey
	server *httptest.Server

	mu     sync.Mutex
	host   ed25519.PublicKey
	body   wire.Registration
	refuse http.HandlerFunc
	banned string // the code that token requests are refused with
}

// New starts one; it ends with the test.
func New(t testing.TB) *Marketplace {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	m := &Marketplace{t: t, key: key, Sockets: make(chan *Socket, 100), Blobs: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	})
	mux.HandleFunc("POST /api/hosts/register", m.register)
	mux.HandleFunc("POST /api/agent/token", m.token)
	mux.HandleFunc("GET /ws/agent", m.socket)
	mux.HandleFunc("GET /blobs/", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(m.Blob(r.URL.Path)) })
	mux.HandleFunc("PUT /blobs/", m.put)
	m.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		refuse := m.refuse
		m.mu.Unlock()
		if refuse != nil {
			refuse(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(m.server.Close)
	m.URL = m.server.URL
	return m
}

// Refuse answers every request with a handler instead; nil ends that.
func (m *Marketplace) Refuse(h http.HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = h
}

// Stop closes the server before the test ends.
func (m *Marketplace) Stop() { m.server.Close() }

// ForgetHost makes the key of the host that enrolled unknown.
func (m *Marketplace) ForgetHost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host = make(ed25519.PublicKey, ed25519.PublicKeySize)
}

// Ban keeps the host out with a code, such as host_removed.
func (m *Marketplace) Ban(code string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.banned = code
}

func (m *Marketplace) standing() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.banned
}

// problem answers as the API does.
func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "detail": "no"})
}

// Registration is what the last host said of itself.
func (m *Marketplace) Registration() wire.Registration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.body
}

// Sign makes a compact JWS as the server would.
func (m *Marketplace) Sign(typ string, claims any) string {
	payload, err := wire.MarshalClaims(claims)
	assert.NoError(m.t, err)
	key := jose.JSONWebKey{Key: m.key, KeyID: wire.Thumbprint(m.public())}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	assert.NoError(m.t, err)
	jws, err := signer.Sign(payload)
	assert.NoError(m.t, err)
	out, err := jws.CompactSerialize()
	assert.NoError(m.t, err)
	return out
}

// Blob is what lies at a path.
func (m *Marketplace) Blob(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Blobs[path]
}

func (m *Marketplace) put(_ http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	assert.NoError(m.t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Blobs[r.URL.Path] = data
}

func (m *Marketplace) public() ed25519.PublicKey { return m.key.Public().(ed25519.PublicKey) }

func (m *Marketplace) register(w http.ResponseWriter, r *http.Request) {
	var body wire.Registration
	assert.NoError(m.t, json.NewDecoder(r.Body).Decode(&body))
	key, err := base64.RawURLEncoding.DecodeString(body.PublicKey.X)
	assert.NoError(m.t, err)
	proof, err := base64.RawURLEncoding.DecodeString(body.Proof)
	assert.NoError(m.t, err)
	if body.EnrollmentToken != Enrolment || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, wire.EnrolPayload(Enrolment, key), proof) {
		problem(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	m.mu.Lock()
	m.host, m.body = key, body
	m.mu.Unlock()
	set := &wire.KeySet{Iss: wire.Issuer, Ver: 1, Keys: []wire.JWK{wire.JWKOf(m.public())}}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(wire.Registered{HostID: HostID, Keys: m.Sign(wire.TypKeys, set), ServerTime: time.Now(), MinAgentVersion: "0.0.0"})
}

func (m *Marketplace) token(w http.ResponseWriter, r *http.Request) {
	var body wire.TokenRequest
	assert.NoError(m.t, json.NewDecoder(r.Body).Decode(&body))
	m.mu.Lock()
	host := m.host
	m.mu.Unlock()
	if code := m.standing(); code != "" {
		problem(w, http.StatusForbidden, code)
		return
	}
	jws, err := jose.ParseSignedCompact(body.ClientAssertion, []jose.SignatureAlgorithm{jose.EdDSA})
	if err == nil {
		_, err = jws.Verify(host)
	}
	if err != nil || body.ClientAssertionType != wire.AssertionType {
		problem(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(wire.TokenResponse{AccessToken: AccessToken, TokenType: "Bearer", ExpiresIn: 600})
}

func (m *Marketplace) socket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+AccessToken {
		problem(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if assert.NoError(m.t, err) {
		m.t.Cleanup(func() { _ = ws.Close() })
		m.Sockets <- &Socket{Conn: ws, t: m.t}
	}
}

// Socket is the server's end of an agent's WebSocket.
type Socket struct {
	*websocket.Conn
	t testing.TB
}

// Send sends a frame.
func (s *Socket) Send(body any, ref string) {
	s.t.Helper()
	data, err := wire.Encode(wire.Frame{Ref: ref, Body: body})
	require.NoError(s.t, err)
	require.NoError(s.t, s.WriteMessage(websocket.TextMessage, data))
}

// Next is the next frame: a text frame, or a log.
func (s *Socket) Next() (wire.Frame, *wire.Log) {
	s.t.Helper()
	kind, data, err := s.ReadMessage()
	require.NoError(s.t, err)
	if kind == websocket.BinaryMessage {
		l, err := wire.DecodeLog(data)
		require.NoError(s.t, err)
		return wire.Frame{}, &l
	}
	f, err := wire.Decode(data)
	require.NoError(s.t, err)
	return f, nil
}

// Hang ends the connection with a close frame.
func (s *Socket) Hang(code int, reason string) {
	s.t.Helper()
	require.NoError(s.t, s.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason)))
}

// ClosedBy reads until the agent closes and answers with which code; 0 is without one.
func (s *Socket) ClosedBy() int {
	for {
		_, _, err := s.ReadMessage()
		if closed, ok := err.(*websocket.CloseError); ok { //nolint:errorlint // the library wraps none
			return closed.Code
		}
		if err != nil {
			return 0
		}
	}
}
