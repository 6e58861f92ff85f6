package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// onlined is the cluster that a seed draws where members come and go: three voters and
// two agents to begin with, or five and one, and who else may be added.
func onlined(seed uint64) Config {
	cfg := stormed(seed &^ 1)
	founders, agents := 3, 2
	cfg.Others = slices.Concat(Names(5)[founders:], agentNames(3))
	if seed%2 == 1 {
		founders, agents = 5, 1
		cfg.Others = slices.Concat(Names(6)[founders:], agentNames(2))
	}
	cfg.Seed, cfg.Voters = seed+1<<32, Names(founders)
	systems := cfg.Spec.Servers["n1"].Systems
	cfg.Spec.Servers = NewSpec(cfg.Voters, cfg.Spec.Timing.Lease).Servers
	for i, m := range agentNames(agents) {
		cfg.Spec.Servers[m] = fsm.Server{Name: m, Addr: serverAddr(founders + i), Role: fsm.RoleAgent}
	}
	for m, s := range cfg.Spec.Servers {
		s.Systems = systems
		cfg.Spec.Servers[m] = s
	}
	cfg.Spec.Quorum = 1 // the majority of whatever list there is
	return cfg
}

// onlineStorm runs one such seed from its beginning to rest.
func onlineStorm(seed uint64, trace bool, rules Without) *World {
	return weather(onlined(seed), trace, rules)
}

// TestAdversaryOnline runs clusters whose members come and go through random storms.
// FLIP_SEEDS sets how many, FLIP_SEED replays one.
func TestAdversaryOnline(t *testing.T) {
	bulk{name: "TestAdversaryOnline", storm: onlineStorm, seeds: 2000, from: online, to: counters}.run(t)
}

// TestPeopleOnly: whatever people do to the members, nobody loses its lease by it
// while nothing goes wrong.
func TestPeopleOnly(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		if w := peopleOnly(seed, false); w.Violation() != nil {
			w = peopleOnly(seed, true)
			t.Fatalf("seed %d: %v\n%s", seed, w.Violation(), tail(w, 200))
		}
	}
}

func peopleOnly(seed uint64, trace bool) *World {
	cfg := onlined(seed)
	cfg.Trace, cfg.Steady = trace, true
	w := New(cfg)
	w.Boot()
	w.Run(w.Now() + 5*time.Second)
	a := &Adversary{w: w, base: cfg.Spec, end: w.Now() + 10*time.Second}
	acts := []func(*Adversary){
		(*Adversary).addMember, (*Adversary).removeMember, (*Adversary).removeLeader,
		(*Adversary).takeBack, (*Adversary).replaceMember, (*Adversary).changeRole, (*Adversary).rotate,
	}
	var next func()
	next = func() {
		if !a.over() {
			acts[w.rng.IntN(len(acts))](a)
			w.After(w.between(0, 3*a.ttlNow()), next)
		}
	}
	next()
	w.Run(a.end)
	a.tend()
	if missing := w.Settle(30 * time.Second); missing != "" {
		w.checker.fail(Stuck, "%s", missing)
	}
	return w
}

// TestOneChange: each change of the members by itself, under a lease that never ends.
func TestOneChange(t *testing.T) {
	gone := func(m fsm.MemberID) func(*rig) bool {
		return func(r *rig) bool {
			_, in := r.Agreed().Spec().Servers[m]
			return !in && r.Process(m) == nil
		}
	}
	votes := func(want ...fsm.MemberID) func(*rig) bool {
		return func(r *rig) bool {
			for _, m := range want {
				if !r.Agreed().HasVote(m) {
					return false
				}
			}
			return len(r.Agreed().Voters().IDs) == len(want)
		}
	}
	add := func(names ...fsm.MemberID) func(*rig) {
		return func(r *rig) {
			for _, m := range names {
				r.respec(func(s fsm.Spec) fsm.Spec { return s.WithServer(r.server(m, fsm.RoleVoter)) })
				r.Launch(m)
			}
		}
	}
	mark := func(names ...fsm.MemberID) func(*rig) {
		return func(r *rig) {
			for _, m := range names {
				r.mark(m, true)
			}
		}
	}
	role := func(m fsm.MemberID, role fsm.Role) func(*rig) {
		return func(r *rig) { r.respec(func(s fsm.Spec) fsm.Spec { return s.WithRole(m, role) }) }
	}
	type step struct {
		do   func(*rig)
		done func(*rig) bool
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"3, 5, 3", []step{
			{add("n4", "n5"), votes("n1", "n2", "n3", "n4", "n5")},
			{mark("n4", "n2"), votes("n1", "n3", "n5")},
			{func(*rig) {}, gone("n2")},
		}},
		{"the leader goes", []step{{add("n4"), votes("n1", "n2", "n3", "n4")}, {mark("n1"), gone("n1")}, {func(*rig) {}, votes("n2", "n3", "n4")}}},
		{"a dead one goes", []step{
			{add("n4"), votes("n1", "n2", "n3", "n4")},
			{func(r *rig) { r.Process("n2").Kill(); r.mark("n2", true) }, gone("n2")},
		}},
		{"one takes another one's place", []step{{func(r *rig) { add("n4")(r); r.mark("n2", true) }, votes("n1", "n3", "n4")}}},
		{"the holder goes", []step{{mark(one), gone(one)}}},
		{"an agent gets a vote, and gives it back", []step{
			{role(one, fsm.RoleVoter), votes(one, "n1", "n2", "n3")},
			{role(one, fsm.RoleAgent), votes("n1", "n2", "n3")},
			{func(*rig) {}, func(r *rig) bool { return r.Process(one).raft == nil }},
		}},
		{"the leader becomes an agent", []step{
			{add("n4"), votes("n1", "n2", "n3", "n4")},
			{role("n1", fsm.RoleAgent), votes("n2", "n3", "n4")},
			{func(*rig) {}, func(r *rig) bool { return r.Process("n1").raft == nil }},
		}},
		{"the key", []step{{
			func(r *rig) { r.Commit(r.rotation()) },
			func(r *rig) bool { return r.Agreed().Keys().Round != 0 && r.Agreed().Keys().Phase == fsm.KeySettled },
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := setup{agents: 2, spares: []fsm.MemberID{"n4", "n5"}, holder: one, servers: []fsm.MemberID{one, "a2", "n3"}, changes: true, planned: true}
			r := newRig(t, s)
			r.cfg.Steady = true
			for _, s := range tt.steps {
				s.do(r)
				r.await("it is so", func() bool { return s.done(r) })
			}
			r.pass(4 * slack)
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 100))
			}
		})
	}
}
