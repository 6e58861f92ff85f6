package api

import (
	"errors"
	"net/http"
	"strings"
)

// Error is how every request that fails is answered, and what the client
// returns for it.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Error implements error; the hint is for a human and printed apart.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is match by code, so that &Error{Code: c} is a target.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == "" || t.Message == e.Message)
}

// The codes of Error. A code, once published, keeps its meaning.
const (
	CodeBadRequest  = "bad_request"
	CodeNotFound    = "not_found"
	CodeMethod      = "method_not_allowed"
	CodeTooLarge    = "too_large"
	CodeForbidden   = "forbidden"
	CodeNotLeader   = "not_leader" // the leader is another node
	CodeNoLeader    = "no_leader"  // nobody can commit now
	CodeUnavailable = "unavailable"
	CodeTimeout     = "timeout"
	CodeBusy        = "busy"   // as many as are let in do the same already
	CodeBehind      = "behind" // this node has not read as far as the asker
	CodeInternal    = "internal"
	CodeRefused     = "refused"   // the cluster has refused a command; Message says why
	CodeChanged     = "changed"   // what the request names is not what is there: look again
	CodeUncertain   = "uncertain" // it may or may not have been agreed on
	CodeNoDaemon    = "no_daemon" // made by the client: nothing answers on the socket
	CodeBroken      = "broken"    // made by the client: a watch ended that was not to end
)

var statusOf = map[string]int{
	CodeBadRequest:  http.StatusBadRequest,
	CodeNotFound:    http.StatusNotFound,
	CodeMethod:      http.StatusMethodNotAllowed,
	CodeTooLarge:    http.StatusRequestEntityTooLarge,
	CodeForbidden:   http.StatusForbidden,
	CodeNotLeader:   http.StatusMisdirectedRequest,
	CodeNoLeader:    http.StatusServiceUnavailable,
	CodeUnavailable: http.StatusServiceUnavailable,
	CodeTimeout:     http.StatusGatewayTimeout,
	CodeBusy:        http.StatusServiceUnavailable,
	CodeBehind:      http.StatusServiceUnavailable,
	CodeRefused:     http.StatusConflict,
	CodeChanged:     http.StatusConflict,
	CodeUncertain:   http.StatusGatewayTimeout,
	CodeTaken:       http.StatusConflict,
	CodeClaimed:     http.StatusConflict,
	CodeInternal:    http.StatusInternalServerError,
}

// Status is the HTTP status that goes with the code; 500 for one unknown.
func (e *Error) Status() int {
	if s, ok := statusOf[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// CodeOf is the code of the first Error that err wraps, or "".
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

const notLeader = "this node is not the leader; the leader is "

// NotLeader is the answer of a node that was asked to do what only the leader
// can; leader and addr are "" when it knows none.
func NotLeader(leader, addr string) *Error {
	if leader == "" {
		return NoLeader("no leader is known here")
	}
	return &Error{
		Code:    CodeNotLeader,
		Message: notLeader + leader + " at " + addr,
		Hint:    "send the request to " + addr,
	}
}

// LeaderIn is the leader that an answer made by NotLeader names.
func LeaderIn(err error) (leader, addr string, ok bool) {
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeNotLeader {
		return "", "", false
	}
	words, found := strings.CutPrefix(e.Message, notLeader)
	at := strings.LastIndex(words, " at ")
	if !found || at <= 0 || at+len(" at ") == len(words) {
		return "", "", false
	}
	return words[:at], words[at+len(" at "):], true
}

// NoLeader is the answer when nobody can commit; why is in words.
func NoLeader(why string) *Error {
	return &Error{
		Code:    CodeNoLeader,
		Message: "the cluster has no leader: " + why,
		Hint:    "a majority of the voters must run and reach each other; `flip status` on each names who is missing",
	}
}
