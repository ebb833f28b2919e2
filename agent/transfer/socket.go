package transfer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

// writeTime bounds one write. A frame that takes longer stands in a socket whose other
// end is gone.
const writeTime = 10 * time.Second

// Dial implements daemon.Server.
func (s *Server) Dial(ctx context.Context, token string) (daemon.Conn, error) {
	u := *s.base
	u.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	u.Path += "/ws/agent"
	// The library ends dialling with the context, and not the handshake that follows.
	var forget func() bool
	dialer := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment,
		NetDialContext: func(dialling context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(dialling, network, address)
			if err == nil {
				forget = context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
		HandshakeTimeout: 15 * time.Second,
		ReadBufferSize:   4 << 10,
		WriteBufferSize:  16 << 10,
	}
	ws, response, err := dialer.DialContext(ctx, u.String(), http.Header{ //nolint:bodyclose // it is in memory
		"Authorization": {"Bearer " + token}, "User-Agent": {s.agent},
	})
	if forget != nil && !forget() && err == nil {
		_ = ws.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, websocket.ErrBadHandshake) && response != nil {
			return nil, refused(response)
		}
		return nil, unreachable(err)
	}
	ws.SetReadLimit(wire.MaxText)
	return &socket{ws: ws}, nil
}

// socket is daemon.Conn over a WebSocket.
type socket struct {
	ws   *websocket.Conn
	once sync.Once
	err  error
}

// Read implements daemon.Conn.
func (s *socket) Read() (bool, []byte, error) {
	kind, data, err := s.ws.ReadMessage()
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return false, nil, &daemon.Closed{Code: closed.Code, Reason: closed.Text}
	}
	return kind == websocket.BinaryMessage, data, err
}

// Write implements daemon.Conn.
func (s *socket) Write(binary bool, frame []byte) error {
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	if err := s.ws.SetWriteDeadline(daemon.SystemClock{}.Now().Add(writeTime)); err != nil {
		return err
	}
	return s.ws.WriteMessage(kind, frame)
}

// Close implements daemon.Conn.
func (s *socket) Close(code int, reason string) error {
	s.once.Do(func() {
		reason = reason[:min(len(reason), 123)] // what a control frame takes
		deadline := daemon.SystemClock{}.Now().Add(time.Second)
		_ = s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline)
		s.err = s.ws.Close()
	})
	return s.err
}
