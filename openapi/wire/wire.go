// Package wire is the language of the agent's WebSocket: the frames and the signed
// claims of agent.yaml, how they are encoded, and the payloads that keys sign. Server
// and agent share it; it holds no behaviour of either.
package wire

//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config generate.yaml ../agent.yaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Version is the protocol's version, in the field v of every text frame.
const Version = 1

// The sizes that neither side may exceed, in bytes.
const (
	MaxText    = 1 << 20              // a text frame
	MaxLogData = 64 << 10             // the stream's part of a log frame
	MaxLog     = logHead + MaxLogData // a log frame
	MaxClaims  = 256 << 10            // the payload of a JWS
)

// The WebSocket close codes of the protocol.
const (
	CloseLeaving         = 1001 // the agent stops
	CloseTooLarge        = 1009
	CloseRestart         = 1012 // the server restarts: come back within 0 to 5 s
	CloseBadFrame        = 4400 // not understood, or out of order
	CloseUnauthenticated = 4401 // token or signature refused: get a new token
	CloseForbidden       = 4403 // the host is suspended or removed: a token request says which
	CloseTimeout         = 4408 // no frame in time
	CloseFenced          = 4409 // a newer session of this host took over
	CloseTooOld          = 4426 // the agent must be updated
)

// The codes of AckError that a program reacts to.
const (
	CodeStale          = "stale_attempt"
	CodeInvalid        = "invalid"
	CodeLogMismatch    = "log_mismatch"
	CodeUploadMismatch = "upload_mismatch"
	CodeArtifactLimit  = "artifact_limit"
	CodeUnavailable    = "unavailable"
)

// ErrUnknownType is a frame of a type that this version does not know. It is to be
// ignored, so that new types need no new version.
var ErrUnknownType = errors.New("unknown frame type")

// Frame is one text frame. Body points to one of the frame types of agent.yaml.
type Frame struct {
	ID   string // set on frames that want an answer
	Ref  string // set on answers
	Body any
}

// bodies are the frame types, by the value of type.
var bodies = map[string]reflect.Type{
	"challenge": reflect.TypeFor[Challenge](), "welcome": reflect.TypeFor[Welcome](),
	"manifest": reflect.TypeFor[Manifest](), "cancel": reflect.TypeFor[Cancel](),
	"ack": reflect.TypeFor[Ack](), "log_ack": reflect.TypeFor[LogAck](),
	"upload": reflect.TypeFor[Upload](), "drain": reflect.TypeFor[Drain](),
	"keys": reflect.TypeFor[Keys](), "policy": reflect.TypeFor[Policy](),
	"hello": reflect.TypeFor[Hello](), "inventory": reflect.TypeFor[Inventory](),
	"heartbeat": reflect.TypeFor[Heartbeat](), "accept": reflect.TypeFor[Accept](),
	"reject": reflect.TypeFor[Reject](), "phase": reflect.TypeFor[Phase](),
	"exited": reflect.TypeFor[Exited](), "upload_request": reflect.TypeFor[UploadRequest](),
	"uploaded": reflect.TypeFor[Uploaded](), "finished": reflect.TypeFor[Finished](),
	"reclaim": reflect.TypeFor[Reclaim](),
}

// names is the reverse of bodies.
var names = func() map[reflect.Type]string {
	m := make(map[reflect.Type]string, len(bodies))
	for name, t := range bodies {
		m[t] = name
	}
	return m
}()

// TypeOf is the value of type for a frame's body, or "" for what is no body.
func TypeOf(body any) string {
	t := reflect.TypeOf(body)
	if t == nil || t.Kind() != reflect.Pointer {
		return ""
	}
	return names[t.Elem()]
}

// Encode writes a frame. Nil lists and maps are written as empty ones.
func Encode(f Frame) ([]byte, error) {
	name := TypeOf(f.Body)
	if name == "" {
		return nil, fmt.Errorf("%T is no frame", f.Body)
	}
	fill(reflect.ValueOf(f.Body).Elem())
	body, err := json.Marshal(f.Body)
	if err != nil {
		return nil, err
	}
	// The envelope is put before the body's own fields instead of merging two maps:
	// heartbeats and acks are most of the traffic.
	out := make([]byte, 0, len(body)+96)
	out = append(out, `{"v":`...)
	out = strconv.AppendInt(out, Version, 10)
	out = append(out, `,"type":"`...)
	out = append(out, name...)
	out = append(out, '"')
	for _, f := range [2]struct{ key, value string }{{"id", f.ID}, {"ref", f.Ref}} {
		if f.value != "" {
			quoted, _ := json.Marshal(f.value) // strings always marshal
			out = append(out, ',', '"')
			out = append(out, f.key...)
			out = append(out, '"', ':')
			out = append(out, quoted...)
		}
	}
	if !bytes.Equal(body, []byte("{}")) {
		out = append(out, ',')
	}
	out = append(out, body[1:]...)
	if len(out) > MaxText {
		return nil, fmt.Errorf("a %s frame of %d bytes is over the limit of %d", name, len(out), MaxText)
	}
	return out, nil
}

// Decode reads a frame. Unknown fields are ignored; an unknown type answers
// ErrUnknownType and still gives ID and Ref.
func Decode(data []byte) (Frame, error) {
	if len(data) > MaxText {
		return Frame{}, fmt.Errorf("a frame of %d bytes is over the limit of %d", len(data), MaxText)
	}
	var e Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return Frame{}, fmt.Errorf("not a frame: %w", err)
	}
	f := Frame{ID: e.ID, Ref: e.Ref}
	if e.V != Version {
		return f, fmt.Errorf("version %d of the protocol is not known, only %d is", e.V, Version)
	}
	t, known := bodies[e.Type]
	if !known {
		return f, fmt.Errorf("%w: %.32q", ErrUnknownType, e.Type)
	}
	body := reflect.New(t).Interface()
	if err := json.Unmarshal(data, body); err != nil {
		return f, fmt.Errorf("not a %s frame: %w", e.Type, err)
	}
	f.Body = body
	return f, nil
}

// fill replaces nil slices and maps, which JSON would write as null. Optional ones are
// not written at all.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if !strings.Contains(v.Type().Field(i).Tag.Get("json"), ",omitempty") {
				fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Pointer {
			for i := range v.Len() {
				fill(v.Index(i))
			}
		}
	case reflect.Map:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}

// Error makes a refusal usable as a Go error.
func (e *AckError) Error() string { return e.Code + ": " + e.Detail }
