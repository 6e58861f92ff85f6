package raftnode

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/liveness/wake"
)

// staleAfter is for how many election timeouts on end a candidate may name a leader: a
// round of an election takes two at most, and one that was begun by a transfer of the
// leadership may name the former leader until its end.
const staleAfter = 4

// forgetLeader has Raft forget a leader that it cannot have: a candidate has none.
//
// Raft handles heartbeats beside its main loop, so one of a leader that dies may be
// noted just after the loop has given that leader up. As a candidate it then refuses
// everybody's pre-vote, since it "has a leader", and nothing ends that. If its own log
// is shorter than the others' they refuse it too, and nobody is elected any more.
//
// A TimeoutNow, as of a transfer of the leadership, is what makes it forget: it begins
// an election anew, without a leader.
func (n *Node) forgetLeader(ctx context.Context, r *raft.Raft) {
	stale := 0
	for wake.Pause(ctx, n.timing().RaftElection, nil, nil, nil) {
		addr, id := r.LeaderWithID()
		if r.State() != raft.Candidate || id == "" {
			stale = 0
			continue
		}
		if stale++; stale < staleAfter {
			continue
		}
		stale = 0
		n.log.Warn().Str("leader", string(id)).Str("addr", string(addr)).Msg("a candidate still names a leader: having it forgotten")
		self := raft.ServerID(n.self)
		own := n.trans.LocalAddr()
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: n.trans.EncodePeer(self, own),
		}}
		if err := n.trans.TimeoutNow(self, own, req, &raft.TimeoutNowResponse{}); err != nil && ctx.Err() == nil {
			n.log.Warn().Err(err).Msg("cannot have the leader forgotten, trying again")
		}
	}
}
