package openapi

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed agent.yaml
var protocol []byte

// frames are the schemas of what an agent sends, by the value of type.
var frames = sync.OnceValues(func() (map[string]*openapi3.Schema, error) {
	loader := openapi3.NewLoader()
	spec, err := loader.LoadFromData(protocol)
	if err == nil {
		err = spec.Validate(loader.Context)
	}
	if err != nil {
		return nil, fmt.Errorf("load agent.yaml: %w", err)
	}
	found := map[string]*openapi3.Schema{}
	for _, ref := range spec.Components.Schemas {
		if name, ok := ref.Value.Extensions["x-frame"].(string); ok && ref.Value.Extensions["x-from"] == "agent" {
			found[name] = ref.Value
		}
	}
	return found, nil
})

// CheckFrame compares a text frame of an agent with the schema that agent.yaml has for
// its type. A type that no agent sends is not for it to judge.
func CheckFrame(kind string, data []byte) error {
	schemas, err := frames()
	if err != nil {
		return err
	}
	schema, known := schemas[kind]
	if !known {
		return nil
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	err = schema.VisitJSON(value)
	if err == nil {
		return nil
	}
	// What is wrong with a part of a schema hangs below it.
	var wrong *openapi3.SchemaError
	for cause := err; errors.As(cause, &wrong); cause = wrong.Origin {
		err = fmt.Errorf("/%s: %s", strings.Join(wrong.JSONPointer(), "/"), wrong.Reason)
	}
	return fmt.Errorf("%s: %w", kind, err)
}
