package placement

import (
	"cmp"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// mostRanks is up to how many replicas all orders are tried.
const mostRanks = 6

// rank puts the members that are to have a unit in order. Who has it already comes in
// the order in which they had it, so that the lowest that is left takes the place of
// one that is lost, and newcomers follow; but who is at home with a rank, or preferred
// for it, has it, once it may.
func (o *owning) rank(i int32) {
	members := members(o.of(i))
	to := o.of(i)
	places := make([]int, 0, len(to)) // those that are not fixed
	for r, own := range o.g.ownOf(i) {
		to[r] = nobody
		if !o.g.fixed[int32(int(i)*o.ranks+r)] {
			places = append(places, r)
		} else if own != nobody && o.seat[own].usable {
			to[r] = own
		}
	}
	if len(members) == 1 && len(places) == 1 {
		to[places[0]] = members[0]
		return
	}
	o.inOrder(i, members)
	places = places[:min(len(places), len(members))]
	if len(members) > mostRanks {
		for at, r := range places {
			to[r] = members[at]
		}
		return
	}
	best := order{worst: true}
	o.permute(i, members, places, 0, &best)
	for at, r := range places {
		to[r] = best.members[at]
	}
}

// inOrder sorts members by the rank that they had.
func (o *owning) inOrder(i int32, members []int32) {
	slices.SortStableFunc(members, func(a, b int32) int {
		return cmp.Or(cmp.Compare(o.g.had1(i, a), o.g.had1(i, b)), cmp.Compare(o.g.preferred(i, a), o.g.preferred(i, b)),
			cmp.Compare(o.tie(i, a), o.tie(i, b)))
	})
}

// had1 is the rank that a member has of a unit, and can keep; ranks if it has none.
func (g *group) had1(i, m int32) int {
	for r, own := range g.ownOf(i) {
		if own == m && keeps(g.grade(i, m), g.top(i)) {
			return r
		}
	}
	return g.ranks
}

// order is one order of the members of a unit, and what it costs.
type order struct {
	members []int32
	cost    [10]int
	worst   bool
}

// permute tries all orders.
func (o *owning) permute(i int32, members []int32, places []int, from int, best *order) {
	if from == len(places) {
		if cost := o.orderCost(i, members, places); best.worst || slices.Compare(cost[:], best.cost[:]) < 0 {
			*best = order{members: slices.Clone(members), cost: cost}
		}
		return
	}
	for at := from; at < len(members); at++ {
		rotate(members[from : at+1])
		o.permute(i, members, places, from+1, best)
		rotateBack(members[from : at+1])
	}
}

// rotate brings the last to the front.
func rotate(m []int32) {
	last := m[len(m)-1]
	copy(m[1:], m)
	m[0] = last
}

func rotateBack(m []int32) {
	first := m[0]
	copy(m, m[1:])
	m[len(m)-1] = first
}

// orderCost is what an order costs: who has failed before who has not, who must stand back behind one that may not take
// from it yet, newcomers before who had it, preference and home rank by rank, and slots
// that change hands.
func (o *owning) orderCost(i int32, members []int32, places []int) (cost [10]int) {
	g := o.g
	homes, own := g.homesOf(i), g.ownOf(i)
	for at, r := range places {
		m := members[at]
		listed := g.preferred(i, m) < len(g.prefer(i))
		had := g.had1(i, m)
		for _, behind := range members[at+1 : len(places)] {
			was := g.had1(i, behind)
			if g.grade(i, m) == flawed && g.grade(i, behind) > flawed {
				cost[0]++
			}
			if was == r && !g.mayTake(i, r, m) {
				cost[1]++
			}
			if was < had && homes[r] != m && !listed {
				cost[2]++
			}
		}
		cost[3+min(r, 2)] += g.preferred(i, m)
		if homes[r] != m && !listed {
			cost[6+min(r, 2)]++
		}
		if own[r] != m {
			cost[9]++
		}
	}
	return cost
}

// mayTake reports whether a member may take a rank from others that could keep it.
func (g *group) mayTake(i int32, rank int, m int32) bool {
	if g.grade(i, m) != ready {
		return false
	}
	return g.seat[m].back || g.sys.Failback == fsm.NeverFailback && g.rehomedAt(i, rank, m)
}

// rehomedAt reports whether a member is the new home of a place that had another.
func (g *group) rehomedAt(i int32, rank int, m int32) bool {
	at := int(i)*g.ranks + rank
	was := g.all[at].home
	return g.home[at] == m && was != nobody && g.local[was+1] != m && !g.single()
}

// tie is Flip's rule for what goes to whoever has least: the items whose home can have
// nothing are numbered j = 0, 1, 2, … and go to the usable member of rank j-1, modulo
// their number: the first to the last.
func (o *owning) tie(i, m int32) int32 {
	switch n := int32(len(o.seat)); {
	case o.ranks > 1:
		turn := (m - i%n + n) % n
		if o.g.single() {
			turn = m
		}
		if had := o.g.had1(i, m); had < o.ranks && o.expected(i, had, m) {
			turn += n
		}
		return turn
	case o.g.single():
		return m
	case m == o.turn(i):
		return 0
	default:
		return 1 + m
	}
}

// expected reports whether another member comes home to a rank: who has it goes rather
// than one of another rank, which would have to change places.
func (o *owning) expected(i int32, rank int, m int32) bool {
	home := o.g.homesOf(i)[rank]
	return home != nobody && home != m && o.g.mayTake(i, rank, home)
}

func (o *owning) turn(i int32) int32 {
	if o.g.single() || len(o.alive) == 0 {
		return nobody
	}
	return o.alive[(int(o.g.turns[i])+len(o.alive)-1)%len(o.alive)]
}
