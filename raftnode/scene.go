package raftnode

import (
	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// Scene is all that a leader decides a change of Raft's servers from, for whoever
// drives that decision without Raft: sim/.
type Scene struct {
	State            *fsm.State
	Index            fsm.Index // at which it was read
	Self             fsm.VoterID
	Voters, Learners []fsm.VoterID // Raft's newest configuration, which must be committed
	Greeted          map[fsm.MemberID]Hello
	MayChange        bool // as liveness says (L7)
}

// Step is one change of Raft's servers.
type Step int

// The steps. StepNone: there is nothing to do, or it is not time yet.
const (
	StepNone     Step = iota
	StepRemove        // a server: who leaves, or a former instance
	StepLearn         // a server gets the log, and no vote yet
	StepVote          // it gets its vote
	StepHandOver      // another voter is to lead: this leader is to leave
)

// Next is the one change to be made now, and whose.
func (s Scene) Next() (Step, fsm.VoterID) {
	w := newcomers{
		state: s.State, index: s.Index, self: s.Self, mayChange: s.MayChange,
		met: make(map[fsm.MemberID]Finding, len(s.Greeted)),
	}
	add := func(ids []fsm.VoterID, suffrage raft.ServerSuffrage) {
		for _, id := range ids {
			addr := Address(s.State.Spec().Servers[id.Member()].Addr, id)
			w.conf.Servers = append(w.conf.Servers, raft.Server{ID: raft.ServerID(id), Address: addr, Suffrage: suffrage})
		}
	}
	add(s.Voters, raft.Voter)
	add(s.Learners, raft.Nonvoter)
	for name, h := range s.Greeted {
		w.met[name] = Finding{Name: name, Hello: &h}
	}
	c, ok := nextChange(w)
	if !ok {
		return StepNone, ""
	}
	switch id := fsm.VoterID(c.id); c.kind {
	case addLearner:
		return StepLearn, id
	case giveVote:
		return StepVote, id
	case handOver:
		return StepHandOver, id
	default: // removeOld, letGo
		return StepRemove, id
	}
}
