// Package identity is who may do something: accounts with their roles, sign-in
// sessions and personal access tokens.
package identity

import (
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peergpu/peergpu/domain"
)

// User is an account. One account may rent, host and administer.
type User struct {
	domain.Recorder
	s Snapshot
}

// Snapshot is an account's whole state.
type Snapshot struct {
	ID           domain.ID
	Version      int64  // of the row; storage counts it
	Email        string // lower case; unique
	Handle       string // unique, [a-z0-9-]{2,39}
	Name         string
	PasswordHash string // PHC string; empty: no password
	Roles        []domain.Role
	Disabled     bool
	CreatedAt    time.Time
	AcceptedAt   time.Time // of the terms
}

// The events of accounts.
const (
	EventRegistered = "identity.registered"
	EventChanged    = "identity.changed"
)

// Happening is what the events of accounts carry.
type Happening struct {
	Handle string        `json:"handle"`
	Roles  []domain.Role `json:"roles"`
}

// Registration is what a sign-up brings.
type Registration struct {
	ID           domain.ID
	Email        string
	Handle       string // empty: made of the e-mail address
	Name         string
	PasswordHash string
}

// Register begins an account that may rent and host.
func Register(r Registration, now time.Time) (*User, error) {
	email, err := NormalizeEmail(r.Email)
	if err != nil {
		return nil, err
	}
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	handle := r.Handle
	if handle == "" {
		handle = HandleFrom(email)
	}
	if !handleForm.MatchString(handle) {
		return nil, domain.Invalid("invalid_handle", "a handle has 2 to 39 lower-case letters, digits and dashes")
	}
	u := &User{s: Snapshot{
		ID: r.ID, Email: email, Handle: handle, Name: strings.TrimSpace(r.Name), PasswordHash: r.PasswordHash,
		Roles: []domain.Role{domain.RoleRenter, domain.RoleHost}, CreatedAt: now, AcceptedAt: now,
	}}
	u.note(EventRegistered, now)
	return u, nil
}

// Restore makes an aggregate of what storage kept.
func Restore(s Snapshot) *User { return &User{s: s} }

// Snapshot gives a copy of the state that shares nothing with the aggregate.
func (u *User) Snapshot() Snapshot {
	s := u.s
	s.Roles = slices.Clone(s.Roles)
	return s
}

func (u *User) note(event string, now time.Time) {
	u.Record(event, u.s.ID, now, Happening{Handle: u.s.Handle, Roles: slices.Clone(u.s.Roles)})
}

// Rename changes the name that others see.
func (u *User) Rename(name string, now time.Time) error {
	if err := checkName(name); err != nil {
		return err
	}
	u.s.Name = strings.TrimSpace(name)
	u.note(EventChanged, now)
	return nil
}

// Rehash stores a new hash of the same password, made with newer parameters.
func (u *User) Rehash(hash string) { u.s.PasswordHash = hash }

// Grant adds a role.
func (u *User) Grant(role domain.Role, now time.Time) {
	if slices.Contains(u.s.Roles, role) {
		return
	}
	u.s.Roles = append(slices.Clone(u.s.Roles), role)
	u.note(EventChanged, now)
}

var (
	handleForm  = regexp.MustCompile(`^[a-z0-9-]{2,39}$`)
	handleOther = regexp.MustCompile(`[^a-z0-9]+`)
)

// HandleFrom proposes a handle for an e-mail address.
func HandleFrom(email string) string {
	local, _, _ := strings.Cut(strings.ToLower(email), "@")
	h := strings.Trim(handleOther.ReplaceAllString(local, "-"), "-")
	if len(h) > 30 {
		h = strings.TrimRight(h[:30], "-")
	}
	if len(h) < 2 {
		h = "user-" + h
	}
	return strings.TrimRight(h, "-")
}

// NormalizeEmail checks an address and gives the form in which it is compared.
func NormalizeEmail(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 {
		return "", &domain.Error{Kind: domain.KindInvalid, Code: "invalid_email", Detail: "this is no e-mail address",
			Fields: []domain.Field{{Pointer: "/email", Code: "invalid", Detail: "an e-mail address such as ada@example.org"}}}
	}
	return s, nil
}

// CheckPassword refuses passwords that are too short, too long or among the most
// common ones.
func CheckPassword(password string) error {
	n := utf8.RuneCountInString(password)
	var detail string
	switch {
	case n < 8:
		detail = "a password has at least 8 characters"
	case n > 128:
		detail = "a password has at most 128 characters"
	case isCommon(password):
		detail = "this password is among the most common ones"
	default:
		return nil
	}
	return &domain.Error{Kind: domain.KindInvalid, Code: "weak_password", Detail: detail,
		Fields: []domain.Field{{Pointer: "/password", Code: "weak", Detail: detail}}}
}

func checkName(name string) error {
	if n := utf8.RuneCountInString(strings.TrimSpace(name)); n < 1 || n > 80 {
		return &domain.Error{Kind: domain.KindInvalid, Code: "invalid_name", Detail: "a name has 1 to 80 characters",
			Fields: []domain.Field{{Pointer: "/name", Code: "invalid", Detail: "1 to 80 characters"}}}
	}
	return nil
}
