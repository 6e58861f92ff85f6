package placement

import "github.com/flip-ha/flip/fsm"

// ties are what a system has to do with those that it goes with or apart from. They
// are placed already, or stay as they are.
type ties struct {
	with, apart []where
}

// where is which members have what of a system.
type where struct {
	id    fsm.SystemID
	any   map[fsm.MemberID]bool         // who goes on having something of it
	still map[fsm.MemberID]bool         // who else is up and has something of it, for now
	items map[fsm.ItemID][]fsm.MemberID // nil: nobody asks for single items
}

func (p *planning) tiesOf(sys *fsm.System) *ties {
	t := &ties{}
	for _, id := range sys.With {
		t.with = append(t.with, p.where(id, sys.Items))
	}
	for _, id := range sys.Apart {
		w := p.where(id, nil)
		w.still = p.still(id)
		t.apart = append(t.apart, w)
	}
	return t
}

// still finds who has something of a system that nobody is to have instead: it serves
// it no longer, or is on its way out, and holds it until another can.
func (p *planning) still(id fsm.SystemID) map[fsm.MemberID]bool {
	out := map[fsm.MemberID]bool{}
	g, items, at := p.groups[id], p.spec.Systems[id].Items, 0
	for slot := range p.state.SlotsOf(id) {
		for at < len(items) && items[at].ID < slot.Item {
			at++
		}
		if slot.Owner == "" || out[slot.Owner] || at == len(items) || items[at].ID != slot.Item {
			continue
		}
		if m, _ := p.state.Member(slot.Owner); m.Up && (g == nil || g.stopped || g.stuck(at, slot.Rank)) {
			out[slot.Owner] = true
		}
	}
	return out
}

// stuck reports whether nobody is to have a slot, and its owner does not lose it for that.
func (g *group) stuck(item, rank int) bool {
	unit, k := int32(g.unitOf(item)), g.all[item*g.ranks+rank]
	from := g.local[k.owner+1]
	switch {
	case g.final[int(unit)*g.ranks+rank] != nobody:
		return false
	case from != nobody && (g.forbidden(unit, from) || contains(g.finalOf(unit), from)):
		return false
	default:
		return !g.droppable(unit, from, k)
	}
}

// where finds who has what of a system: as planned, if it is, else as it stands.
func (p *planning) where(id fsm.SystemID, wanted []fsm.Item) where {
	w := where{id: id, any: map[fsm.MemberID]bool{}}
	other := p.spec.Systems[id]
	if other.Split == fsm.Replicate {
		for m, server := range p.spec.Servers {
			w.any[m] = serves(&server, id) && p.why[m] == ""
		}
		return w
	}
	g := p.groups[id]
	if g != nil && g.stopped {
		g = nil
	}
	if g == nil {
		for slot := range p.state.SlotsOf(id) {
			if p.why[slot.Owner] == "" && slot.Owner != "" {
				w.any[slot.Owner] = true
			}
		}
	} else {
		for m := range g.seat {
			w.any[g.seat[m].id] = g.left[m] > 0
		}
	}
	w.single(p, &other, g, wanted)
	return w
}

// single finds who has the items of the same ids.
func (w *where) single(p *planning, other *fsm.System, g *group, wanted []fsm.Item) {
	at := 0
	for i := range wanted {
		id := wanted[i].ID
		for at < len(other.Items) && other.Items[at].ID < id {
			at++
		}
		if at == len(other.Items) || other.Items[at].ID != id {
			continue
		}
		if w.items == nil {
			w.items = map[fsm.ItemID][]fsm.MemberID{}
		}
		w.items[id] = []fsm.MemberID{}
		for rank := range other.Ranks() {
			owner := p.ownerOf(fsm.Key{System: other.Name, Item: id, Rank: rank}, g, at)
			if owner != "" && p.why[owner] == "" {
				w.items[id] = append(w.items[id], owner)
			}
		}
	}
}

// ownerOf is who has a slot, as planned if its system is.
func (p *planning) ownerOf(k fsm.Key, g *group, item int) fsm.MemberID {
	if g == nil {
		slot, _ := p.state.Slot(k)
		return slot.Owner
	}
	if m := g.final[g.unitOf(item)*g.ranks+k.Rank]; m != nobody {
		return g.seat[m].id
	}
	return ""
}

// ruled says what of the other systems forbids a member all of this one.
func (t *ties) ruled(m fsm.MemberID) string {
	for _, w := range t.with {
		if !w.any[m] {
			return string(m) + " has nothing of " + string(w.id)
		}
	}
	for _, w := range t.apart {
		if w.any[m] || w.still[m] {
			return string(m) + " has something of " + string(w.id)
		}
	}
	return ""
}

// allow reports whether a member may have an item, as far as single items matter.
func (t *ties) allow(id fsm.ItemID, m fsm.MemberID) bool {
	for _, w := range t.with {
		if owners, same := w.items[id]; same && !contains(owners, m) {
			return false
		}
	}
	return true
}

// single reports whether an item has to be where another of its name is.
func (t *ties) single(id fsm.ItemID) bool {
	for _, w := range t.with {
		if _, same := w.items[id]; same {
			return true
		}
	}
	return false
}
