package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

// peers lets raftnode reach other nodes through the client of their TLS port.
type peers struct {
	client *client.Peers
	learn  func(ctx context.Context, cluster string, k *api.KeyHint) // what another member says of the key
}

func newPeers(as secure.Credentials, learn func(ctx context.Context, cluster string, k *api.KeyHint)) peers {
	return peers{client.DialPeers(func(ctx context.Context, to client.Target) (net.Conn, error) {
		return call(ctx, to.Addr, as, secure.Identity{Name: to.Name, Instance: to.Instance}, secure.ProtoHTTP)
	}), learn}
}

// call is secure.Dial with an answer that is nil where there is none.
func call(ctx context.Context, addr string, as secure.Credentials, want secure.Identity, proto string) (net.Conn, error) {
	conn, err := secure.Dial(ctx, addr, as, want, proto)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Hello implements raftnode.Peers.
func (p peers) Hello(ctx context.Context, addr string, name fsm.MemberID, mine raftnode.Hello) (raftnode.Hello, error) {
	theirs, err := p.client.Hello(ctx, client.Target{Addr: addr, Name: name}, helloOut(mine))
	if err != nil {
		return raftnode.Hello{}, err
	}
	p.learn(ctx, theirs.Cluster, theirs.Keys)
	return helloIn(theirs), nil
}

// Propose implements raftnode.Peers.
func (p peers) Propose(ctx context.Context, to raft.ServerAddress, cmd []byte) (fsm.Result, error) {
	addr, id, err := raftnode.SplitAddress(to)
	if err != nil {
		return fsm.Result{}, err
	}
	target := client.Target{Addr: addr, Name: id.Member(), Instance: id.Instance()}
	res, err := p.client.Propose(ctx, target, cmd)
	if notProposed(err) {
		return res, fmt.Errorf("%w: %w", raftnode.ErrNotLeader, err)
	}
	return res, err
}

// notProposed reports whether a command surely did not reach the other node's
// log: nobody was there, it was the wrong node, or it said that it does not
// lead.
func notProposed(err error) bool {
	var dial *net.OpError
	var wrong *secure.WrongPeerError
	switch api.CodeOf(err) {
	case api.CodeNotLeader, api.CodeNoLeader:
		return true
	}
	return errors.As(err, &wrong) || (errors.As(err, &dial) && dial.Op == "dial")
}

// raftDialler makes Raft's own connections.
type raftDialler func(context.Context, raft.ServerAddress) (net.Conn, error)

func dialRaft(as secure.Credentials) raftDialler {
	return func(ctx context.Context, to raft.ServerAddress) (net.Conn, error) {
		addr, id, err := raftnode.SplitAddress(to)
		if err != nil {
			return nil, err
		}
		want := secure.Identity{Name: id.Member(), Instance: id.Instance()}
		return call(ctx, addr, as, want, secure.ProtoRaft)
	}
}

// peerNode answers what other members ask of this node.
type peerNode struct {
	node  *seat
	agent func() raftnode.Hello // of a node whose Raft is not open
	learn func(ctx context.Context, cluster string, k *api.KeyHint)
}

// Hello implements server.PeerNode.
func (p peerNode) Hello(theirs api.Hello) api.Hello {
	p.learn(context.Background(), theirs.Cluster, theirs.Keys)
	var mine api.Hello
	if n, open := p.node.open(); open {
		mine = helloOut(n.Hello(helloIn(theirs)))
	} else {
		mine = helloOut(p.agent())
	}
	state, _ := p.node.View()
	mine.Keys = api.HintOf(state)
	return mine
}

// ProposeBytes implements server.PeerNode.
func (p peerNode) ProposeBytes(ctx context.Context, cmd []byte) (fsm.Result, error) {
	var res fsm.Result
	err := raftnode.ErrNotLeader
	if n, open := p.node.open(); open {
		res, err = n.ProposeBytes(ctx, cmd)
	}
	if errors.Is(err, raftnode.ErrNotLeader) {
		name, addr := p.node.Leader()
		return res, api.NotLeader(string(name), addr)
	}
	if errors.Is(err, raftnode.ErrUncertain) {
		return res, uncertain(err)
	}
	if errors.Is(err, raftnode.ErrBadCommand) {
		return res, &api.Error{Code: api.CodeBadRequest, Message: err.Error(), Hint: "upgrade the older of the two nodes"}
	}
	return res, err
}

// agentHello is what an agent says of itself: enough to be told from a stranger, and
// nothing that would have a leader take it into Raft.
func (d *daemon) agentHello() raftnode.Hello {
	_, at := d.node.View()
	return raftnode.Hello{
		Wire: wireVersions, Name: d.self.Name, Instance: d.self.Instance, Cluster: d.cluster(), Version: thisVersion().Version,
		Voters: config.VotersDigest(*d.spec()), Applied: at, Running: time.Since(d.started),
	}
}

// others are whom to ask instead of this node, while it is an agent: of who is a
// member it knows a part only.
func (d *daemon) others() (addrs []string, partial bool) {
	if _, informed := d.node.informed(); !informed {
		return nil, false
	}
	return d.voterAddrs(), true
}

// memberOf says which member is at the other end of a connection.
func memberOf(c net.Conn) (fsm.MemberID, error) {
	id, err := secure.PeerOf(c)
	return id.Name, err
}

func helloOut(h raftnode.Hello) api.Hello {
	return api.Hello{
		Wire: h.Wire, Name: h.Name, Instance: h.Instance, Cluster: h.Cluster, Version: h.Version,
		Empty: h.Empty, Voters: h.Voters, VoterList: h.VoterList, Applied: h.Applied,
		RunningMS: h.Running.Milliseconds(), Hears: h.Hears, YouAgent: h.Yours.Agent, YouVote: h.Yours.Vote,
	}
}

func helloIn(h api.Hello) raftnode.Hello {
	return raftnode.Hello{
		Wire: h.Wire, Name: h.Name, Instance: h.Instance, Cluster: h.Cluster, Version: h.Version,
		Empty: h.Empty, Voters: h.Voters, VoterList: h.VoterList, Applied: h.Applied,
		Running: time.Duration(h.RunningMS) * time.Millisecond, Hears: h.Hears,
		Yours: raftnode.Standing{Agent: h.YouAgent, Vote: h.YouVote},
	}
}
