package raftnode

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// timing is the agreed one where the log has it, else the file's.
func (n *Node) timing() fsm.Timing {
	if spec := n.machine.view().state.Spec(); spec.Version != 0 {
		return spec.Timing
	}
	return n.cfg.Seed.Timing
}

func raftConfig(self fsm.VoterID, t fsm.Timing, log zerolog.Logger) (*raft.Config, error) {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(self)
	c.HeartbeatTimeout = t.RaftHeartbeat
	c.ElectionTimeout = t.RaftElection
	c.LeaderLeaseTimeout = t.RaftLease
	// The Barrier after each Apply tells the followers; this is what remains
	// when a Barrier is lost, and costs a message per follower each time.
	c.CommitTimeout = min(50*time.Millisecond, max(5*time.Millisecond, t.RaftHeartbeat/2))
	// A server that was removed releases what it holds first and ends by itself.
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.Logger = hcLogger(log)
	if err := raft.ValidateConfig(c); err != nil {
		return nil, fmt.Errorf("timing of Raft (heartbeat %v, election %v, lease %v): %w",
			t.RaftHeartbeat, t.RaftElection, t.RaftLease, err)
	}
	return c, nil
}

// retime gives Raft an agreed timing that differs from what it runs with. The
// leader's lease and the commit timeout are not reloadable: they follow at the
// next start.
func (n *Node) retime(t fsm.Timing) {
	r := n.raft.Load()
	if r == nil {
		return
	}
	have := r.ReloadableConfig()
	if have.HeartbeatTimeout == t.RaftHeartbeat && have.ElectionTimeout == t.RaftElection {
		return
	}
	have.HeartbeatTimeout, have.ElectionTimeout = t.RaftHeartbeat, t.RaftElection
	if err := r.ReloadConfig(have); err != nil {
		n.log.Warn().Err(err).Msg("the agreed Raft timing takes effect at the next start")
		return
	}
	n.log.Info().Dur("heartbeat", t.RaftHeartbeat).Dur("election", t.RaftElection).Msg("Raft follows the agreed timing")
}
