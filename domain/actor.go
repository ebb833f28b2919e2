package domain

import "slices"

// Role is what an account may do. One account may have several.
type Role string

// The roles.
const (
	RoleRenter Role = "renter"
	RoleHost   Role = "host"
	RoleAdmin  Role = "admin"
)

// Scope narrows what a personal access token may do. A signed-in session has all.
type Scope string

// The scopes of personal access tokens.
const (
	ScopeJobsRead     Scope = "jobs:read"
	ScopeJobsWrite    Scope = "jobs:write"
	ScopeHostsRead    Scope = "hosts:read"
	ScopeHostsWrite   Scope = "hosts:write"
	ScopeBillingRead  Scope = "billing:read"
	ScopeBillingWrite Scope = "billing:write"
	ScopeAccountRead  Scope = "account:read"
	ScopeAccountWrite Scope = "account:write"
)

// AllScopes lists every scope, in the order in which they are shown.
var AllScopes = []Scope{
	ScopeJobsRead, ScopeJobsWrite, ScopeHostsRead, ScopeHostsWrite,
	ScopeBillingRead, ScopeBillingWrite, ScopeAccountRead, ScopeAccountWrite,
}

// Actor is who asks: the second parameter of every use case. The zero Actor is an
// anonymous visitor.
type Actor struct {
	User    ID      // the account; zero for visitors, hosts and the system
	Roles   []Role  // of the account
	Scopes  []Scope // nil means all: a signed-in session
	Session ID      // the session or token that was used
	Host    ID      // set when a host's agent speaks, and then nothing else is
	system  bool
}

// System is the installation itself: sweeps, reactions to events, operators' commands.
func System() Actor { return Actor{system: true} }

// AgentOf is the agent of one host.
func AgentOf(host ID) Actor { return Actor{Host: host} }

// IsSystem says whether the installation itself asks.
func (a Actor) IsSystem() bool { return a.system }

// Is says whether the account has a role. The system has all of them.
func (a Actor) Is(role Role) bool { return a.system || slices.Contains(a.Roles, role) }

// Allow checks that the actor is signed in and its credential carries the scope.
func (a Actor) Allow(scope Scope) error {
	if a.system {
		return nil
	}
	if a.User.IsZero() {
		return Unauthenticated("sign in, or send a personal access token")
	}
	if a.Scopes != nil && !slices.Contains(a.Scopes, scope) {
		return Forbidden("the token lacks the scope %s", scope)
	}
	return nil
}

// Require is Allow plus a role.
func (a Actor) Require(role Role, scope Scope) error {
	if err := a.Allow(scope); err != nil {
		return err
	}
	if !a.Is(role) {
		return Forbidden("this needs the role %s", role)
	}
	return nil
}

// Owner is the owner to filter by: the account itself, or none (everything) for an
// admin and the system. A forgotten check thus returns nothing instead of everything.
func (a Actor) Owner() (owner ID, everything bool) {
	if a.Is(RoleAdmin) {
		return ID{}, true
	}
	return a.User, false
}
