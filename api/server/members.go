package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// maxHello is far above a Hello with the longest list of voters.
const maxHello = 64 << 10

// maxNeighbours is above api.MaxNeighbours of the longest lines.
const maxNeighbours = 1 << 20

// MembersConfig is what the members-only side is made of.
type MembersConfig struct {
	Log  zerolog.Logger
	Node Node
	Peer PeerNode
	// Others says whom to ask instead of a node that knows only a part of who is a
	// member; nil: never.
	Others func() (addrs []string, partial bool)
	// Identify says which member is at the other end of a connection, as its
	// certificate says. An error refuses the request.
	Identify func(net.Conn) (fsm.MemberID, error)
	// Parts serves members that read from a stream; nil: this node cannot.
	Parts *Parts
	// Heard takes in what a member knows of the network.
	Heard func(from fsm.MemberID, n api.Neighbours)
}

type members struct{ MembersConfig }

// NewMembers makes the server of the members-only port. Its listener hands out
// connections whose handshake is done and whose other end is a member.
func NewMembers(c MembersConfig) *Server {
	m := members{c}
	r := newRouter(c.Log)
	r.handle(http.MethodPost, api.PathHello, maxHello, m.hello)
	r.handle(http.MethodPost, api.PathPropose, api.MaxProposal, m.propose)
	r.handle(http.MethodPost, api.PathNeighbours, maxNeighbours, m.neighbours)
	r.handle(http.MethodPost, api.PathTime, maxTime, m.time)
	r.handle(http.MethodPost, api.PathJoin, maxJoin, m.join)
	r.take(http.MethodPost, api.PathPart, maxPartRequest, func(w http.ResponseWriter, req *http.Request) {
		if err := m.part(w, req); err != nil {
			r.fail(w, req, err)
		}
	})
	return newServer(r.mux, c.Log)
}

func (m members) neighbours(r *http.Request) (any, error) {
	name, err := m.identify(r)
	if err != nil {
		return nil, err
	}
	var n api.Neighbours
	if err := decode(r.Body, &n); err != nil {
		return nil, err
	}
	if m.Heard != nil {
		m.Heard(name, n)
	}
	return struct{}{}, nil
}

func (m members) hello(r *http.Request) (any, error) {
	name, err := m.identify(r)
	if err != nil {
		return nil, err
	}
	var theirs api.Hello
	if err := decode(r.Body, &theirs); err != nil {
		return nil, err
	}
	if theirs.Name != name {
		return nil, &api.Error{
			Code:    api.CodeForbidden,
			Message: fmt.Sprintf("the certificate is %s's, the hello says %q", name, theirs.Name),
		}
	}
	return m.Peer.Hello(theirs), nil
}

func (m members) propose(r *http.Request) (any, error) {
	if _, err := m.identify(r); err != nil {
		return nil, err
	}
	cmd, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, badBody(err)
	}
	if len(cmd) == 0 {
		return nil, badBody(errors.New("it is empty"))
	}
	res, err := m.Peer.ProposeBytes(r.Context(), cmd)
	if err != nil {
		if api.CodeOf(err) == api.CodeNotLeader {
			// The node may know more by now than when it refused.
			name, addr := m.Node.Leader()
			return nil, api.NotLeader(string(name), addr)
		}
		return nil, fmt.Errorf("propose: %w", err)
	}
	out := api.ResultOf(res)
	_, out.Index = m.Node.View()
	return out, nil
}

func (m members) identify(r *http.Request) (fsm.MemberID, error) {
	name, err := m.Identify(connOf(r))
	if err != nil {
		return "", &api.Error{Code: api.CodeForbidden, Message: "members only: " + err.Error()}
	}
	return name, nil
}
