package openapi_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/openapi"
)

func TestAFrameIsHeldToItsSchema(t *testing.T) {
	t.Parallel()
	const job = `"job_id":"job_0123456789abcdef0123456789abcdef","attempt":1`
	for frame, want := range map[string]string{
		`{` + job + `,"duration_ms":5,"exit_code":0}`:                       "",
		`{` + job + `,"duration_ms":5,"exit_code":0,"mood":"fine"}`:         "",
		`{` + job + `,"duration_ms":5,"exit_code":999}`:                     "exited: /exit_code: number must be at most 255",
		`{` + job + `,"duration_ms":-1}`:                                    "exited: /duration_ms: number must be at least 0",
		`{` + job + `,"duration_ms":5,"reason":"host_lost"}`:                "exited: /reason: value is not one of the allowed values",
		`{"job_id":"job_1","attempt":1,"duration_ms":5}`:                    "exited: /job_id: string doesn't match",
		`{"job_id":"job_0123456789abcdef0123456789abcdef","duration_ms":5}`: `exited: /attempt: property "attempt" is missing`,
	} {
		err := openapi.CheckFrame("exited", []byte(frame))
		if want == "" {
			assert.NoError(t, err, frame)
		} else {
			assert.ErrorContains(t, err, want, frame)
		}
	}
	assert.Error(t, openapi.CheckFrame("heartbeat", []byte(`{"seq":-1,"gpus":[]}`)))
	assert.NoError(t, openapi.CheckFrame("welcome", []byte(`{}`)), "no agent sends it")
}
