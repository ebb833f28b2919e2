package daemon_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

func TestAManifestThatIsNotMeantIsRejectedAndNotRun(t *testing.T) {
	t.Parallel()
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text := func(w *world, c *wire.ManifestClaims) string {
		payload, err := wire.MarshalClaims(c)
		require.NoError(w.t, err)
		return string(payload)
	}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	claims := func(change func(*wire.ManifestClaims)) func(*world, *wire.ManifestClaims) string {
		return func(w *world, c *wire.ManifestClaims) string {
			change(c)
			return w.sign(wire.TypManifest, c)
		}
	}
	header := func(h string) func(*world, *wire.ManifestClaims) string {
		return func(w *world, c *wire.ManifestClaims) string {
			signed := part(h) + "." + part(text(w, c))
			return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(w.key, []byte(signed)))
		}
	}
	kid := func(w *world) string { return wire.Thumbprint(w.key.Public().(ed25519.PublicKey)) }
	for name, c := range map[string]struct {
		jws    func(*world, *wire.ManifestClaims) string
		reason wire.RejectReason
	}{
		"tampered with": {func(w *world, c *wire.ManifestClaims) string {
			parts := strings.Split(w.sign(wire.TypManifest, c), ".")
			return parts[0] + "." + part(strings.Replace(text(w, c), `"log hello"`, `"log hacked"`, 1)) + "." + parts[2]
		}, wire.RejectReasonBadSignature},
		"by a stranger": {func(w *world, c *wire.ManifestClaims) string {
			return signWith(w.t, stranger, wire.TypManifest, []byte(text(w, c)))
		}, wire.RejectReasonBadSignature},
		"by a stranger under the server's kid": {func(w *world, c *wire.ManifestClaims) string {
			signed := part(`{"alg":"EdDSA","kid":"`+kid(w)+`","typ":"`+wire.TypManifest+`"}`) + "." + part(text(w, c))
			return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(stranger, []byte(signed)))
		}, wire.RejectReasonBadSignature},
		"without a signature": {func(w *world, c *wire.ManifestClaims) string {
			return part(`{"alg":"none","kid":"`+kid(w)+`","typ":"`+wire.TypManifest+`"}`) + "." + part(text(w, c)) + "."
		}, wire.RejectReasonBadSignature},
		"with a key of its own": {header(`{"alg":"EdDSA","jwk":{},"kid":"x","typ":"` + wire.TypManifest + `"}`), wire.RejectReasonBadSignature},
		"with an unknown key":   {header(`{"alg":"EdDSA","kid":"../../etc/passwd","typ":"` + wire.TypManifest + `"}`), wire.RejectReasonBadSignature},
		"with two algorithms":   {header(`{"alg":"EdDSA","alg":"EdDSA","kid":"x","typ":"` + wire.TypManifest + `"}`), wire.RejectReasonBadSignature},
		"nonsense":              {func(*world, *wire.ManifestClaims) string { return "a.b" }, wire.RejectReasonBadSignature},
		"of another type":       {func(w *world, c *wire.ManifestClaims) string { return w.sign(wire.TypCancel, c) }, wire.RejectReasonWrongType},
		"for another host":      {claims(func(c *wire.ManifestClaims) { c.Aud = strings.Replace(hostID, "0b", "0c", 1) }), wire.RejectReasonWrongAudience},
		"by another issuer":     {claims(func(c *wire.ManifestClaims) { c.Iss = "evil" }), wire.RejectReasonWrongIssuer},
		"expired":               {claims(func(c *wire.ManifestClaims) { c.Iat -= 900; c.Nbf -= 900; c.Exp = c.Iat + 600 }), wire.RejectReasonExpired},
		"from the future":       {claims(func(c *wire.ManifestClaims) { c.Iat += 90; c.Nbf += 90 }), wire.RejectReasonNotYetValid},
		"good for too long":     {claims(func(c *wire.ManifestClaims) { c.Exp = c.Iat + 601 }), wire.RejectReasonMalformed},
		"never expiring":        {claims(func(c *wire.ManifestClaims) { c.Exp = 0 }), wire.RejectReasonMalformed},
		"without a jti":         {claims(func(c *wire.ManifestClaims) { c.JTI = "" }), wire.RejectReasonMalformed},
		"with a field too many": {func(w *world, c *wire.ManifestClaims) string {
			return signWith(w.t, w.key, wire.TypManifest, []byte(strings.Replace(text(w, c), "{", `{"root":true,`, 1)))
		}, wire.RejectReasonMalformed},
		"with a command for sh": {func(w *world, c *wire.ManifestClaims) string {
			return signWith(w.t, w.key, wire.TypManifest, []byte(strings.Replace(text(w, c), `["simulate","log hello"]`, `"rm -rf /"`, 1)))
		}, wire.RejectReasonMalformed},
		"with an empty command":   {claims(func(c *wire.ManifestClaims) { c.Argv = nil }), wire.RejectReasonMalformed},
		"with a folder outside":   {claims(func(c *wire.ManifestClaims) { c.Workdir = "../.." }), wire.RejectReasonMalformed},
		"with outputs outside":    {claims(func(c *wire.ManifestClaims) { c.Outputs = []string{"../**"} }), wire.RejectReasonMalformed},
		"with a bundle missing":   {claims(func(c *wire.ManifestClaims) { c.Kind = wire.ManifestClaimsKindBundle }), wire.RejectReasonMalformed},
		"without a time limit":    {claims(func(c *wire.ManifestClaims) { c.Limits.MaxRuntimeMs = 0 }), wire.RejectReasonMalformed},
		"for a GPU not there":     {claims(func(c *wire.ManifestClaims) { c.GPUs.UUIDs = []string{"GPU-9"} }), wire.RejectReasonUnsupported},
		"for better isolation":    {claims(func(c *wire.ManifestClaims) { c.Isolation.Min = wire.ManifestIsolationMinGvisor }), wire.RejectReasonUnsupported},
		"for a stranger":          {claims(func(c *wire.ManifestClaims) { c.Renter.Owner = false }), wire.RejectReasonPolicy},
		"with the whole network":  {claims(func(c *wire.ManifestClaims) { c.Network.Mode = wire.ManifestNetworkModeFull }), wire.RejectReasonPolicy},
		"for longer than allowed": {claims(func(c *wire.ManifestClaims) { c.Limits.MaxRuntimeMs = 86_400_000 }), wire.RejectReasonPolicy},
		"for more memory":         {claims(func(c *wire.ManifestClaims) { c.Limits.MemoryBytes = 1 << 40 }), wire.RejectReasonPolicy},
		"for too little money":    {claims(func(c *wire.ManifestClaims) { c.Price.HourlyMicros = 1 }), wire.RejectReasonPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.config.Policy = daemon.Policy{MaxRuntime: 2 * time.Hour, MaxMemoryMB: 1024, MinHourlyPrice: 1000}
				defer w.start()()
				p := w.connect()
				good := w.claims(jobA, 1, "log hello")
				good.Limits.MemoryBytes = 1 << 30
				p.send(&wire.Manifest{JWS: c.jws(w, good)}, "")
				rejected, _ := expect[wire.Reject](p)
				assert.Equal(t, c.reason, rejected.Reason, rejected.Detail)
				assert.NotEmpty(t, rejected.Detail)
				if name != "nonsense" {
					assert.Equal(t, jobA, rejected.JobID)
					assert.Equal(t, 1, rejected.Attempt)
				}
				// Nothing of it was kept: the real one still runs.
				fresh := w.claims(jobA, 1, "log hello")
				fresh.Limits.MemoryBytes = 1 << 30
				w.offer(p, fresh)
				running(p)
			})
		})
	}
}

func TestAManifestIsGoodOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		first := w.claims(jobA, 5, "wait 1m")
		jws := w.sign(wire.TypManifest, first)
		p.send(&wire.Manifest{JWS: jws}, "")
		running(p)
		// While it runs, the server only did not hear the accept.
		p.send(&wire.Manifest{JWS: jws}, "")
		expect[wire.Accept](p)
		expect[wire.Exited](p)
		_, f := expect[wire.Finished](p)
		p.ack(f)
		pass(time.Second)
		sameJTI := w.claims(jobB, 1, "exit 0")
		sameJTI.JTI = first.JTI
		for name, jws := range map[string]string{
			"the same bytes":     jws,
			"the same attempt":   w.sign(wire.TypManifest, w.claims(jobA, 5, "exit 0")),
			"an earlier attempt": w.sign(wire.TypManifest, w.claims(jobA, 4, "exit 0")),
			"the same jti":       w.sign(wire.TypManifest, sameJTI),
		} {
			p.send(&wire.Manifest{JWS: jws}, "")
			rejected, _ := expect[wire.Reject](p)
			assert.Equal(t, wire.RejectReasonReplayed, rejected.Reason, name)
		}
		w.offer(p, w.claims(jobA, 6, "exit 0"))
		running(p)
	})
}

func TestAGPUServesOneJobAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.config.Policy.MaxConcurrent = 2
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "ignore-term", "hang"))
		running(p)
		w.offer(p, w.claims(jobB, 1, "exit 0"))
		rejected, _ := expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonBusy, rejected.Reason)
		other := w.claims(jobB, 1, "hang")
		other.GPUs.UUIDs = []string{gpu1}
		w.offer(p, other)
		running(p)
		third := w.claims(strings.Replace(jobA, "0a", "0e", 1), 1, "hang")
		third.GPUs.UUIDs = nil
		w.offer(p, third)
		rejected, _ = expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonBusy, rejected.Reason)
		assert.Contains(t, rejected.Detail, "at most 2")
	})
}

// slowToStop is a runtime whose jobs take a while to be killed, and that notices when
// two of them run at once.
type slowToStop struct {
	daemon.Runtime
	t       *testing.T
	running atomic.Int32
}

func (s *slowToStop) Start(ctx context.Context, task daemon.Task) (daemon.Run, error) {
	assert.EqualValues(s.t, 1, s.running.Add(1), "jobs at once")
	run, err := s.Runtime.Start(ctx, task)
	return slowRun{run, s}, err
}

type slowRun struct {
	daemon.Run
	s *slowToStop
}

func (r slowRun) Stop(ctx context.Context, grace time.Duration) error {
	pass(1500 * time.Millisecond)
	return r.Run.Stop(ctx, grace)
}

func (r slowRun) Cleanup() error {
	defer r.s.running.Add(-1)
	return r.Run.Cleanup()
}

func TestANewAttemptWaitsUntilTheOldOneIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.runtime = &slowToStop{Runtime: w.runtime, t: t}
		defer w.start()()
		p := w.connect()
		w.offer(p, w.claims(jobA, 1, "ignore-term", "hang"))
		running(p)
		// The server gave the job up and, of all hosts, chose this one again.
		w.offer(p, w.claims(jobA, 2, "wait 1m"))
		var last *wire.Finished
		for last == nil {
			switch f := <-p.frames; body := f.Body.(type) {
			case *wire.Exited:
				assert.Equal(t, 2, body.Attempt, "of the old one nobody wants to hear")
			case *wire.Finished:
				last = body
				p.ack(f)
			}
		}
		assert.Equal(t, 2, last.Attempt)
		assert.Empty(t, last.Reason)
		// The next job on the GPU of one that is being cancelled waits as well.
		w.offer(p, w.claims(jobA, 3, "ignore-term", "hang"))
		running(p)
		w.cancel(p, jobA, 3)
		w.offer(p, w.claims(jobB, 1, "wait 1m"))
		for ended := 0; ended < 2; {
			if f := <-p.frames; wire.TypeOf(f.Body) == "finished" {
				ended++
				p.ack(f)
			}
		}
	})
}

func TestKeysChangeOnlyByATrustedKey(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := w.start()
		p := w.connect()
		_, next, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		rejects := func(key ed25519.PrivateKey) wire.RejectReason {
			payload, err := wire.MarshalClaims(w.claims(jobB, 1, "exit 0"))
			require.NoError(t, err)
			p.send(&wire.Manifest{JWS: signWith(t, key, wire.TypManifest, payload)}, "")
			r, _ := expect[wire.Reject](p)
			return r.Reason
		}
		// A stranger who got hold of the connection.
		p.send(&wire.Keys{JWS: w.keySet(9, next, next)}, "")
		assert.Equal(t, wire.RejectReasonBadSignature, rejects(next))
		// The server itself, in version 3; then an older document of its own.
		p.send(&wire.Keys{JWS: w.keySet(3, w.key, next)}, "")
		old := w.key
		p.send(&wire.Keys{JWS: w.keySet(2, next, old)}, "")
		assert.Equal(t, wire.RejectReasonBadSignature, rejects(old))
		w.key = next
		w.offer(p, w.claims(jobA, 1, "log hi"))
		running(p)
		expect[wire.Exited](p)
		_, f := expect[wire.Finished](p)
		p.ack(f)
		stop()
		drain(w)
		// It is pinned for good.
		defer w.start()()
		p = w.connect()
		w.offer(p, w.claims(jobB, 1, "log hi"))
		running(p)
	})
}

func TestTheServersPolicyTightens(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		p := w.connect()
		now := time.Now().Unix()
		policy := &wire.PolicyClaims{Iss: wire.Issuer, Aud: hostID, JTI: rand.Text(), Iat: now, Nbf: now, Exp: now + 60, Ver: 2}
		p.send(&wire.Policy{JWS: w.sign(wire.TypPolicy, policy)}, "")
		older := *policy
		older.Ver, older.Accepting = 1, true
		p.send(&wire.Policy{JWS: w.sign(wire.TypPolicy, &older)}, "")
		w.offer(p, w.claims(jobA, 1, "exit 0"))
		rejected, _ := expect[wire.Reject](p)
		assert.Equal(t, wire.RejectReasonPolicy, rejected.Reason)
	})
}

func TestEnrollingKeepsTheKeyToItself(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		info, err := os.Stat(filepath.Join(w.dir, "key.pem"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		for _, name := range []string{"identity.json", "key.pem"} {
			data, err := os.ReadFile(filepath.Join(w.dir, name))
			require.NoError(t, err)
			assert.NotContains(t, string(data), "pgpu_enr_secret")
		}
		_, err = daemon.Enrol(t.Context(), w.dir, w.ports(), daemon.Enrolment{Token: "pgpu_enr_2"})
		require.ErrorContains(t, err, hostID)

		require.NoError(t, os.Chmod(filepath.Join(w.dir, "key.pem"), 0o644))
		_, err = daemon.New(w.config, w.ports())
		require.ErrorContains(t, err, "chmod 600")
		_, err = daemon.New(daemon.Config{Dir: t.TempDir()}, w.ports())
		require.ErrorIs(t, err, daemon.ErrNotEnrolled)
	})
}

func TestOneAgentWorksInAFolder(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		defer w.start()()
		w.connect()
		_, err := daemon.New(w.config, w.ports())
		require.ErrorContains(t, err, "another agent")
	})
}
