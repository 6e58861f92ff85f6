package sim

import (
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// second is the second copy of the item that scripts are about.
var second = fsm.Key{System: item.System, Item: item.Item, Rank: 1}

// copied is an item with a copy; braking is a system that stops when both of its
// members are lost, which three other voters see.
var (
	copied  = setup{hooks: true, replicas: 2}
	braking = setup{voters: 5, hooks: true, brake: true}
)

func (r *rig) token(k fsm.Key) fsm.Token {
	slot, _ := r.Agreed().Slot(k)
	return slot.Token
}

// swap puts some moves into the log as one command.
func (r *rig) swap(moves ...fsm.Move) {
	r.Commit(fsm.Assign{Moves: moves, At: r.Now().Milliseconds()})
	r.pass(5 * ms)
}

// rank gives a copy to a member, and waits until it has it.
func (r *rig) rank(n int, to fsm.MemberID) {
	r.t.Helper()
	k := item
	k.Rank = n
	r.swap(fsm.Move{Key: k, Was: r.token(k), To: to})
	r.await("it has the copy", r.hasRank(n, to))
}

// hasRank says whether a member has acquired a copy, by the log.
func (r *rig) hasRank(n int, m fsm.MemberID) func() bool {
	k := item
	k.Rank = n
	return func() bool {
		slot, _ := r.Agreed().Slot(k)
		return slot.Owner == m && slot.Acquired != 0
	}
}

// loseBoth kills those that serve the item, at once.
func (r *rig) loseBoth() {
	r.Process("n2").Kill()
	r.Process("n3").Kill()
	r.await("both are down", func() bool {
		a, _ := r.Agreed().Member("n2")
		b, _ := r.Agreed().Member("n3")
		return !a.Up && !b.Up
	})
}

// A copy becomes the primary when that is lost, and on its return each goes back: an
// at-least-one primary is up somewhere from the first to the last, and no machine ever
// has both.
func TestCopiesComeAndGo(t *testing.T) {
	for _, g := range []fsm.Guarantee{fsm.AtMostOne, fsm.AtLeastOne} {
		t.Run(g.String(), func(t *testing.T) {
			r := newRig(t, setup{hooks: true, replicas: 2, guarantee: g, servers: []fsm.MemberID{"n1", "n2", "n3"}})
			r.rank(1, "n2")
			// n3 is drained: the copy is the primary, n1 has the copy.
			r.swap(fsm.Move{Key: second, Was: r.token(second), To: "n1"}, fsm.Move{Key: item, Was: r.token(item), To: "n2"})
			r.await("n2 has the item", r.has("n2"))
			r.await("n1 has the copy", r.hasRank(1, "n1"))
			// And back.
			r.swap(fsm.Move{Key: item, Was: r.token(item), To: "n3"}, fsm.Move{Key: second, Was: r.token(second), To: "n2"})
			r.await("n3 has the item", r.has("n3"))
			r.await("n2 has the copy", r.hasRank(1, "n2"))
			r.pass(ttl)
			for name, keys := range map[fsm.MemberID][]fsm.Key{"n1": nil, "n2": {second}, "n3": {item}} {
				if got := len(r.Process(name).Machine().holds); got != len(keys) {
					t.Errorf("%s holds %d of them", name, got)
				}
				for _, k := range keys {
					if !r.Process(name).Machine().Holds(k) {
						t.Errorf("%s does not hold %v", name, k)
					}
				}
			}
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 60))
			}
		})
	}
}

// Two ranks of an item that change places do not wait for each other.
func TestCopiesChangePlaces(t *testing.T) {
	for _, g := range []fsm.Guarantee{fsm.AtMostOne, fsm.AtLeastOne} {
		t.Run(g.String(), func(t *testing.T) {
			r := newRig(t, setup{hooks: true, replicas: 2, guarantee: g})
			r.rank(1, "n2")
			to := r.token(second)
			r.swap(
				fsm.Move{Key: second, Was: to}, fsm.Move{Key: item, Was: r.token(item), To: "n2"},
				fsm.Move{Key: second, Was: fsm.Token(len(r.log.entries) + 1), To: "n3"},
			)
			r.await("n2 has the item", r.has("n2"))
			r.await("n3 has the copy", r.hasRank(1, "n3"))
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 60))
			}
		})
	}
}

// The checker sees two copies on one machine.
func TestCheckerSeesTwoRanks(t *testing.T) {
	r := newRig(t, copied)
	m := r.Process("n3").Machine()
	m.plumb("n3", fsm.Job{Key: second, Token: 99, Action: fsm.ActionHooks}, ttl, false)
	if v := r.checker.found; v == nil || v.Kind != TwoRanks {
		t.Fatalf("%v", v)
	}
}

// The checker sees an item that is moved once too often.
func TestCheckerSeesRestless(t *testing.T) {
	r := newRig(t, setup{hooks: true})
	r.cfg.Manual = false
	for i := range fsm.MaxRecent + 1 {
		to := []fsm.MemberID{"n2", "n3"}[i%2]
		r.swap(fsm.Move{Key: item, Was: r.slot().Token, To: to, Home: to, Cause: fsm.CauseBalance})
		v := r.checker.found
		if last := i == fsm.MaxRecent; last != (v != nil && v.Kind == Restless) {
			t.Fatalf("move %d: %v", i+1, v)
		}
	}
}

// A member goes although nobody else can have its copy: there are as many of each item as
// members then.
func TestRemovedWithItsCopy(t *testing.T) {
	for _, tt := range []struct {
		what        string
		goes, stays fsm.MemberID
	}{{"the primary", "a1", "a2"}, {"the copy", "a2", "a1"}} {
		t.Run(tt.what, func(t *testing.T) {
			r := newRig(t, setup{
				agents: 2, hooks: true, replicas: 2, holder: "a1", servers: []fsm.MemberID{"a1", "a2"}, changes: true, planned: true,
			})
			r.await("a2 has the copy", r.hasRank(1, "a2"))
			r.mark(tt.goes, true)
			r.await("it is gone", func() bool {
				_, in := r.Agreed().Spec().Servers[tt.goes]
				return !in && r.Process(tt.goes) == nil
			})
			r.await("the other one has the item", r.has(tt.stays))
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 60))
			}
		})
	}
}
