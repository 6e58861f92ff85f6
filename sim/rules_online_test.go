package sim

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// one is the agent that the following schedules are about.
const one fsm.MemberID = "a1"

// byAgent is a cluster of three voters in which an agent has the item first.
var byAgent = setup{agents: 1, holder: one, servers: []fsm.MemberID{"n2", one}}

// with is a setup with more voters.
func (s setup) with(voters int) setup {
	s.voters = voters
	return s
}

// byHook is a setup whose item is held by a hook.
func (s setup) byHook() setup {
	s.hooks = true
	return s
}

// The schedules of agents and of voters that come and go.
var onlineRules = []rule{
	{
		// n3 reads nothing more. The agent has given the item to n2, and then its stream
		// breaks and n3 is the next to serve it.
		name: "views never go back (agents)", without: Without{Liveness: liveness.RuleViewsForward, ViewsForward: true}, finds: TwoHolders,
		setup: byAgent,
		script: func(r *rig) {
			r.await("another than n3 serves it", func() bool {
				if l := r.line(one); l != nil && l.voter.Name != "n3" {
					return l.open
				}
				r.readFrom(one, "n1")
				return false
			})
			r.deaf("n3")
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			r.readFrom(one, "n3")
			r.pass(2 * ttl)
		},
	},
	{
		// The agent dies with the item up. Whoever forgets it forgets what it holds.
		name: "removal waits for entries (an agent)", without: Without{FSM: fsm.RuleRemovalWaits}, finds: TwoHolders,
		setup: byAgent.byHook(),
		script: func(r *rig) {
			r.Process(one).Kill()
			r.await("it is called down", r.owned("n2"))
			spec := r.Agreed().Spec()
			r.Commit(fsm.Batch{Commands: [][]byte{
				fsm.Encode(fsm.SetSpec{Was: spec.Version, Spec: spec.WithoutServer(one)}),
				fsm.Encode(fsm.RemoveMember{Member: one}),
			}})
			r.pass(2 * ttl)
		},
	},
	{
		// As with members that vote: a goodbye of the agent's former process arrives
		// when the next one has the item again.
		name:    "the epoch in a goodbye (an agent)",
		without: Without{Liveness: liveness.RuleGoodbyeEpoch, FSM: fsm.RuleGoodbyeEpoch}, finds: TwoHolders,
		setup: byAgent,
		script: func(r *rig) {
			gone, said := false, time.Duration(0)
			r.Filter = func(_, _ fsm.MemberID, msg liveness.Message) (time.Duration, bool) {
				if _, ok := msg.(liveness.Goodbye); ok {
					if said == 0 {
						said = r.Now()
					}
					return 12 * ttl, true
				}
				return 0, true
			}
			r.Process(one).Stop(func() { gone = true })
			r.await("it exits", func() bool { return gone })
			r.Launch(one)
			r.await("n2 has it", r.has("n2"))
			r.await("it is back", func() bool { return r.Process(one).Lease() })
			r.move(one)
			r.await("it holds the item again", r.has(one))
			r.Run(said + 12*ttl - 20*ms)
			r.unserved(one)
			r.pass(2 * ttl)
		},
	},
	{
		// The agent stops while it is to be taken out, and comes back: somebody took the
		// mark back. Then the goodbye arrives.
		name:    "the epoch in a goodbye (a member that is to go)",
		without: Without{Liveness: liveness.RuleGoodbyeEpoch, FSM: fsm.RuleGoodbyeEpoch}, finds: TwoHolders,
		script: func(r *rig) {
			gone, said := false, time.Duration(0)
			r.Filter = func(_, _ fsm.MemberID, msg liveness.Message) (time.Duration, bool) {
				if _, ok := msg.(liveness.Goodbye); ok {
					if said == 0 {
						said = r.Now()
					}
					return 14 * ttl, true
				}
				return 0, true
			}
			r.mark("n3", true)
			r.Process("n3").Stop(func() { gone = true })
			r.await("n3 exits", func() bool { return gone })
			r.mark("n3", false)
			r.Launch("n3")
			r.await("n2 has it", r.has("n2"))
			r.await("n3 is back", func() bool { return r.Process("n3").Lease() })
			r.move("n3")
			r.await("n3 holds the item again", r.has("n3"))
			r.Run(said + 14*ttl - 20*ms)
			r.deaf("n3")
			r.pass(2 * ttl)
		},
	},
	{
		// n1 appends a list without n4 that is never committed; the agent and n3 hear of
		// it. Then n2 leads, removes n1, and calls the agent down by n2's and n4's votes.
		name: "lists named only when committed (an agent)", without: Without{Liveness: liveness.RuleCommittedLists}, finds: TwoHolders,
		setup: byAgent.with(4),
		script: func(r *rig) {
			ids := r.Agreed().Voters().IDs
			r.Stall(20 * ms)
			r.latest(ids[:3], "n1", "n3", one)
			r.split([]fsm.MemberID{"n1", "n3", one}, []fsm.MemberID{"n2", "n4"})
			r.CutLog("n1", true)
			r.log.pending = nil // overwritten by the next leader
			r.Elect(r.Process("n2"))
			r.unserved(one)
			r.deaf("n3")
			r.await("n2 leads", func() bool { return r.Process("n2").leading })
			r.log.append(entry{voters: ids[1:]}, nil)
			r.pass(8 * ttl)
		},
	},
	{
		// n4 is added and n1 is to go. As soon as n4 gets its vote, n1 and n3 apply
		// nothing more: for n3 they are a majority, for the leader n2 and n4 are.
		name: "spacing counted from reports (added and removed)", without: Without{Liveness: liveness.RuleSpacing}, finds: TwoHolders,
		setup: setup{spares: []fsm.MemberID{"n4"}, changes: true},
		script: func(r *rig) {
			r.Elect(r.Process("n2"))
			r.respec(func(s fsm.Spec) fsm.Spec {
				return s.WithServer(fsm.Server{Name: "n4", Addr: serverAddr(3), Role: fsm.RoleVoter})
			})
			r.Launch("n4")
			r.mark("n1", true)
			r.await("n4 gets its vote", func() bool { return r.Count[VotesGiven] > 0 })
			r.deaf("n1")
			r.deaf("n3")
			r.split([]fsm.MemberID{"n1", "n3"}, []fsm.MemberID{"n2", "n4"})
			r.CutBoth("n1", "n2", true) // nor does n1 learn otherwise that it is gone
			r.CutBoth("n1", "n4", true)
			r.pass(20 * ttl)
		},
	},
	{
		// As with members that vote: n1 and n2 vote, n2's answer is slow, and then n2 and
		// n3 hear the agent, whose first lease would begin.
		name: "the promise (an agent)", without: Without{Liveness: liveness.RulePromise}, finds: TwoHolders,
		setup: byAgent,
		script: func(r *rig) {
			r.cut(one, "n3")
			r.cut("n1", "n3") // nobody asks n3
			r.restart(one)
			r.slowBallots("n2", 200*ms)
			r.pass(slack + 10*ms)
			r.unserved(one)
			r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
			r.heal(one, "n2", "n3")
			r.pass(3 * ttl)
		},
	},
	{
		// n2 acknowledged the agent a moment ago, restarts, and knows nothing of it.
		name: "the vote's pause at start (an agent)", without: Without{Liveness: liveness.RuleStartPause}, finds: TwoHolders,
		setup: byAgent,
		script: func(r *rig) {
			r.cut(one, "n1")
			r.pass(slack - 100*ms)
			r.unserved(one)
			r.cut(one, "n2", "n3")
			r.Process("n2").Kill()
			r.Launch("n2")
			r.pass(3 * ttl)
		},
	},
	{
		// As with the promise; but n2, having voted, is made an agent and a voter again,
		// and knows nothing of its promise.
		name: "the pause of a voter that is one again: its promise", without: Without{Liveness: liveness.RuleStartPause}, finds: TwoHolders,
		script: func(r *rig) {
			r.restart("n3")
			r.slowBallots("n2", 200*ms)
			r.pass(slack + 10*ms)
			r.deaf("n3")
			r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
			r.cut("n1", "n2") // nobody asks it once more
			r.again("n2")
			r.heal("n3", "n2")
			r.pass(3 * ttl)
		},
	},
	{
		// n2 acknowledged n3 a moment ago, is made an agent and a voter again, and knows
		// nothing of it.
		name: "the pause of a voter that is one again: its grant", without: Without{Liveness: liveness.RuleStartPause}, finds: TwoHolders,
		script: func(r *rig) {
			r.cut("n3", "n1")
			r.pass(slack - 100*ms)
			r.deaf("n3")
			r.cut("n3", "n2")
			r.again("n2")
			r.pass(3 * ttl)
		},
	},
}

// keyRules are the schedules of a key's rotation. Nothing goes wrong in them that could
// end a lease.
var keyRules = []rule{
	{
		// Nobody serves the agent, so it knows of no new key; its heartbeats arrive.
		name: "a phase waits for its acknowledgements", without: Without{KeyAcks: true}, finds: Lapsed,
		setup: byAgent,
		script: func(r *rig) {
			r.cfg.Steady = true
			r.unserved(one)
			r.Commit(r.rotation())
			r.pass(3 * ttl)
			r.served(one)
			r.await("it is done", func() bool {
				k := r.Agreed().Keys()
				return k.Round != 0 && k.Phase == fsm.KeySettled
			})
		},
	},
}

// served undoes unserved.
func (r *rig) served(m fsm.MemberID) {
	for _, o := range r.names {
		r.Link(o, m).CutTCP = false
	}
}

// line is what an agent reads from; nil: nobody.
func (r *rig) line(m fsm.MemberID) *line {
	if p := r.Process(m); p != nil && p.stream != nil {
		return p.stream.line
	}
	return nil
}

// readFrom has an agent's stream break and a voter be the next that it asks.
func (r *rig) readFrom(m, voter fsm.MemberID) {
	p := r.Process(m)
	p.do(func() {
		p.stream.end()
		p.stream.tries, p.stream.next = slices.Index(p.voters(), voter), 0
	})
}

// unserved keeps a member from reading on: nobody answers its requests.
func (r *rig) unserved(m fsm.MemberID) {
	for _, o := range r.names {
		r.Link(o, m).CutTCP = true
	}
}

// respec puts another Spec into the log.
func (r *rig) respec(change func(fsm.Spec) fsm.Spec) {
	old := r.Agreed().Spec()
	r.Commit(fsm.SetSpec{Was: old.Version, Spec: change(*old)})
	r.pass(5 * ms)
}

// mark has a member be taken out, or not after all.
func (r *rig) mark(m fsm.MemberID, on bool) {
	r.respec(func(s fsm.Spec) fsm.Spec { return s.WithRemoving(m, on) })
}

// again makes a voter an agent for a moment.
func (r *rig) again(m fsm.MemberID) {
	p := r.Process(m)
	p.do(func() {
		p.live.SetVoter(p.machine.Now(), false)
		p.live.SetVoter(p.machine.Now(), true)
		p.read()
	})
}
