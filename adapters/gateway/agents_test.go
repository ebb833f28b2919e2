package gateway_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestTheFirstFrameIsAHello(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host := h.machine()
		beat, err := wire.Encode(wire.Frame{Body: &wire.Heartbeat{}})
		require.NoError(t, err)
		for name, first := range map[string]struct {
			kind int
			data []byte
		}{
			"another frame": {websocket.TextMessage, beat}, "no frame": {websocket.TextMessage, []byte("hello")},
			"a log": {websocket.BinaryMessage, beat},
		} {
			l := h.dial(host)
			heard[*wire.Challenge](l)
			require.NoError(t, l.WriteMessage(first.kind, first.data))
			assert.Equal(t, wire.CloseBadFrame, l.closed(), name)
		}
		silent := h.dial(host)
		heard[*wire.Challenge](silent)
		assert.Equal(t, wire.CloseUnauthenticated, silent.closed(), "nothing in ten seconds")
	})
}

func TestAHelloIsSignedByTheKeyThatTheTokenIsBoundTo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host, other := h.machine(), h.machine()
		for name, key := range map[string]string{"another key's": thumbprint(other), "nobody's": ""} {
			token, err := h.Tokens.Issue(ports.AudienceAgent, ports.Claims{Subject: host.ID, Key: key, Expires: h.Clock.Now().Add(time.Minute)})
			require.NoError(t, err)
			l := h.dialWith(host, token)
			l.greet()
			assert.Equal(t, wire.CloseUnauthenticated, l.closed(), name)
		}
		stolen, err := h.Tokens.Issue(ports.AudienceAgent, ports.Claims{Subject: host.ID, Key: thumbprint(host), Expires: h.Clock.Now().Add(time.Minute)})
		require.NoError(t, err)
		l := h.dialWith(host, stolen)
		l.host = &market.Host{ID: host.ID, Key: other.Key, Facts: host.Facts}
		l.greet()
		assert.Equal(t, wire.CloseUnauthenticated, l.closed(), "a token without its key")
		h.connect(host)
	})
}

func thumbprint(h *market.Host) string {
	return wire.Thumbprint(h.Key.Public().(ed25519.PublicKey))
}

func TestWithoutAnAgentsTokenNobodyConnects(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		in, err := h.Identity.Login(t.Context(), someone, "bob@example.org", market.Password)
		require.NoError(t, err)
		for name, header := range map[string]http.Header{
			"none": nil, "garbage": {"Authorization": {"Bearer x"}}, "an account's": {"Authorization": {"Bearer " + in.Access}},
		} {
			_, status := h.upgrade("/ws/agent", header, "v1.agent")
			assert.Equal(t, http.StatusUnauthorized, status, name)
		}
	})
}

func TestAFrameThatIsTooLargeEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		l := h.connect(h.machine())
		_ = l.WriteMessage(websocket.TextMessage, []byte(strings.Repeat(" ", wire.MaxText+1)))
		assert.Equal(t, wire.CloseTooLarge, l.closed())
	})
}

func TestFramesOfALaterVersionAreIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		l := h.connect(h.machine())
		require.NoError(t, l.WriteMessage(websocket.TextMessage, []byte(`{"v":1,"type":"dance","id":"1"}`)))
		require.NoError(t, l.WriteMessage(websocket.BinaryMessage, []byte{255, 1, 2, 3}))
		l.send(&wire.Heartbeat{Seq: 1}, "2")
		assert.True(t, heard[*wire.Ack](l).Ok)
	})
}

func TestTheServerTellsItsTimeWithEachHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		l := h.connect(h.machine())
		pass(10 * time.Second)
		l.send(&wire.Heartbeat{Seq: 1}, "1")
		told := heard[*wire.Ack](l).ServerTime
		require.NotNil(t, told)
		assert.WithinDuration(t, time.Now(), *told, time.Millisecond)
	})
}

func TestWhatNoAgentSaysThereEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		for name, text := range map[string]string{
			"hello again": `{"v":1,"type":"hello"}`, "a frame of the server": `{"v":1,"type":"welcome"}`,
			"no JSON": `{`, "another version": `{"v":2,"type":"heartbeat"}`,
			"a job's name that is none": `{"v":1,"type":"phase","job_id":"hst_1","attempt":1,"name":"fetching"}`,
		} {
			l := h.connect(h.machine())
			require.NoError(t, l.WriteMessage(websocket.TextMessage, []byte(text)))
			assert.Equal(t, wire.CloseBadFrame, l.closed(), name)
		}
	})
}

func TestReportsOfWhatTheHostDoesNotHoldAreStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		holder := h.connect(h.machine())
		job := h.Submit(h.renter, market.Spec())
		order := heard[*wire.Manifest](holder)
		assert.Equal(t, job.ID, jobOf(t, order.JWS))
		other := h.connect(h.machine())
		name, sum := job.ID.Prefixed("job"), strings.Repeat("0", 64)
		for _, c := range []struct {
			why     string
			from    *line
			job     string
			attempt int
		}{
			{"another host's", other, name, 1}, {"one that is to come", holder, name, 2},
			{"a job that does not exist", holder, domain.ID{9}.Prefixed("job"), 1},
		} {
			for _, body := range []any{
				&wire.Accept{JobID: c.job, Attempt: c.attempt}, &wire.Exited{JobID: c.job, Attempt: c.attempt},
				&wire.Phase{JobID: c.job, Attempt: c.attempt, Name: wire.PhaseNameRunning},
				&wire.Finished{JobID: c.job, Attempt: c.attempt, Log: wire.LogSummary{SHA256: sum}},
				&wire.UploadRequest{JobID: c.job, Attempt: c.attempt, Files: []wire.Artifact{{Path: "outputs/x", SHA256: sum}}},
			} {
				c.from.send(body, "1")
				ack := heard[*wire.Ack](c.from)
				require.NotNil(t, ack.Error, "%s: %s", c.why, wire.TypeOf(body))
				assert.Equal(t, wire.CodeStale, ack.Error.Code, "%s: %s", c.why, wire.TypeOf(body))
				assert.True(t, ack.Error.Stale)
			}
		}
		assert.Equal(t, domainjobs.Assigned, h.Job(job.ID).State)
		assert.Zero(t, h.Job(job.ID).Current().AcceptedAt)
	})
}

func TestAReportThatIsNotAsTheProtocolSaysIsRefusedAndTheSessionGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		l := h.connect(h.machine())
		job := h.Submit(h.renter, market.Spec())
		order := heard[*wire.Manifest](l)
		name := jobOf(t, order.JWS).Prefixed("job")
		l.send(&wire.Accept{JobID: name, Attempt: 1}, "1")
		require.True(t, heard[*wire.Ack](l).Ok)
		before := h.Job(job.ID)
		code := 999
		for body, why := range map[any]string{
			&wire.Exited{JobID: name, Attempt: 1, Reason: "zzz"}:                 "/reason",
			&wire.Exited{JobID: name, Attempt: 1, Reason: "host_lost"}:           "/reason",
			&wire.Exited{JobID: name, Attempt: 1, ExitCode: &code}:               "/exit_code",
			&wire.Accept{JobID: name}:                                            "/attempt",
			&wire.Heartbeat{Seq: -1}:                                             "/seq",
			&wire.Inventory{Hash: "2", Host: wire.HostFacts{Os: "lin\x00ux"}}:    "/host",
			&wire.Inventory{GPUs: []wire.GPU{{Model: strings.Repeat("G", 200)}}}: "/gpus/0/model",
		} {
			l.send(body, "1")
			ack := heard[*wire.Ack](l)
			require.NotNil(t, ack.Error, why)
			assert.Equal(t, wire.CodeInvalid, ack.Error.Code)
			assert.Contains(t, ack.Error.Detail, why)
		}
		for text, why := range map[string]string{
			`{"v":1,"type":"phase","id":"1","job_id":"` + name + `","attempt":1,"name":"fetching","NAME":"zzz"}`: "/name",
			`{"v":1,"type":"exited","id":"1","job_id":"` + name + `","attempt":1,"duration_ms":1}`:               "begun",
			`{"v":1,"type":"accept","id":"1","job_id":"` + name + `","attempt":"1"}`:                             "attempt",
		} {
			require.NoError(t, l.WriteMessage(websocket.TextMessage, []byte(text)))
			ack := heard[*wire.Ack](l)
			require.NotNil(t, ack.Error, text)
			assert.Equal(t, wire.CodeInvalid, ack.Error.Code)
			assert.Contains(t, ack.Error.Detail, why)
		}
		assert.Equal(t, before, h.Job(job.ID))
	})
}

func TestASuccessThatNeverBeganIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		l := h.connect(h.machine())
		job := h.Submit(h.renter, market.Spec())
		heard[*wire.Manifest](l)
		code := 0
		l.send(&wire.Finished{JobID: job.ID.Prefixed("job"), Attempt: 1, ExitCode: &code}, "1")
		ack := heard[*wire.Ack](l)
		require.NotNil(t, ack.Error)
		assert.Equal(t, wire.CodeInvalid, ack.Error.Code)
		assert.Equal(t, domainjobs.Assigned, h.Job(job.ID).State)
	})
}

func TestANewerSessionFencesTheOlder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host := h.machine()
		older := h.connect(host)
		newer := h.connect(host)
		assert.Equal(t, wire.CloseFenced, older.closed())
		h.Submit(h.renter, market.Spec())
		heard[*wire.Manifest](newer)
	})
}

func TestAHostThatIsRemovedWhileItConnectsIsNotWelcomed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var h *house
		between := &presencesSeen{connected: func(host domain.ID) {
			assert.NoError(t, h.Hosts.Retire(t.Context(), h.owner, host))
		}}
		h = open(t, market.Options{HostDeps: between.behind})
		l := h.dial(h.machine())
		l.greet()
		assert.Equal(t, wire.CloseForbidden, l.closed())
	})
}

// presencesSeen is Presences that tells when a host was let in.
type presencesSeen struct {
	ports.Presences
	connected func(host domain.ID)
}

func (s *presencesSeen) behind(d *hosts.Deps) {
	s.Presences = d.Presences
	d.Presences = s
}

// Connect implements ports.Presences.
func (s *presencesSeen) Connect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error {
	err := s.Presences.Connect(ctx, host, epoch, at)
	s.connected(host)
	return err
}

func TestAServerThatStopsTellsAgentsToComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, market.Options{})
		host := h.machine()
		l := h.connect(host)
		late := h.dial(host)
		challenge := heard[*wire.Challenge](late)
		stopped := make(chan error, 1)
		go func() { stopped <- h.gateway.Stop(t.Context()) }()
		assert.Positive(t, heard[*wire.Drain](l).ReconnectWithinS)
		assert.Equal(t, wire.CloseRestart, l.closed())
		pass(0)
		hello := wire.Hello{AgentVersion: "1", MachineID: host.Facts.MachineID}
		hello.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(host.Key, wire.HelloPayload(challenge.Nonce, host.ID.Prefixed("hst"), hello)))
		late.send(&hello, "")
		assert.Equal(t, wire.CloseRestart, late.closed(), "one that was not welcomed yet")
		require.NoError(t, <-stopped)
	})
}

// jobOf is the job that a signed order is about.
func jobOf(t *testing.T, jws string) domain.ID {
	t.Helper()
	parts := strings.Split(jws, ".")
	require.Len(t, parts, 3)
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct {
		JobID string `json:"job_id"`
	}
	require.NoError(t, json.Unmarshal(data, &claims))
	id, err := domain.ParsePrefixed("job", claims.JobID)
	require.NoError(t, err)
	return id
}
