// Package openapi is the published language of PeerGPU: what programs and people send
// to the server (openapi.yaml) and what agents say on their WebSocket (agent.yaml).
// The packages below it are made from these two files.
package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed openapi.yaml
var source []byte

// The extensions of an operation that say who may call it.
const (
	ExtScope       = "x-scope"        // the scope that a personal access token needs
	ExtRole        = "x-role"         // the role that the account needs
	ExtSessionOnly = "x-session-only" // true: not with a personal access token
)

var load = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	spec, err := loader.LoadFromData(source)
	if err != nil {
		return nil, fmt.Errorf("load openapi.yaml: %w", err)
	}
	if err := spec.Validate(loader.Context); err != nil {
		return nil, fmt.Errorf("validate openapi.yaml: %w", err)
	}
	return spec, nil
})

// Spec is the document of the HTTP API, loaded and validated once. It is shared: do
// not change it.
func Spec() (*openapi3.T, error) { return load() }

var render = sync.OnceValues(func() ([]byte, error) {
	spec, err := Spec()
	if err != nil {
		return nil, err
	}
	raw, err := spec.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("render openapi.yaml: %w", err)
	}
	var document any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("render openapi.yaml: %w", err)
	}
	dropHints(document)
	return json.Marshal(document)
})

// dropHints removes what tells our own generator how to name things.
func dropHints(value any) {
	switch v := value.(type) {
	case []any:
		for _, e := range v {
			dropHints(e)
		}
	case map[string]any:
		for k, e := range v {
			if strings.HasPrefix(k, "x-go-") {
				delete(v, k)
				continue
			}
			dropHints(e)
		}
	}
}

// JSON is the same document for /openapi.json, without the hints to our generator. It
// is shared: do not change it.
func JSON() ([]byte, error) { return render() }
