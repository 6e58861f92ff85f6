package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// rule is one row of LEASES.md's table: a schedule that is clean with every rule
// in place, and in which the checker finds the violation once it is left out.
type rule struct {
	name    string
	without Without
	setup   setup
	finds   Kind
	script  func(*rig)
}

// The schedules of the lease layer. The item is gated: once n3 is called down it
// is free at once, so a Down too early is two holders.
var leaseRules = []rule{
	{
		// n3 registers anew, nobody hears it, n1 and n2 vote; then n2 hears it, and
		// its first lease would begin before the Down is committed.
		name: "the promise", without: Without{Liveness: liveness.RulePromise}, finds: TwoHolders,
		script: func(r *rig) {
			r.restart("n3")
			r.slowBallots("n2", 200*ms)
			r.pass(slack + 10*ms)
			r.deaf("n3")
			r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
			r.heal("n3", "n2")
			r.pass(3 * ttl)
		},
	},
	{
		// n2 acknowledged n3 a moment ago, restarts, and knows nothing of it.
		name: "the vote's pause at start", without: Without{Liveness: liveness.RuleStartPause}, finds: TwoHolders,
		script: func(r *rig) {
			r.cut("n3", "n1")
			r.pass(slack - 100*ms)
			r.deaf("n3")
			r.cut("n3", "n2")
			r.Process("n2").Kill()
			r.Launch("n2")
			r.pass(3 * ttl)
		},
	},
	{
		// n3's lease ends, n1 and n2 vote, the Down hangs in the log; when the
		// promises are over, n3 is heard again.
		name: "a lapsed lease never revives", without: Without{Liveness: liveness.RuleNoRevival}, finds: TwoHolders,
		script: func(r *rig) {
			r.deaf("n3")
			r.cut("n3", "n1", "n2")
			r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
			r.Stall(3 * ttl)
			r.pass(slack + 10*ms)
			r.heal("n3", "n1", "n2")
			r.pass(4 * ttl)
		},
	},
	{
		// n2's vote travels for long. Meanwhile n2 hears n3 again, and n1 no more.
		name: "answers of an old poll refused", without: Without{Liveness: liveness.RuleOldPolls}, finds: TwoHolders,
		script: func(r *rig) {
			r.slowBallots("n2", 1200*ms)
			r.cut("n3", "n2")
			r.pass(slack - 90*ms)
			r.cut("n3", "n1")
			r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
			r.heal("n3", "n1")
			r.pass(50 * ms)
			r.heal("n3", "n2")
			r.pass(slack + 50*ms) // n2's promise is over
			r.cut("n3", "n1")
			r.deaf("n3")
			r.pass(4 * ttl)
		},
	},
	{
		// n2 and n4 hold a poll, hear n3, and must not answer it any more.
		name: "a held poll dropped on hearing m", without: Without{Liveness: liveness.RuleHeldPoll}, finds: TwoHolders,
		setup: setup{voters: 5},
		script: func(r *rig) {
			r.cut("n3", "n1", "n2", "n4", "n5")
			r.await("n1 polls", func() bool { return r.Count[Polls] >= 8 }) // twice four voters
			r.deaf("n3")
			r.pass(2 * ms)
			r.cut("n1", "n2", "n4", "n5") // no newer poll takes its place
			r.heal("n3", "n2", "n4")
			r.pass(4 * ttl)
		},
	},
	{
		// A goodbye of n3's former process arrives when the next one holds the item.
		name:    "the epoch in a goodbye",
		without: Without{Liveness: liveness.RuleGoodbyeEpoch, FSM: fsm.RuleGoodbyeEpoch}, finds: TwoHolders,
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
			r.Process("n3").Stop(func() { gone = true })
			r.await("n3 exits", func() bool { return gone })
			r.Launch("n3")
			r.await("n2 has it", r.has("n2"))
			r.await("n3 is back", func() bool { return r.Process("n3").Lease() })
			r.move("n3")
			r.await("n3 holds the item again", r.has("n3"))
			r.Run(said + 12*ttl - 20*ms)
			r.deaf("n3")
			r.pass(2 * ttl)
		},
	},
	{
		// ttl grows: n3 and n1 know, the other voters grant and vote by the old one.
		name: "ttl in the grant, ttl changing", without: Without{Liveness: liveness.RuleGrantTTL}, finds: TwoHolders,
		setup: setup{voters: 5, servers: []fsm.MemberID{"n1", "n3"}},
		script: func(r *rig) {
			for _, m := range []fsm.MemberID{"n2", "n4", "n5"} {
				r.deaf(m)
			}
			r.Filter = func(_, to fsm.MemberID, msg liveness.Message) (time.Duration, bool) {
				// What they do not know they do not trail behind.
				ack, ok := msg.(liveness.Ack)
				return 0, !ok || to == "n1" || to == "n3" || ack.TTL == ttl
			}
			spec := *r.Agreed().Spec()
			spec.Timing = Timing(3 * ttl)
			r.Commit(fsm.SetSpec{Was: spec.Version, Spec: spec})
			r.pass(beat + 20*ms)
			r.deaf("n3")
			r.cut("n3", "n1", "n2", "n4", "n5")
			r.pass(3 * ttl)
		},
	},
	{
		// n1 appends a list without n4 that is never committed; n3 hears of it. Then
		// n2 leads, removes n1, and calls n3 down by n2's and n4's votes.
		name: "lists named only when committed", without: Without{Liveness: liveness.RuleCommittedLists}, finds: TwoHolders,
		setup: setup{voters: 4},
		script: func(r *rig) {
			without := func(m int) (ids []fsm.VoterID) {
				for i, id := range r.Agreed().Voters().IDs {
					if i != m-1 {
						ids = append(ids, id)
					}
				}
				return ids
			}
			r.Stall(20 * ms)
			r.latest(without(4), "n1", "n3")
			r.split([]fsm.MemberID{"n1", "n3"}, []fsm.MemberID{"n2", "n4"})
			r.CutLog("n1", true)
			r.log.pending = nil // overwritten by the next leader
			r.Elect(r.Process("n2"))
			r.deaf("n3")
			r.await("n2 leads", func() bool { return r.Process("n2").leading })
			r.log.append(entry{voters: without(1)}, nil)
			r.pass(8 * ttl)
		},
	},
	{
		// n1 and n3 apply nothing more. n2 adds n4, and removes n1 as soon as it may:
		// from then on n2 and n4 are a majority, and so are n1 and n3 for n3.
		name: "spacing counted from reports", without: Without{Liveness: liveness.RuleSpacing}, finds: TwoHolders,
		setup: setup{voters: 4},
		script: func(r *rig) {
			ids := r.Agreed().Voters().IDs
			r.Elect(r.Process("n2"))
			r.await("n2 leads and may", func() bool {
				p := r.Process("n2")
				return p.leading && p.live.MayChangeVoters(p.machine.Now())
			})
			r.log.append(entry{voters: []fsm.VoterID{ids[0], ids[1], ids[2]}}, nil)
			r.await("n4 is no voter, and long ago", func() bool {
				p := r.Process("n2")
				return len(r.Agreed().Voters().IDs) == 3 && p.live.MayChangeVoters(p.machine.Now())
			})
			r.pass(2 * slack)
			r.log.learns[ids[3]] = true
			r.deaf("n1")
			r.deaf("n3")
			r.log.append(entry{voters: ids}, nil)
			r.pass(3 * ms)
			r.split([]fsm.MemberID{"n1", "n3"}, []fsm.MemberID{"n2", "n4"})
			for range 400 {
				p := r.Process("n2")
				if r.Agreed().Voters().Has(ids[0]) && p.live.MayChangeVoters(p.machine.Now()) && len(r.log.pending) == 0 {
					r.log.append(entry{voters: ids[1:]}, nil)
				}
				r.pass(10 * ms)
			}
		},
	},
	{
		// As with the promise, but the Down hangs in the log until the promises are
		// over: by then the first lease has begun or never will.
		name: "the bound on the first lease", without: Without{Liveness: liveness.RuleFirstLease}, finds: TwoHolders,
		script: func(r *rig) {
			r.restart("n3")
			r.pass(slack - 50*ms)
			r.deaf("n3")
			r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
			r.Stall(3 * ttl)
			r.pass(slack + 20*ms)
			r.heal("n3", "n2")
			r.pass(4 * ttl)
		},
	},
}

// restart kills a member's process and starts the next one, which registers but
// is heard by nobody.
func (r *rig) restart(m fsm.MemberID) {
	r.cut(m, "n1", "n2")
	r.Process(m).Kill()
	old, _ := r.Agreed().Member(m)
	r.Launch(m)
	r.await("it is registered", func() bool {
		now, _ := r.Agreed().Member(m)
		return now.Epoch > old.Epoch
	})
}

// split cuts the datagrams between two sides.
func (r *rig) split(a, b []fsm.MemberID) {
	for _, m := range a {
		r.cut(m, b...)
	}
	for _, m := range b {
		r.cut(m, a...)
	}
}

// latest appends a list of voters at the leader and shows it, uncommitted, to
// some members.
func (r *rig) latest(ids []fsm.VoterID, to ...fsm.MemberID) {
	r.log.append(entry{voters: ids}, nil)
	list := fsm.Voters{Index: r.log.last() + fsm.Index(len(r.log.pending)), IDs: ids}
	for _, m := range to {
		p := r.Process(m)
		p.live.Latest(p.machine.Now(), list)
	}
}
