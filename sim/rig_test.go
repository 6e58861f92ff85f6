package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// ttl and what follows from it in all scripts.
const (
	ttl   = 300 * time.Millisecond
	beat  = ttl / 6
	slack = ttl * 11 / 10
	ms    = time.Millisecond
)

// item is the one that scripts are about; n3 has it first.
var item = fsm.Key{System: "s", Item: "x"}

// rig is a World for scripts: even clocks, fixed delays, n1 leads, and nothing
// moves as planned: scripts put moves into the log themselves.
type rig struct {
	*World
	t      *testing.T
	vain   bool                                        // a script that waits in vain is given up
	hook   func(p *Process, e Effect) Outcome          // nil: 5 ms, well
	starve func(p *Process, at GateStep) time.Duration // nil: never
}

// setup says what a script needs that is not the default: three voters, a gated
// at-most-one item.
type setup struct {
	voters    int
	hooks     bool
	ungated   bool // addresses without the gate; the kernel is as late as it may be
	guard     bool
	vary      uint64        // > 0: clocks, delays and lags as this draws them
	takeover  time.Duration // takeover_after; 0: none
	planned   bool          // the leader makes planned moves
	guarantee fsm.Guarantee
	servers   []fsm.MemberID // that serve the item; nil: n2 and n3
	rules     Without
	ttl       time.Duration
	agents    int            // a1 and so on
	spares    []fsm.MemberID // who may be added
	holder    fsm.MemberID   // who has the item first; "": n3
	changes   bool           // the leader changes voters as the configuration says
	replicas  int            // of the item; of hooks only
	brake     bool           // the system stops when most of its members are lost
}

// newRig founds the cluster, gives the item to n3 and waits until it holds it.
func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	names := Names(max(s.voters, 3))
	if s.guarantee == 0 {
		s.guarantee = fsm.AtMostOne
	}
	sys := Addresses(item.System, 1, s.guarantee, item.Item)
	sys.IP.NoGate = s.ungated
	if s.hooks {
		sys = System(item.System, s.guarantee, item.Item)
	}
	sys.CleanOnStart, sys.TakeoverAfter = false, s.takeover
	sys.Replicas, sys.NoBrake = s.replicas, !s.brake
	if s.ttl == 0 {
		s.ttl = ttl
	}
	spec := NewSpec(names, s.ttl, sys)
	for _, m := range agentNames(s.agents) {
		spec.Servers[m] = fsm.Server{Name: m, Addr: "10.0.1." + string(m[1:]) + ":2200", Role: fsm.RoleAgent}
	}
	spec.Quorum = 1 // the majority of whatever list there is
	if s.servers == nil {
		s.servers = []fsm.MemberID{"n2", "n3"}
	}
	for m := range spec.Servers {
		server := spec.Servers[m]
		server.Systems = nil
		for _, o := range s.servers {
			if o == m {
				server.Systems = []fsm.SystemID{item.System}
			}
		}
		spec.Servers[m] = server
	}
	r := &rig{t: t}
	hook := func(_ *World, p *Process, e Effect) Outcome {
		if r.hook != nil {
			return r.hook(p, e)
		}
		return Outcome{Took: 5 * ms}
	}
	starve := func(_ *World, p *Process, at GateStep) time.Duration {
		if r.starve != nil {
			return r.starve(p, at)
		}
		return 0
	}
	w := New(Config{
		Hook: hook, Starve: starve, Linger: lateMost, Seed: 1, Voters: names, Spec: spec, Gate: !s.hooks, Guard: s.guard, Rules: s.rules,
		Trace: true, Manual: !s.planned, HoldersOnly: true, Changes: s.changes,
		Others: slices.Concat(agentNames(s.agents), s.spares),
	})
	w.log.delay, w.log.held = ms, true
	if s.vary > 0 {
		w.rng = rand.New(rand.NewPCG(s.vary, 1))
		w.cfg.Drift, r.vain = true, true
	}
	for _, m := range w.names {
		w.Lag(m, ms)
		least, most := ms, ms
		if s.vary > 0 {
			w.Lag(m, w.between(ms/2, 3*ms))
			least, most = ms/4, 2*ms
		}
		for _, o := range w.names {
			*w.Link(m, o) = Link{Min: least, Max: most}
		}
	}
	r.World = w
	w.Boot()
	w.Run(50 * ms)
	w.Elect(w.Process("n1"))
	r.await("everybody has a lease", func() bool {
		for m := range spec.Servers {
			if !w.Process(m).Lease() {
				return false
			}
		}
		return true
	})
	w.Run(w.Now() + 3*slack) // everybody grants and votes
	r.move(cmp.Or(s.holder, "n3"))
	r.await("it holds the item", r.has(cmp.Or(s.holder, "n3")))
	w.Run(w.Now() + 2*slack)
	return r
}

// agentNames are n agents, a1 and so on.
func agentNames(n int) []fsm.MemberID {
	var names []fsm.MemberID
	for i := range n {
		names = append(names, fsm.MemberID(fmt.Sprintf("a%d", i+1)))
	}
	return names
}

// await runs until something holds; a script that waits in vain fails, unless
// the checker has found what it was looking for.
func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	if !r.RunUntil(r.Now()+20*time.Second, cond) && r.Violation() == nil {
		if r.vain {
			panic(gaveUp{what})
		}
		r.t.Fatalf("never: %s", what)
	}
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) { r.Run(r.Now() + d) }

// has says whether the process of a member acquired the item, by the log.
func (r *rig) has(m fsm.MemberID) func() bool {
	return func() bool {
		slot, _ := r.Agreed().Slot(item)
		return slot.Owner == m && slot.Acquired != 0
	}
}

// owned says whether the log gives the item to a member.
func (r *rig) owned(m fsm.MemberID) func() bool {
	return func() bool {
		slot, _ := r.Agreed().Slot(item)
		return slot.Owner == m
	}
}

func (r *rig) slot() fsm.Slot {
	slot, _ := r.Agreed().Slot(item)
	return slot
}

// move puts a planned move of the item into the log.
func (r *rig) move(to fsm.MemberID) {
	m := fsm.Move{Key: item, Was: r.slot().Token, To: to, Reason: "script"}
	if !r.cfg.Manual {
		m.Home = to // else the leader would take it back
	}
	r.Commit(fsm.Assign{Moves: []fsm.Move{m}})
	r.pass(5 * ms)
}

// cut ends all datagrams from one member to others.
func (r *rig) cut(from fsm.MemberID, to ...fsm.MemberID) {
	for _, o := range to {
		r.Link(from, o).Cut = true
	}
}

func (r *rig) heal(from fsm.MemberID, to ...fsm.MemberID) {
	for _, o := range to {
		r.Link(from, o).Cut = false
	}
}

// deaf keeps a member from reading on in the log; what it sends still counts.
func (r *rig) deaf(m fsm.MemberID) { r.Lag(m, time.Hour) }

// slowBallots delays the votes of a voter.
func (r *rig) slowBallots(from fsm.MemberID, d time.Duration) {
	r.Filter = func(f, _ fsm.MemberID, msg liveness.Message) (time.Duration, bool) {
		if _, ok := msg.(liveness.Ballot); ok && f == from {
			return d, true
		}
		return 0, true
	}
}
