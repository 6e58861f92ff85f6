package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// comingAndGoing is a cluster with two agents in which a voter may go and another come.
var comingAndGoing = setup{voters: 4, agents: 2, spares: []fsm.MemberID{"n5"}, holder: one, servers: []fsm.MemberID{"n3", one, "a2"}, changes: true}

// forcingOnline is forcing for what counts only where members come and go.
var forcingOnline = map[Counter]forced{
	Adds: {script: func(r *rig) { r.adversary().add("n5") }},
	Marks: {script: func(r *rig) {
		r.adversary().mark("n3")
	}},
	MarksBack: {script: func(r *rig) {
		r.mark("n3", true)
		r.adversary().takeBack()
	}},
	DeadRemoved: {script: func(r *rig) { r.adversary().removeDead() }},
	Joins:       {script: func(r *rig) { r.adversary().add("n5"); r.pass(beat) }},
	Removals: {script: func(r *rig) {
		r.mark("n4", true)
		r.await("it is gone", func() bool { return r.Count[Removals] > 0 })
	}},
	RemovedExits: {script: func(r *rig) {
		r.mark("n4", true)
		r.await("it exits", func() bool { return r.Process("n4") == nil })
	}},
	VotesGiven: {script: func(r *rig) {
		r.respec(func(s fsm.Spec) fsm.Spec { return s.WithServer(r.server("n5", fsm.RoleVoter)) })
		r.Launch("n5")
		r.await("it votes", func() bool { return r.Agreed().HasVote("n5") })
	}},
	VotesTaken: {script: func(r *rig) {
		r.mark("n4", true)
		r.await("it has no vote", func() bool { return !r.Agreed().HasVote("n4") })
	}},
	HandOvers: {script: func(r *rig) {
		r.mark("n1", true)
		r.await("another leads", func() bool { return r.Leader() != r.Process("n1") })
	}},
	RolesChanged: {script: func(r *rig) { r.adversary().turn(one) }},
	Promotions: {script: func(r *rig) {
		r.adversary().turn(one)
		r.await("it votes", func() bool { return r.Agreed().HasVote(one) })
	}},
	Demotions: {script: func(r *rig) {
		r.adversary().turn("n4")
		r.await("it is an agent", func() bool { return r.Process("n4").raft == nil })
	}},
	StreamsBroken: {script: func(r *rig) { r.adversary().breakStream() }},
	StaleVoters:   {script: func(r *rig) { r.adversary().staleVoter() }},
	StreamsSilent: {script: func(r *rig) { r.unserved(one); r.pass(ttl) }},
	StreamsBehind: {script: func(r *rig) {
		r.deaf(r.line(one).voter.Name)
		r.move("n3")
		r.pass(2 * ttl)
	}},
	StreamsRefused: {script: func(r *rig) {
		r.readFrom(one, "n2")
		r.pass(beat)
		r.deaf("n3")
		r.move("n3")
		r.pass(beat)
		r.readFrom(one, "n3")
		r.pass(ttl)
	}},
	StreamsLeaderless: {script: func(r *rig) {
		v := r.line(one).voter
		if v == r.Leader() {
			r.readFrom(one, "n3")
			r.pass(beat)
			v = r.line(one).voter
		}
		r.CutLog(v.Name, true)
		r.pass(2 * ttl)
	}},
	ChangeOvers: {script: func(r *rig) { r.line(one).voter.Kill(); r.pass(beat) }},
	Parts:       {script: func(r *rig) { r.move("n3") }},
	PartsAnew: {script: func(r *rig) {
		for to := fsm.MemberID("n3"); r.Count[PartsAnew] == 0; to = map[fsm.MemberID]fsm.MemberID{"n3": one, one: "n3"}[to] {
			r.move(to)
			r.await("it has it", r.has(to))
		}
	}},
	AgentGoodbyes: {script: func(r *rig) {
		r.Process(one).Stop(nil)
		r.await("it is called down", func() bool { m, _ := r.Agreed().Member(one); return !m.Up })
	}},
	Rotations:   {script: func(r *rig) { r.adversary().rotate(); r.pass(beat) }},
	KeysAcked:   {script: func(r *rig) { r.adversary().rotate(); r.pass(2 * beat) }},
	KeyPhases:   {script: func(r *rig) { r.adversary().rotate(); r.pass(4 * beat) }},
	KeysWithout: {script: func(r *rig) { r.leftBehind() }},
	KeysRefused: {script: func(r *rig) {
		r.Filter = func(from, to fsm.MemberID, _ liveness.Message) (time.Duration, bool) {
			if from == one && to == "n1" {
				r.Filter = nil
				return 2 * time.Second, true
			}
			return 0, true
		}
		r.pass(2 * beat)
		r.adversary().rotate()
		r.pass(3 * time.Second)
	}},
	KeysHandedOut: {script: func(r *rig) {
		r.leftBehind()
		r.handOut()
	}},
	LeaverGoodbyes: {script: func(r *rig) {
		r.mark(one, true)
		r.Process(one).Stop(nil)
		r.await("it is called down", func() bool { m, _ := r.Agreed().Member(one); return !m.Up })
	}},
}

// leftBehind rotates the key without a2, which starts again when all is over.
func (r *rig) leftBehind() {
	r.Process("a2").Kill()
	r.adversary().rotate()
	r.pass(2 * beat)
	r.adversary().rotate()
	r.await("it is done", func() bool {
		k := r.Agreed().Keys()
		return k.Round != 0 && k.Phase == fsm.KeySettled
	})
	r.Launch("a2")
	r.pass(ttl)
}
