package sim

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// changeVoters asks the leader's shipped decision who gets the log, a vote, or loses
// it, one change at a time and spaced (L7), and does that.
func (r *reign) changeVoters(p *Process, now time.Duration) {
	l := &p.w.log
	ids, committed := l.config()
	if l.leader != p || r.changing || !committed {
		return
	}
	step, id := raftnode.Scene{
		State: p.state, Index: p.at, Self: p.ID(), Voters: ids, Learners: l.learners(),
		Greeted: p.greetings(), MayChange: p.live.MayChangeVoters(now),
	}.Next()
	switch step {
	case raftnode.StepLearn:
		l.learns[id] = true
		p.w.tracef("log: %s learns the log", id)
	case raftnode.StepVote:
		next := append(slices.Clone(ids), id)
		slices.Sort(next)
		p.w.Count.add(VotesGiven)
		r.propose(p, next)
	case raftnode.StepRemove:
		delete(l.learns, id)
		if slices.Contains(ids, id) {
			p.w.Count.add(VotesTaken)
			r.propose(p, slices.DeleteFunc(slices.Clone(ids), func(o fsm.VoterID) bool { return o == id }))
		}
		p.w.tracef("log: %s is let go of", id)
	case raftnode.StepHandOver:
		if heir := p.w.byID(id); l.up(heir) {
			p.w.Count.add(HandOvers)
			p.w.tracef("%s, which is to leave, hands over to %s", p.ID(), id)
			l.elect(heir)
		}
	case raftnode.StepNone:
	}
}

func (r *reign) propose(p *Process, ids []fsm.VoterID) {
	r.changing = true
	p.w.tracef("%s proposes voters %v", p.ID(), ids)
	p.w.log.append(entry{voters: ids}, func(fsm.Result, error) { r.changing = false })
	p.w.watchLatest(ids)
}

// learners are those who get the log and have no vote, sorted.
func (l *replicatedLog) learners() []fsm.VoterID {
	ids, _ := l.config()
	var out []fsm.VoterID
	for id, on := range l.learns {
		if on && !slices.Contains(ids, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// greetings are what those who can be reached answer a greeting.
func (p *Process) greetings() map[fsm.MemberID]raftnode.Hello {
	met := map[fsm.MemberID]raftnode.Hello{}
	for name := range p.state.Spec().Servers {
		c := p.w.running(name)
		if c == nil || c == p || c.raft == nil || c.Instance != p.w.seat(name).disk.instance || !p.reaches(c) {
			continue
		}
		now := c.machine.Now()
		met[name] = raftnode.Hello{
			Name: name, Instance: c.Instance, Cluster: c.disk.cluster, Empty: c.raft.at == 0,
			Applied: c.raft.at, Running: now - c.raft.since, Hears: c.live.Hears(now),
		}
	}
	return met
}

// reaches says whether a request to another process would be answered.
func (p *Process) reaches(o *Process) bool {
	return !o.dead && !o.Frozen() && p.keys.shares(o.keys.ring) && !p.w.Link(p.Name, o.Name).CutTCP && !p.w.Link(o.Name, p.Name).CutTCP
}
