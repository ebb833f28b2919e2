package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// MarshalClaims writes the payload of a JWS so that ParseClaims accepts it: nil lists
// and maps become empty ones.
func MarshalClaims(claims any) ([]byte, error) {
	v := reflect.ValueOf(claims)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("%T is no pointer to claims", claims)
	}
	fill(v.Elem())
	return json.Marshal(claims)
}

// ParseClaims reads the payload of a verified JWS into claims, a pointer to a struct.
// What was signed is to mean one thing only, so it is strict where encoding/json is
// not: unknown fields, duplicate keys, keys in another case, missing fields, nulls
// where the type has none, and anything behind the object are refused.
func ParseClaims(payload []byte, claims any) error {
	if len(payload) > MaxClaims {
		return fmt.Errorf("claims of %d bytes are over the limit of %d", len(payload), MaxClaims)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := exact(d, reflect.TypeOf(claims).Elem(), "claims"); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("claims: something follows the object")
	}
	return json.Unmarshal(payload, claims)
}

// exact walks the tokens of one value along the Go type that it is meant for.
func exact(d *json.Decoder, t reflect.Type, at string) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if t.Kind() == reflect.Pointer {
		if token == nil {
			return nil
		}
		t = t.Elem()
	}
	switch want := t.Kind(); {
	case want == reflect.Struct && token == json.Delim('{'):
		return exactStruct(d, t, at)
	case want == reflect.Map && token == json.Delim('{'):
		return exactMap(d, t, at)
	case want == reflect.Slice && token == json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := exact(d, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	case want == reflect.String && isA[string](token), want == reflect.Bool && isA[bool](token),
		(want == reflect.Int || want == reflect.Int64) && isA[json.Number](token):
		return nil
	}
	return fmt.Errorf("%s: not a %s", at, t.Kind())
}

// exactStruct reads the rest of an object whose fields are known. A field is taken off
// the list when it comes: the second of a name is then as unknown as a wrong one.
func exactStruct(d *json.Decoder, t reflect.Type, at string) error {
	fields := map[string]reflect.Type{}
	required := map[string]bool{}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = t.Field(i).Type
		required[name] = options == ""
	}
	for d.More() {
		name, err := key(d, at)
		if err != nil {
			return err
		}
		typ, known := fields[name]
		if !known {
			return fmt.Errorf("%s: %.64q is unknown or there twice", at, name)
		}
		delete(fields, name)
		if err := exact(d, typ, at+"."+name); err != nil {
			return err
		}
	}
	for name := range fields {
		if required[name] {
			return fmt.Errorf("%s: %q is missing", at, name)
		}
	}
	_, err := d.Token()
	return err
}

// exactMap reads the rest of an object whose keys are free.
func exactMap(d *json.Decoder, t reflect.Type, at string) error {
	seen := map[string]bool{}
	for d.More() {
		name, err := key(d, at)
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("%s: %.64q is there twice", at, name)
		}
		seen[name] = true
		if err := exact(d, t.Elem(), at+"."+name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// key reads the name of a field.
func key(d *json.Decoder, at string) (string, error) {
	token, err := d.Token()
	if err != nil {
		return "", fmt.Errorf("%s: %w", at, err)
	}
	name, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%s: a key that is no string", at)
	}
	return name, nil
}

// isA says what kind of value a token is.
func isA[T any](token json.Token) bool {
	_, ok := token.(T)
	return ok
}
