package bunstore

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
)

// key is an id in a row; NULL stands for the zero id.
type key domain.ID

func (k key) Value() (driver.Value, error) {
	if domain.ID(k).IsZero() {
		return nil, nil
	}
	return domain.ID(k).String(), nil
}

// Scan reads what Value wrote.
func (k *key) Scan(src any) error {
	var text string
	switch src := src.(type) {
	case nil:
		*k = key{}
		return nil
	case string:
		text = src
	case []byte:
		text = string(src)
	default:
		return fmt.Errorf("an id cannot be read from %T", src)
	}
	id, err := domain.ParseID(text)
	*k = key(id)
	return err
}

func keys(ids []domain.ID) []key {
	list := make([]key, len(ids))
	for i, id := range ids {
		list[i] = key(id)
	}
	return list
}

// stamp is a time in a row: microseconds since 1970, or NULL for the zero time.
type stamp time.Time

func (s stamp) Value() (driver.Value, error) {
	if time.Time(s).IsZero() {
		return nil, nil
	}
	// Truncate, as domain.Time does; UnixMicro rounds times before 1970 the other way.
	return domain.Time(time.Time(s)).UnixMicro(), nil
}

// Scan reads what Value wrote.
func (s *stamp) Scan(src any) error {
	switch src := src.(type) {
	case nil:
		*s = stamp{}
	case int64:
		*s = stamp(time.UnixMicro(src).UTC())
	default:
		return fmt.Errorf("a time cannot be read from %T", src)
	}
	return nil
}

// cut makes a time what it is when it comes back.
func (s stamp) cut() time.Time {
	if time.Time(s).IsZero() {
		return time.Time{}
	}
	return domain.Time(time.Time(s))
}

// text is a string that people or agents wrote: it may be no text at all.
type text string

func (t text) Value() (driver.Value, error) { return string(t.clean()), nil }

// clean makes a text what it is when it comes back.
func (t text) clean() text {
	return text(strings.ReplaceAll(strings.ToValidUTF8(string(t), "\uFFFD"), "\x00", "\uFFFD"))
}

// document renders a part of an aggregate that no query looks into.
func document(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		// Only types that JSON has no form for fail, and no document holds one.
		panic(fmt.Sprintf("bunstore: %T has no JSON form: %v", v, err))
	}
	return b
}

// parse reads a document into the first value that is given and goes on to the next,
// until one fails.
func parse(pairs ...any) error {
	for pair := range slices.Chunk(pairs, 2) {
		if doc := pair[0].(json.RawMessage); len(doc) > 0 {
			if err := json.Unmarshal(doc, pair[1]); err != nil {
				return fmt.Errorf("a stored document is damaged: %w", err)
			}
		}
	}
	return nil
}

// beside adds the columns of a joined table to a query, with a prefix by which bun
// finds the field that they belong to.
func beside[Row any](q *bun.SelectQuery, alias, prefix string) *bun.SelectQuery {
	for _, f := range q.DB().Table(reflect.TypeFor[*Row]()).Fields {
		q.ColumnExpr("?.? AS ?", bun.Ident(alias), bun.Ident(f.Name), bun.Ident(prefix+f.Name))
	}
	return q
}
