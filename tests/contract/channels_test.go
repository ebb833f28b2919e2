package contract

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/gateway"
	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/transfer"
	queue "github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	work "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
)

func TestGatewayChannels(t *testing.T) {
	t.Parallel()
	Channels(t, func(t *testing.T) Switchboard { t.Helper(); return exchange(t) })
}

// exchange is the gateway, with agents at the other ends of real WebSockets.
func exchange(t *testing.T) Switchboard {
	t.Helper()
	s := memory.New(memory.Options{Clock: system.Clock{}, IDs: &ids})
	stalled := &stalling{Jobs: s.Jobs(), gates: map[domain.ID]*gate{}}
	channels := gateway.NewChannels(memory.NewLive())
	x := settle(t, s, parts{jobs: stalled, channels: channels})
	g := gateway.New(gateway.Deps{
		Jobs: x.jobs, Hosts: x.hosts, Manifests: manifests(t), Clock: system.Clock{}, IDs: &ids, Live: memory.NewLive(),
		Log: slog.New(slog.DiscardHandler), JobJSON: func(queue.View) any { return nil },
	}, channels)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/agent", g.Agent)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		assert.NoError(t, g.Stop(ctx))
		server.Close()
	})
	agents := &agents{site: x, url: server.URL, keys: map[domain.ID]ed25519.PrivateKey{}}
	return Switchboard{
		Channels: channels, Connect: agents.connect, Stall: stalled.stall,
		Assign: func(t *testing.T, host domain.ID) domain.ID {
			t.Helper()
			j := waiting(ids.New())
			require.NoError(t, j.Lease(work.Lease{Host: host, Devices: []work.Device{{ID: ids.New(), UUID: "GPU"}}}, now()))
			return jobCases{s.Jobs()}.add(t, j)
		},
		Revoke: func(t *testing.T, job domain.ID) {
			t.Helper()
			_, err := s.Jobs().Update(t.Context(), job, func(j *work.Job) error { return j.Cancel(work.ReasonCancelledByRenter, now()) })
			require.NoError(t, err)
		},
		Take: func(t *testing.T, job domain.ID) {
			t.Helper()
			_, err := s.Jobs().Update(t.Context(), job, func(j *work.Job) error { return j.Lose(1, work.ReasonHostError, "", now()) })
			require.NoError(t, err)
		},
	}
}

// agents connect to a site.
type agents struct {
	*site
	url  string
	mu   sync.Mutex
	keys map[domain.ID]ed25519.PrivateKey
}

// key is that of a host, which is enrolled when it is asked for first.
func (a *agents) key(t *testing.T, host domain.ID) ed25519.PrivateKey {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys[host] == nil {
		_, a.keys[host] = enrol(t, a, host)
	}
	return a.keys[host]
}

func (a *agents) connect(t *testing.T, host domain.ID) Line {
	t.Helper()
	key := a.key(t, host)
	token, err := a.tokens.Issue(ports.AudienceAgent, ports.Claims{
		Subject: host, Key: wire.Thumbprint(key.Public().(ed25519.PublicKey)), Expires: now().Add(time.Hour),
	})
	require.NoError(t, err)
	server, err := transfer.NewServer(a.url, "1.2.3")
	require.NoError(t, err)
	conn, err := server.Dial(t.Context(), token)
	require.NoError(t, err)
	leave := func() { _ = conn.Close(wire.CloseLeaving, "the test is over") }
	t.Cleanup(leave)

	_, data, err := conn.Read()
	require.NoError(t, err)
	frame, err := wire.Decode(data)
	require.NoError(t, err)
	require.IsType(t, &wire.Challenge{}, frame.Body)
	hello := wire.Hello{AgentVersion: "1.2.3", MachineID: thisMachine}
	payload := wire.HelloPayload(frame.Body.(*wire.Challenge).Nonce, host.Prefixed("hst"), hello)
	hello.Signature = b64.EncodeToString(ed25519.Sign(key, payload))
	data, err = wire.Encode(wire.Frame{Body: &hello})
	require.NoError(t, err)
	require.NoError(t, conn.Write(false, data))

	told, ended, welcome := make(chan Call, 1000), make(chan string, 1), make(chan struct{})
	go func() {
		greeted := sync.OnceFunc(func() { close(welcome) })
		defer greeted() // one that is closed at once is not welcomed
		ended <- listen(conn, func(body any) {
			switch body := body.(type) {
			case *wire.Welcome:
				greeted()
			case *wire.Manifest:
				told <- Call{Job: jobOf(body.JWS)}
			case *wire.Cancel:
				told <- Call{jobOf(body.JWS), true}
			case *wire.LogAck:
				job, _ := domain.ParsePrefixed("job", body.JobID)
				told <- Call{job, body.Stale}
			}
		})
	}()
	received(t, welcome, "the agent is welcomed")
	return Line{Told: told, Ended: ended, Leave: leave}
}

// listen hands on the frames of a connection until it ends, and tells why.
func listen(conn daemon.Conn, hear func(body any)) string {
	for {
		_, data, err := conn.Read()
		if err != nil {
			return err.Error()
		}
		frame, err := wire.Decode(data)
		if err != nil {
			return err.Error()
		}
		hear(frame.Body)
	}
}

// jobOf is the job that an order is about; whether it is signed well is not of interest
// here.
func jobOf(jws string) domain.ID {
	_, rest, _ := strings.Cut(jws, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, _ := b64.DecodeString(payload)
	var claims struct {
		JobID string `json:"job_id"`
	}
	_ = json.Unmarshal(data, &claims)
	id, _ := domain.ParsePrefixed("job", claims.JobID)
	return id
}

// stalling is Jobs whose lists of one host's jobs can be held up.
type stalling struct {
	ports.Jobs
	mu    sync.Mutex
	gates map[domain.ID]*gate
}

type gate struct{ looking, open chan struct{} }

func (s *stalling) stall(_ *testing.T, host domain.ID) (<-chan struct{}, func()) {
	g := &gate{make(chan struct{}, 1), make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[host] = g
	return g.looking, sync.OnceFunc(func() { close(g.open) })
}

func (s *stalling) List(ctx context.Context, f ports.JobFilter, p ports.Page) ([]work.Snapshot, error) {
	list, err := s.Jobs.List(ctx, f, p)
	s.mu.Lock()
	g := s.gates[f.Holder]
	s.mu.Unlock()
	if g != nil {
		select {
		case g.looking <- struct{}{}:
		default:
		}
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return list, err
}
