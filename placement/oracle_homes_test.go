package placement

import (
	"slices"
	"sort"

	"github.com/flip-ha/flip/fsm"
)

// plain reports whether nothing but who serves a system says who may have what: then
// its homes are dealt as Flip does.
func (j *judgement) plain(sys fsm.System) bool {
	if sys.Ranks() > 1 || len(sys.Select)+len(sys.With)+len(sys.Apart) > 0 || j.referredTo(sys.Name) || sys.Action == fsm.ActionClient {
		return false
	}
	for _, item := range sys.Items {
		if item.Load() > 1 || len(item.Prefer) > 0 {
			return false
		}
	}
	for _, m := range j.serving(sys) {
		if server := j.before.Spec().Servers[m]; server.Share() > 1 || server.Capacity > 0 {
			return false
		}
	}
	return true
}

// homes: a home changes only when it must, and balance is kept.
func (j *judgement) homes(sys fsm.System) {
	if j.braked(sys.Name) {
		return
	}
	if !j.plain(sys) {
		j.keptHomes(sys)
		return
	}
	d, ok := j.dealing(sys)
	if !ok {
		return
	}
	most, least := 0, len(sys.Items)
	for _, m := range d.among {
		most, least = max(most, d.is[m]), min(least, d.is[m])
	}
	for k, way := range d.driven {
		if d.is[way[0]] < d.is[way[1]] {
			j.complain("%v: dealt to %s, which has %d, and not to its owner %s, which has %d", k, way[1], d.is[way[1]], way[0], d.is[way[0]])
		}
	}
	if !sys.Rehome {
		if d.changed > 0 {
			j.complain("%s: %d homes changed although the same members serve it", sys.Name, d.changed)
		}
		for _, m := range d.dealt {
			if d.is[m] > least+1 {
				j.complain("%s: a home was dealt to %s, which has %d, another has %d", sys.Name, m, d.is[m], least)
			}
		}
		return
	}
	if most-least > 1 {
		j.complain("%s: homes from %d to %d are not balanced", sys.Name, least, most)
	}
	if fewest := fewestChanges(len(sys.Items), len(d.among), d.was); d.changed > fewest {
		j.complain("%s: %d homes changed, %d would do", sys.Name, d.changed, fewest)
	}
}

// dealing is how the homes of a system were and are dealt.
type dealing struct {
	among   []fsm.MemberID
	was, is map[fsm.MemberID]int
	changed int
	dealt   []fsm.MemberID // homes given to what had none
	// driven is what is to go from its owner to a home elsewhere, of what had none.
	driven map[fsm.Key][2]fsm.MemberID
}

// dealing looks at all homes; false: they are not dealt yet, or badly.
func (j *judgement) dealing(sys fsm.System) (*dealing, bool) {
	d := &dealing{
		among: j.counting(sys), was: map[fsm.MemberID]int{}, is: map[fsm.MemberID]int{},
		driven: map[fsm.Key][2]fsm.MemberID{},
	}
	if len(d.among) == 0 {
		return nil, false
	}
	fresh := true
	for slot := range j.before.SlotsOf(sys.Name) {
		fresh = fresh && !slices.Contains(d.among, slot.Home)
	}
	for i, item := range sys.Items {
		k := fsm.Key{System: sys.Name, Item: item.ID}
		old, _ := j.before.Slot(k)
		now, placed := j.after.Slot(k)
		if !placed || now.Owner == "" {
			return nil, false // nobody could hold it: nothing has been placed yet
		}
		if !slices.Contains(d.among, now.Home) {
			j.complain("%v: its home %q does not serve the system", k, now.Home)
			return nil, false
		}
		d.is[now.Home]++
		if slices.Contains(d.among, old.Home) {
			d.was[old.Home]++
			if old.Home != now.Home {
				d.changed++
			}
			continue
		}
		d.dealt = append(d.dealt, now.Home)
		if !fresh && old.Owner != now.Home && slices.Contains(d.among, old.Owner) {
			d.driven[k] = [2]fsm.MemberID{old.Owner, now.Home}
		}
		if want := d.among[i%len(d.among)]; fresh && now.Home != want {
			j.complain("%v: Flip deals it to %s, not to %s", k, want, now.Home)
		}
	}
	return d, true
}

// keptHomes: where more than who serves it says who may have what, a home stays for as
// long as it may, unless who serves it has changed; and an item has as many as it has
// ranks.
func (j *judgement) keptHomes(sys fsm.System) {
	among := j.counting(sys)
	for _, item := range sys.Items {
		var homes []fsm.MemberID
		for rank := range sys.Ranks() {
			k := fsm.Key{System: sys.Name, Item: item.ID, Rank: rank}
			old, _ := j.before.Slot(k)
			now, _ := j.after.Slot(k)
			if now.Home == "" {
				continue
			}
			if slices.Contains(homes, now.Home) {
				j.complain("%v: %s is its home for two ranks", k, now.Home)
			}
			homes = append(homes, now.Home)
			mayStay := slices.Contains(among, old.Home) && selected(sys, j.before.Spec().Servers[old.Home])
			if now.Home != old.Home && mayStay && !sys.Rehome {
				j.complain("%v: its home changed from %s to %s although the same members serve it", k, old.Home, now.Home)
			}
			if now.Home != old.Home && !slices.Contains(among, now.Home) {
				j.complain("%v: its new home %s does not serve the system", k, now.Home)
			}
		}
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

// chooseOne: all items with one member, which changes only when it must, or as it may
// go back.
func (j *judgement) chooseOne(sys fsm.System) {
	if len(sys.Items) == 0 || j.braked(sys.Name) || j.anyFixed(sys) {
		return
	}
	j.strayed(sys)
	top := rateNone
	for _, m := range j.serving(sys) {
		top = max(top, j.rateAll(sys, m))
	}
	if top == rateNone {
		return
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
	if len(has) != 1 {
		j.complain("%s: its items are apart: %v", sys.Name, has)
		return
	}
	var owner fsm.MemberID
	for m := range has {
		owner = m
	}
	if !j.referredTo(sys.Name) && j.alike(sys) { // else it may be where those that go with it can be, or with who can bear more
		j.rightOne(sys, owner, had, top)
	}
}

// alike: those that serve a system have the same share.
func (j *judgement) alike(sys fsm.System) bool {
	for _, m := range j.serving(sys) {
		if j.before.Spec().Servers[m].Share() != j.before.Spec().Servers[j.serving(sys)[0]].Share() {
			return false
		}
	}
	return true
}

// rightOne looks whether another member than the owner should have all.
func (j *judgement) rightOne(sys fsm.System, owner fsm.MemberID, had map[fsm.MemberID]int, top int) {
	item := sys.Items[0]
	first, _ := j.after.Slot(fsm.Key{System: sys.Name, Item: item.ID})
	home := first.Home
	for _, m := range slices.Backward(item.Prefer) {
		if j.rateAll(sys, m) == rateFine {
			home = m
		}
	}
	if j.rateAll(sys, home) == rateFine && j.back(sys, item.ID, home) {
		if owner != home {
			j.complain("%s: is with %s, and could go back to %s", sys.Name, owner, home)
		}
		return
	}
	most := 0 // of what one has who keeps it
	for m, n := range had {
		if rate := j.rateAll(sys, m); rate > rateNone && mayKeep(rate, top) {
			most = max(most, n)
		}
	}
	if most > 0 {
		if had[owner] != most || !mayKeep(j.rateAll(sys, owner), top) {
			j.complain("%s: went to %s, who had %d of its items, another has %d", sys.Name, owner, had[owner], most)
		}
		return
	}
	if j.rateAll(sys, owner) < top {
		j.complain("%s: went to %s of rate %d, the best is %d", sys.Name, owner, j.rateAll(sys, owner), top)
	}
	for _, m := range j.serving(sys) {
		if len(item.Prefer) == 0 && j.rateAll(sys, m) == top && (sys.Failback == fsm.NeverFailback || m == home) {
			if m != owner {
				j.complain("%s: is with %s, the first that is usable is %s", sys.Name, owner, m)
			}
			return
		}
	}
}

// rateAll is a member's rate for all items of a system together.
func (j *judgement) rateAll(sys fsm.System, m fsm.MemberID) int {
	lowest, weight := rateFine, 0
	for _, item := range sys.Items {
		lowest = min(lowest, j.rate(sys, item.ID, m))
		weight += item.Load()
	}
	if limit := j.before.Spec().Servers[m].Capacity; limit > 0 && weight > limit {
		return rateNone
	}
	return lowest
}

func (j *judgement) anyFixed(sys fsm.System) bool {
	for slot := range j.before.SlotsOf(sys.Name) {
		if j.fixed(sys, slot) {
			return true
		}
	}
	return false
}
