package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// document reads a YAML document key by key into a struct, and remembers where each key
// stands. All that is wrong is told at once, in words for the owner of a machine.
type document struct {
	lines map[string]int // by key, such as policy.kinds
	wrong []error
}

// readDocument decodes data into a pointer to a struct.
func readDocument(data []byte, into any) (*document, error) {
	d := &document{lines: map[string]int{}}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return d, fmt.Errorf("this is no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(root.Content) > 0 && root.Content[0].Tag != "!!null" {
		d.section(root.Content[0], reflect.ValueOf(into).Elem(), "")
	}
	return d, errors.Join(d.wrong...)
}

// fault notes what is wrong with a key.
func (d *document) fault(line int, format string, args ...any) {
	d.wrong = append(d.wrong, fmt.Errorf("line %d: "+format, append([]any{line}, args...)...))
}

// at puts the line of a key before an error about its value.
func (d *document) at(key string, err error) error {
	if line, known := d.lines[key]; known {
		return fmt.Errorf("line %d: %s: %w", line, key, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}

// section reads a mapping.
func (d *document) section(node *yaml.Node, into reflect.Value, prefix string) {
	if node.Kind != yaml.MappingNode {
		where := strings.TrimSuffix(prefix, ".")
		if where != "" {
			where += ": "
		}
		d.fault(node.Line, "%shere stand keys with their values, such as %s: …", where, keysOf(into.Type())[0])
		return
	}
	for i := 0; i < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		field, known := fieldOf(into, name.Value)
		if first, twice := d.lines[key]; twice {
			d.fault(name.Line, "%s is there already, in line %d: keep one", key, first)
			continue
		}
		d.lines[key] = name.Line
		switch {
		case !known:
			d.fault(name.Line, "%s is unknown%s", key, suggestion(name.Value, keysOf(into.Type())))
		case value.Tag == "!!null": // left empty: as if it were not there
		case field.Kind() == reflect.Struct:
			d.section(value, field, key+".")
		default:
			if err := value.Decode(field.Addr().Interface()); err != nil {
				d.fault(value.Line, "%s: %s is not %s", key, textOf(value), kindOf(field.Type()))
			}
		}
	}
}

// textOf shows a value as it stands in the file.
func textOf(value *yaml.Node) string {
	switch value.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a section"
	default:
		return fmt.Sprintf("%q", value.Value)
	}
}

// kindOf says what a key takes.
func kindOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[duration]():
		return "a time such as 90s or 24h"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice:
		return "a list such as [one, two]"
	case t.Kind() == reflect.String:
		return "a text"
	default:
		return "a whole number"
	}
}

// keysOf lists the keys of a section.
func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("yaml")
	}
	return keys
}

// fieldOf finds the field of a key.
func fieldOf(section reflect.Value, key string) (reflect.Value, bool) {
	i := slices.Index(keysOf(section.Type()), key)
	if i < 0 {
		return reflect.Value{}, false
	}
	return section.Field(i), true
}

// variables lists the environment variables that a command line knows.
func variables(parser *kong.Kong) (known []string) {
	_ = kong.Visit(parser.Model, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok {
			known = append(known, f.Envs...)
		}
		return next(nil)
	})
	return known
}

// misspelt refuses variables that are nearly known: what was meant would have no effect.
// Others, such as the server's, are not for this program.
func misspelt(environ, known []string) error {
	const ours = "PEERGPU_"
	var wrong []error
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, ours) || slices.Contains(known, name) {
			continue
		}
		if meant := nearest(name, known, len(name)-len(ours)); meant != "" {
			wrong = append(wrong, fmt.Errorf("%s: there is no such variable: did you mean %s?", name, meant))
		}
	}
	return errors.Join(wrong...)
}

// suggestion names the known key that was perhaps meant, or else all of them.
func suggestion(key string, known []string) string {
	if meant := nearest(key, known, len(key)); meant != "" {
		return ": did you mean " + meant + "?"
	}
	return "; known are " + strings.Join(known, ", ")
}

// nearest is the known word that was perhaps meant, or nothing, when a third of so many
// letters may be wrong, and always two.
func nearest(word string, known []string, letters int) string {
	best, least := "", max(2, letters/3)+1
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, drop or change that make one word the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
