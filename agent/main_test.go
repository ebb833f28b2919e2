package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/marketplace"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

const jobID = "job_0190000000007000800000000000000a"

// agent runs the program in a folder of its own.
func agent(ctx context.Context, home string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, append([]string{"--home", home}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func enrolled(t *testing.T, m *marketplace.Marketplace) string {
	t.Helper()
	return enrolledIn(t, m, filepath.Join(t.TempDir(), "state"))
}

func enrolledIn(t *testing.T, m *marketplace.Marketplace, home string) string {
	t.Helper()
	code, stdout, stderr := agent(t.Context(), home, "enroll", "--server", m.URL, "--token", marketplace.Enrolment, "--gpus", "simulated:2xNVIDIA H200@141", "--price-micros", "350000", "--tags", "linux,quiet")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, marketplace.HostID)
	return home
}

func TestEnrolling(t *testing.T) {
	t.Parallel()
	m := marketplace.New(t)
	home := enrolled(t, m)
	assert.Equal(t, []string{"linux", "quiet"}, m.Registration().Tags)
	assert.EqualValues(t, 350_000, *m.Registration().PricePerGPUHourMicros)
	require.Len(t, m.Registration().GPUs, 2)
	assert.Equal(t, "NVIDIA H200", m.Registration().GPUs[0].Model)
	assert.EqualValues(t, 141<<10, m.Registration().GPUs[0].VRAMMB)
	assert.True(t, m.Registration().GPUs[0].Simulated)

	s, err := loadSettings(home)
	require.NoError(t, err)
	assert.Equal(t, m.URL, s.Server)
	assert.Equal(t, "simulated:2xNVIDIA H200@141", s.GPUs)

	code, _, stderr := agent(t.Context(), home, "enroll", "--server", m.URL, "--token", marketplace.Enrolment)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "--force")
	other := filepath.Join(t.TempDir(), "other")
	code, _, stderr = agent(t.Context(), other, "enroll", "--server", m.URL, "--token", "pgpu_enr_used")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "get a new one")
	assert.NotContains(t, stderr, "pgpu_enr_used")
	assert.NoFileExists(t, filepath.Join(other, "identity.json"))
}

func TestAHostAtWork(t *testing.T) {
	t.Parallel()
	t.Run("with simulated jobs", func(t *testing.T) {
		t.Parallel()
		work(t, "simulated", "none", "simulate", "log hello", "write outputs/result.txt 10")
	})
	t.Run("with processes in a sandbox", func(t *testing.T) {
		testkit.Need(t, servers.Bubblewrap)
		t.Parallel()
		work(t, "process", "process", "sh", "main.sh")
	})
}

// work has a host fetch a bundle, run a command that prints hello and leaves ten bytes,
// and deliver both; then it stops the host.
func work(t *testing.T, runtime, isolation string, argv ...string) {
	t.Helper()
	m := marketplace.New(t)
	// Not below the test's own folder, whose parents a sandbox may not enter.
	home := enrolledIn(t, m, filepath.Join(testkit.Dir(t), "state"))
	path := filepath.Join(home, settingsFile)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(file, []byte("runtime: process"), []byte("runtime: "+runtime), 1), 0o600))
	code := []byte("echo hello; mkdir outputs; printf 1234567890 > outputs/result.txt")
	var zipped bytes.Buffer
	require.NoError(t, bundle.Pack(fstest.MapFS{"main.sh": {Data: code}}, &zipped))
	m.Blobs["/blobs/code"] = zipped.Bytes()

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
	ws := <-m.Sockets
	ws.Send(&wire.Challenge{Nonce: "n"}, "")
	log := ""
	var finished *wire.Finished
	for finished == nil {
		f, piece := ws.Next()
		if piece != nil {
			log += string(piece.Data)
			continue
		}
		switch body := f.Body.(type) {
		case *wire.Hello:
			ws.Send(&wire.Welcome{Session: "s", Epoch: 1, ServerTime: time.Now(), HeartbeatS: 10, LeaseTTLS: 60, ReassignAfterS: 300, LogWindowBytes: 1 << 20}, f.ID)
		case *wire.Inventory:
			require.Len(t, body.GPUs, 2)
			assert.Equal(t, runtime, body.Runtimes[0].Name)
			ws.Send(&wire.Ack{Ok: true}, f.ID)
			now := time.Now().Unix()
			ws.Send(&wire.Manifest{JWS: m.Sign(wire.TypManifest, &wire.ManifestClaims{
				Iss: wire.Issuer, Aud: marketplace.HostID, JTI: rand.Text(), Iat: now, Nbf: now, Exp: now + 600, JobID: jobID, Attempt: 1,
				LeaseTTLMs: 60_000, ReassignAfterMs: 300_000, Kind: wire.ManifestClaimsKindBundle, Argv: argv,
				Bundle: &wire.ManifestBundle{URL: "/blobs/code", Size: int64(zipped.Len()), SHA256: sumOf(zipped.Bytes())},
				GPUs:   wire.ManifestGPUs{UUIDs: []string{body.GPUs[1].UUID}}, Limits: wire.ManifestLimits{MaxRuntimeMs: 60_000},
				Network: wire.ManifestNetwork{Mode: "none"}, Isolation: wire.ManifestIsolation{Min: wire.ManifestIsolationMin(isolation)},
				Outputs: []string{"outputs/**"},
			})}, "")
		case *wire.Reject:
			require.Fail(t, "rejected", body.Detail)
		case *wire.UploadRequest:
			ws.Send(&wire.Upload{JobID: body.JobID, Attempt: body.Attempt, Files: []wire.UploadTarget{{Path: body.Files[0].Path, Method: "PUT", URL: "/blobs/result"}}}, f.ID)
		case *wire.Finished:
			finished = body
			ws.Send(&wire.Ack{Ok: true}, f.ID)
		default:
			if f.ID != "" {
				ws.Send(&wire.Ack{Ok: true}, f.ID)
			}
		}
	}
	require.Empty(t, finished.Reason, finished.Detail)
	assert.Equal(t, "hello\n", log)
	assert.Zero(t, *finished.ExitCode)
	assert.Equal(t, sumOf([]byte(log)), finished.Log.SHA256)
	require.Len(t, finished.Artifacts, 1)
	assert.Len(t, m.Blob("/blobs/result"), 10)

	cancel()
	assert.Equal(t, wire.CloseLeaving, ws.ClosedBy())
	e := <-ended
	assert.Zero(t, e.code, e.stderr)
	assert.Contains(t, e.stderr, "job accepted")
	left, err := os.ReadDir(filepath.Join(home, "attempts"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestDoctorNamesWhatIsWrongAndHowToFixIt(t *testing.T) {
	t.Parallel()
	m := marketplace.New(t)
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

	m.ForgetHost()
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "FAIL  account")

	require.NoError(t, os.WriteFile(path, bytes.Replace(good, []byte(m.URL), []byte("http://127.0.0.1:1"), 1), 0o600))
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
