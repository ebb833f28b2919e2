package memory

import (
	"reflect"
	"time"

	"github.com/peergpu/peergpu/domain"
)

// kept is v as storage keeps it: a copy that shares nothing with it, whose times are
// cut like those of a database.
func kept[T any](v T) T {
	separate(reflect.ValueOf(&v).Elem())
	return v
}

var timeType = reflect.TypeFor[time.Time]()

// separate replaces, in place, everything that v shares with others.
func separate(v reflect.Value) {
	if flat(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(domain.Time(v.Interface().(time.Time))))
			return
		}
		for i := range v.NumField() {
			separate(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			separate(v.Index(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		for i := range c.Len() {
			separate(c.Index(i))
		}
		v.Set(c)
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		separate(c.Elem())
		v.Set(c)
	default:
		// No snapshot holds a map or an interface.
		panic("memory: a " + v.Type().String() + " cannot be kept")
	}
}

// flat says that a type's values share nothing when they are assigned.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Slice, reflect.Pointer, reflect.Struct, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return false
	default:
		return true
	}
}
