package placement

import (
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// nobody stands for no member, or for one that does not serve the system.
const nobody = -1

// item is one slot while it is planned; members are their places in serving.
type item struct {
	token fsm.Token
	owner int32
	home  int32 // as stored, later as planned
	was   int32 // the home as stored
	owned bool  // by somebody, perhaps one who serves the system no longer
}

// group is one system while it is planned.
type group struct {
	*planning
	sys     fsm.System
	serving []fsm.MemberID         // in Order
	at      map[fsm.MemberID]int32 // where each stands in serving
	usable  []bool                 // of each in serving
	settled []bool
	counts  []bool // homes are dealt to it: see count
	alive   []int  // the usable ones
	items   []item
	next    int    // the item that take has come to
	rehomed string // the reason for a new home
}

func newGroup(p *planning, sys fsm.System) *group {
	g := &group{planning: p, sys: sys, items: make([]item, len(sys.Items)), at: map[fsm.MemberID]int32{}}
	g.rehomed = "new home: " + string(sys.Name) + " was balanced anew"
	for _, id := range p.order {
		server := p.spec.Servers[id]
		if server.Removing || !slices.Contains(server.Systems, sys.Name) {
			continue
		}
		m, registered := p.state.Member(id)
		_, out := p.why[id]
		if !out {
			g.alive = append(g.alive, len(g.serving))
		}
		g.at[id] = int32(len(g.serving))
		g.serving = append(g.serving, id)
		g.usable = append(g.usable, !out)
		g.settled = append(g.settled, m.Settled)
		g.counts = append(g.counts, registered)
	}
	for i := range g.items {
		g.items[i] = item{owner: nobody, home: nobody, was: nobody}
	}
	return g
}

// take records a slot of the State. Slots come in the order of the items; one
// that the Spec does not have is passed by.
func (g *group) take(slot fsm.Slot) {
	for g.next < len(g.items) && g.sys.Items[g.next].ID < slot.Item {
		g.next++
	}
	if g.next == len(g.items) || g.sys.Items[g.next].ID != slot.Item || slot.Rank != 0 {
		return
	}
	home := g.place(slot.Home)
	g.items[g.next] = item{token: slot.Token, owner: g.place(slot.Owner), home: home, was: home, owned: slot.Owner != ""}
}

// place is where a member stands in serving.
func (g *group) place(m fsm.MemberID) int32 {
	if at, serves := g.at[m]; serves {
		return at
	}
	return nobody
}

func (g *group) key(i int) fsm.Key { return fsm.Key{System: g.sys.Name, Item: g.sys.Items[i].ID} }

// The grades of a member for an item. An owner of grade fit keeps the item; a
// lower one only when nobody is fit.
const (
	useless = iota // down, leaving, or not serving the system
	flawed         // usable, but what it takes has failed here for this item
	fit
	// ready is fit and able to act at once: an unsettled member would hold an
	// at-most-one item back for its slack (LEASES.md, L6).
	ready
)

// grade of a member for an item whose failures are given.
func (g *group) grade(member int32, failures []failure) int {
	switch {
	case member == nobody || !g.usable[member]:
		return useless
	case slices.ContainsFunc(failures, func(f failure) bool { return f.member == g.serving[member] }):
		return flawed
	case g.sys.Guarantee == fsm.AtMostOne && !g.settled[member]:
		return fit
	default:
		return ready
	}
}

// best is the highest grade that any member has.
func (g *group) best(failures []failure) int {
	best := useless
	for _, m := range g.alive {
		best = max(best, g.grade(int32(m), failures))
	}
	return best
}

// stays reports whether an owner of this grade keeps what it has: it must be
// fit, or as good as anybody when nobody is.
func stays(grade, best int) bool { return grade >= flawed && grade >= min(best, fit) }

// move gives an item to a member, or only a new home when it has it already.
// reason is used when the owner is no cause in itself.
func (g *group) move(i int, to int32, reason string) {
	if len(g.urgent) >= g.budget { // nothing else fits
		return
	}
	it := g.items[i]
	m := fsm.Move{Key: g.key(i), Was: it.token}
	if it.home != it.was {
		m.Home = g.serving[it.home]
	}
	if to == nobody || to == it.owner { // at most the home changes
		if m.Home != "" && it.owned {
			m.To, m.Reason = g.owner(i), g.rehomed
			g.postpone(m)
		}
		return
	}
	m.To = g.serving[to]
	if m.Reason = g.cause(i); m.Reason != "" {
		g.urgent = append(g.urgent, m)
		return
	}
	m.Reason = reason
	g.postpone(m)
}

func (g *group) postpone(m fsm.Move) {
	if len(g.later) < g.budget {
		g.later = append(g.later, m)
	}
}

// owner is the name of an item's owner, also of one that does not serve the
// system any more.
func (g *group) owner(i int) fsm.MemberID {
	if it := g.items[i]; it.owner != nobody {
		return g.serving[it.owner]
	}
	slot, _ := g.state.Slot(g.key(i))
	return slot.Owner
}

// maxReason keeps what a hook or the kernel said from filling the log.
const maxReason = 200

// cause says why an item cannot stay with its owner, or nothing.
func (g *group) cause(i int) string {
	it := g.items[i]
	switch {
	case !it.owned && it.token == 0:
		return "first assignment"
	case !it.owned:
		return "nobody had it"
	}
	owner := g.owner(i)
	if _, member := g.spec.Servers[owner]; !member {
		return string(owner) + " was removed from the configuration"
	}
	if why, out := g.why[owner]; out {
		return why
	}
	if it.owner == nobody {
		return string(owner) + " serves " + string(g.sys.Name) + " no longer"
	}
	for _, f := range g.failures(i) {
		if f.member == owner {
			text := strings.ToValidUTF8(f.text[:min(len(f.text), maxReason)], "")
			if g.sys.Action == fsm.ActionIP {
				return string(owner) + " cannot hold it: " + text
			}
			return "the hook failed on " + string(owner) + ": " + text
		}
	}
	return ""
}
