package placement

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Explain says why a slot is where it is, and who else could have it; false: there is
// no such slot.
func Explain(v View, k fsm.Key) (Explanation, bool) {
	sys, in := v.State.Spec().Systems[k.System]
	if !in || !divided(&sys) || k.Rank < 0 || k.Rank >= sys.Ranks() {
		return Explanation{}, false
	}
	pl := new(Planner).planning(v)
	for _, id := range pl.systems() {
		pl.place(id)
	}
	g := pl.groups[k.System]
	if g == nil { // under maintenance
		g = pl.place(k.System)
	}
	item, in := g.find(k.Item)
	if !in {
		return Explanation{}, false
	}
	pl.held, pl.unplaced = slices.DeleteFunc(pl.held, func(h Held) bool { return h.Key != k }), nil
	g.emitItem(item)
	g.waitItem(item)
	slot, _ := v.State.Slot(k)
	e := Explanation{Key: k, Owner: slot.Owner, Home: slot.Home, Reason: slot.Reason, Candidates: g.candidatesOf(item)}
	for at := range pl.held {
		if pl.held[at].Key == k {
			e.Held = &pl.held[at]
		}
	}
	for at := range pl.unplaced {
		if pl.unplaced[at].Key == k {
			e.Unplaced = &pl.unplaced[at]
		}
	}
	return e, true
}

// candidatesOf are the members that serve an item's system, the best for it first.
func (g *group) candidatesOf(item int) []Candidate {
	unit := int32(g.unitOf(item))
	o := g.ownerStage()
	o.load = g.left
	var order []int32
	for _, c := range o.bestOf(unit, false, len(g.seat)) {
		order = append(order, c.m)
	}
	for m := range int32(len(g.seat)) {
		if !contains(order, m) {
			order = append(order, m)
		}
	}
	out := make([]Candidate, 0, len(order))
	for _, m := range order {
		s := &g.seat[m]
		c := Candidate{Member: s.id, Load: int(g.begins(m))}
		if s.limit < noLimit {
			c.Capacity = int(s.limit)
		}
		why := g.against(unit, m)
		switch {
		case why != "":
			c.Why = why
		case contains(g.ownOf(unit), m):
			c.Can, c.Why = true, "has it"
		case contains(g.finalOf(unit), m):
			c.Can, c.Why = true, "is to have it"
		case g.grade(unit, m) == flawed:
			c.Can, c.Why = true, "could take it, but it has failed there"
		case g.grade(unit, m) == young:
			c.Can, c.Why = true, "could take it, but has not been up for long enough"
		case g.grade(unit, m) == fit:
			c.Can, c.Why = true, "could take it, but is not settled yet"
		case g.v.Well != nil && s.well < g.sys.Failback:
			c.Can, c.Why = true, "could take it, but not yet from who can keep it"
		default:
			c.Can, c.Why = true, "could take it"
		}
		out = append(out, c)
	}
	return out
}
