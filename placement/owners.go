package placement

import (
	"encoding/binary"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// owning is the question who is to have what: see stage.
type owning struct {
	*stage
	g       *group
	alive   []int32 // the usable seats
	orphans []int32 // the units that go to whoever has least
	heap    *heap
}

// owners finds who is to have each place: whoever has it at home, or is preferred, or
// keeps it; what is left over is spread.
func (g *group) owners() {
	o := g.ownerStage()
	if g.best == useless { // nobody can have anything
		for at := range g.final {
			g.final[at] = nobody
		}
		g.left = o.load
		return
	}
	o.sort()
	if g.ranks == 1 {
		o.place()
	} else {
		o.orphans = o.work
	}
	for _, i := range o.heaviestFirst(o.orphans) {
		o.adopt(i)
	}
	for _, i := range o.work {
		if o.astray(i) {
			o.loose = append(o.loose, i)
		}
	}
	o.settle()
	for _, i := range o.work {
		o.rank(i)
	}
	g.left = o.load
}

func (g *group) ownerStage() *owning {
	o := &owning{g: g}
	o.stage = &stage{
		loads: newLoads(g.seat), zones: g.zones, ranks: g.ranks, weight: g.weight,
		need: o.need, cost: g.cost, mine: g.mine, turn: func(i, m int32) int { return turnOf(g.ownOf(i), m) }, tie: o.tie, kind: o.kind,
		kept:  func(i int32) int { return max(0, o.need(i)-g.lost(i)) },
		takes: func(s *seat) bool { return s.grade > useless }, guest: func(i int32) bool { return g.lost(i) == 0 },
		even: !g.weighty, alike: g.ranks == 1 && !g.choosy && len(g.bad) == 0 && len(g.ties.with) == 0,
		to: g.final, zoned: make([]int, g.zones),
	}
	for m := range g.seat {
		if g.seat[m].usable {
			o.alive = append(o.alive, int32(m))
		}
	}
	return o
}

// sort leaves the units that are at home, with members that are ready, where they are;
// the others are to be worked at. What these can keep counts already.
func (o *owning) sort() {
	g, away := o.g, 0
	for i := range int32(g.units) {
		turn := away
		if home := g.home[int(i)*g.ranks]; home == nobody || !g.seat[home].usable {
			away++
		}
		if o.atHome(i) {
			copy(o.of(i), g.ownOf(i))
			for _, m := range o.of(i) {
				o.load[m] += g.weight(i)
			}
			continue
		}
		g.turns[i] = int32(turn)
		o.work = append(o.work, i)
		for r := range o.of(i) {
			o.of(i)[r] = nobody
		}
	}
	o.unload()
	o.preload()
}

// astray reports whether a unit is with a member that is neither its home nor
// preferred: others would do as well.
func (o *owning) astray(i int32) bool {
	for _, m := range o.of(i) {
		if m != nobody && o.g.cost(i, m)&(1<<atHome) != 0 {
			return true
		}
	}
	return false
}

func (o *owning) atHome(i int32) bool {
	g := o.g
	if list := g.prefer(i); len(list) > 0 {
		own := g.own[i]
		return g.ranks == 1 && own != nobody && g.seat[own].id == list[0] && g.seat[own].grade == ready &&
			!g.fixed[i] && !g.special(i) && len(g.company) == 0
	}
	for at := int(i) * g.ranks; at < (int(i)+1)*g.ranks; at++ {
		home := g.home[at]
		if home == nobody || home != g.own[at] || g.seat[home].grade != ready || g.fixed[int32(at)] {
			return false
		}
	}
	return len(g.company) == 0 && !g.special(i)
}

// unload takes what is too much from members that are at home with it: the last.
func (o *owning) unload() {
	out := false
	for m := range o.load {
		out = out || o.load[m] > o.seat[m].limit
	}
	if !out {
		return
	}
	for i := int32(o.g.units) - 1; i >= 0; i-- {
		for _, m := range o.of(i) {
			if m != nobody && o.load[m] > o.seat[m].limit {
				o.put(i, nil)
				o.work = append(o.work, i)
				o.short = true
				break
			}
		}
	}
	slices.Sort(o.work)
}

// preload counts what stays where it is, and, as long as it is not looked at yet, what
// can.
func (o *owning) preload() {
	g := o.g
	stuck := make([]int64, len(o.seat))
	for at := range g.fixed {
		if m := g.own[at]; m != nobody && g.seat[m].usable {
			w := g.weight(at / int32(g.ranks))
			o.load[m] += w
			stuck[m] += w
			o.seat[m].limit = max(o.seat[m].limit, stuck[m])
		}
	}
	for _, i := range o.work {
		if g.ranks == 1 {
			break
		}
		var members []int32
		for r, m := range g.ownOf(i) {
			if at := int32(int(i)*g.ranks + r); m != nobody && !g.fixed[at] && g.mine(i, m) && len(members) < o.need(i) {
				members = append(members, m)
			}
		}
		o.put(i, members)
	}
}

// need is how many replicas of a unit are to be placed: all that are not fixed.
func (o *owning) need(i int32) int {
	n := o.ranks
	if len(o.g.fixed) > 0 {
		for at := int(i) * o.ranks; at < (int(i)+1)*o.ranks; at++ {
			if o.g.fixed[int32(at)] {
				n--
			}
		}
	}
	return n
}

// mine reports whether a member has a unit and can keep it.
func (g *group) mine(i, m int32) bool {
	return contains(g.ownOf(i), m) && keeps(g.grade(i, m), g.top(i))
}

// lost is how many places of a unit nobody has that can keep it.
func (g *group) lost(i int32) int {
	n := 0
	for _, m := range g.ownOf(i) {
		if m == nobody || !keeps(g.grade(i, m), g.top(i)) {
			n++
		}
	}
	return n
}

// cost of an owner: who cannot do it well, who may not take it from who could keep it,
// and who is neither preferred nor at home.
func (g *group) cost(i, m int32) rated {
	grade := g.grade(i, m)
	if len(g.fixed) > 0 && g.isFixed(i, m) {
		return impossible
	}
	mine := g.mine(i, m)
	c := g.base(m, grade, mine)
	if c == impossible {
		return c
	}
	at := g.preferred(i, m)
	wanted := contains(g.homesOf(i), m) && !g.rootless()
	if at < len(g.prefer(i)) {
		wanted = true
	}
	c |= rated(at)<<atPrefer | layer(!wanted, atHome)
	if !mine && g.early(i, m, grade, wanted) {
		c |= 1 << atEarly
	}
	return c
}

// rootless reports whether homes mean nothing: all items of a choose_one system that
// never go back are, once they have to move, with the first in Order.
func (g *group) rootless() bool { return g.single() && g.sys.Failback == fsm.NeverFailback }

// early reports whether a newcomer would have to wait, since others can keep the unit.
func (g *group) early(i, m int32, grade int, wanted bool) bool {
	back := g.seat[m].back && grade == ready
	if g.sys.Failback == fsm.NeverFailback && grade == ready {
		for rank := range g.ranks {
			back = back || g.rehomedAt(i, rank, m)
		}
	}
	switch g.lost(i) {
	case 0:
		return !back
	case g.ranks:
		return false
	default: // one that comes in for what is lost waits for nothing
		return !back || !wanted
	}
}

func (g *group) isFixed(i, m int32) bool {
	for r, owner := range g.ownOf(i) {
		if owner == m && g.fixed[int32(int(i)*g.ranks+r)] {
			return true
		}
	}
	return false
}

// place places the units of which it does not matter what others get; the rest are
// orphans.
func (o *owning) place() {
	for _, i := range o.work {
		switch m, sure := o.surely(i); {
		case o.need(i) == 0:
		case sure && o.room(m, o.weight(i)):
			o.put(i, []int32{m})
		default:
			o.short = o.short || sure
			o.orphans = append(o.orphans, i)
		}
	}
}

// surely is the member that is best for a unit, whatever the others have.
func (o *owning) surely(i int32) (int32, bool) {
	g := o.g
	if g.plain() && !g.special(i) {
		home, own := g.home[i], g.own[i]
		if home != nobody && g.seat[home].grade == ready && (own == nobody || !keeps(g.seat[own].grade, g.best)) {
			return home, true
		}
	}
	if g.special(i) {
		cands := o.bestOf(i, false, 2)
		if len(cands) == 0 {
			return nobody, false
		}
		return cands[0].m, cands[0].mine || len(cands) == 1 || cands[0].cost < cands[1].cost
	}
	best, cost, mine := int32(nobody), rated(0), false
	look := func(m int32) {
		if m == nobody {
			return
		}
		if c := g.cost(i, m); c >= 0 && (best == nobody || c < cost || c == cost && !mine && g.mine(i, m)) {
			best, cost, mine = m, c, g.mine(i, m)
		}
	}
	for _, id := range g.prefer(i) {
		if at, serves := g.at[id]; serves {
			look(at)
		}
	}
	look(g.home[i])
	look(g.own[i])
	if best == nobody || len(g.pool) == 0 {
		return best, best != nobody
	}
	for _, m := range g.pool { // one that is like all others for this unit
		if m != best && !contains(g.ownOf(i), m) && !contains(g.homesOf(i), m) {
			c := g.cost(i, m)
			return best, cost < c || cost == c && mine
		}
	}
	return best, true
}

// home sends a unit that is nowhere yet to its homes, if all of them are ready and no
// other members would spread it over more zones; false: it is to be looked at closely.
func (o *owning) home(i int32) bool {
	g := o.g
	if !g.plain() || g.special(i) || g.lost(i) < g.ranks {
		return false
	}
	zones := o.zoned[:o.zones]
	clear(zones)
	for _, m := range g.homesOf(i) {
		if m == nobody || g.seat[m].grade != ready || !o.room(m, o.weight(i)) {
			return false
		}
		zones[g.seat[m].zone]++
	}
	least, most := g.ranks, 0
	for _, n := range zones {
		least, most = min(least, n), max(most, n)
	}
	if most > least+1 { // perhaps there are not more in the other zones
		return false
	}
	o.put(i, g.homesOf(i))
	return true
}

// plain reports whether units differ in nothing but where they are and belong.
func (g *group) plain() bool {
	return !g.choosy && len(g.company) == 0 && len(g.fixed) == 0 && !g.rootless()
}

// adopt gives an orphan to whoever has least of those that are best for it.
func (o *owning) adopt(i int32) {
	g := o.g
	if g.ranks > 1 && o.home(i) {
		return
	}
	if g.ranks > 1 || g.special(i) || g.choosy || o.need(i) == 0 || g.lost(i) == 0 {
		o.choose(i)
		o.heap = nil // what it knows of the loads is not so any more
		return
	}
	if o.heap == nil {
		o.heap = newHeap(&o.loads, g.pool, o.even)
	}
	m := o.heap.take(o.weight(i), o.turn(i))
	if m == nobody {
		o.choose(i)
		o.heap = nil
		return
	}
	o.of(i)[0] = m
}

func (o *owning) kind(i int32, b []byte) []byte {
	b = appendSeats(appendSeats(b, o.g.ownOf(i)), o.g.homesOf(i))
	if o.g.special(i) || len(o.g.fixed) > 0 || o.g.sys.Failback == fsm.NeverFailback && o.g.rehome {
		b = binary.LittleEndian.AppendUint32(b, uint32(i)) // like no other
	}
	return o.g.appendPrefer(b, i)
}

func appendSeats(b []byte, seats []int32) []byte {
	for _, m := range seats {
		b = binary.LittleEndian.AppendUint32(b, uint32(m))
	}
	return b
}

func (g *group) appendPrefer(b []byte, i int32) []byte {
	for _, id := range g.prefer(i) {
		b = append(append(b, id...), 0)
	}
	return b
}
