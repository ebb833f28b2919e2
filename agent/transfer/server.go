package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

// Server speaks HTTP and WebSocket with PeerGPU's server.
type Server struct {
	base   *url.URL
	client *http.Client
	agent  string
}

// NewServer makes the client of a server; version names the agent in requests.
func NewServer(server, version string) (*Server, error) {
	base, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	// No redirects: one would turn a POST into a GET, and the owner should know the address.
	client := &http.Client{
		Transport: transport(), Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Server{base: base, client: client, agent: "peergpu-agent/" + version}, nil
}

// Register implements daemon.Server.
func (s *Server) Register(ctx context.Context, r wire.Registration) (answer wire.Registered, err error) {
	err = s.post(ctx, "/api/hosts/register", r, &answer)
	return answer, err
}

// Token implements daemon.Server.
func (s *Server) Token(ctx context.Context, assertion string) (answer wire.TokenResponse, err error) {
	err = s.post(ctx, "/api/agent/token", wire.TokenRequest{
		ClientAssertionType: wire.AssertionType, ClientAssertion: assertion,
	}, &answer)
	return answer, err
}

// Ping implements daemon.Server.
func (s *Server) Ping(ctx context.Context) (time.Time, error) {
	response, err := s.do(ctx, http.MethodGet, "/healthz", nil)
	if err != nil {
		return time.Time{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return time.Time{}, refused(response)
	}
	if !isJSON(response) {
		return time.Time{}, foreign(response)
	}
	at, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}, errors.New("the server does not say what time it is (header Date)")
	}
	return at, nil
}

// post sends JSON and reads JSON.
func (s *Server) post(ctx context.Context, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	response, err := s.do(ctx, http.MethodPost, path, data)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return refused(response)
	}
	if !isJSON(response) {
		return foreign(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(answer); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	return nil
}

// do sends a request; the answer's body is the caller's to close.
func (s *Server) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", s.agent)
	request.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	return response, nil
}

// refused tells a refusal of our server from what others answer. When our server is away,
// the proxy before it says so in its own words.
func refused(response *http.Response) error {
	if response.StatusCode < http.StatusInternalServerError && response.StatusCode != http.StatusTooManyRequests && !isJSON(response) {
		return foreign(response)
	}
	return statusError(response)
}

// statusError reads a refusal, which is problem+json from our server and anything from
// what may stand before it.
func statusError(response *http.Response) *daemon.Refusal {
	r := &daemon.Refusal{Status: response.StatusCode, Code: http.StatusText(response.StatusCode)}
	data, _ := io.ReadAll(io.LimitReader(response.Body, 8<<10))
	var problem struct {
		Code   string `json:"code"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Pointer string `json:"pointer"`
			Detail  string `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(data, &problem) == nil {
		if problem.Code != "" {
			r.Code = problem.Code
		}
		r.Detail = problem.Detail
		if r.Detail == "" {
			r.Detail = problem.Title
		}
		for _, e := range problem.Errors {
			r.Detail += "; " + e.Pointer + ": " + e.Detail
		}
	}
	after := response.Header.Get("Retry-After")
	if n, err := strconv.Atoi(after); err == nil && n >= 0 {
		r.RetryAfter = min(time.Duration(n)*time.Second, time.Hour)
	} else if at, err := http.ParseTime(after); err == nil {
		if now, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			r.RetryAfter = min(max(0, at.Sub(now)), time.Hour)
		}
	}
	return r
}
