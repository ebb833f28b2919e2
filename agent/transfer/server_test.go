package transfer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

func connect(t *testing.T, handler http.HandlerFunc) *Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s, err := NewServer(server.URL, "1.2.3")
	require.NoError(t, err)
	return s
}

func TestTheServersAnswersAreRead(t *testing.T) {
	t.Parallel()
	s := connect(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "POST /api/hosts/register":
			var body wire.Registration
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(wire.Registered{HostID: "hst_1", Keys: "for " + body.EnrollmentToken})
		case "POST /api/agent/token":
			var body wire.TokenRequest
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			assert.Equal(t, wire.AssertionType, body.ClientAssertionType)
			_ = json.NewEncoder(w).Encode(wire.TokenResponse{AccessToken: "for " + body.ClientAssertion, ExpiresIn: 600})
		case "GET /healthz":
			w.Header().Set("Date", "Fri, 02 Jan 2026 03:04:05 GMT")
		}
	})
	registered, err := s.Register(t.Context(), wire.Registration{EnrollmentToken: "x"})
	require.NoError(t, err)
	assert.Equal(t, "for x", registered.Keys)
	token, err := s.Token(t.Context(), "y")
	require.NoError(t, err)
	assert.Equal(t, "for y", token.AccessToken)
	now, err := s.Ping(t.Context())
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), now)
}

func TestRefusalsSayWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	s := connect(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"code":"invalid_host","detail":"wrong","errors":[{"pointer":"/gpus/0","detail":"no model"}]}`))
	})
	_, err := s.Register(t.Context(), wire.Registration{})
	var refused *daemon.Refusal
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, &daemon.Refusal{Status: 422, Code: "invalid_host", Detail: "wrong; /gpus/0: no model", RetryAfter: 7 * time.Second}, refused)
	_, err = s.Dial(t.Context(), "token")
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, 7*time.Second, refused.RetryAfter)
	_, err = s.Ping(t.Context())
	require.ErrorAs(t, err, &refused)
}

func TestAnAnswerThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	s := connect(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	_, err := s.Token(t.Context(), "y")
	require.ErrorContains(t, err, "not understood")
}

func TestTheSocketCarriesFramesBothWays(t *testing.T) {
	t.Parallel()
	s := connect(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/ws/agent", r.URL.Path)
		assert.Equal(t, "Bearer token", r.Header.Get("Authorization"))
		assert.Equal(t, "peergpu-agent/1.2.3", r.Header.Get("User-Agent"))
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer ws.Close()
		for range 2 {
			kind, data, err := ws.ReadMessage()
			assert.NoError(t, err)
			assert.NoError(t, ws.WriteMessage(kind, append(data, '!')))
		}
		assert.NoError(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(wire.CloseFenced, "newer")))
		_, _, _ = ws.ReadMessage()
	})
	conn, err := s.Dial(t.Context(), "token")
	require.NoError(t, err)
	for _, binary := range []bool{false, true} {
		require.NoError(t, conn.Write(binary, []byte("hi")))
		gotBinary, data, err := conn.Read()
		require.NoError(t, err)
		assert.Equal(t, binary, gotBinary)
		assert.Equal(t, "hi!", string(data))
	}
	_, _, err = conn.Read()
	var closed *daemon.Closed
	require.ErrorAs(t, err, &closed)
	assert.Equal(t, &daemon.Closed{Code: wire.CloseFenced, Reason: "newer"}, closed)
	_ = conn.Close(wire.CloseLeaving, strings.Repeat("long ", 100))
	_ = conn.Close(wire.CloseLeaving, "again")
	require.Error(t, conn.Write(false, []byte("x")))
}

func TestAFrameThatIsTooLargeIsNotRead(t *testing.T) {
	t.Parallel()
	s := connect(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer ws.Close()
		_ = ws.WriteMessage(websocket.TextMessage, make([]byte, wire.MaxText+1))
		_, _, _ = ws.ReadMessage()
	})
	conn, err := s.Dial(t.Context(), "token")
	require.NoError(t, err)
	_, _, err = conn.Read()
	require.Error(t, err)
	_ = conn.Close(wire.CloseTooLarge, "")
}

func TestClosingUnblocksReading(t *testing.T) {
	t.Parallel()
	s := connect(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer ws.Close()
		_, _, _ = ws.ReadMessage()
	})
	conn, err := s.Dial(t.Context(), "token")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, _, err := conn.Read()
		ended <- err
	}()
	require.NoError(t, conn.Close(wire.CloseLeaving, "bye"))
	require.Error(t, <-ended)
}
