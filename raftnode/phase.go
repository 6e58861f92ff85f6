package raftnode

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// Stage is how far this node has come.
type Stage string

// The stages.
const (
	StageStarting Stage = "starting"  // Raft is not up yet
	StageFounding Stage = "founding"  // this node founds, once enough others are there
	StageWaiting  Stage = "waiting"   // for the founder
	StageJoining  Stage = "joining"   // for the leader to take it in
	StageNoLeader Stage = "no-leader" // a voter without a leader
	StageRunning  Stage = "running"
	StageRemoved  Stage = "removed" // the log has removed it
	// StageAgent: it is a member without a vote, and Raft has let go of it: what it
	// needs of the log it reads from a voter, and Raft is to be stopped here.
	StageAgent Stage = "agent"
)

// Phase says in words where this node stands and what it knows of the others.
type Phase struct {
	Stage   Stage
	Words   string
	Hint    string    // what to do; "" when nothing
	Removed fsm.Index // by when it was removed, as another server has confirmed; 0: not, or not known
	Peers   []Finding // by name
}

// Phase is for `status` and STATUS=.
func (n *Node) Phase() Phase {
	p := Phase{Peers: n.met.all()}
	v := n.machine.view()
	r := n.raft.Load()
	leader, _ := n.leader()
	switch {
	case r == nil || r.State() == raft.Shutdown:
		p.Stage, p.Words = StageStarting, "Raft is not running"
	case n.empty():
		n.newPhase(&p)
	case n.outPhase(&p, v, r):
	case v.state.Voters().Has(n.self):
		n.votingPhase(&p, leader)
	default:
		p.Stage = StageJoining
		p.Words = "this server has no vote yet: its log catches up"
		switch {
		case v.state.Spec().Servers[n.cfg.Self].Removing:
			p.Words = "this server is to leave the cluster, and has no vote any more"
		case leader == "":
			p.Words = "this server waits for a leader"
		}
	}
	return p
}

// outPhase fills the phase of a server that Raft has let go of.
func (n *Node) outPhase(p *Phase, v view, r *raft.Raft) bool {
	said := newest(n.hello(), p.Peers)
	if n.agentPhase(p, v, said) {
		return true
	}
	// Of one that is to be an agent Raft's newest list says no more than that it will be.
	return (said.asked || !n.madeAgent(v.state)) && n.removedPhase(p, v, r, said)
}

// madeAgent reports whether this server's own log makes it an agent: not an old log, of
// a time before it was started with what it was.
func (n *Node) madeAgent(s *fsm.State) bool {
	spec := s.Spec()
	return spec.Version != 0 && spec.Version >= n.cfg.Seed.Version && spec.Servers[n.cfg.Self].Role == fsm.RoleAgent
}

// removedPhase fills the phase of a server that was taken out. It names the index only
// once another server has confirmed it: a leader stops sending to a server as soon as
// that one has the entry that takes its vote, committed or not; and who is being taken
// in reads first of the time when it was not there.
func (n *Node) removedPhase(p *Phase, v view, r *raft.Raft, said word) bool {
	k := known{word: said}
	k.out, k.at = removedIn(v.state, n.self, r.GetConfiguration().Configuration().Servers)
	k.member, k.since = v.state.Spec().Version != 0, n.cfg.Seed.Version
	out, at := k.verdict()
	if !out {
		return false
	}
	p.Stage, p.Words, p.Removed = StageRemoved, "this server was removed from the cluster", at
	if at != 0 {
		p.Words = fmt.Sprintf("this server was removed from the cluster at index %d", at)
	}
	return true
}

// known is what a server knows of its being taken out.
type known struct {
	out    bool      // its own log says so …
	at     fsm.Index // … as of this index; 0: perhaps not committed
	member bool      // its log has a configuration
	since  fsm.Index // the version of the one that it was started with
	word
}

// word is what another server says of this one.
type word struct {
	asked bool      // somebody with no less of the log has answered …
	named bool      // … whose configuration names it …
	agent bool      // … as an agent that has no vote any more …
	says  fsm.Index // … at this index
}

// verdict is whether the server was taken out, and the index if that is sure.
func (k known) verdict() (out bool, at fsm.Index) {
	switch {
	case k.asked && k.named:
		return false, 0
	case k.asked && k.member && k.says > k.since:
		if k.at != 0 {
			return true, k.at
		}
		return true, k.says
	default:
		return k.out, 0
	}
}

// removedIn is whether the newest list in a server's own log is without it, with a vote
// or without, and at which index, 0 if that need not be committed.
func removedIn(s *fsm.State, self fsm.VoterID, servers []raft.Server) (bool, fsm.Index) {
	if len(servers) == 0 || slices.ContainsFunc(servers, func(o raft.Server) bool { return fsm.VoterID(o.ID) == self }) {
		return false, 0
	}
	if s.Voters().Has(self) {
		return true, 0
	}
	return true, s.Voters().Index
}

// newest is what the one with the most of the log, of those that this server has asked
// and that have no less of it than itself, says of this server: whether its
// configuration names it, and at which index.
func newest(mine Hello, peers []Finding) (w word) {
	for _, f := range peers {
		h := f.Hello
		if h == nil || mine.Cluster == "" || h.Cluster != mine.Cluster || h.Applied < max(mine.Applied, w.says) {
			continue
		}
		w.says, w.asked = h.Applied, true
		w.named = h.Yours.Agent || slices.ContainsFunc(h.VoterList, func(line string) bool {
			name, _, _ := strings.Cut(line, " ")
			return fsm.MemberID(name) == mine.Name
		})
		w.agent = h.Yours.Agent && !h.Yours.Vote
	}
	return w
}

// agentPhase fills the phase of a server that has become an agent: its own log says so,
// or another server, should the leader have stopped sending before it had the entry.
func (n *Node) agentPhase(p *Phase, v view, said word) bool {
	own := n.madeAgent(v.state) && !v.state.HasVote(n.cfg.Self)
	if !isAgent(own, n.cfg.Seed.Version, said) {
		return false
	}
	p.Stage, p.Words = StageAgent, "this server is an agent: it has no vote and no log of its own"
	return true
}

// isAgent weighs what a server's own log says of its being an agent against the word of
// another one, which must know of the configuration that it was started with.
func isAgent(own bool, since fsm.Index, w word) bool {
	if w.asked && w.says >= since {
		return w.agent
	}
	return own
}

func (n *Node) votingPhase(p *Phase, leader fsm.VoterID) {
	switch leader {
	case "":
		p.Stage, p.Words = StageNoLeader, "there is no leader: fewer than a majority of the voters reach each other"
		if names := troubled(p.Peers); names != "" {
			p.Hint = "see " + names
		}
	case n.self:
		p.Stage, p.Words = StageRunning, "this server leads"
	default:
		p.Stage, p.Words = StageRunning, fmt.Sprintf("%s leads", leader.Member())
	}
	s := n.machine.view().state
	switch me := s.Spec().Servers[n.cfg.Self]; {
	case me.Removing:
		p.Words += "; this server is to leave the cluster: " + strings.Join(s.Waits(n.cfg.Self), "; ")
	case me.Role == fsm.RoleAgent:
		p.Words += "; this server is to be an agent: " + strings.Join(s.Waits(n.cfg.Self), "; ")
	}
}

// newPhase is that of a node with an empty data directory.
func (n *Node) newPhase(p *Phase) {
	voters := votersIn(n.cfg.Seed)
	full, ready := "", 1
	for _, f := range p.Peers {
		switch {
		case f.Hello == nil:
		case !f.Hello.Empty || f.Hello.Cluster != "":
			full = string(f.Name)
		case f.Trouble == TroubleNone:
			ready++
		}
	}
	switch {
	case full != "":
		p.Stage = StageJoining
		p.Words = fmt.Sprintf("the cluster exists already (%s has its data): waiting for its leader to take this server in", full)
	case n.cfg.Cluster != "":
		p.Stage = StageJoining
		p.Words = fmt.Sprintf("waiting for the leader of cluster %s to take this server in", n.cfg.Cluster)
	case len(voters) > 0 && voters[0] == n.cfg.Self:
		p.Stage = StageFounding
		p.Words = fmt.Sprintf("this server founds the cluster as soon as %d of the %d servers are there with empty data directories and the same list of servers (now: %d)",
			len(voters)/2+1, len(voters), ready)
	case len(voters) > 0:
		p.Stage = StageWaiting
		p.Words = fmt.Sprintf("waiting for %s, the first voter by name, which founds the cluster", voters[0])
		p.Hint = fmt.Sprintf("start %s", voters[0])
	}
	if names := troubled(p.Peers); names != "" {
		p.Hint = "see " + names
	}
}

// troubled names the peers that something is wrong with.
func troubled(peers []Finding) string {
	var names []string
	for _, f := range peers {
		if f.Trouble != TroubleNone {
			names = append(names, string(f.Name))
		}
	}
	return strings.Join(names, ", ")
}

const never = -time.Millisecond

// Age is for how long this node has not known itself up to date: since it last
// heard a leader, 0 on the leader itself. Never is minus one millisecond.
func (n *Node) Age() time.Duration {
	r := n.raft.Load()
	switch {
	case r == nil:
		return never
	case r.State() == raft.Leader:
		return 0
	}
	last := r.LastContact()
	if leader, _ := n.leader(); last.IsZero() || leader == "" && n.machine.view().index == 0 {
		return never
	}
	return time.Since(last)
}
