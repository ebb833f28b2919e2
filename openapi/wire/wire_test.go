package wire_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/peergpu/peergpu/openapi/wire"
)

const (
	job  = "job_0190000000007000800000000000000a"
	host = "hst_0190000000007000800000000000000b"
	user = "usr_0190000000007000800000000000000c"
	sum  = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

// frames holds one of each frame, with nil lists on purpose.
func frames() []any {
	code := 3
	at := wire.Attempt{JobID: job, Attempt: 1}
	facts := wire.HostFacts{Hostname: "box", Os: "Debian GNU/Linux 12", Arch: "amd64", MachineID: sum, AgentVersion: "0.1.0", Cpus: 4, MemoryMB: 8192, DiskMB: 1000}
	file := wire.Artifact{Path: "outputs/a.bin", Size: 4, SHA256: sum}
	return []any{
		&wire.Challenge{Nonce: strings.Repeat("n", 43)},
		&wire.Welcome{Session: "s1", Epoch: 4, ServerTime: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), HeartbeatS: 10, LeaseTTLS: 60, ReassignAfterS: 300, LogWindowBytes: 1 << 20,
			Jobs: []wire.Resume{{JobID: job, Attempt: 1, Action: wire.ResumeActionContinue, LogOffset: 7}}},
		&wire.Manifest{JWS: "a.b.c"}, &wire.Cancel{JWS: "a.b.c"}, &wire.Keys{JWS: "a.b.c"}, &wire.Policy{JWS: "a.b.c"},
		&wire.Ack{Ok: true}, &wire.Ack{Error: &wire.AckError{Code: wire.CodeStale, Detail: "over", Stale: true}},
		&wire.LogAck{JobID: job, Attempt: 1, Offset: 9, Rewind: true},
		&wire.Upload{JobID: job, Attempt: 1, Files: []wire.UploadTarget{{Path: "a", Method: wire.UploadTargetMethodPUT, URL: "/blobs/x"}}},
		&wire.Drain{ReconnectWithinS: 5},
		&wire.Hello{AgentVersion: "0.1.0", MachineID: sum, InventoryHash: "x", Signature: "s"},
		&wire.Inventory{Hash: "x", Host: facts, GPUs: []wire.GPU{{UUID: "GPU-1", Model: "H200", VRAMMB: 141_000, Driver: "570"}},
			Runtimes: []wire.RuntimeFacts{{Name: "process", Isolation: wire.RuntimeFactsIsolationProcess, MemoryLimit: "cgroup", PIDsLimit: "watched"}}},
		&wire.Heartbeat{Seq: 1, GPUs: []wire.GPULoad{{UUID: "GPU-1", UtilPct: 50}}},
		&wire.Accept{JobID: job, Attempt: 1},
		&wire.Reject{JobID: job, Attempt: 1, Reason: wire.RejectReasonExpired, Detail: "too late"},
		&wire.Phase{JobID: job, Attempt: 1, Name: wire.PhaseNameFetching, Done: 1, Total: 2},
		&wire.Exited{JobID: job, Attempt: 1, ExitCode: &code, Reason: wire.ReasonExitCode, DurationMs: 12},
		&wire.UploadRequest{JobID: job, Attempt: 1, Files: []wire.Artifact{file}},
		&wire.Uploaded{JobID: job, Attempt: 1, Files: []wire.Artifact{file}},
		&wire.Finished{JobID: job, Attempt: 1, ExitCode: &code, DurationMs: 12, Log: wire.LogSummary{Bytes: 1, Lines: 1, SHA256: sum}},
		&wire.Reclaim{Stopping: true, Attempts: []wire.Attempt{at}},
	}
}

func manifest() *wire.ManifestClaims {
	return &wire.ManifestClaims{
		Iss: wire.Issuer, Aud: host, JTI: strings.Repeat("j", 22), Iat: 1, Nbf: 1, Exp: 601, JobID: job, Attempt: 1,
		LeaseTTLMs: 60_000, ReassignAfterMs: 300_000, Kind: wire.ManifestClaimsKindBundle,
		Bundle: &wire.ManifestBundle{URL: "/blobs/x", Size: 1, SHA256: sum}, Argv: []string{"python3", "main.py"},
		Limits: wire.ManifestLimits{MaxRuntimeMs: 1000}, Network: wire.ManifestNetwork{Mode: wire.ManifestNetworkModeNone},
		Isolation: wire.ManifestIsolation{Min: wire.ManifestIsolationMinProcess},
		Renter:    wire.ManifestRenter{ID: user}, Price: wire.ManifestPrice{HourlyMicros: 350_000, Currency: "USD"},
	}
}

func spec(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("..", "agent.yaml"))
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	return doc
}

func TestEveryFrameOfTheSpecHasATypeAndKeepsToItsSchema(t *testing.T) {
	t.Parallel()
	doc := spec(t)
	schemas := map[string]*openapi3.Schema{}
	for _, s := range doc.Components.Schemas {
		if name, ok := s.Value.Extensions["x-frame"].(string); ok {
			schemas[name] = s.Value
			assert.NotEmpty(t, s.Value.Extensions["x-from"], name)
			assert.NotEmpty(t, s.Value.Extensions["x-answer"], name)
		}
	}
	seen := map[string]bool{}
	for _, body := range frames() {
		name := wire.TypeOf(body)
		seen[name] = true
		require.Contains(t, schemas, name)
		data, err := wire.Encode(wire.Frame{ID: `i"1`, Ref: "r", Body: body})
		require.NoError(t, err)
		var loose map[string]any
		require.NoError(t, json.Unmarshal(data, &loose))
		assert.EqualValues(t, 1, loose["v"])
		assert.Equal(t, name, loose["type"])
		require.NoError(t, schemas[name].VisitJSON(loose), name)

		back, err := wire.Decode(data)
		require.NoError(t, err)
		assert.Equal(t, wire.Frame{ID: `i"1`, Ref: "r", Body: body}, back)
	}
	for name := range schemas {
		assert.True(t, seen[name], "%s is in agent.yaml and not among the frames", name)
	}
}

func TestFramesIgnoreWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	f, err := wire.Decode([]byte(`{"v":1,"type":"ack","ref":"7","ok":true,"mood":"fine"}`))
	require.NoError(t, err)
	assert.Equal(t, "7", f.Ref)
	assert.Equal(t, &wire.Ack{Ok: true}, f.Body)
	f, err = wire.Decode([]byte(`{"v":1,"type":"dance","id":"9"}`))
	require.ErrorIs(t, err, wire.ErrUnknownType)
	assert.Equal(t, "9", f.ID)
}

func TestBadFramesAreRefused(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		``, `null`, `[]`, `{}`, `{"v":2,"type":"ack","ok":true}`, `{"v":1,"type":"ack","ok":"yes"}`,
		`{"v":1,"type":"ack"} {}`, `{"v":1,"type":"` + strings.Repeat("x", wire.MaxText) + `"}`,
	} {
		_, err := wire.Decode([]byte(data))
		assert.Error(t, err, "%.40s", data)
	}
	_, err := wire.Encode(wire.Frame{Body: &wire.Manifest{JWS: strings.Repeat("x", wire.MaxText)}})
	require.ErrorContains(t, err, "over the limit")
	_, err = wire.Encode(wire.Frame{Body: &wire.ManifestClaims{}})
	require.ErrorContains(t, err, "is no frame")
	_, err = wire.Encode(wire.Frame{})
	require.Error(t, err)
}

func TestLogFramesSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := wire.Log{
			JobID:   job,
			Attempt: int(rapid.Uint32Range(1, 1<<32-1).Draw(t, "attempt")),
			Offset:  rapid.Int64Range(0, 1<<62).Draw(t, "offset"),
			Time:    time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")).UTC(),
			Data:    rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "data"),
		}
		frame, err := wire.AppendLog(nil, l)
		require.NoError(t, err)
		back, err := wire.DecodeLog(frame)
		require.NoError(t, err)
		assert.Equal(t, l, back)
	})
}

func TestBadLogFramesAreRefused(t *testing.T) {
	t.Parallel()
	good := wire.Log{JobID: job, Attempt: 1, Data: []byte("x")}
	for name, change := range map[string]func(*wire.Log){
		"a job id of another kind": func(l *wire.Log) { l.JobID = host },
		"a job id in capitals":     func(l *wire.Log) { l.JobID = strings.ToUpper(job[4:]) },
		"no attempt":               func(l *wire.Log) { l.Attempt = 0 },
		"a negative offset":        func(l *wire.Log) { l.Offset = -1 },
		"no bytes":                 func(l *wire.Log) { l.Data = nil },
		"too many bytes":           func(l *wire.Log) { l.Data = make([]byte, wire.MaxLogData+1) },
	} {
		l := good
		change(&l)
		_, err := wire.AppendLog(nil, l)
		assert.Error(t, err, name)
	}
	frame, err := wire.AppendLog(nil, good)
	require.NoError(t, err)
	for i := range len(frame) {
		_, err := wire.DecodeLog(frame[:i])
		assert.Error(t, err, "cut to %d bytes", i)
	}
	frame[0] = 9
	_, err = wire.DecodeLog(frame)
	assert.ErrorIs(t, err, wire.ErrUnknownType)
}

func TestClaimsMeanOneThingOnly(t *testing.T) {
	t.Parallel()
	good, err := wire.MarshalClaims(manifest())
	require.NoError(t, err)
	var back wire.ManifestClaims
	require.NoError(t, wire.ParseClaims(good, &back))
	assert.Equal(t, "python3", back.Argv[0])
	assert.Nil(t, back.Image)

	var loose map[string]any
	require.NoError(t, json.Unmarshal(good, &loose))
	require.NoError(t, spec(t).Components.Schemas["ManifestClaims"].Value.VisitJSON(loose))

	text := string(good)
	for name, bad := range map[string]string{
		"an unknown field":           strings.Replace(text, `{`, `{"x":1,`, 1),
		"a duplicate key":            strings.Replace(text, `{`, `{"attempt":2,`, 1),
		"a duplicate key below":      strings.Replace(text, `"mode":"none"`, `"mode":"full","mode":"none"`, 1),
		"a duplicate variable":       strings.Replace(text, `"env":{}`, `"env":{"A":"1","A":"2"}`, 1),
		"a key in another case":      strings.Replace(text, `"attempt"`, `"Attempt"`, 1),
		"a second, cased key":        strings.Replace(text, `{`, `{"ARGV":["sh"],`, 1),
		"a null list":                strings.Replace(text, `"inputs":[]`, `"inputs":null`, 1),
		"a null object":              strings.Replace(text, `"gpus":{"uuids":[]}`, `"gpus":null`, 1),
		"a null string":              strings.Replace(text, `"workdir":""`, `"workdir":null`, 1),
		"a command as one string":    strings.Replace(text, `["python3","main.py"]`, `"python3 main.py"`, 1),
		"a fraction":                 strings.Replace(text, `"attempt":1`, `"attempt":1.5`, 1),
		"a number too large":         strings.Replace(text, `"attempt":1`, `"attempt":1e30`, 1),
		"a second object":            text + `{}`,
		"nothing":                    ``,
		"an array":                   `[]`,
		"half of it":                 text[:len(text)/2],
		"more than the limit":        text + strings.Repeat(" ", wire.MaxClaims),
		"a missing field of a field": strings.Replace(text, `"renter":{"id":"`+user+`","owner":false}`, `"renter":{"id":"`+user+`"}`, 1),
	} {
		require.NotEqual(t, text, bad, name)
		assert.Error(t, wire.ParseClaims([]byte(bad), &wire.ManifestClaims{}), name)
	}
	for field := range loose {
		without := map[string]any{}
		for k, v := range loose {
			if k != field {
				without[k] = v
			}
		}
		data, _ := json.Marshal(without)
		assert.ErrorContains(t, wire.ParseClaims(data, &wire.ManifestClaims{}), `"`+field+`" is missing`)
	}
}

func TestThumbprintIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	// RFC 8037, appendix A.3.
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	require.NoError(t, err)
	key := ed25519.PublicKey(x)
	assert.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", wire.Thumbprint(key))
	assert.Equal(t, wire.Thumbprint(key), wire.JWKOf(key).Kid)
	assert.Equal(t, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", wire.PublicKeyOf(key).X)
}

func TestSignedPayloadsCannotBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	a := wire.HelloPayload("n", host, wire.Hello{AgentVersion: "1\nx", MachineID: "m", InventoryHash: "h"})
	b := wire.HelloPayload("n", host, wire.Hello{AgentVersion: "1", MachineID: "x\nm", InventoryHash: "h"})
	assert.NotEqual(t, a, b)
	key := make(ed25519.PublicKey, ed25519.PublicKeySize)
	assert.NotContains(t, string(wire.EnrolPayload("pgpu_enr_secret", key)), "secret")
}

func FuzzDecode(f *testing.F) {
	for _, body := range frames() {
		data, err := wire.Encode(wire.Frame{Body: body})
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := wire.Decode(data)
		if err == nil {
			_, err = wire.Encode(frame)
			require.NoError(t, err)
		}
		_, _ = wire.DecodeLog(data)
	})
}

func FuzzParseClaims(f *testing.F) {
	good, err := wire.MarshalClaims(manifest())
	require.NoError(f, err)
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		var c wire.ManifestClaims
		if wire.ParseClaims(data, &c) == nil {
			out, err := wire.MarshalClaims(&c)
			require.NoError(t, err)
			require.NoError(t, wire.ParseClaims(out, &wire.ManifestClaims{}), string(out))
		}
	})
}
