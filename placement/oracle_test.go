package placement

import (
	"fmt"
	"slices"
	"sort"

	"github.com/flip-ha/flip/fsm"
)

// judge is the oracle: it knows nothing of how Plan works, only what must be
// true of its answer and of the State after it. It returns its complaints.
func judge(v View, moves []fsm.Move, before, after *fsm.State) []string {
	j := &judgement{v: v, before: before, after: after, served: map[fsm.SystemID][]fsm.MemberID{}}
	j.moves(moves)
	again := Plan(v).Moves
	if !slices.Equal(again, moves) {
		j.complain("planning twice gives two answers")
	}
	budget := v.Budget
	if budget <= 0 || budget > fsm.MaxMoves {
		budget = fsm.MaxMoves
	}
	if len(moves) > budget {
		j.complain("%d moves are more than the budget of %d", len(moves), budget)
	}
	if len(moves) == budget {
		return j.complaints // cut short, perhaps: the rest comes with the next plan
	}
	if rest := Plan(View{State: after, Unusable: v.Unusable}).Moves; len(rest) > 0 {
		j.complain("after the moves there are still some:\n%s", describe(rest))
	}
	for _, sys := range before.Spec().Systems {
		if before.Maintained(sys.Name) {
			continue // nothing moves, however badly it stands
		}
		switch sys.Split {
		case fsm.Shard:
			j.homes(sys)
			j.shard(sys)
		case fsm.ChooseOne:
			j.chooseOne(sys)
		default:
			for slot := range after.SlotsOf(sys.Name) {
				if slot.Owner != "" {
					j.complain("%v has an owner although its system is %s", slot.Key, sys.Split)
				}
			}
		}
	}
	return j.complaints
}

type judgement struct {
	v             View
	before, after *fsm.State
	complaints    []string
	served        map[fsm.SystemID][]fsm.MemberID
}

func (j *judgement) complain(format string, args ...any) {
	j.complaints = append(j.complaints, fmt.Sprintf(format, args...))
}

// moves looks at each move by itself.
func (j *judgement) moves(moves []fsm.Move) {
	seen := map[fsm.Key]bool{}
	for _, m := range moves {
		slot, _ := j.before.Slot(m.Key)
		switch {
		case seen[m.Key]:
			j.complain("%v is moved twice", m.Key)
		case m.Reason == "":
			j.complain("%v: no reason", m.Key)
		case m.Was != slot.Token:
			j.complain("%v: names token %d, it has %d", m.Key, m.Was, slot.Token)
		case m.To == slot.Owner && (m.Home == "" || m.Home == slot.Home):
			j.complain("%v: changes nothing", m.Key)
		case j.before.Maintained(m.System):
			j.complain("%v: its system is under maintenance", m.Key)
		case m.To == "":
			j.complain("%v is taken from %s for nobody", m.Key, slot.Owner)
		}
		seen[m.Key] = true
	}
}

// serving sorts the servers of a system by inserting one after the other.
func (j *judgement) serving(sys fsm.System) []fsm.MemberID {
	if out, known := j.served[sys.Name]; known {
		return out
	}
	var out []fsm.MemberID
	for id, s := range j.before.Spec().Servers {
		if s.Removing || !slices.Contains(s.Systems, sys.Name) {
			continue
		}
		i := 0
		for i < len(out) {
			o := j.before.Spec().Servers[out[i]]
			ahead := s.HasPriority && !o.HasPriority ||
				s.HasPriority == o.HasPriority && (s.Priority < o.Priority || s.Priority == o.Priority && id < out[i])
			if ahead {
				break
			}
			i++
		}
		out = slices.Insert(out, i, id)
	}
	j.served[sys.Name] = out
	return out
}

// counting are those of serving to whom homes are dealt: who has never registered only
// where nothing has a home yet, or where it is somebody's.
func (j *judgement) counting(sys fsm.System) []fsm.MemberID {
	var homes, out []fsm.MemberID
	for slot := range j.before.SlotsOf(sys.Name) {
		if _, in := sysItem(sys, slot.Item); in && slices.Contains(j.serving(sys), slot.Home) {
			homes = append(homes, slot.Home)
		}
	}
	for _, m := range j.serving(sys) {
		if _, registered := j.before.Member(m); registered || len(homes) == 0 || slices.Contains(homes, m) {
			out = append(out, m)
		}
	}
	return out
}

func sysItem(sys fsm.System, id fsm.ItemID) (fsm.Item, bool) {
	for _, item := range sys.Items {
		if item.ID == id {
			return item, true
		}
	}
	return fsm.Item{}, false
}

// rate is 0 for who cannot hold, 1 for who has failed, 2 for who would keep the
// item waiting, 3 for who is fine.
func (j *judgement) rate(sys fsm.System, item fsm.ItemID, m fsm.MemberID) int {
	member, known := j.before.Member(m)
	_, listed := j.before.Spec().Servers[m]
	_, out := j.v.Unusable[m]
	switch {
	case !known, !listed, out, !member.Up, member.Leaving, !slices.Contains(j.serving(sys), m):
		return 0
	}
	if _, failed := j.before.FailureOf(m, fsm.Key{System: sys.Name, Item: item}); failed {
		return 1
	}
	if sys.Guarantee == fsm.AtMostOne && !member.Settled {
		return 2
	}
	return 3
}

func (j *judgement) top(sys fsm.System, item fsm.ItemID) int {
	top := 0
	for _, m := range j.serving(sys) {
		top = max(top, j.rate(sys, item, m))
	}
	return top
}

// shard: who is home is at home, who was well off stays, and the rest is spread.
func (j *judgement) shard(sys fsm.System) {
	load := map[fsm.MemberID]int{}
	for slot := range j.after.SlotsOf(sys.Name) {
		load[slot.Owner]++
	}
	for _, item := range sys.Items {
		k := fsm.Key{System: sys.Name, Item: item.ID}
		was, _ := j.before.Slot(k)
		is, placed := j.after.Slot(k)
		top := j.top(sys, item.ID)
		rate := j.rate(sys, item.ID, is.Owner)
		had := j.rate(sys, item.ID, was.Owner)
		switch {
		case top == 0:
			if is.Owner != was.Owner {
				j.complain("%v: moved to %q although nobody can hold it", k, is.Owner)
			}
		case !placed || rate == 0:
			j.complain("%v: is with %q, who cannot hold it", k, is.Owner)
		case j.rate(sys, item.ID, is.Home) == 3:
			if is.Owner != is.Home {
				j.complain("%v: is with %s, its home %s is fine", k, is.Owner, is.Home)
			}
		case had >= 2 || (had == 1 && top == 1):
			if is.Owner != was.Owner {
				j.complain("%v: left %s without need", k, was.Owner)
			}
		case j.rate(sys, item.ID, is.Home) == top:
			if is.Owner != is.Home {
				j.complain("%v: is with %s, its home %s is as good", k, is.Owner, is.Home)
			}
		case rate != top:
			j.complain("%v: went to %s of rate %d, the best is %d", k, is.Owner, rate, top)
		default:
			for _, m := range j.serving(sys) {
				if j.rate(sys, item.ID, m) == top && load[m]+1 < load[is.Owner] {
					j.complain("%v: went to %s with %d items, %s has %d", k, is.Owner, load[is.Owner], m, load[m])
				}
			}
		}
	}
}

// homes: a home changes only when it must, and balance is kept.
func (j *judgement) homes(sys fsm.System) {
	serving := j.counting(sys)
	if len(serving) == 0 {
		return
	}
	was, is := map[fsm.MemberID]int{}, map[fsm.MemberID]int{}
	changed, fresh := 0, true
	for slot := range j.before.SlotsOf(sys.Name) {
		fresh = fresh && !slices.Contains(serving, slot.Home)
	}
	var dealt []fsm.MemberID                // homes given to what had none
	driven := map[fsm.Key][2]fsm.MemberID{} // of it: what is to go from its owner to a home elsewhere
	for i, item := range sys.Items {
		k := fsm.Key{System: sys.Name, Item: item.ID}
		old, _ := j.before.Slot(k)
		now, placed := j.after.Slot(k)
		if !placed || now.Owner == "" {
			return // nobody could hold it: nothing has been placed yet
		}
		if !slices.Contains(serving, now.Home) {
			j.complain("%v: its home %q does not serve the system", k, now.Home)
			return
		}
		is[now.Home]++
		if slices.Contains(serving, old.Home) {
			was[old.Home]++
			if old.Home != now.Home {
				changed++
			}
		} else {
			dealt = append(dealt, now.Home)
			if !fresh && old.Owner != now.Home && slices.Contains(serving, old.Owner) {
				driven[k] = [2]fsm.MemberID{old.Owner, now.Home}
			}
			if want := serving[i%len(serving)]; fresh && now.Home != want {
				j.complain("%v: Flip deals it to %s, not to %s", k, want, now.Home)
			}
		}
	}
	most, least := 0, len(sys.Items)
	for _, m := range serving {
		most, least = max(most, is[m]), min(least, is[m])
	}
	for k, way := range driven {
		if is[way[0]] < is[way[1]] {
			j.complain("%v: dealt to %s, which has %d, and not to its owner %s, which has %d", k, way[1], is[way[1]], way[0], is[way[0]])
		}
	}
	if !sys.Rehome {
		if changed > 0 {
			j.complain("%s: %d homes changed although the same members serve it", sys.Name, changed)
		}
		for _, m := range dealt {
			if is[m] > least+1 {
				j.complain("%s: a home was dealt to %s, which has %d, another has %d", sys.Name, m, is[m], least)
			}
		}
		return
	}
	if most-least > 1 {
		j.complain("%s: homes from %d to %d are not balanced", sys.Name, least, most)
	}
	if fewest := fewestChanges(len(sys.Items), len(serving), was); changed > fewest {
		j.complain("%s: %d homes changed, %d would do", sys.Name, changed, fewest)
	}
}

// fewestChanges is how many of the homes in place must go elsewhere so that all
// can be balanced: what exceeds the shares, the largest shares given to those
// that have most.
func fewestChanges(items, members int, have map[fsm.MemberID]int) int {
	counts := make([]int, members)
	i := 0
	for _, n := range have {
		counts[i] = n
		i++
	}
	sort.Sort(sort.Reverse(sort.IntSlice(counts)))
	changes := 0
	for i, n := range counts {
		share := items / members
		if i < items%members {
			share++
		}
		changes += max(0, n-share)
	}
	return changes
}

// chooseOne: all items with one member, which changes only when it must.
func (j *judgement) chooseOne(sys fsm.System) {
	rate := func(m fsm.MemberID) int { // for all items together
		lowest := 3
		for _, item := range sys.Items {
			lowest = min(lowest, j.rate(sys, item.ID, m))
		}
		return lowest
	}
	top := 0
	for _, m := range j.serving(sys) {
		top = max(top, rate(m))
	}
	had, has := map[fsm.MemberID]int{}, map[fsm.MemberID]int{}
	for _, item := range sys.Items {
		k := fsm.Key{System: sys.Name, Item: item.ID}
		if was, ok := j.before.Slot(k); ok && was.Owner != "" {
			had[was.Owner]++
		}
		if is, ok := j.after.Slot(k); ok && is.Owner != "" {
			has[is.Owner]++
		}
	}
	if len(sys.Items) == 0 || top == 0 {
		return
	}
	if len(has) != 1 {
		j.complain("%s: its items are apart: %v", sys.Name, has)
		return
	}
	var owner fsm.MemberID
	for m := range has {
		owner = m
	}
	most := 0 // of what one has who keeps it
	for m, n := range had {
		if rate(m) >= max(1, min(top, 2)) {
			most = max(most, n)
		}
	}
	if most > 0 {
		if had[owner] != most || rate(owner) < min(top, 2) {
			j.complain("%s: went to %s, who had %d of its items, another has %d", sys.Name, owner, had[owner], most)
		}
		return
	}
	for _, m := range j.serving(sys) {
		if rate(m) == top {
			if m != owner {
				j.complain("%s: is with %s, the first that is usable is %s", sys.Name, owner, m)
			}
			return
		}
	}
}
