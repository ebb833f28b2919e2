package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
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

// The test program is the watchdog of the agents that it runs.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "watchdog" {
		main()
	}
	os.Exit(m.Run())
}

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

func TestEnrollingAgainThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	m := marketplace.New(t)
	home := enrolled(t, m)
	before, err := os.ReadFile(filepath.Join(home, "key.pem"))
	require.NoError(t, err)
	again := []string{"enroll", "--force", "--server", m.URL, "--gpus", "none", "--token"}
	code, _, _ := agent(t.Context(), home, append(again, "pgpu_enr_used")...)
	require.Equal(t, 1, code)
	kept, err := os.ReadFile(filepath.Join(home, "key.pem"))
	require.NoError(t, err)
	assert.Equal(t, string(before), string(kept))
	code, _, stderr := agent(t.Context(), home, append(again, marketplace.Enrolment)...)
	require.Zero(t, code, stderr)
	fresh, err := os.ReadFile(filepath.Join(home, "key.pem"))
	require.NoError(t, err)
	assert.NotEqual(t, string(before), string(fresh))
	_, stdout, _ := agent(t.Context(), home, "doctor")
	assert.Contains(t, stdout, "knows this host's key")
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
	require.NoError(t, os.WriteFile(path, bytes.Replace(file, []byte("runtime: auto"), []byte("runtime: "+runtime), 1), 0o600))
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
	good = bytes.Replace(good, []byte("runtime: auto"), []byte("runtime: simulated"), 1)
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
	assert.NotContains(t, stdout, "backup")
	require.NoError(t, os.Chmod(filepath.Join(home, "key.pem"), 0o600))

	m.ForgetHost()
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "FAIL  account")

	require.NoError(t, os.WriteFile(path, bytes.Replace(good, []byte(m.URL), []byte("http://127.0.0.1:1"), 1), 0o600))
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "FAIL  server")

	require.NoError(t, os.WriteFile(path, append(good, "colour: blue\n"...), 0o600))
	code, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "FAIL  config")
	for _, what := range []string{"server ", "sandbox", "gpus   "} {
		assert.Contains(t, stdout, "-     "+what+"   not checked: it depends on agent.yaml")
	}
	assert.Contains(t, stdout, "\n1 to fix.", "what was not checked is not wrong")

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
		"server: https://x\npolicy: {max_memroy_mb: 1}\n":    "line 2: policy.max_memroy_mb is unknown: did you mean max_memory_mb?",
		"server: https://x\nserver: https://y\n":             "line 2: server is there already, in line 1",
		"server: https://x\npolicy: {max_runtime: forever}":  `line 2: policy.max_runtime: "forever" is not a time such as`,
		"server: https://x\npolicy: {max_runtime: -1s}":      "not a time such as",
		"server: https://x\npolicy: {networks: [lan]}":       `line 2: policy.networks: "lan" is none of none, proxy, full`,
		"server: https://x\npolicy: {max_disk_mb: -1}":       "line 2: policy.max_disk_mb: -1 is negative",
		"server: https://x\nruntime: podman":                 `line 2: runtime: "podman" is none of auto, docker, process, simulated`,
		"server: https://x\nunsandboxed: true":               "trusted",
		"server: https://x\ngpus: simulated:H200":            "simulated:H200",
		"server: https://x\ncolour: blue":                    "line 2: colour is unknown; known are server, gpus, runtime",
		"server: https://x\npolicy:\n  max_concurrent: lots": `line 3: policy.max_concurrent: "lots" is not a whole number`,
		"server: https://x\ntrusted: perhaps":                `line 2: trusted: "perhaps" is not true or false`,
		"server: https://x\nprefixes: /opt":                  `line 2: prefixes: "/opt" is not a list`,
		"server: https://x\npolicy: none":                    "line 2: policy: here stand keys",
		"server: gpu.example.org":                            "like https://peergpu.example",
		"- server":                                           "line 1: here stand keys",
		"server: https://x\npolicy:":                         "",
		"server: [":                                          "this is no YAML: line 1",
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

func TestEveryMistakeOfTheSettingsIsTold(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	text := "servr: https://x\npolicy:\n  kind: [command]\n  max_runtime: 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(home, settingsFile), []byte(text), 0o600))
	_, err := loadSettings(home)
	for _, line := range []string{"line 1: servr", "did you mean server?", "line 3: policy.kind", "did you mean kinds?", "line 4: policy.max_runtime"} {
		assert.ErrorContains(t, err, line)
	}
}

func TestAHostThatWasRemovedEndsAndSaysHowToEnrolAgain(t *testing.T) {
	t.Parallel()
	m := marketplace.New(t)
	home := enrolled(t, m)
	path := filepath.Join(home, settingsFile)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(file, []byte("runtime: auto"), []byte("runtime: simulated"), 1), 0o600))
	m.Ban("host_removed")
	code, _, stderr := agent(t.Context(), home, "run")
	assert.Equal(t, 3, code, stderr)
	assert.Contains(t, stderr, marketplace.HostID)
	assert.Contains(t, stderr, "--home "+home+" enroll --force --server "+m.URL)

	code, stdout, _ := agent(t.Context(), home, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "peergpu-agent enroll --force")
	m.Ban("host_suspended")
	_, stdout, _ = agent(t.Context(), home, "doctor")
	assert.Contains(t, stdout, "comes back by itself once the host is reinstated")
}

func TestTheCommandLineHelps(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"enroll", "--help"}, {"doctor", "--help"}} {
		code, stdout, _ := agent(t.Context(), t.TempDir(), args...)
		assert.Zero(t, code)
		assert.Contains(t, stdout, "Usage: peergpu-agent", args)
		assert.Contains(t, stdout, "  peergpu-agent ", "%v: an example", args)
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
	for _, price := range []string{"-5", "0.35", "cheap"} {
		for _, args := range [][]string{{"--price-micros", price}, {"--price-micros=" + price}} {
			code, _, stderr = agent(t.Context(), t.TempDir(), append([]string{"enroll", "--server", "http://x", "--token", "t"}, args...)...)
			assert.Equal(t, 2, code)
			assert.Contains(t, stderr, `--price-micros: a price is a whole number of millionths, at least 0, such as 350000 for 0.35 an hour: not "`+price+`"`)
		}
	}
}

func TestAMisspeltVariableIsNotTakenSilently(t *testing.T) {
	t.Setenv("PEERGPU_AGENT_HOEM", t.TempDir())
	t.Setenv("PEERGPU_ENROLMENT_TOKEN", "pgpu_enr_secret")
	t.Setenv("PEERGPU_LISTEN", ":8080") // the server's
	code, _, stderr := agent(t.Context(), t.TempDir(), "doctor")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "PEERGPU_AGENT_HOEM: there is no such variable: did you mean PEERGPU_AGENT_HOME?")
	assert.Contains(t, stderr, "PEERGPU_ENROLMENT_TOKEN: there is no such variable: did you mean PEERGPU_ENROLLMENT_TOKEN?")
	assert.NotContains(t, stderr, "secret")
	assert.NotContains(t, stderr, "LISTEN")
}

// The tag is not that of the other tests: the library's binding takes a C compiler.
func TestTheAgentThatAsksTheDriversLibrary(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.CCompiler)
	for _, args := range [][]string{
		{"test", "-tags", "nvml", "./gpu/nvml"},
		{"build", "-tags", "nvml", "-o", filepath.Join(t.TempDir(), "peergpu-agent"), "."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "CGO_CFLAGS=-O2 -g -Wno-deprecated-declarations")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}
