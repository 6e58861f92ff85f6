package placement

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// group is one system while it is planned. Its units are its items or, of choose_one,
// all of them as one; a unit has a place for each rank.
type group struct {
	*planning
	*slots
	sys     fsm.System
	seat    []seat // in Order
	zones   int
	at      map[fsm.MemberID]int32 // where each stands in seat
	local   []int32                // the seat of each of memory's numbers; nobody
	company []fsm.SystemID
	ties    *ties
	units   int
	own     []int32           // by place: the seat of who has it; nobody
	home    []int32           // by place: as stored, later as planned
	bad     map[int32][]int32 // by unit: where it has failed
	tops    map[int32]int     // the best grade for units that are not like others
	best    int               // the best grade for all others
	pool    []int32           // the seats that cost least for units that are nowhere yet
	fixed   map[int32]bool    // places that are left as they are, whatever would be better
	turns   []int32           // by unit: how many before it have a home that can have nothing
	final   []int32           // by place: who is to have it; nobody
	left    []int64           // the load that each seat ends with
	had     []int64           // and begins with, once somebody asks
	fresh   bool              // nothing has a home yet
	rehome  bool              // homes may be balanced anew; the one of a choose_one system stays
	stopped bool              // nothing of it is moved until somebody cleans up
}

// place finds out who is to have what of a system.
func (p *planning) place(id fsm.SystemID) *group {
	g := &group{
		planning: p, sys: p.spec.Systems[id], slots: p.memory.systems[id], at: map[fsm.MemberID]int32{},
		bad: map[int32][]int32{}, tops: map[int32]int{},
	}
	g.rehome = g.sys.Rehome && !g.single()
	g.company = p.company(id)
	g.ties = p.tiesOf(&g.sys)
	g.seats()
	g.look()
	g.homes()
	g.owners()
	g.stopped = p.stopped(id)
	if held := g.heldPlaces(); len(held) > 0 {
		g.hold(held)
		g.owners()
	}
	g.wait()
	p.groups[id] = g
	return g
}

func (g *group) single() bool { return g.sys.Split == fsm.ChooseOne }

func (g *group) unitOf(item int) int {
	if g.single() {
		return 0
	}
	return item
}

// wellFor is for how long a member has been well.
func (p *planning) wellFor(id fsm.MemberID) time.Duration {
	if p.v.Well == nil {
		return 1<<63 - 1
	}
	return p.v.Well[id]
}

// look translates what the memory has into seats.
func (g *group) look() {
	g.units = len(g.sys.Items)
	if g.single() {
		g.units = min(1, g.units)
	}
	g.local = make([]int32, len(g.names)+1)
	for n := range g.local {
		g.local[n] = nobody
		if n > 0 {
			if at, serves := g.at[g.names[n-1]]; serves {
				g.local[n] = at
			}
		}
	}
	g.scratch(g.units * g.ranks)
	g.own, g.home, g.final, g.turns = g.slots.own, g.slots.home, g.to, g.slots.turns
	if g.single() {
		g.lookAtAll()
	} else {
		for at, k := range g.all {
			g.own[at], g.home[at] = g.local[k.owner+1], g.local[k.home+1]
		}
	}
	for k, failures := range g.failed {
		if k.System != g.sys.Name {
			continue
		}
		if i, in := g.find(k.Item); in {
			g.fail(int32(g.unitOf(i)), failures)
		}
	}
	for m := range g.seat {
		g.best = max(g.best, g.seat[m].grade)
	}
	g.pooled()
	if g.single() {
		g.gather()
	}
}

func (g *group) fail(unit int32, failures []failure) {
	for _, f := range failures {
		if at, serves := g.at[f.member]; serves && !slices.Contains(g.bad[unit], at) {
			g.bad[unit] = append(g.bad[unit], at)
		}
	}
}

// pooled finds the seats for what is nowhere yet.
func (g *group) pooled() {
	least := rated(-1)
	for m := range int32(len(g.seat)) {
		c := g.base(m, g.seat[m].grade, false)
		switch {
		case c == impossible:
			continue
		case least < 0 || c < least:
			least, g.pool = c, g.pool[:0]
			fallthrough
		case c == least:
			g.pool = append(g.pool, m)
		}
	}
}

// base is what a seat costs by itself.
func (g *group) base(m int32, grade int, keeps bool) rated {
	if grade == useless {
		return impossible
	}
	return g.seat[m].company<<atCompany | layer(grade == flawed, atFailed) |
		layer(grade == young && !keeps, atYoung) | layer(grade == fit && !keeps, atWaiting)
}

// lookAtAll finds, for each rank of a choose_one system, the home that is stored first.
func (g *group) lookAtAll() {
	for rank := range g.own {
		g.own[rank], g.home[rank] = nobody, nobody
		for at := rank; at < len(g.all) && g.home[rank] == nobody; at += g.ranks {
			if home := g.local[g.all[at].home+1]; home != nobody && !slices.Contains(g.home[:rank], home) {
				g.home[rank] = home
			}
		}
	}
}

// gather finds, for each rank of a choose_one system, who has most of the items of
// those that can keep them, or of all.
func (g *group) gather() {
	for rank := range g.own {
		count := make([]int, len(g.seat))
		for at := rank; at < len(g.all); at += g.ranks {
			if owner := g.local[g.all[at].owner+1]; owner != nobody {
				count[owner]++
			}
		}
		for _, keeping := range []bool{true, false} {
			for m := range int32(len(g.seat)) {
				if count[m] == 0 || slices.Contains(g.own[:rank], m) || keeping && !keeps(g.grade(0, m), g.top(0)) {
					continue
				}
				if g.own[rank] == nobody || keeping && count[m] > count[g.own[rank]] {
					g.own[rank] = m
				}
			}
		}
	}
}

// special reports whether a unit may not simply be where the others may be.
func (g *group) special(i int32) bool {
	return len(g.bad) > 0 && len(g.bad[i]) > 0 || len(g.ties.with) > 0 && g.tied(i)
}

func (g *group) tied(i int32) bool {
	if g.single() {
		return slices.ContainsFunc(g.sys.Items, func(item fsm.Item) bool { return g.ties.single(item.ID) })
	}
	return g.ties.single(g.sys.Items[i].ID)
}

// grade of a seat for a unit.
func (g *group) grade(i, m int32) int {
	grade := g.seat[m].grade
	if grade == useless || !g.special(i) {
		return grade
	}
	if len(g.ties.with) > 0 && !g.allowed(i, m) {
		return useless
	}
	if slices.Contains(g.bad[i], m) {
		return flawed
	}
	return grade
}

func (g *group) allowed(i, m int32) bool {
	if !g.single() {
		return g.ties.allow(g.sys.Items[i].ID, g.seat[m].id)
	}
	for at := range g.sys.Items {
		if !g.ties.allow(g.sys.Items[at].ID, g.seat[m].id) {
			return false
		}
	}
	return true
}

// top is the best grade that a seat has for a unit.
func (g *group) top(i int32) int {
	if !g.special(i) {
		return g.best
	}
	if top, known := g.tops[i]; known {
		return top
	}
	top := useless
	for m := range int32(len(g.seat)) {
		top = max(top, g.grade(i, m))
	}
	g.tops[i] = top
	return top
}

// keeps reports whether an owner of this grade keeps what it has, when top is the best.
func keeps(grade, top int) bool { return grade > flawed || grade == flawed && top == flawed }

// weight of a unit.
func (g *group) weight(i int32) int64 {
	switch {
	case g.single():
		return g.total
	case g.weighty:
		return int64(g.sys.Items[i].Load())
	default:
		return g.heaviest
	}
}

// prefer are the members that a unit is to be on.
func (g *group) prefer(i int32) []fsm.MemberID {
	if !g.choosy {
		return nil
	}
	return g.sys.Items[i].Prefer
}

// preferred is how far down its list a seat stands for a unit; the length of the list
// when it is not on it.
func (g *group) preferred(i, m int32) int {
	list := g.prefer(i)
	if len(list) == 0 {
		return 0
	}
	at := slices.Index(list, g.seat[m].id)
	if at < 0 {
		at = len(list)
	}
	return min(at, maxPrefer)
}

// ownOf, homesOf and finalOf are the places of a unit.
func (g *group) ownOf(i int32) []int32   { return g.own[int(i)*g.ranks : (int(i)+1)*g.ranks] }
func (g *group) homesOf(i int32) []int32 { return g.home[int(i)*g.ranks : (int(i)+1)*g.ranks] }
func (g *group) finalOf(i int32) []int32 { return g.final[int(i)*g.ranks : (int(i)+1)*g.ranks] }

func contains[T comparable](list []T, x T) bool {
	for _, have := range list {
		if have == x {
			return true
		}
	}
	return false
}
