package contract

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
)

// marks makes every filled field different from every other.
var marks atomic.Int64

// filled is a value with something in each of its fields, down to the last: what
// storage forgets shows.
func filled[T any]() (v T) {
	fill(reflect.ValueOf(&v).Elem(), false)
	return v
}

// scribble writes over everything that v shares with others: what storage did not copy
// shows.
func scribble[T any](v *T) { fill(reflect.ValueOf(v).Elem(), true) }

// frozen is a value as text, which nobody can write to.
func frozen(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// fill sets v. Slices and pointers are made anew, or written over where they are.
func fill(v reflect.Value, over bool) {
	n := marks.Add(1)
	switch v.Interface().(type) {
	case time.Time:
		// In another zone, and finer than storage keeps it.
		at := time.Date(2026, 1, 2, 3, 4, 5, 987_654_321, time.FixedZone("", 7200))
		v.Set(reflect.ValueOf(at.Add(time.Duration(n) * (time.Second + time.Microsecond))))
		return
	case time.Duration:
		v.SetInt(n * int64(time.Millisecond))
		return
	case domain.ID:
		v.Set(reflect.ValueOf(ids.New()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(n)
	case reflect.String:
		v.SetString(fmt.Sprintf(`é "漢" \ 🙂 %d`, n))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), over)
		}
	case reflect.Pointer:
		if !over {
			v.Set(reflect.New(v.Type().Elem()))
		}
		if !v.IsNil() {
			fill(v.Elem(), over)
		}
	case reflect.Slice:
		fillSlice(v, over, n)
	default:
		panic("contract: cannot fill a " + v.Type().String())
	}
}

func fillSlice(v reflect.Value, over bool, n int64) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		// JSON, because some bytes are.
		text := fmt.Appendf(nil, `{"n": %d}`, n)
		if over {
			reflect.Copy(v, reflect.ValueOf(text))
		} else {
			v.SetBytes(text)
		}
		return
	}
	if !over {
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
	}
	for i := range v.Len() {
		fill(v.Index(i), over)
	}
}

// same compares what storage was given with what it gave back, field by field: times
// come back cut, and a list without elements may come back as none.
func same[T any](t *testing.T, want, got T) {
	t.Helper()
	var wrong []string
	differ(reflect.ValueOf(&want).Elem(), reflect.ValueOf(&got).Elem(), "", &wrong)
	require.Empty(t, wrong, "what came back is something else")
}

func differ(want, got reflect.Value, path string, wrong *[]string) {
	if at, ok := want.Interface().(time.Time); ok {
		want = reflect.ValueOf(domain.Time(at))
	}
	switch {
	case want.Kind() == reflect.Struct && want.Type() != reflect.TypeFor[time.Time]():
		for i := range want.NumField() {
			differ(want.Field(i), got.Field(i), path+"."+want.Type().Field(i).Name, wrong)
		}
	case want.Kind() == reflect.Slice && want.Len() == got.Len():
		for i := range want.Len() {
			differ(want.Index(i), got.Index(i), fmt.Sprintf("%s[%d]", path, i), wrong)
		}
	case want.Kind() == reflect.Pointer && !want.IsNil() && !got.IsNil():
		differ(want.Elem(), got.Elem(), path, wrong)
	case !reflect.DeepEqual(want.Interface(), got.Interface()):
		*wrong = append(*wrong, fmt.Sprintf("%s: %v, not %v", path, got, want))
	}
}
