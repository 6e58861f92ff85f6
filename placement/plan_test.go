package placement

import (
	"fmt"
	"slices"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

func TestOrder(t *testing.T) {
	servers := map[fsm.MemberID]fsm.Server{
		"d": {Priority: 7, HasPriority: true},
		"c": {},
		"b": {Priority: 7, HasPriority: true},
		"a": {},
		"e": {Priority: -1, HasPriority: true},
		"f": {Priority: 9}, // not set: the number does not count
	}
	want := []fsm.MemberID{"e", "b", "d", "a", "c", "f"}
	if got := Order(servers); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// names makes n names that sort as they count.
func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%05d", prefix, i)
	}
	return out
}

// shardOf is a cluster of n members that are up and serve k items.
func shardOf(t testing.TB, n, k int) *cluster {
	c := newCluster(t)
	for _, name := range names("n", n) {
		c.server(name, 0, "s")
	}
	c.system("s", fsm.Shard, fsm.AtLeastOne, names("d", k)...)
	c.commit()
	c.up(names("n", n)...)
	return c
}

// TestFlipsProperty is what was verified of Flip's rule: for every number of
// members and data and every pattern of who is up, each datum has exactly one
// usable owner, only orphans move, and whoever returns has its own again. Flip's loads
// differ by two at most; these by one.
func TestFlipsProperty(t *testing.T) {
	for n := 1; n <= 6; n++ {
		for k := 0; k <= 12; k++ {
			c := shardOf(t, n, k)
			c.plan(0)
			start, members, items := c.owners("s"), names("n", n), names("d", k)
			for i, item := range items {
				if start[item] != members[i%n] {
					t.Fatalf("n=%d k=%d: %s is with %s, Flip deals it to %s", n, k, item, start[item], members[i%n])
				}
			}
			placed := c.state
			for pattern := 0; pattern < 1<<n; pattern++ {
				c.state = placed
				c.someUp(pattern, members)
				c.plan(0)
				checkPattern(t, c, pattern, members, start)
				clear(c.unusable)
				c.plan(0)
				if back := c.owners("s"); fmt.Sprint(back) != fmt.Sprint(start) {
					t.Fatalf("n=%d k=%d pattern %b: not restored: %v", n, k, pattern, back)
				}
			}
		}
	}
}

func (c *cluster) someUp(pattern int, members []string) {
	for i, m := range members {
		if pattern>>i&1 == 0 {
			c.unusable[fsm.MemberID(m)] = "is down"
		}
	}
}

func checkPattern(t *testing.T, c *cluster, pattern int, members []string, start map[string]string) {
	load := map[string]int{}
	for item, owner := range c.owners("s") {
		place := slices.Index(members, owner)
		home := slices.Index(members, start[item])
		switch {
		case pattern == 0:
			if owner != start[item] {
				t.Fatalf("nobody is up, and %s moved", item)
			}
		case pattern>>place&1 == 0:
			t.Fatalf("pattern %b: %s is with %s, who is down", pattern, item, owner)
		case pattern>>home&1 == 1 && owner != start[item]:
			t.Fatalf("pattern %b: %s left %s, who is up", pattern, item, start[item])
		}
		load[owner]++
	}
	least, most := len(start), 0
	for i, m := range members {
		if pattern>>i&1 == 1 {
			least, most = min(least, load[m]), max(most, load[m])
		}
	}
	if pattern != 0 && most-least > 1 {
		t.Fatalf("pattern %b: loads from %d to %d", pattern, least, most)
	}
}

// TestBudgetConverges: plans that are cut short end where a whole one would
// have every item with a usable owner, in no more moves than there are items.
func TestBudgetConverges(t *testing.T) {
	c := shardOf(t, 5, 40)
	c.plan(0)
	c.down("n00001", "n00003")
	moved := 0
	for {
		moves := c.plan(3)
		moved += len(moves)
		if len(moves) == 0 {
			break
		}
	}
	if moved != 16 {
		t.Errorf("%d moves, 16 items have lost their owners", moved)
	}
}

func TestBudgetHasALimit(t *testing.T) {
	c := shardOf(t, 2, fsm.MaxMoves+7)
	if n := len(Plan(c.view(0)).Moves); n != fsm.MaxMoves {
		t.Errorf("%d moves, one command carries %d", n, fsm.MaxMoves)
	}
	if n := len(Plan(c.view(fsm.MaxMoves + 5)).Moves); n != fsm.MaxMoves+5 {
		t.Errorf("%d moves for somebody who makes several commands of them", n)
	}
}

// TestDownTakesItsMovesAlong: the moves of a member that is about to be called
// down are planned before the log shows it, and none is dropped.
func TestDownTakesItsMovesAlong(t *testing.T) {
	c := shardOf(t, 3, 9)
	c.plan(0)
	view := c.view(0)
	view.Unusable = map[fsm.MemberID]string{"n00000": "is down"}
	moves := Plan(view).Moves
	c.apply(fsm.Down{Member: "n00000", Epoch: c.epoch("n00000"), Voters: c.state.Voters().Index, Moves: moves})
	if len(moves) != 3 {
		t.Errorf("%d moves, it had 3 items", len(moves))
	}
	if rest := c.plan(0); len(rest) > 0 {
		t.Errorf("after Down there is still to do:\n%s", describe(rest))
	}
}

func TestReasonIsBounded(t *testing.T) {
	c := shardOf(t, 2, 1)
	c.plan(0)
	long := ""
	for range 300 {
		long += "ä"
	}
	c.fail("n00000", fsm.Key{System: "s", Item: "d00000"}, long, false)
	moves := c.plan(0)
	if len(moves) != 1 || len(moves[0].Reason) > maxReason+60 {
		t.Errorf("%d moves, %d bytes of reason", len(moves), len(moves[0].Reason))
	}
}

// BenchmarkPlan is the size that is planned for (DESIGN.md 5): 100 members and
// 100,000 items of one system.
func BenchmarkPlan(b *testing.B) {
	c := shardOf(b, 100, 100_000)
	empty := c.view(0)
	for {
		moves := Plan(c.view(0)).Moves
		if len(moves) == 0 {
			break
		}
		next, _, err := c.state.Apply(c.at+1, fsm.Encode(fsm.Assign{Moves: moves}))
		if err != nil {
			b.Fatal(err)
		}
		c.at, c.state = c.at+1, next
	}
	settled := c.view(0)
	lost := c.view(0)
	lost.Unusable = map[fsm.MemberID]string{"n00042": "is down"}
	c.server("n00100", 0, "s")
	c.commit()
	c.up("n00100")
	for _, bench := range []struct {
		name  string
		view  View
		moves int
	}{
		{"first", empty, fsm.MaxMoves}, {"nothing", settled, 0}, {"down", lost, 1000}, {"member-added", c.view(0), 990},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := len(Plan(bench.view).Moves); got != bench.moves {
					b.Fatalf("%d moves, want %d", got, bench.moves)
				}
			}
		})
	}
}
