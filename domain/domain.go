// Package domain is the shared kernel of PeerGPU's bounded contexts: identifiers,
// time, money, errors, events and the actor on whose behalf something happens.
// It uses the standard library only and does no I/O.
package domain

import (
	"encoding/hex"
	"strings"
	"time"
)

// ID identifies an aggregate or an entity: a UUIDv7 (RFC 9562), so that ids sort
// by creation time. Its zero value stands for "none".
type ID [16]byte

// IsZero says whether the id stands for "none".
func (i ID) IsZero() bool { return i == ID{} }

// String is the canonical text form with dashes (RFC 9562 §4).
func (i ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], i[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], i[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], i[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], i[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], i[10:16])
	return string(b[:])
}

// Prefixed is the form that people and scripts see: a kind, an underscore and 32
// lower-case hexadecimal digits, such as job_0190…. The zero id gives "".
func (i ID) Prefixed(kind string) string {
	if i.IsZero() {
		return ""
	}
	return kind + "_" + hex.EncodeToString(i[:])
}

// MarshalText makes ids readable in JSON; the zero id is the empty string.
func (i ID) MarshalText() ([]byte, error) {
	if i.IsZero() {
		return nil, nil
	}
	return []byte(i.String()), nil
}

// UnmarshalText accepts what MarshalText writes.
func (i *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = ID{}
		return nil
	}
	id, err := ParseID(string(text))
	*i = id
	return err
}

// ParseID reads an id with or without dashes.
func ParseID(s string) (ID, error) {
	var id ID
	raw := s
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		raw = s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	}
	if len(raw) != 32 || strings.ToLower(raw) != raw {
		return ID{}, Invalid("invalid_id", "an id has 32 lower-case hexadecimal digits")
	}
	if _, err := hex.Decode(id[:], []byte(raw)); err != nil {
		return ID{}, Invalid("invalid_id", "an id has 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// ParsePrefixed reads what Prefixed writes; another kind is not this kind's id.
func ParsePrefixed(kind, s string) (ID, error) {
	rest, found := strings.CutPrefix(s, kind+"_")
	if !found || len(rest) != 32 {
		return ID{}, Invalid("invalid_id", "the id of a "+kind+" begins with "+kind+"_")
	}
	id, err := ParseID(rest)
	if err == nil && id.IsZero() {
		err = Invalid("invalid_id", "%s_ and zeros alone is nobody's id", kind)
	}
	return id, err
}

// leastDigits of an id are needed to search for it without its kind: fewer occur in
// names.
const leastDigits = 8

// IDsBeginning gives the first and the last id that begin with the digits of a text, as
// people copy it: "job_0190a1", or without the kind at least 8 digits. Other texts begin
// no id.
func IDsBeginning(kind, text string) (first, last ID, ok bool) {
	digits, named := strings.CutPrefix(strings.ToLower(text), kind+"_")
	if digits == "" || len(digits) > 2*len(first) || !named && len(digits) < leastDigits {
		return ID{}, ID{}, false
	}
	fill := func(id *ID, digit string) error {
		_, err := hex.Decode(id[:], []byte(digits+strings.Repeat(digit, 2*len(id)-len(digits))))
		return err
	}
	if fill(&first, "0") != nil || fill(&last, "f") != nil {
		return ID{}, ID{}, false
	}
	return first, last, true
}

// Time cuts t to what every database keeps: UTC, whole microseconds.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
