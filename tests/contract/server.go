package contract

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/testkit/marketplace"
)

// Server is the contract of daemon.Server and daemon.Conn. Open makes one that speaks
// with the server at a URL.
func Server(t *testing.T, open func(t *testing.T, url string) daemon.Server) {
	t.Run("enrolment and token", func(t *testing.T) { serverEnrols(t, open) })
	t.Run("refusals", func(t *testing.T) { serverRefuses(t, open) })
	t.Run("connection", func(t *testing.T) { serverConnects(t, open) })
}

// nothing is for hosts without GPUs.
type nothing struct{ daemon.GPUs }

func (nothing) Probe(context.Context) ([]daemon.GPU, error) { return nil, nil }

func serverEnrols(t *testing.T, open func(t *testing.T, url string) daemon.Server) {
	t.Run("a one-time token enrols a host, and its assertions are worth access tokens", func(t *testing.T) {
		t.Parallel()
		m := marketplace.New(t)
		s := open(t, m.URL)
		id, err := daemon.Enrol(t.Context(), t.TempDir(), daemon.Ports{Server: s, GPUs: nothing{}}, daemon.Enrolment{Token: marketplace.Enrolment})
		require.NoError(t, err)
		assert.Equal(t, marketplace.HostID, id.HostID)
		var all sync.WaitGroup
		for range 8 { // concurrently
			all.Go(func() {
				assertion, err := id.Assertion(now())
				assert.NoError(t, err)
				token, err := s.Token(t.Context(), assertion)
				assert.NoError(t, err)
				assert.Equal(t, wire.TokenResponse{AccessToken: marketplace.AccessToken, TokenType: "Bearer", ExpiresIn: 600}, token)
			})
		}
		all.Wait()
	})
	t.Run("the server's clock comes to the second", func(t *testing.T) {
		t.Parallel()
		at, err := open(t, marketplace.New(t).URL).Ping(t.Context())
		require.NoError(t, err)
		assert.WithinDuration(t, now(), at, 2*time.Second)
	})
}

func serverRefuses(t *testing.T, open func(t *testing.T, url string) daemon.Server) {
	calls := map[string]func(context.Context, daemon.Server) error{
		"Register": func(ctx context.Context, s daemon.Server) error {
			_, err := s.Register(ctx, wire.Registration{EnrollmentToken: "pgpu_enr_other"})
			return err
		},
		"Token": func(ctx context.Context, s daemon.Server) error {
			_, err := s.Token(ctx, "x")
			return err
		},
		"Ping": func(ctx context.Context, s daemon.Server) error {
			_, err := s.Ping(ctx)
			return err
		},
		"Dial": func(ctx context.Context, s daemon.Server) error {
			_, err := s.Dial(ctx, "wrong")
			return err
		},
	}
	for name, call := range calls {
		t.Run(name+" says what the server said", func(t *testing.T) {
			t.Parallel()
			m := marketplace.New(t)
			m.Refuse(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = w.Write([]byte(`{"code":"invalid_host","detail":"wrong","errors":[{"pointer":"/gpus/0","detail":"no model"}]}`))
			})
			var refused *daemon.Refusal
			require.ErrorAs(t, call(t.Context(), open(t, m.URL)), &refused)
			assert.Equal(t, &daemon.Refusal{Status: 422, Code: "invalid_host", Detail: "wrong; /gpus/0: no model", RetryAfter: 7 * time.Second}, refused)
		})
		t.Run(name+" takes a refusal that is no problem+json", func(t *testing.T) {
			t.Parallel()
			m := marketplace.New(t)
			m.Refuse(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadGateway)
				_, _ = w.Write([]byte("<html>"))
			})
			var refused *daemon.Refusal
			require.ErrorAs(t, call(t.Context(), open(t, m.URL)), &refused)
			assert.Equal(t, http.StatusBadGateway, refused.Status)
		})
		t.Run(name+" tells a server that is not reached from one that refuses", func(t *testing.T) {
			t.Parallel()
			m := marketplace.New(t)
			m.Stop()
			err := call(t.Context(), open(t, m.URL))
			require.Error(t, err)
			var refused *daemon.Refusal
			assert.NotErrorAs(t, err, &refused)
		})
		t.Run(name+" ends with its context", func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			m := marketplace.New(t)
			m.Refuse(func(_ http.ResponseWriter, r *http.Request) {
				// Only then is it noticed that the client left.
				_, _ = io.Copy(io.Discard, r.Body)
				cancel()
				<-r.Context().Done()
			})
			require.ErrorIs(t, call(ctx, open(t, m.URL)), context.Canceled)
		})
	}
}

// dialled is both ends of a connection.
func dialled(t *testing.T, open func(t *testing.T, url string) daemon.Server) (daemon.Conn, *marketplace.Socket) {
	t.Helper()
	m := marketplace.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := open(t, m.URL).Dial(ctx, marketplace.AccessToken)
	require.NoError(t, err)
	cancel() // it bounds dialling alone
	t.Cleanup(func() { _ = conn.Close(wire.CloseLeaving, "") })
	return conn, <-m.Sockets
}

func serverConnects(t *testing.T, open func(t *testing.T, url string) daemon.Server) {
	t.Run("frames keep their kind, order and bytes", func(t *testing.T) {
		t.Parallel()
		conn, peer := dialled(t, open)
		buf := []byte("agent")
		require.NoError(t, conn.Write(false, buf))
		copy(buf, "garble") // nothing of it is kept
		require.NoError(t, conn.Write(true, []byte{0, 1, 2}))
		kind, data, err := peer.ReadMessage()
		require.NoError(t, err)
		assert.Equal(t, websocket.TextMessage, kind)
		assert.Equal(t, "agent", string(data))
		kind, data, err = peer.ReadMessage()
		require.NoError(t, err)
		assert.Equal(t, websocket.BinaryMessage, kind)
		assert.Equal(t, []byte{0, 1, 2}, data)
		peer.Send(&wire.Ack{Ok: true}, "7")
		binary, data, err := conn.Read()
		require.NoError(t, err)
		assert.False(t, binary)
		assert.Contains(t, string(data), `"ref":"7"`)
	})
	t.Run("a frame that is as large as allowed is read, a larger one is an error", func(t *testing.T) {
		t.Parallel()
		conn, peer := dialled(t, open)
		go func() {
			_ = peer.WriteMessage(websocket.TextMessage, make([]byte, wire.MaxText))
			_ = peer.WriteMessage(websocket.TextMessage, make([]byte, wire.MaxText+1))
		}()
		_, data, err := conn.Read()
		require.NoError(t, err)
		assert.Len(t, data, wire.MaxText)
		_, _, err = conn.Read()
		require.Error(t, err)
	})
	t.Run("a close frame is told with its code and reason", func(t *testing.T) {
		t.Parallel()
		conn, peer := dialled(t, open)
		peer.Hang(wire.CloseFenced, "newer")
		_, _, err := conn.Read()
		var closed *daemon.Closed
		require.ErrorAs(t, err, &closed)
		assert.Equal(t, &daemon.Closed{Code: wire.CloseFenced, Reason: "newer"}, closed)
	})
	t.Run("a connection that breaks is an error and no close", func(t *testing.T) {
		t.Parallel()
		conn, peer := dialled(t, open)
		require.NoError(t, peer.NetConn().Close())
		_, _, err := conn.Read()
		require.Error(t, err)
	})
	t.Run("closing sends the code, unblocks Read, and may be done again", func(t *testing.T) {
		t.Parallel()
		conn, peer := dialled(t, open)
		ended := make(chan error, 1)
		go func() {
			_, _, err := conn.Read()
			ended <- err
		}()
		require.NoError(t, conn.Close(wire.CloseLeaving, strings.Repeat("a long reason ", 100)))
		_ = conn.Close(wire.CloseTimeout, "again")
		require.Error(t, <-ended)
		assert.Equal(t, wire.CloseLeaving, peer.ClosedBy())
		require.Error(t, conn.Write(false, []byte("x")))
	})
	t.Run("writing to a side that takes nothing fails after 10 s", func(t *testing.T) {
		t.Parallel()
		conn, _ := dialled(t, open)
		began := now()
		frame := make([]byte, 1<<19)
		var err error
		for err == nil {
			err = conn.Write(true, frame)
		}
		assert.InDelta(t, 10, now().Sub(began).Seconds(), 5)
	})
}
