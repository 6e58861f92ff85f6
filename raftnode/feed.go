package raftnode

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// feed shows the Detector each new State and leader, and follows what the log
// says of this node itself: its cluster, its timing.
func (n *Node) feed(ctx context.Context, seen <-chan raft.Observation) {
	var last fsm.VoterID
	var version fsm.Index
	cluster := n.cfg.Cluster
	for {
		v := n.read()
		if leader, _ := n.leader(); leader != last {
			last = leader
			n.leaderMoved.Fire()
			wake.Signal(n.wakeMember)
			switch leader {
			case n.self: // its own loop says that
			case "":
				n.log.Info().Msg("there is no leader")
			default:
				n.log.Info().Str("leader", string(leader)).Msg("another node leads")
			}
		}
		if id := v.state.Cluster(); id != cluster && id != "" {
			if cluster != "" {
				n.die(fmt.Errorf("the data directory %s belongs to cluster %s, but the log is of cluster %s: move it away to join the latter",
					n.cfg.DataDir, cluster, id))
				return
			}
			cluster = id
			if err := n.saveCluster(id); err != nil {
				n.die(err)
				return
			}
		}
		if spec := v.state.Spec(); spec.Version != version {
			version = spec.Version
			n.retime(spec.Timing)
			wake.Signal(n.wakeTakeIn)
			wake.Signal(n.wakeGreeter)
		}
		select {
		case <-ctx.Done():
			return
		case <-n.machine.after(v.index):
		case <-seen:
		}
	}
}

func (n *Node) saveCluster(id string) error {
	n.log.Info().Str("cluster", id).Msg("this node belongs to a cluster")
	if n.cfg.SaveCluster == nil {
		return nil
	}
	if err := n.cfg.SaveCluster(id); err != nil {
		return fmt.Errorf("note the cluster's id in %s: %w", n.cfg.DataDir, err)
	}
	return nil
}

// shown is what the Detector was shown last.
type shown struct {
	ever    bool
	index   fsm.Index
	leading bool
	leader  fsm.VoterID
}

// read shows the Detector the newest State, unless it has seen it: it answers
// each time with Changed, which makes the loops call read. The lock keeps the
// indexes it is shown from going back.
func (n *Node) read() view {
	n.readMu.Lock()
	defer n.readMu.Unlock()
	v := n.machine.view()
	leader, _ := n.leader()
	if n.leading {
		leader = n.self
	}
	if now := (shown{true, v.index, n.leading, leader}); now != n.shown {
		n.shown = now
		n.deps.Detector.Read(v.state, v.index, n.leading, leader)
		n.seen.Look(v.state, n.clock(), n.cfg.Leased)
	}
	return v
}

// spread passes the Detector's signal on to all that wait for it here.
func (n *Node) spread(ctx context.Context) {
	tried := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.deps.Detector.Changed():
			wake.Signal(n.wakeLoop)
			wake.Signal(n.wakeMember)
			wake.Signal(n.wakeTakeIn)
		}
		if f := n.deps.Farewells; f != nil {
			// Once each time that it becomes this voter's turn: Raft's own elections
			// go on from there.
			turn := f.TakeOver()
			if turn && !tried {
				n.takeOver(ctx)
			}
			tried = turn
		}
	}
}

// takeOver makes this voter stand for election at once: Raft does so on the
// message with which a leader hands its place over.
func (n *Node) takeOver(ctx context.Context) {
	r := n.raft.Load()
	addr := n.deps.Trans.LocalAddr()
	n.log.Info().Msg("the leader's process has said goodbye: this voter stands for election")
	_, err := await(ctx, n, func() (struct{}, error) {
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax,
			ID:              []byte(n.self),
			Addr:            n.deps.Trans.EncodePeer(raft.ServerID(n.self), addr),
		}}
		if r.State() == raft.Leader {
			return struct{}{}, nil
		}
		return struct{}{}, n.deps.Trans.TimeoutNow(raft.ServerID(n.self), addr, req, &raft.TimeoutNowResponse{})
	})
	if err != nil && ctx.Err() == nil {
		n.log.Warn().Err(err).Msg("cannot stand for election")
	}
}
