package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// LocalConfig is what the unix socket's side is made of.
type LocalConfig struct {
	Log      zerolog.Logger
	Node     Node
	Status   StatusSource
	Verifier Verifier // nil: ?consistent is refused
	Proposer Proposer // nil: nothing can be changed here
	Version  api.Version
	Metrics  http.Handler // nil: there are none
	Doctor   DoctorSource // nil: not for who asks here
	Hub      *Hub         // nil: nobody can watch
	// Elsewhere is not nil on a node that has only its own part of what is agreed:
	// all that is not about this node itself is handed on.
	Elsewhere Elsewhere
	Keys      Keyring  // nil: nothing is known of the key
	Programs  Programs // nil: nobody claims a system here
	// Stamp is that of an answer, read at once; nil: a status has it.
	Stamp func() api.Stamp
	// Operator says who is at the other end of a connection; an error refuses him.
	// nil: the socket's mode has let him in.
	Operator func(net.Conn) (string, error)
}

type local struct {
	LocalConfig
	states chan struct{} // as many as are read at one time
}

// NewLocal makes the server of the unix socket, or without Doctor that of the
// operators on a server's own port.
func NewLocal(c LocalConfig) *Server {
	l := local{c, make(chan struct{}, maxStates)}
	r := newRouter(c.Log)
	r.handle(http.MethodGet, api.PathStatus, 0, l.status)
	r.handle(http.MethodGet, api.PathAssign, 0, l.assign)
	r.handle(http.MethodGet, api.PathVersion, 0, l.version)
	r.handle(http.MethodGet, api.PathHealth, 0, l.health)
	r.handle(http.MethodGet, api.PathDoctor, 0, l.doctor)
	r.handle(http.MethodGet, api.PathRoute, 0, l.route)
	r.handle(http.MethodGet, api.PathRouteTable, 0, l.routeTable)
	r.take(http.MethodGet, api.PathState, 0, l.state(r))
	r.watch(c.Hub, l.stampNow)
	r.handle(http.MethodGet, api.PathOpenAPI, 0, openAPI)
	r.handle(http.MethodPost, api.PathCleanup, api.MaxWrite, l.cleanup)
	r.handle(http.MethodPost, api.PathMaintenance, api.MaxWrite, l.maintain)
	r.handle(http.MethodPost, api.PathRelease, api.MaxWrite, l.release)
	r.handle(http.MethodGet, api.PathMembers, 0, l.memberList)
	r.handle(http.MethodPost, api.PathMemberAdd, api.MaxWrite, l.memberAdd)
	r.handle(http.MethodPost, api.PathMemberRemove, api.MaxWrite, l.memberRemove)
	r.handle(http.MethodPost, api.PathMemberPromote, api.MaxWrite, l.memberPromote)
	r.handle(http.MethodPost, api.PathMemberDemote, api.MaxWrite, l.memberDemote)
	r.handle(http.MethodGet, api.PathKey, 0, l.key)
	r.handle(http.MethodPost, api.PathKeyRotate, api.MaxWrite, l.keyRotate)
	r.take(http.MethodPost, api.PathProgram, api.MaxProgram, r.program(c.Programs))
	r.handle(http.MethodPost, api.PathProgramAck, api.MaxProgram, l.programAck)
	if c.Metrics != nil {
		r.mux.Handle(PathMetrics, c.Metrics)
	}
	var h http.Handler = r.mux
	if c.Elsewhere != nil {
		h = l.handingOn(r)
	}
	if c.Operator != nil {
		h = whoChanges(h, c.Operator, c.Log)
	}
	return newServer(h, c.Log)
}

func (l local) status(r *http.Request) (any, error) {
	if err := l.verify(r); err != nil {
		return nil, err
	}
	return l.Status.Status(), nil
}

func (l local) assign(r *http.Request) (any, error) {
	if err := l.verify(r); err != nil {
		return nil, err
	}
	stamp, state := l.stamp()
	system := fsm.SystemID(r.URL.Query().Get("system"))
	if _, known := state.Spec().Systems[system]; system != "" && !known {
		return nil, unknownSystem(state, system)
	}
	return Assignments(state, stamp, system), nil
}

func (l local) version(*http.Request) (any, error) { return l.Version, nil }

func openAPI(*http.Request) (any, error) { return json.RawMessage(api.OpenAPI), nil }

func (l local) health(*http.Request) (any, error) {
	n := l.Status.Status().Node
	return api.Health{Ready: n.Ready, Phase: n.Phase, Waiting: n.Waiting}, nil
}

// verify obeys ?consistent.
func (l local) verify(r *http.Request) error {
	if !r.URL.Query().Has(api.Consistent) {
		return nil
	}
	if l.Verifier == nil {
		return &api.Error{Code: api.CodeUnavailable, Message: "this node cannot ask the leader"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	return l.Verifier.Verify(ctx)
}

func unknownSystem(state *fsm.State, name fsm.SystemID) error {
	known := make([]string, 0, len(state.Spec().Systems))
	for _, id := range sortedKeys(state.Spec().Systems) {
		known = append(known, string(id))
	}
	hint := "the cluster's systems: " + strings.Join(known, ", ")
	if len(known) == 0 {
		hint = "the cluster is not founded yet; `flip status` says what it waits for"
	}
	return &api.Error{Code: api.CodeNotFound, Message: "no system " + string(name), Hint: hint}
}
