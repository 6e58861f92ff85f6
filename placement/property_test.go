package placement

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// settledWalk is a cluster of one system in which everybody is up and everything at home.
func settledWalk(t *testing.T, rt *rapid.T, ask wishes) *walk {
	w := &walk{newCluster(t), rt, ask}
	for _, m := range names("n", rapid.IntRange(2, 6).Draw(rt, "members")) {
		w.drawServer(m)
		server := w.spec.Servers[fsm.MemberID(m)]
		server.Systems = []fsm.SystemID{"s"}
		w.spec.Servers[server.Name] = server
	}
	w.system("s", fsm.Shard, fsm.AtLeastOne, names("d", rapid.IntRange(1, 9).Draw(rt, "data"))...)
	w.change("s", func(sys *fsm.System) {
		w.drawWishes(sys)
		sys.NoBrake, sys.Failback, sys.Mature = true, 0, 0
	})
	w.commit()
	for m := range w.spec.Servers {
		w.up(string(m))
	}
	w.exhaust()
	return w
}

// exhaust plans until there is nothing to do, without the oracle, which takes its time.
func (w *walk) exhaust() (moves []fsm.Move) {
	for range 10 {
		res := Plan(w.view(0))
		if len(res.Moves) == 0 {
			return moves
		}
		w.assign(res.Moves)
		moves = append(moves, res.Moves...)
	}
	w.rt.Fatalf("the plans do not come to an end")
	return nil
}

var manyWishes = []wishes{{}, {shares: true}, {prefer: true}, {replicas: true}, {replicas: true, zones: true}, {replicas: true, shares: true}}

// TestLossMovesOnlyItsItems: whoever is lost, no item moves that it did not have.
func TestLossMovesOnlyItsItems(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ask := rapid.SampledFrom(manyWishes).Draw(rt, "ask")
		w := settledWalk(t, rt, ask)
		lose := 1
		if !ask.replicas && !ask.prefer { // with guests about, what can be in few places drives others on
			lose = len(w.spec.Servers)
		}
		for range lose {
			m := rapid.SampledFrom(slices.Sorted(maps.Keys(w.spec.Servers))).Draw(rt, "lost")
			if state, _ := w.state.Member(m); !state.Up {
				continue
			}
			had := map[fsm.ItemID]bool{}
			for slot := range w.state.Slots() {
				if slot.Owner == m {
					had[slot.Item] = true
				}
			}
			before := w.situation()
			w.down(string(m))
			for _, move := range w.exhaust() {
				if !had[move.Item] {
					rt.Fatalf("%s is down, and %s moves to %s: %s\n%s", m, slotPath(move.Key), move.To, move.Reason, before)
				}
			}
		}
	})
}

// TestReturn: when all that were lost are back, in whatever order, everything is where
// it was.
func TestReturn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := settledWalk(t, rt, rapid.SampledFrom(manyWishes).Draw(rt, "ask"))
		start := w.owners("s")
		members := slices.Sorted(maps.Keys(w.spec.Servers))
		away := rapid.SliceOfNDistinct(rapid.SampledFrom(members), 1, len(members), rapid.ID).Draw(rt, "away")
		for _, m := range away {
			w.down(string(m))
			w.exhaust()
		}
		for _, m := range rapid.Permutation(away).Draw(rt, "return") {
			w.up(string(m))
			w.exhaust()
		}
		if back := w.owners("s"); !maps.Equal(back, start) {
			rt.Fatalf("was %v, is %v\n%s", start, back, w.situation())
		}
	})
}

// TestSpread: with nothing but weights of servers against it loads differ as little as
// they can, also of first ranks as long as everybody is up.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := settledWalk(t, rt, rapid.SampledFrom([]wishes{{}, {replicas: true}}).Draw(rt, "ask"))
		spread := func(ranks int) int {
			load := map[fsm.MemberID]int{}
			for slot := range w.state.Slots() {
				if slot.Rank < ranks {
					load[slot.Owner]++
				}
			}
			least, most := 1<<30, 0
			for id, m := range w.state.Members() {
				if m.Up {
					least, most = min(least, load[id]), max(most, load[id])
				}
			}
			return max(0, most-least)
		}
		if all, first := spread(9), spread(1); all > 1 || first > 1 {
			rt.Fatalf("loads differ by %d, those of first ranks by %d\n%s", all, first, w.situation())
		}
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			m := rapid.SampledFrom(slices.Sorted(maps.Keys(w.spec.Servers))).Draw(rt, "member")
			if state, _ := w.state.Member(m); state.Up {
				w.down(string(m))
			} else {
				w.up(string(m))
			}
			w.exhaust()
			if all := spread(9); all > 1 && w.spec.Systems["s"].Replicas <= 1 {
				rt.Fatalf("loads differ by %d\n%s", all, w.situation())
			}
		}
	})
}

// TestWeightsWithinBound: items that weigh unequally are spread so that two members
// differ by no more than the heaviest item of who bears more (placement/DESIGN.md).
func TestWeightsWithinBound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCluster(t)
		members := names("n", rapid.IntRange(2, 7).Draw(rt, "members"))
		for _, m := range members {
			c.server(m, 0, "s")
		}
		weights := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 40).Draw(rt, "weights")
		c.system("s", fsm.Shard, fsm.AtLeastOne, names("d", len(weights))...)
		c.change("s", func(sys *fsm.System) {
			sys.NoBrake = true
			for i := range sys.Items {
				sys.Items[i].Weight = weights[i]
			}
		})
		c.commit()
		c.up(members...)
		w := &walk{cluster: c, rt: rt}
		w.exhaust()
		w.withinBound()
	})
}

func (w *walk) withinBound() {
	load, heaviest := map[fsm.MemberID]int{}, map[fsm.MemberID]int{}
	for slot := range w.state.Slots() {
		item, _ := itemOf(w.state.Spec().Systems[slot.System], slot.Item)
		load[slot.Owner] += item.Load()
		heaviest[slot.Owner] = max(heaviest[slot.Owner], item.Load())
	}
	for a := range w.state.Members() {
		for b := range w.state.Members() {
			if load[a]-load[b] > heaviest[a] {
				w.rt.Fatalf("%s bears %d, %s %d, and no item of %s is heavier than %d", a, load[a], b, load[b], a, heaviest[a])
			}
		}
	}
}

// TestManyAgainstOracle is a walk with more members and items: no single item could be
// elsewhere and anything be better.
func TestManyAgainstOracle(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := &walk{newCluster(t), rt, rapid.SampledFrom([]wishes{{}, {shares: true}, {prefer: true}}).Draw(rt, "ask")}
		members := names("n", rapid.IntRange(5, 7).Draw(rt, "members"))
		for _, m := range members {
			w.drawServer(m)
			server := w.spec.Servers[fsm.MemberID(m)]
			server.Systems = []fsm.SystemID{"s"}
			w.spec.Servers[server.Name] = server
		}
		w.system("s", fsm.Shard, fsm.AtLeastOne, names("d", rapid.IntRange(10, 14).Draw(rt, "data"))...)
		w.change("s", w.drawWishes)
		w.commit()
		w.up(members...)
		w.plans(0)
		for range rapid.IntRange(1, 2).Draw(rt, "steps") {
			m := rapid.SampledFrom(members).Draw(rt, "member")
			if state, _ := w.state.Member(fsm.MemberID(m)); state.Up {
				w.down(m)
			} else {
				w.up(m)
			}
			w.plans(0)
		}
	})
}

// TestSameEverywhere: the order in which things were said, and that of maps, changes
// nothing.
func TestSameEverywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := settledWalk(t, rt, rapid.SampledFrom(manyWishes).Draw(rt, "ask"))
		for _, m := range rapid.SliceOfDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(w.spec.Servers))), rapid.ID).Draw(rt, "lost") {
			w.down(string(m))
		}
		want := Plan(w.view(0))
		for range 5 {
			v := w.view(0)
			v.Unusable = maps.Clone(v.Unusable)
			if got := Plan(v); !reflect.DeepEqual(got, want) {
				rt.Fatalf("once\n%sand then\n%s", listing(want), listing(got))
			}
		}
	})
}

// TestDamping: whatever happens to an item, it is not moved more than MaxRecent times
// within RecentFor from owners that are neither down nor leaving and fit to hold it.
func TestDamping(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := settledWalk(t, rt, wishes{})
		w.timed = true
		moved := map[fsm.Key][]int64{}
		for range rapid.IntRange(10, 40).Draw(rt, "steps") {
			w.now += rapid.SampledFrom([]int64{100, 5_000, 50_000}).Draw(rt, "passes")
			w.drawFailure()
			w.drawFailure()
			before := w.state
			for _, m := range w.exhaust() {
				slot, _ := before.Slot(m.Key)
				if f, _ := before.FailureOf(slot.Owner, m.Key); slot.Owner == "" || m.To == slot.Owner || f.Unfit {
					continue
				}
				times := append(slices.Clip(moved[m.Key]), w.now)
				moved[m.Key] = times
				if n := len(times); n > fsm.MaxRecent && times[n-1]-times[n-1-fsm.MaxRecent] < fsm.RecentFor.Milliseconds() {
					rt.Fatalf("%s has moved at %v", slotPath(m.Key), times)
				}
			}
		}
	})
}

// TestDampingIsNotFree: without the memory that Apply keeps the same history moves an
// item too often, so that TestDamping can fail.
func TestDampingIsNotFree(t *testing.T) {
	c := shardOf(t, 2, 1)
	c.timed = true
	c.change("s", func(sys *fsm.System) { sys.NoBrake = true })
	c.commit()
	c.plan(0)
	k := fsm.Key{System: "s", Item: "d00000"}
	moves := 0
	for range 4 {
		c.now += 1000
		slot, _ := c.state.Slot(k)
		c.fail(string(slot.Owner), k, "no", false)
		for m := range c.state.Failures() {
			if m != slot.Owner {
				c.mend(string(m), k)
			}
		}
		v := c.view(0)
		v.Now = 0
		res := Plan(v)
		moves += len(res.Moves)
		c.assign(res.Moves)
	}
	if moves <= fsm.MaxRecent {
		t.Errorf("%d moves", moves)
	}
}

// TestDampingByAWrongClock: what was moved by a clock that was far ahead does not stay
// until that time has come.
func TestDampingByAWrongClock(t *testing.T) {
	c := shardOf(t, 2, 1)
	c.timed = true
	c.change("s", func(sys *fsm.System) { sys.NoBrake = true })
	c.commit()
	c.plan(0)
	k := fsm.Key{System: "s", Item: "d00000"}
	const year = 365 * 24 * 3600 * 1000
	for i := range fsm.MaxRecent + 2 {
		if c.now += 1000; i == fsm.MaxRecent {
			c.now -= year
		} else if i == 0 {
			c.now += year
		}
		slot, _ := c.state.Slot(k)
		c.fail(string(slot.Owner), k, "no", false)
		for m := range c.state.Failures() {
			if m != slot.Owner {
				c.mend(string(m), k)
			}
		}
		if res := c.planned(0); len(res.Moves) != 1 {
			t.Errorf("move %d: %v, held %v", i+1, res.Moves, res.Held)
		}
	}
}

// TestBudgetSettles: plans that are cut short come to an end, with everything as well
// placed as by whole ones.
func TestBudgetSettles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWalk(t, rt, rapid.SampledFrom(manyWishes).Draw(rt, "ask"))
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			w.step()
		}
		budget := rapid.IntRange(3, 5).Draw(rt, "budget")
		before := w.situation()
		for plans := 0; ; plans++ {
			res := Plan(w.view(budget))
			if len(res.Moves) == 0 {
				break
			}
			w.assign(res.Moves)
			if plans > 200 {
				rt.Fatalf("the plans do not come to an end\n%s", before)
			}
		}
		w.plans(0)
	})
}

// TestHeldComesFree: what is held back for a time is made once that has passed.
func TestHeldComesFree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := settledWalk(t, rt, wishes{})
		wait := time.Duration(rapid.IntRange(1, 60).Draw(rt, "failback")) * time.Second
		w.change("s", func(sys *fsm.System) { sys.Failback = wait })
		w.commit()
		w.timed, w.well = true, map[fsm.MemberID]time.Duration{}
		for m := range w.spec.Servers {
			w.well[m] = time.Hour
		}
		start := w.owners("s")
		w.down("n00000")
		w.exhaust()
		w.up("n00000")
		w.well["n00000"] = 0
		shelter := w.owners("s")
		for range 100 {
			res := Plan(w.view(0))
			if fmt.Sprint(w.owners("s")) != fmt.Sprint(shelter) || res.Again == 0 {
				break
			}
			w.assign(res.Moves)
			w.now += res.Again.Milliseconds()
			for m := range w.well {
				w.well[m] += res.Again
			}
		}
		w.exhaust()
		if back := w.owners("s"); !maps.Equal(back, start) || w.well["n00000"] > wait+time.Second && !maps.Equal(start, shelter) {
			rt.Fatalf("was %v, is %v after %v, failback %v", start, back, w.well["n00000"], wait)
		}
	})
}
