package raftnode

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// nextRemoval is the last step of taking a server out (L10): when it owns nothing, no
// entry names it and the committed list is without it, the configuration is too and the
// member is forgotten, in one entry of the log. A member that the configuration does
// not name any more is forgotten by itself.
func nextRemoval(l Look) (fsm.Command, bool) {
	spec := l.State.Spec()
	gone := func(id fsm.MemberID) bool { return !l.State.HasVote(id) && l.State.Drained(id) }
	var leaving []fsm.MemberID // few, of perhaps a thousand
	for id, server := range spec.Servers {
		if server.Removing {
			leaving = append(leaving, id)
		}
	}
	slices.Sort(leaving)
	for _, id := range leaving {
		if !gone(id) {
			continue
		}
		b := fsm.Batch{Commands: [][]byte{
			fsm.Encode(fsm.SetSpec{Was: spec.Version, Spec: spec.WithoutServer(id), At: l.Unix}),
		}}
		if _, registered := l.State.Member(id); registered {
			b.Commands = append(b.Commands, fsm.Encode(fsm.RemoveMember{Member: id}))
		}
		return b, true
	}
	for id := range l.State.Members() {
		if _, in := spec.Servers[id]; !in && gone(id) {
			return fsm.RemoveMember{Member: id}, true
		}
	}
	return nil, false
}

// leavers are Raft's servers that are to go: marked so in the configuration, agents from
// now on, or not in it any more.
func leavers(spec fsm.Spec, conf raft.Configuration) []raft.Server {
	var out []raft.Server
	for _, s := range conf.Servers {
		if server, in := spec.Servers[fsm.VoterID(s.ID).Member()]; !in || server.Removing || !server.Votes() {
			out = append(out, s)
		}
	}
	return out
}

// leaving are those that Raft may let go of now (L7, L10): all is gone from them, and
// for a vote it is time. What a server still has it must learn to let go of from the
// log, so until then it stays in Raft, vote or not. An agent keeps what it has, and
// reads of it elsewhere.
func (w newcomers) leaving() (out []raft.Server, waiting bool) {
	free := !dealt(w.state)
	for _, s := range leavers(*w.state.Spec(), w.conf) {
		early := s.Suffrage == raft.Voter && fsm.VoterID(s.ID) != w.self && !free && !w.mayChange
		name := fsm.VoterID(s.ID).Member()
		if early || !w.becomesAgent(name) && !w.state.Drained(name) {
			waiting = true
			continue
		}
		out = append(out, s)
	}
	return out, waiting
}

// becomesAgent reports whether a server stays a member without a vote.
func (w newcomers) becomesAgent(name fsm.MemberID) bool {
	return w.state.Spec().Servers[name].Role == fsm.RoleAgent
}

// unaware reports whether a server that is to be an agent, and answers, has not read so
// yet.
func (w newcomers) unaware(s raft.Server) bool {
	name := fsm.VoterID(s.ID).Member()
	f := w.met[name]
	return w.becomesAgent(name) && w.answers(s) && f.Hello != nil && f.Hello.Applied < w.state.Spec().Version
}

// fate is what is to become of a server that Raft lets go of.
func (w newcomers) fate(name fsm.MemberID) string {
	if w.becomesAgent(name) {
		return "is to be an agent"
	}
	return "is to leave the cluster"
}

// nextLeaving is the one server that Raft lets go of now, if any. Those without a vote
// come first, then the votes of those that are down: they are missing already. The
// leader itself hands its place over to a voter that stays, which goes on from there.
// One that is to be an agent must have read so in its log: Raft tells it nothing more
// from then on, and its lease would end before it reads elsewhere.
func (w newcomers) nextLeaving() (confChange, bool) {
	var best *confChange
	leaving, waiting := w.leaving()
	for _, s := range leaving {
		c := confChange{kind: letGo, id: s.ID, addr: s.Address}
		name := fsm.VoterID(s.ID).Member()
		m, _ := w.state.Member(name)
		switch {
		case w.unaware(s):
			waiting = true
			continue
		case s.Suffrage != raft.Voter:
			c.first, c.words = true, "taking a server out that has no vote"
			return c, true
		case !w.spares(s.ID):
			continue
		case fsm.VoterID(s.ID) == w.self:
			heir, ok := w.heir()
			if !ok || best != nil {
				continue
			}
			c = confChange{
				kind: handOver, id: heir.ID, addr: heir.Address,
				words: fmt.Sprintf("this leader %s: handing its place over to %s", w.fate(name), fsm.VoterID(heir.ID).Member()),
			}
		case !m.Up:
			c.first, c.words = true, "taking the vote of a server that "+w.fate(name)+" and is down"
		default:
			c.words = "taking the vote of a server that " + w.fate(name)
		}
		if best == nil || c.first && !best.first || best.kind == handOver {
			best = &c
		}
	}
	if best == nil {
		return confChange{catchingUp: waiting}, false
	}
	return *best, true
}

// left are the voters that there are without one.
func (w newcomers) left(without raft.ServerID) []raft.Server {
	var out []raft.Server
	for _, s := range w.conf.Servers {
		if s.Suffrage == raft.Voter && s.ID != without {
			out = append(out, s)
		}
	}
	return out
}

// spares reports whether the cluster works on without a voter: a majority of those
// left is up, and answers. Raft would need it already for the entry that takes the vote.
func (w newcomers) spares(id raft.ServerID) bool {
	left := w.left(id)
	answering := 0
	for _, s := range left {
		if w.answers(s) {
			answering++
		}
	}
	return len(left) > 0 && answering > len(left)/2
}

// answers reports whether a voter is up in the log and has just been heard.
func (w newcomers) answers(s raft.Server) bool {
	if fsm.VoterID(s.ID) == w.self {
		return true
	}
	m, ok := w.state.Member(fsm.VoterID(s.ID).Member())
	f := w.met[fsm.VoterID(s.ID).Member()]
	return ok && m.Up && f.Hello != nil && fsm.NewVoterID(f.Name, f.Hello.Instance) == fsm.VoterID(s.ID)
}

// heir is who leads after this leader: the first voter by name that stays and answers.
func (w newcomers) heir() (raft.Server, bool) {
	staying := w.state.Spec().Staying()
	var best *raft.Server
	for _, s := range w.left(raft.ServerID(w.self)) {
		if slices.Contains(staying, fsm.VoterID(s.ID).Member()) && w.answers(s) && (best == nil || s.ID < best.ID) {
			best = &s
		}
	}
	if best == nil {
		return raft.Server{}, false
	}
	return *best, true
}

// Few voters wait for a newcomer before one of them goes, but not for ever: it may be
// just the one that goes who keeps it from being taken in.
const (
	fewVoters   = 3
	newcomerFor = 30 * time.Second // that long after it has started
)

// hasty reports whether a vote would be taken a moment before another one comes, from
// so few that it matters.
func (w newcomers) hasty(leave, join confChange) bool {
	id := leave.id
	if leave.kind == handOver {
		id = raft.ServerID(w.self)
	}
	return join.soon && len(w.left(id)) < fewVoters
}

// concerned are the servers to be greeted before one is let go of: the voters, and those
// that are to be agents.
func (w newcomers) concerned() []fsm.Server {
	var out []fsm.Server
	for _, s := range w.conf.Servers {
		name := fsm.VoterID(s.ID).Member()
		server, in := w.state.Spec().Servers[name]
		if in && name != w.self.Member() && (s.Suffrage == raft.Voter || w.becomesAgent(name)) {
			server.Name = name
			out = append(out, server)
		}
	}
	return out
}
