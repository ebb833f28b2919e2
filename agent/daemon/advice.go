package daemon

import (
	"errors"
	"net/http"
)

// ErrRemoved ends a daemon whose host was removed from the marketplace.
var ErrRemoved = errors.New("this host was removed from the marketplace")

// The codes of refusals that say that the host may not connect.
const (
	codeRemoved   = "host_removed"
	codeSuspended = "host_suspended"
)

// Unreachable is a server that was not reached, or is none of ours.
type Unreachable struct {
	Err error
	Do  string // what the host's owner can do about it
}

// Error says what happened.
func (u *Unreachable) Error() string { return u.Err.Error() }

// Unwrap gives what happened.
func (u *Unreachable) Unwrap() error { return u.Err }

// Advice says what the host's owner can do about an error of Server; "" when nothing is
// known.
func Advice(err error) string {
	var away *Unreachable
	if errors.As(err, &away) {
		return away.Do
	}
	var refused *Refusal
	if !errors.As(err, &refused) {
		return ""
	}
	switch {
	case refused.Code == codeRemoved:
		return "to offer this machine again, get a token from the marketplace (Hosts, Add a host) and run peergpu-agent enroll --force --server URL --token pgpu_enr_…"
	case refused.Code == codeSuspended:
		return "look at the host in the marketplace and ask its operator; nothing has to be changed here, the agent comes back by itself once the host is reinstated"
	case refused.Status == http.StatusUnauthorized:
		return "the server does not know this host's key: see that server in agent.yaml is where this machine was enrolled, and that its clock is right; else enrol it anew with peergpu-agent enroll --force"
	case refused.Status == http.StatusNotFound, refused.Status == http.StatusMethodNotAllowed:
		return "the URL is another server's, or one below the marketplace's: see server in agent.yaml"
	case refused.Status == http.StatusTooManyRequests:
		return "too many requests come from this address: wait for that long; a running agent does so by itself"
	case refused.Status >= http.StatusInternalServerError:
		return "the server, or the proxy in front of it, has a problem; the agent tries again, and if it lasts its operator has to know"
	}
	return ""
}
