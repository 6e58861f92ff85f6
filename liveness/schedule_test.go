package liveness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// TestRandomSchedules lets clusters of three and five voters, another server and an
// agent live through cuts, losses, delays, kills, restarts, clocks that drift within
// 10 % of each other, changes of leader, stalled commits, and changes of ttl, of roles
// and of voters. At every event: who was called down by votes has no lease in that epoch, ever again.
// And at its end, healed, everybody has a lease.
func TestRandomSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := schedule(t, 0)
		if len(w.broken) > 0 {
			t.Fatalf("%s\n%s", strings.Join(w.broken, "\n"), w.trace.String())
		}
		if !w.allLeased() {
			t.Fatalf("somebody has no lease at the end\n%s", w.trace.String())
		}
	})
}

// schedule plays one random schedule, heals everything and lets it settle.
func schedule(t *rapid.T, without Rule) *world {
	w := newWorld()
	w.without = without
	size := rapid.SampledFrom([]int{3, 5}).Draw(t, "voters")
	for i := range size + 1 {
		name := fsm.MemberID(fmt.Sprintf("n%d", i+1))
		n := w.node(name)
		n.rate = rapid.Float64Range(0.953, 1.047).Draw(t, "rate")
	}
	servers, voters := slices.Clone(w.names), slices.Clone(w.names[:size])
	w.node("a1").rate = rapid.Float64Range(0.953, 1.047).Draw(t, "rate")
	w.setSpec(words{names: servers, pairs: map[string]string{"ttl": "300ms", "beat": "50ms", "agents": "a1"}})
	w.voters(voters)
	w.leader = "n1"
	for _, name := range w.names {
		w.start(w.nodes[name], 0)
	}
	w.spread()
	w.run(1500 * time.Millisecond)
	w.commit(fsm.Assign{Moves: []fsm.Move{{Key: fsm.Key{System: "s", Item: "a"}, To: "n1", Home: "n1"}}})
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		w.step(t, &voters)
		w.run(w.now + time.Duration(rapid.IntRange(1, 600).Draw(t, "ms"))*time.Millisecond)
	}
	clear(w.cuts)
	clear(w.delays)
	w.flow()
	for _, name := range w.names {
		n := w.nodes[name]
		n.lags, n.frozen = false, 0
		if n.p == nil || n.p.own.said {
			w.start(n, 0)
		}
	}
	w.elect(voters[0])
	// The longest back-off of L6 and some leases.
	for end := w.now + 45*time.Second; w.now < end && !w.allLeased(); {
		w.run(w.now + 500*time.Millisecond)
	}
	return w
}

// allLeased reports whether every node has a lease.
func (w *world) allLeased() bool {
	for _, n := range w.running() {
		if _, ok := n.p.Lease(n.local(w.now)); !ok {
			return false
		}
	}
	return true
}

// elect changes the leader, as far as its log is whole.
func (w *world) elect(name fsm.MemberID) {
	w.leader = name
	w.printf("%s leads", name)
	w.read(w.nodes[name], w.index())
	for _, n := range w.running() {
		if !w.apart(n.name, name) {
			w.read(n, n.applied)
		}
	}
	w.spread()
}

// step is one fault or repair.
func (w *world) step(t *rapid.T, voters *[]fsm.MemberID) {
	one := func() *node { return w.nodes[rapid.SampledFrom(w.names).Draw(t, "node")] }
	pair := func() [2]fsm.MemberID { return [2]fsm.MemberID{one().name, one().name} }
	switch rapid.IntRange(0, 19).Draw(t, "step") {
	case 0:
		w.cuts[pair()] = true
	case 1, 2:
		p := pair()
		w.cuts[p], w.cuts[[2]fsm.MemberID{p[1], p[0]}] = true, true
	case 3:
		name := one().name
		for _, other := range w.names {
			w.cuts[[2]fsm.MemberID{name, other}] = other != name
			w.cuts[[2]fsm.MemberID{other, name}] = other != name
		}
	case 4, 5:
		clear(w.cuts)
		w.spread()
	case 6:
		w.delays[pair()] = time.Duration(rapid.IntRange(1, 500).Draw(t, "delay")) * time.Millisecond
	case 7:
		if n := one(); n.p != nil {
			w.kill(n)
		}
	case 8:
		for _, name := range w.names {
			if n := w.nodes[name]; n.p == nil {
				w.start(n, 0)
			}
		}
		w.spread()
	case 9:
		if n := w.nodes[rapid.SampledFrom(*voters).Draw(t, "leader")]; n.p != nil {
			w.elect(n.name)
		}
	case 10:
		w.stalled = true
	case 11:
		w.flow()
	case 12:
		w.setSpec(words{pairs: map[string]string{"ttl": rapid.SampledFrom([]string{"120ms", "300ms", "900ms"}).Draw(t, "ttl")}})
	case 13:
		w.changeVoters(t, voters)
	case 14, 15:
		n := one()
		if n.lags = !n.lags; !n.lags {
			w.spread()
		}
	case 16:
		one().frozen = w.now + time.Duration(rapid.IntRange(1, 900).Draw(t, "frozen"))*time.Millisecond
	case 17:
		w.kept(t, one())
	case 18:
		w.changeRole(one(), *voters)
	case 19:
		if n := one(); n.p != nil && n.agent {
			w.changeOver(n)
		}
	}
}

// changeRole makes an agent a voter-to-be, or a server that has no vote and knows it
// an agent.
func (w *world) changeRole(n *node, voters []fsm.MemberID) {
	switch {
	case n.p == nil || n.frozen > w.now || w.stalled:
	case n.agent:
		w.setSpec(words{pairs: map[string]string{"voters": string(n.name)}})
		w.roles([]fsm.MemberID{n.name}, true)
	case n.name != w.leader && !slices.Contains(voters, n.name) && !n.p.view.list.Has(n.p.view.self()):
		w.setSpec(words{pairs: map[string]string{"agents": string(n.name)}})
		w.roles([]fsm.MemberID{n.name}, false)
	}
}

// kept has a process stop in order, or its gate fail.
func (w *world) kept(t *rapid.T, n *node) {
	if n.p == nil {
		return
	}
	if rapid.Bool().Draw(t, "gate") {
		n.p.DropGate(n.local(w.now))
	} else {
		n.p.Goodbye(n.local(w.now), nil)
	}
	w.after(n)
}

// changeVoters adds or removes one voter, if the leader may.
func (w *world) changeVoters(t *rapid.T, voters *[]fsm.MemberID) {
	l := w.nodes[w.leader]
	if l.p == nil || w.stalled || !l.p.MayChangeVoters(l.local(w.now)) {
		return
	}
	name := rapid.SampledFrom(w.names).Draw(t, "voter")
	if w.nodes[name].agent {
		return
	}
	if i := slices.Index(*voters, name); i >= 0 && len(*voters) > 2 {
		*voters = slices.Delete(*voters, i, i+1)
	} else if i < 0 {
		*voters = append(*voters, name)
	}
	w.voters(*voters)
}
